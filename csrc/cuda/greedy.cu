// ctc_greedy in two launches: a warp finds the best symbol of a frame, a block takes out repeats and blanks of an
// utterance, 256 frames at a time. Every logit is read once: 4 V bytes per frame (float32), then 8 for the path. Not
// yet measured on a GPU.
#include "cuda/greedy.hpp"
#include "cuda/softmax_row.cuh"

namespace pyasr::cuda {
namespace {

constexpr int greedy_threads = 256;

// The first of the largest; the first NaN where there is one.
template <class T>
struct Best {
  T value;
  int symbol;

  __device__ void meet(T v, int k) {
    const bool is_nan = v != v, was_nan = value != value;
    const bool better = was_nan ? false : is_nan || v > value, equal = is_nan ? was_nan : v == value;
    if (better || (equal && k < symbol)) {
      value = v;
      symbol = k;
    }
  }
};

template <class T, int Width>
__global__ void __launch_bounds__(row_threads) greedy_best(GreedyArgs<T> a, std::int32_t* path, bool aligned) {
  const std::int64_t at = own_row<32>();
  if (at >= a.frames * a.B) return;
  const std::int64_t t = at / a.B, b = at % a.B;
  if (t >= a.lengths[b]) return;
  const T* x = a.logits + at * a.V;
  Best<T> best{-infinity<T>, 0x7fffffff};
#pragma unroll 4
  for (std::int64_t k = static_cast<int>(threadIdx.x) % 32 * Width; k < a.V; k += 32 * Width) {
    const auto v = load_chunk<T, Width>(x + k, aligned);
    for (int w = 0; w < Width; ++w) best.meet(v.x[w], static_cast<int>(k) + w);
  }
  for (int half = 16; half > 0; half /= 2) {
    const T value = dev::shuffle_xor(best.value, half);
    const int symbol = dev::shuffle_xor(best.symbol, half);
    best.meet(value, symbol);
  }
  if (threadIdx.x % 32 == 0) path[b * a.frames + t] = best.symbol;
}

template <class T>
__global__ void __launch_bounds__(greedy_threads) greedy_merge(GreedyArgs<T> a, const std::int32_t* path) {
  PYASR_SHARED(int, said, 2 * greedy_threads / 32);
  const std::int64_t b = blockIdx.x;
  const int tid = static_cast<int>(threadIdx.x), lane = tid % 32, warp = tid / 32;
  const bool bad = a.lengths[b] < 0 || a.lengths[b] > a.frames;
  const std::int64_t frames = bad ? 0 : a.lengths[b];
  const std::int32_t* best = path + b * a.frames;
  std::int32_t* out = a.labels + b * a.frames;
  std::int64_t count = 0;
  int* part = said;
  for (std::int64_t begin = 0; begin < frames; begin += greedy_threads) {
    const std::int64_t t = begin + tid;
    const std::int32_t symbol = t < frames ? best[t] : a.blank;
    const int speaks = symbol != a.blank && (t == 0 || best[t - 1] != symbol);
    int until = speaks;  // of this warp, with this lane
    for (int d = 1; d < 32; d *= 2) {
      const int before = dev::shuffle_up(until, static_cast<unsigned>(d));
      if (lane >= d) until += before;
    }
    if (lane == 31) part[warp] = until;
    PYASR_SYNC_BLOCK(1101);
    std::int64_t place = count + until - speaks;
    for (int k = 0; k < greedy_threads / 32; ++k) {
      if (k < warp) place += part[k];
      count += part[k];
    }
    if (speaks && place >= 0 && place <= t) out[place] = symbol;  // in bounds, whatever shared memory holds
    part = part == said ? said + greedy_threads / 32 : said;      // the others may still read
  }
  for (std::int64_t k = tid; k < a.frames; k += greedy_threads)
    if (k >= count) out[k] = -1;
  if (tid == 0) a.counts[b] = bad ? -1 : static_cast<std::int32_t>(count);
}

}  // namespace

template <class T>
cudaError_t ctc_greedy(const GreedyArgs<T>& args, void* workspace, cudaStream_t stream) {
  if (args.B == 0) return cudaSuccess;
  auto* path = static_cast<std::int32_t*>(workspace);
  if (args.frames) {
    const cudaError_t e = for_rows<T>(args.frames * args.B, 1, [&](auto, auto, unsigned grid) {
      constexpr int wide = 16 / sizeof(T);
      const auto kernel = args.V % wide == 0 ? greedy_best<T, wide> : greedy_best<T, 1>;
      return launch(kernel, grid, row_threads, 0, stream, args, path, aligned_rows(args.logits, args.logits));
    });
    if (e) return e;
  }
  return launch(greedy_merge<T>, static_cast<unsigned>(args.B), greedy_threads, 0, stream, args, path);
}

template cudaError_t ctc_greedy(const GreedyArgs<float>&, void*, cudaStream_t);
template cudaError_t ctc_greedy(const GreedyArgs<double>&, void*, cudaStream_t);

}  // namespace pyasr::cuda
