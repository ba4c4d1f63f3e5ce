// dropout in one launch. A warp takes 256 entries at a time: each lane makes the random words of 8 neighbors and keeps
// of them 8 bits, whether they stay. Then lane l of the warp reads and writes the 16 bytes at l, l + 32 … of the tile,
// with bits that it gets from their owner by a shuffle, so that every access of a warp is 512 neighboring bytes.
//
// Bytes per entry: read 4, write 8 (float32): 16 M entries are 192 MB, 40 us at 4.8 TB/s; predicted: 47 us on an H200,
// the bound at 85 % of it. The arithmetic hides behind it: a tile takes 290 instructions (sm_90), 77 of them wide
// multiply-adds of the 20 products with 128-bit results. Counted with 4 cycles each they are 308 cycles of a
// scheduler, and 528 schedulers at 1.75 GHz make 760 G entries a second, where the memory has 400 G.
// Not yet measured on a GPU.
#include "cuda/dropout.hpp"
#include "cuda/softmax_row.cuh"
#include "math/philox.hpp"

namespace pyasr::cuda {
namespace {

struct DeviceProduct {
  static __device__ __forceinline__ void multiply(std::uint64_t x, std::uint64_t by, std::uint64_t& high,
                                                  std::uint64_t& low) {
    high = __umul64hi(x, by);
    low = x * by;
  }
};

// In one store each, which goes to L2 in any case: of a plain assignment of 16 bytes nvcc 13.0 makes four here.
template <class T>
__device__ __forceinline__ void put(T* p, const Chunk<T, 1>& v) {
  dev::store_cg(p, v.x[0]);
}
__device__ __forceinline__ void put(float* p, const Chunk<float, 4>& v) {
  dev::store_cg(reinterpret_cast<float4*>(p), float4{v.x[0], v.x[1], v.x[2], v.x[3]});
}
__device__ __forceinline__ void put(double* p, const Chunk<double, 2>& v) {
  dev::store_cg(reinterpret_cast<double2*>(p), double2{v.x[0], v.x[1]});
}

// Bit i: entry i of the block is kept.
__device__ __forceinline__ unsigned kept_of(std::uint64_t block, const std::uint64_t (&key)[2], std::uint32_t least) {
  std::uint64_t c[4] = {block + 1, 0, 0, 0};
  math::philox<DeviceProduct>(c, key[0], key[1]);
  unsigned kept = 0;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    kept |= static_cast<unsigned>(static_cast<std::uint32_t>(c[i / 2] >> (32 * (i % 2))) >> 8 >= least) << i;
  return kept;
}

// The 256 entries from `begin` on, by all lanes of a warp, each with Width neighbors at a time. Only Width 1 looks for
// the end.
template <class T, int Width>
__device__ __forceinline__ void drop_tile(const DropoutArgs<T>& a, std::int64_t begin, std::uint32_t least, T scale) {
  constexpr int each = 8 / Width;  // groups of a lane, and of a block of Philox
  const int lane = static_cast<int>(threadIdx.x) % 32;
  Chunk<T, Width> x[each];
#pragma unroll
  for (int k = 0; k < each; ++k) {
    const std::int64_t i = begin + (32 * k + lane) * Width;
    if (Width > 1 || i < a.N) x[k] = load_chunk<T, Width>(a.x + i, true);
  }
  const unsigned own = kept_of(static_cast<std::uint64_t>(begin / 8 + lane), a.key, least);
#pragma unroll
  for (int k = 0; k < each; ++k) {
    const int group = 32 * k + lane;
    const unsigned kept = dev::shuffle(own, group / each) >> (group % each * Width);
    Chunk<T, Width> factor;
#pragma unroll
    for (int w = 0; w < Width; ++w) {
      factor.x[w] = kept >> w & 1 ? scale : T(0);
      x[k].x[w] *= factor.x[w];
    }
    const std::int64_t i = begin + group * Width;
    if (Width > 1 || i < a.N) {
      put(a.factor + i, factor);
      put(a.y + i, x[k]);
    }
  }
}

// Float64 would spill in the 64 registers of four blocks.
template <class T, int Width>
__global__ void __launch_bounds__(dropout_threads, sizeof(T) == 4 ? 4 : 3)
    dropout_kernel(DropoutArgs<T> a, std::uint32_t least, T scale) {
  constexpr int warps = dropout_threads / 32;
  const std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32;
  const std::int64_t step = static_cast<std::int64_t>(gridDim.x) * warps * dropout_tile;
  for (std::int64_t begin = first * dropout_tile; begin < a.N; begin += step)
    if (begin + dropout_tile <= a.N)
      drop_tile<T, Width>(a, begin, least, scale);
    else
      drop_tile<T, 1>(a, begin, least, scale);
}

}  // namespace

template <class T>
cudaError_t dropout(const DropoutArgs<T>& a, cudaStream_t stream) {
  if (a.N == 0) return cudaSuccess;
  constexpr int wide = 16 / sizeof(T);
  const auto places = reinterpret_cast<std::uintptr_t>(a.x) | reinterpret_cast<std::uintptr_t>(a.y) |
                      reinterpret_cast<std::uintptr_t>(a.factor);
  const auto kernel = places % 16 == 0 ? dropout_kernel<T, wide> : dropout_kernel<T, 1>;
  int resident = 0;
  if (const cudaError_t e = resident_blocks(kernel, dropout_threads, 0, &resident)) return e;
  return launch(kernel, static_cast<unsigned>(plan_dropout(a.N, resident)), dropout_threads, 0, stream, a,
                math::least_number(a.rate), static_cast<T>(1 / (1 - a.rate)));
}

template cudaError_t dropout(const DropoutArgs<float>&, cudaStream_t);
template cudaError_t dropout(const DropoutArgs<double>&, cudaStream_t);

}  // namespace pyasr::cuda
