// The softmax of a row, by a warp or by a block: shared by softmax.cu, ctc.cu and align.cu.
//
// A thread takes chunks of neighboring entries, one register of 16 bytes where rows are a multiple of four entries.
// The first chunks stay in registers, so that a row of up to 32 * 16 (warp) or 256 * 16 (block) float32 is read once;
// what lies beyond is read again, from L2. Sums have a fixed order, which depends on V alone.
#pragma once
#include <cstdint>

#include "cuda/launch.cuh"

namespace pyasr::cuda {
namespace {

constexpr int row_threads = 256;  // of a block: eight rows of a warp each, or one row
template <class T>
constexpr int held_entries = sizeof(T) == 4 ? 16 : 8;  // of a thread
// For __launch_bounds__: without it ptxas spills float64 to fit more blocks.
template <class T>
constexpr int row_blocks = sizeof(T) == 4 ? 4 : 2;
// Longer rows get a block.
template <class T>
constexpr std::int64_t longest_warp_row = 32 * held_entries<T>;

template <class T>
constexpr T infinity = static_cast<T>(__builtin_huge_val());
template <class T>
__device__ T nan_of() {
  return static_cast<T>(__builtin_nan(""));
}

// Neighboring entries that belong to one thread, whatever their alignment: the same bits either way.
template <class T, int Width>
struct alignas(Width == 1 ? sizeof(T) : 16) Chunk {
  T x[Width];
};
template <class T, int Width>
__device__ Chunk<T, Width> load_chunk(const T* p, bool aligned) {
  if constexpr (Width > 1)
    if (!aligned) {
      Chunk<T, Width> v;
      for (int k = 0; k < Width; ++k) v.x[k] = p[k];
      return v;
    }
  return *reinterpret_cast<const Chunk<T, Width>*>(p);
}
template <class T, int Width>
__device__ void store_chunk(T* p, const Chunk<T, Width>& v, bool aligned) {
  if constexpr (Width > 1)
    if (!aligned) {
      for (int k = 0; k < Width; ++k) p[k] = v.x[k];
      return;
    }
  *reinterpret_cast<Chunk<T, Width>*>(p) = v;
}

struct Larger {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return b > a ? b : a;
  }
};
struct Plus {
  template <class T>
  __device__ T operator()(T a, T b) const {
    return a + b;
  }
};
template <class T, class F>
__device__ T warp_reduce(T v, F f) {
  for (int half = 16; half > 0; half /= 2) v = f(v, dev::shuffle_xor(v, half));
  return v;
}

// One row of a group of threads: 32, or all of the block. Every thread of the group calls everything.
template <class T, int Group, int Width>
class Row {
 public:
  static constexpr int stride = Group * Width, chunks = held_entries<T> / Width;
  T max, sum;  // of exp(x - max); NaN where the row holds NaN or inf, or only -inf

  __device__ Row(const T* x_, std::int64_t V_, bool aligned_)
      : V(V_),
        aligned(aligned_),
        begin(static_cast<int>(threadIdx.x) % Group * Width),
        own(x_ + begin),
        left(static_cast<int>(V < most ? V : most) - begin) {}

