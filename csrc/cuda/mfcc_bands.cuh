// Waves of a job, their samples, and what becomes of bands: logs, floors, columns.
#pragma once
#include <cmath>

#include "cuda/launch.cuh"
#include "cuda/mfcc.hpp"

namespace pyasr::cuda {
namespace {

using std::int64_t;

// The wave to which item `i` belongs, when wave b begins with item first(b): the last one that begins at or before i.
template <class First>
__device__ MfccPiece piece_of(const MfccJob& job, int64_t i, First first) {
  if (!job.pieces) return job.one;
  int64_t low = 0, high = job.count - 1;
  while (low < high) {
    const int64_t middle = (low + high + 1) / 2;
    if (first(job.pieces[middle]) <= i)
      low = middle;
    else
      high = middle - 1;
  }
  return job.pieces[low];
}

struct Tile {
  MfccPiece piece;
  int64_t f0;  // its first frame in the wave
  int frames;
};

__device__ inline Tile tile_of(const MfccJob& job, int64_t i) {
  const MfccPiece piece = piece_of(job, i, [](const MfccPiece& p) { return p.first_tile; });
  const int64_t f0 = (i - piece.first_tile) * job.each, left = piece.frames - f0;
  return {piece, f0, static_cast<int>(left < job.each ? left : job.each)};
}

// Where frame f of the wave goes.
__device__ inline float* row_of(const MfccTables& t, const MfccJob& job, const MfccPiece& piece, int64_t f) {
  return job.out + (job.dense ? piece.first_frame + f : piece.row + f * job.step) * t.features;
}

// ---- samples

// The sample that stands at i, which may lie outside [0, n), n > 0; -1 for a zero.
__device__ inline int64_t padded(Padding padding, int64_t i, int64_t n) {
  if (i >= 0 && i < n) return i;
  if (padding == Padding::constant) return -1;
  if (padding == Padding::edge) return i < 0 ? 0 : n - 1;
  const int64_t twice = padding == Padding::symmetric ? 2 * n : n > 1 ? 2 * n - 2 : 1;
  i %= twice;
  if (i < 0) i += twice;
  return i < n ? i : padding == Padding::symmetric ? 2 * n - 1 - i : 2 * n - 2 - i;
}

// NaN for what is not finite or too large.
__device__ inline double allowed(const MfccJob& job, double x) {
  return fabs(x) <= job.largest ? x : static_cast<double>(NAN);
}

__device__ inline double raw_sample(const MfccJob& job, const MfccPiece& piece, int64_t i) {
  i += piece.begin;
  switch (job.type) {
    case WaveType::int16:
      return static_cast<const std::int16_t*>(job.samples)[i];
    case WaveType::float32:
      return allowed(job, static_cast<const float*>(job.samples)[i]);
    default:
      return allowed(job, static_cast<const double*>(job.samples)[i]);
  }
}

// Sample i of the padded wave at int16 scale.
__device__ inline double sample(const MfccTables& t, const MfccJob& job, const MfccPiece& piece, int64_t i) {
  i = padded(t.padding, i, piece.n);
  if (i < 0) return 0;
  double x = raw_sample(job, piece, i);
  if (t.signal_preemph != 0 && i > 0) x -= t.signal_preemph * raw_sample(job, piece, i - 1);
  return x * job.scale;
}

// ---- bands

constexpr float least_normal = 0x1p-125f;

__device__ inline float floored(const MfccTables& t, float x) {
  if (t.floor == LogFloor::max) return fmaxf(x, t.log_floor);
  if (t.floor == LogFloor::add) return fmaxf(x + t.log_floor, least_normal);
  return fmaxf(x == 0 ? t.log_floor : x, least_normal);
}
__device__ inline float band(const MfccTables& t, float x) {
  return t.log ? fmaf(logf(floored(t, x)), t.log_gain, t.log_offset) : x;
}
__device__ inline float log_energy(const MfccTables& t, float energy) {
  return logf(fmaxf(floored(t, energy), t.energy_floor));
}

// Whether float32 would show in the log of x: too weak beside the sum of the spectrum, and not under the floor.
__device__ inline bool doubtful(const MfccTables& t, float total, float trust, float x) {
  const float hidden = t.floor == LogFloor::max ? 0.5f * fmaxf(t.log_floor, t.mel_floor) : 0;
  return x < total * trust && x > hidden;
}
// The sum of the spectrum, and what an offset counts for beside which samples were rounded.
__device__ inline float rounded_total(const MfccTables& t, float total, float drift) {
  return total + (t.power ? drift * drift : fabsf(drift)) * t.drift_trust;
}

__device__ inline float under_filter(const MfccTables& t, const float* power, int j) {
  const float* const w = t.mel_weight + t.mel_offset[j];
  const float* const p = power + t.mel_begin[j];
  const int n = t.mel_offset[j + 1] - t.mel_offset[j];
  float a = 0, b = 0;
  int k = 0;
  for (; k + 4 <= n; k += 4) {
    a = fmaf(p[k], w[k], a);
    b = fmaf(p[k + 1], w[k + 1], b);
    a = fmaf(p[k + 2], w[k + 2], a);
    b = fmaf(p[k + 3], w[k + 3], b);
  }
  for (; k < n; ++k) a = fmaf(p[k], w[k], a);
  return a + b;
}

// ---- columns

__device__ inline bool with_energy(const MfccTables& t) { return t.energy != FrameEnergy::none; }
// Where band j, coefficient k and the energy stand in a row.
__device__ inline int band_column(const MfccTables& t, int j) { return j + (with_energy(t) && !t.htk_compat); }
__device__ inline int cepstrum_column(const MfccTables& t, int k) { return t.htk_compat ? k ? k - 1 : t.ceps - 1 : k; }
__device__ inline int energy_column(const MfccTables& t) {
  if (t.kind == FeatureKind::fbank) return t.htk_compat ? t.mels : 0;
  return t.kind == FeatureKind::mfcc ? cepstrum_column(t, 0) : 0;
}

// Coefficient k of the bands at band, band + step ..., each at least `least`.
__device__ inline float cepstrum(const MfccTables& t, const float* bands, int step, float least, int k) {
  float sum = 0;
#pragma unroll 4
  for (int j = 0; j < t.mels; ++j) {
    const float x = bands[j * step];
    sum = fmaf(x < least ? least : x, t.dct[j * t.ceps + k], sum);
  }
  return k == 0 && t.htk_compat && !with_energy(t) ? sum * 1.41421356237f : sum;
}

}  // namespace
}  // namespace pyasr::cuda
