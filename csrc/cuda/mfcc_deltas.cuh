// Derivatives in time. Per number of a frame and tap: a number from shared memory, a tap from L1, an addition for the
// place and a float64 multiply-add, so 4 * 14 instructions for the 5 and 9 taps of window 2, and some 20 around them.
// Device memory sees F numbers in and 3 F out: 208 B for 13 cepstra in float32, 20 G frames per second at 4.3 TB/s, for
// which 132 multiprocessors of 1.75 GHz may issue 46 warp instructions a frame; 13 * 76 / 32 are 31.
// Not yet measured on a GPU: prediction for an H200, at 85 % of the bandwidth, 17 G frames per second.
#pragma once
#include "cuda/launch.cuh"
#include "cuda/mfcc_after.hpp"

namespace pyasr::cuda {
namespace {

struct FrameSpan {
  std::int64_t begin, end;
};

__device__ inline std::int64_t cut(std::int64_t x, std::int64_t low, std::int64_t high) {
  return x < low ? low : x > high ? high : x;
}

// The frames of utterance u in its line.
__device__ inline FrameSpan span_of(const FrameLayout& at, std::int64_t u) {
  if (at.offsets) {
    const std::int64_t begin = cut(at.offsets[u], 0, at.frames);
    return {begin, cut(at.offsets[u + 1], begin, at.frames)};
  }
  return {0, at.lengths ? cut(at.lengths[u], 0, at.frames) : at.frames};
}

// Those of the utterance to which frame t of a line belongs; none where it belongs to none.
__device__ inline FrameSpan span_around(const FrameLayout& at, std::int64_t line, std::int64_t t) {
  if (t < 0 || t >= at.frames) return {0, 0};
  std::int64_t u = line;
  if (at.offsets) {  // the last one that begins at or before t
    std::int64_t high = at.utterances - 1;
    for (u = 0; u < high;) {
      const std::int64_t middle = (u + high + 1) / 2;
      if (at.offsets[middle] <= t)
        u = middle;
      else
        high = middle - 1;
    }
  }
  const FrameSpan span = span_of(at, u);
  return span.begin <= t && t < span.end ? span : FrameSpan{0, 0};
}

// body(i, c) for rows [first, end) and all columns, dealt to the threads of the block without a division each.
template <class Body>
__device__ void each_number(int first, int end, int columns, Body body) {
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x);
  const int down = threads / columns, right = threads % columns;
  for (int i = first + tid / columns, c = tid % columns; i < end;) {
    body(i, c);
    i += down, c += right;
    if (c >= columns) c -= columns, ++i;
  }
}

// sum over j of taps[j] x[i + j - reach], rows [low, high) of x, with the first and the last one repeated.
__device__ inline double filtered(const double* x, int columns, int i, int reach, int low, int high,
                                  const double* taps) {
  double sum = 0;
  if (i - reach >= low && i + reach < high) {
    const double* p = x + (i - reach) * columns;
#pragma unroll 4
    for (int j = 0; j <= 2 * reach; ++j, p += columns) sum = fma(taps[j], *p, sum);
  } else {
    for (int j = -reach; j <= reach; ++j) {
      const int k = i + j < low ? low : i + j >= high ? high - 1 : i + j;
      sum = fma(taps[j + reach], x[k * columns], sum);
    }
  }
  return sum;
}

// Blocks: tiles of a line, and chunks of columns side by side.
template <class T>
__global__ void __launch_bounds__(after_threads)
    deltas_kernel(DeltasArgs a, DeltasPlan plan, std::int64_t tiles, const T* x, T* y) {
  PYASR_DYNAMIC_SHARED(double, numbers);
  const int halo = a.window * a.order, rows = plan.frames + 2 * halo, columns = plan.columns;
  const int chunks = (a.F + columns - 1) / columns;
  const std::int64_t item = blockIdx.x / chunks, line = item / tiles, t0 = item % tiles * plan.frames;
  const int c0 = static_cast<int>(blockIdx.x % chunks) * columns, width = a.F - c0 < columns ? a.F - c0 : columns;
  double* const staged = numbers;                 // [rows, columns], frame t0 - halo first
  double* const other = staged + rows * columns;  // the same, where derivatives are repeated
  int* const low = reinterpret_cast<int*>(staged + (a.repeated ? 2 : 1) * rows * columns);  // [rows]
  int* const high = low + rows;  // rows of the utterance of each row, cut to those that are here
  const std::int64_t first = t0 - halo;
  auto row_at = [&](int i) { return line * a.at.line + (first + i) * a.at.step; };

  for (int i = static_cast<int>(threadIdx.x); i < rows; i += after_threads) {
    const FrameSpan span = span_around(a.at, line, first + i);
    low[i] = static_cast<int>(cut(span.begin - first, 0, rows));
    high[i] = span.end ? static_cast<int>(cut(span.end - first, 0, rows)) : 0;
  }
  each_number(0, rows, columns, [&](int i, int c) {
    const std::int64_t t = first + i;
    if (c < width && t >= 0 && t < a.at.frames)
      staged[i * columns + c] = static_cast<double>(x[row_at(i) * a.F + c0 + c]);
  });
  PYASR_SYNC_BLOCK(430);

  const std::int64_t left = a.at.frames - t0;
  const int end = halo + static_cast<int>(left < plan.frames ? left : plan.frames);
  auto put = [&](int i, int c, int k, double v) {
    y[(row_at(i) * (a.order + 1) + k) * a.F + c0 + c] = static_cast<T>(v);
  };
  if (!a.repeated) {
    each_number(halo, end, columns, [&](int i, int c) {
      if (c >= width) return;
      const bool none = low[i] >= high[i];
      const double* taps = a.taps;
      for (int k = 0, reach = 0; k <= a.order; ++k, reach += a.window) {
        put(i, c, k, none ? 0.0 : filtered(staged + c, columns, i, reach, low[i], high[i], taps));
        taps += 2 * reach + 1;
      }
    });
    return;
  }
  double *from = staged, *to = other;
  for (int k = 0; k <= a.order; ++k) {
    const int around = (a.order - k) * a.window;  // whom the next derivatives ask for
    each_number(halo - around, halo + plan.frames + around, columns, [&](int i, int c) {
      if (c >= width) return;
      const bool none = low[i] >= high[i];
      double v = 0;
      if (!none) v = k ? filtered(from + c, columns, i, a.window, low[i], high[i], a.taps + 1) : from[i * columns + c];
      if (k) to[i * columns + c] = v;
      if (i >= halo && i < end) put(i, c, k, v);
    });
    PYASR_SYNC_BLOCK(431);
    if (k) {
      double* const swapped = from;
      from = to;
      to = swapped;
    }
  }
}

}  // namespace
}  // namespace pyasr::cuda