  // maxima, sums: shared [Group / 32], not used by one warp.
  __device__ void reduce(T* maxima, T* sums) {
    max = -infinity<T>;
#pragma unroll
    for (int k = 0; k < chunks; ++k)
      if (k * stride < left) {
        held[k] = load_chunk<T, Width>(own + k * stride, aligned);
        for (int w = 0; w < Width; ++w) max = Larger()(max, held[k].x[w]);
      }
#pragma unroll 4
    for (std::int64_t i = chunks * stride; i < V - begin; i += stride) {
      const auto v = load_chunk<T, Width>(own + i, aligned);
      for (int w = 0; w < Width; ++w) max = Larger()(max, v.x[w]);
    }
    max = warp_reduce(max, Larger());
    if (Group > 32) {
      if (threadIdx.x % 32 == 0) maxima[threadIdx.x / 32] = max;
      PYASR_SYNC_BLOCK(1401);
      for (int k = 0; k < Group / 32; ++k) max = Larger()(max, maxima[k]);
    }
    sum = 0;
#pragma unroll
    for (int k = 0; k < chunks; ++k)
      if (k * stride < left)
        for (int w = 0; w < Width; ++w) sum += held[k].x[w] = exp(held[k].x[w] - max);
#pragma unroll 4
    for (std::int64_t i = chunks * stride; i < V - begin; i += stride) {
      const auto v = load_chunk<T, Width>(own + i, aligned);
      for (int w = 0; w < Width; ++w) sum += exp(v.x[w] - max);
    }
    sum = warp_reduce(sum, Plus());
    if (Group > 32) {
      if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
      PYASR_SYNC_BLOCK(1402);
      sum = 0;
      for (int k = 0; k < Group / 32; ++k) sum += sums[k];
    }
  }

  // y = softmax - one_hot(label); a label outside of the row changes nothing.
  __device__ void write(T* y, std::int64_t label) const {
    const T scale = T(1) / sum;
#pragma unroll
    for (int k = 0; k < chunks; ++k)
      if (k * stride < left) put(y, begin + k * stride, held[k], scale, label);
#pragma unroll 4
    for (std::int64_t i = chunks * stride; i < V - begin; i += stride) {
      auto v = load_chunk<T, Width>(own + i, aligned);
      for (int w = 0; w < Width; ++w) v.x[w] = exp(v.x[w] - max);
      put(y, begin + i, v, scale, label);
    }
  }

  __device__ void fill(T* y, T value) const {
    Chunk<T, Width> v;
    for (int w = 0; w < Width; ++w) v.x[w] = value;
    for (std::int64_t i = begin; i < V; i += stride) store_chunk(y + i, v, aligned);
  }

 private:
  __device__ void put(T* y, std::int64_t i, Chunk<T, Width> v, T scale, std::int64_t label) const {
    for (int w = 0; w < Width; ++w) v.x[w] = v.x[w] * scale - (i + w == label ? T(1) : T(0));
    store_chunk(y + i, v, aligned);
  }

  static constexpr int most = chunks * stride;

  const std::int64_t V;
  const bool aligned;
  const int begin;
  const T* const own;  // where this thread begins
  const int left;      // entries from there on, of those that registers can hold
  Chunk<T, Width> held[chunks];
};

// The row of this group among `rows`; behind the last there is none, but for whole groups.
template <int Group>
__device__ std::int64_t own_row() {
  return Group == 32 ? static_cast<std::int64_t>(blockIdx.x) * (row_threads / 32) + threadIdx.x / 32
                     : static_cast<std::int64_t>(blockIdx.x);
}

// Launches f(group, width): integral constants for rows of V entries, and the number of blocks.
template <class T, class F>
cudaError_t for_rows(std::int64_t rows, std::int64_t V, F f) {
  const bool warp = V <= longest_warp_row<T>;
  const std::int64_t blocks = warp ? (rows + row_threads / 32 - 1) / (row_threads / 32) : rows;
  if (blocks > 0x7fffffff) return cudaErrorInvalidConfiguration;
  const auto grid = static_cast<unsigned>(blocks);
  using One = std::integral_constant<int, 1>;
  using Wide = std::integral_constant<int, 16 / sizeof(T)>;
  using Warp = std::integral_constant<int, 32>;
  using Block = std::integral_constant<int, row_threads>;
  if (V % Wide() == 0) return warp ? f(Warp(), Wide(), grid) : f(Block(), Wide(), grid);
  return warp ? f(Warp(), One(), grid) : f(Block(), One(), grid);
}

template <class T>
bool aligned_rows(const T* x, const T* y) {
  return (reinterpret_cast<std::size_t>(x) | reinterpret_cast<std::size_t>(y)) % 16 == 0;
}

}  // namespace
}  // namespace pyasr::cuda
