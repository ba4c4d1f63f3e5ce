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

// The logs of the wave lie in bands [T, M], or in out where there are no cepstra to take.
inline void limit_range(const MfccTables& t, const MfccWave& wave, float* peaks, const Runtime& runtime) {
  const bool apart = mfcc_needs_bands(t);
  float* const bands = apart ? wave.bands : wave.out;
  const std::int64_t width = apart ? t.mels : t.features, stride = apart ? width : wave.stride;
  for (int w = 0; w < runtime.threads; ++w) peaks[w] = -__builtin_inff();
  auto rows_from = [&](long item) {
    const std::int64_t left = wave.frames - item * rows_each;
    return left < rows_each ? left : rows_each;
  };
  parallel_for(runtime, items_of(wave.frames), [&](long item, int worker) {
    for (std::int64_t f = item * rows_each, end = f + rows_from(item); f < end; ++f) {
      const float most = largest(bands + f * stride, width);
      if (most > peaks[worker]) peaks[worker] = most;
    }
  });
  const float least = static_cast<float>(static_cast<double>(largest(peaks, runtime.threads)) - t.dynamic_range);
  parallel_for(runtime, items_of(wave.frames), [&](long item, int) {
    for (std::int64_t f = item * rows_each, end = f + rows_from(item); f < end; ++f) {
      float* const x = bands + f * stride;
      if (apart)
        row_cepstra(t, x, least, wave.out + f * wave.stride);
      else
        for (std::int64_t c = 0; c < width; ++c) x[c] = x[c] > least ? x[c] : least;
    }
  });
}

// A column by itself, or all of them as one.
inline void normalize(const MfccTables& t, const MfccWave& wave, const Runtime& runtime) {
  constexpr long most = lanes<float>;
  const bool together = t.normalize == Normalize::all_features;
  const long group = together ? t.features : most;  // columns of a work item
  parallel_for(runtime, (t.features + group - 1) / group, [&](long item, int) {
    const long begin = item * group, columns = t.features - begin < group ? t.features - begin : group;
    double mean[most] = {}, spread[most] = {};
    auto at = [&](long c) { return together ? 0 : c; };
    auto row = [&](std::int64_t f) { return wave.out + f * wave.stride + begin; };
    const double count = static_cast<double>(wave.frames) * static_cast<double>(together ? columns : 1);
    for (std::int64_t f = 0; f < wave.frames; ++f)
      for (long c = 0; c < columns; ++c) mean[at(c)] += static_cast<double>(row(f)[c]);
    for (double& m : mean) m /= count;
    for (std::int64_t f = 0; f < wave.frames; ++f)
      for (long c = 0; c < columns; ++c) {
        const double d = static_cast<double>(row(f)[c]) - mean[at(c)];
        spread[at(c)] += d * d;
      }
    for (double& s : spread) s = __builtin_sqrt(s / (count > 1 ? count - 1 : 1)) + 1e-5;
    for (std::int64_t f = 0; f < wave.frames; ++f)
      for (long c = 0; c < columns; ++c)
        row(f)[c] = static_cast<float>((static_cast<double>(row(f)[c]) - mean[at(c)]) / spread[at(c)]);
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
