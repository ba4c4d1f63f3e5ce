// What depends on the whole wave: a floor relative to the largest log, and normalization. Sums have an order that does
// not depend on the threads.
#pragma once
#include "cpu/mfcc_samples.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long rows_each = 256;  // of a work item

inline long items_of(std::int64_t rows) { return static_cast<long>((rows + rows_each - 1) / rows_each); }

// Largest element of x [n].
inline float largest(const float* x, std::int64_t n) {
  constexpr int V = lanes<float>;
  std::int64_t i = 0;
  Vf v = splat(-__builtin_inff());
  for (; i + V <= n; i += V) v = vmax(v, load(x + i));
  float most = -__builtin_inff();
  for (int k = 0; k < V; ++k) most = v[k] > most ? v[k] : most;
  for (; i < n; ++i) most = x[i] > most ? x[i] : most;
  return most;
}

// c [ceps] = dct of the row of bands, each at least `least`
inline void row_cepstra(const MfccTables& t, const float* bands, float least, float* c) {
  constexpr int V = lanes<float>;
  for (int k = 0; k < t.ceps; k += V) {
    Vf sum{};
    const float* d = t.dct + k;
    for (int j = 0; j < t.mels; ++j, d += t.ceps) sum += load(d) * (bands[j] > least ? bands[j] : least);
    const int n = t.ceps - k < V ? t.ceps - k : V;
    store_part(c + k, sum, n);
  }
  if (t.htk_compat) {
    const float zeroth = c[0] * 1.41421356237f;
    for (int k = 1; k < t.ceps; ++k) c[k - 1] = c[k];
    c[t.ceps - 1] = zeroth;
  }
}

// bands [T, width] of the wave, out [T, F]: the same array where there are no cepstra to take.
inline void limit_range(const MfccTables& t, const MfccArgs& args, float* peaks, const Runtime& runtime) {
  const bool apart = mfcc_needs_bands(t);
  float* const bands = apart ? args.bands : args.out;
  const std::int64_t width = apart ? t.mels : t.features;
  for (int w = 0; w < runtime.threads; ++w) peaks[w] = -__builtin_inff();
  auto rows_from = [&](long item) {
    const std::int64_t left = args.frames - item * rows_each;
    return left < rows_each ? left : rows_each;
  };
  parallel_for(runtime, items_of(args.frames), [&](long item, int worker) {
    const float most = largest(bands + item * rows_each * width, rows_from(item) * width);
    if (most > peaks[worker]) peaks[worker] = most;
  });
  const float least = static_cast<float>(static_cast<double>(largest(peaks, runtime.threads)) - t.dynamic_range);
  parallel_for(runtime, items_of(args.frames), [&](long item, int) {
    const std::int64_t first = item * rows_each, rows = rows_from(item);
    if (!apart) {
      float* const x = bands + first * width;
      for (std::int64_t i = 0; i < rows * width; ++i) x[i] = x[i] > least ? x[i] : least;
      return;
    }
    for (std::int64_t f = first; f < first + rows; ++f)
      row_cepstra(t, bands + f * width, least, args.out + f * t.features);
  });
}

// Columns [begin, end) of x [T, F] to mean 0 and deviation 1, together or each by itself.
inline void normalize_columns(float* x, std::int64_t frames, long width, long begin, long end) {
  const double count = static_cast<double>(frames) * static_cast<double>(end - begin);
  double mean = 0, spread = 0;
  for (std::int64_t f = 0; f < frames; ++f)
    for (long c = begin; c < end; ++c) mean += x[f * width + c];
  mean /= count;
  for (std::int64_t f = 0; f < frames; ++f)
    for (long c = begin; c < end; ++c) {
      const double d = x[f * width + c] - mean;
      spread += d * d;
    }
  const double deviation = __builtin_sqrt(spread / (count > 1 ? count - 1 : 1)) + 1e-5;
  for (std::int64_t f = 0; f < frames; ++f)
    for (long c = begin; c < end; ++c) x[f * width + c] = static_cast<float>((x[f * width + c] - mean) / deviation);
}

inline void normalize(const MfccTables& t, const MfccArgs& args, const Runtime& runtime) {
  const long width = t.features;
  if (t.normalize == Normalize::all_features) return normalize_columns(args.out, args.frames, width, 0, width);
  constexpr long group = lanes<float>;  // columns of a work item
  parallel_for(runtime, (width + group - 1) / group, [&](long item, int) {
    const long begin = item * group, columns = width - begin < group ? width - begin : group;
    double mean[group] = {}, spread[group] = {};
    for (std::int64_t f = 0; f < args.frames; ++f)
      for (long c = 0; c < columns; ++c) mean[c] += args.out[f * width + begin + c];
    for (long c = 0; c < columns; ++c) mean[c] /= static_cast<double>(args.frames);
    for (std::int64_t f = 0; f < args.frames; ++f)
      for (long c = 0; c < columns; ++c) {
        const double d = args.out[f * width + begin + c] - mean[c];
        spread[c] += d * d;
      }
    for (long c = 0; c < columns; ++c)
      spread[c] = __builtin_sqrt(spread[c] / static_cast<double>(args.frames > 1 ? args.frames - 1 : 1)) + 1e-5;
    for (std::int64_t f = 0; f < args.frames; ++f)
      for (long c = 0; c < columns; ++c) {
        float& y = args.out[f * width + begin + c];
        y = static_cast<float>((static_cast<double>(y) - mean[c]) / spread[c]);
      }
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
