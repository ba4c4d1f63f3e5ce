// Normalization per utterance: three passes over 8 columns, sums in float64 by one tree, whose shape depends on the
// number of frames alone. The columns of 1000 frames are 32 KB, so that the second and third pass find them in L1.
// Device memory sees 8 F bytes a frame in float32: 39 features, 312 B, 14 G frames per second at 4.3 TB/s.
// Not yet measured on a GPU: prediction for an H200 and one utterance of 1000 frames, 64 rows a block at a time, four
// of them in flight: 4 times 800 cycles for the first pass, 4 times 250 for the two others, 300 for the two trees, so
// 5500 cycles, 3 us and the launch; 32 of them of 39 features are 160 blocks of 512 threads, all resident at once.
#pragma once
#include "cuda/mfcc_deltas.cuh"

namespace pyasr::cuda {
namespace {

constexpr int cmvn_rows = cmvn_threads / cmvn_columns;
constexpr int cmvn_warps = cmvn_threads / 32;

// The sum of a column: over the four rows of a warp; then, where all may read it, over the warps.
__device__ inline void sum_rows(double v, double* part /* shared [warps, columns] */) {
  v += dev::shuffle_xor(v, 16);
  v += dev::shuffle_xor(v, 8);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  if (lane < cmvn_columns) part[static_cast<int>(threadIdx.x) / 32 * cmvn_columns + lane] = v;
}
__device__ inline double sum_warps(const double* part) {
  double s = 0;
#pragma unroll
  for (int w = 0; w < cmvn_warps; ++w) s += part[w * cmvn_columns + static_cast<int>(threadIdx.x) % cmvn_columns];
  return s;
}

// Blocks: groups of 8 columns of an utterance side by side.
template <class T>
__global__ void __launch_bounds__(cmvn_threads)
    cmvn_kernel(FrameLayout at, int F, int groups, bool variance, const T* x, T* y) {
  PYASR_SHARED(double, sums, cmvn_warps* cmvn_columns);
  PYASR_SHARED(double, drifts, cmvn_warps* cmvn_columns);
  PYASR_SHARED(double, squares, cmvn_warps* cmvn_columns);
  constexpr int flight = 4;
  const std::int64_t u = blockIdx.x / groups, line = at.offsets ? 0 : u;
  const int c = static_cast<int>(blockIdx.x % groups) * cmvn_columns + static_cast<int>(threadIdx.x) % cmvn_columns;
  const int row = static_cast<int>(threadIdx.x) / cmvn_columns;
  const FrameSpan span = span_of(at, u);
  auto place = [&](std::int64_t t) { return (line * at.line + t * at.step) * F + c; };
  // body(t, v) for the frames of this thread, `flight` of them read before the first is used.
  auto each_frame = [&](auto body) {
    if (c >= F) return;
    for (std::int64_t t = span.begin + row; t < span.end; t += flight * cmvn_rows) {
      T v[flight];
#pragma unroll
      for (int q = 0; q < flight; ++q) v[q] = t + q * cmvn_rows < span.end ? x[place(t + q * cmvn_rows)] : T(0);
#pragma unroll
      for (int q = 0; q < flight; ++q)
        if (t + q * cmvn_rows < span.end) body(t + q * cmvn_rows, static_cast<double>(v[q]));
    }
  };
  const double count = static_cast<double>(span.end - span.begin);

  double sum = 0;
  each_frame([&](std::int64_t, double v) { sum += v; });
  sum_rows(sum, sums);
  PYASR_SYNC_BLOCK(435);
  const double mean = sum_warps(sums) / count;
  double drift = 0, square = 0;  // of the distances from the mean: what rounding left, and the spread
  each_frame([&](std::int64_t, double v) {
    const double d = v - mean;
    drift += d;
    square = fma(d, d, square);
  });
  sum_rows(drift, drifts);
  sum_rows(square, squares);
  PYASR_SYNC_BLOCK(436);
  const double rest = sum_warps(drifts) / count, spread = sum_warps(squares) / count - rest * rest;
  const double scale = variance ? 1 / sqrt(fmax(spread, 1e-20)) : 1.0;
  each_frame([&](std::int64_t t, double v) { y[place(t)] = static_cast<T>(((v - mean) - rest) * scale); });

  auto clear = [&](std::int64_t begin, std::int64_t end) {
    if (c < F)
      for (std::int64_t t = begin + row; t < end; t += cmvn_rows) y[place(t)] = T(0);
  };
  if (!at.offsets || u == at.utterances - 1) clear(span.end, at.frames);
  if (at.offsets && u == 0) clear(0, span.begin);
}

}  // namespace
}  // namespace pyasr::cuda
