// From power spectra to the columns of the result, one frame per lane.
#pragma once
#include "cpu/mfcc_precise.hpp"
#include "cpu/transpose.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr float least_normal = 0x1p-125f;

// What the log is taken of.
template <LogFloor mode>
PYASR_INLINE Vf floored(Vf x, float floor) {
  if constexpr (mode == LogFloor::max) return vmax(x, splat(floor));
  if constexpr (mode == LogFloor::add) return vmax(x + floor, splat(least_normal));
  return vmax(x == 0 ? splat(floor) : x, splat(least_normal));
}

PYASR_INLINE Vf floored(const MfccTables& t, Vf x) {
  switch (t.floor) {
    case LogFloor::max:
      return floored<LogFloor::max>(x, t.log_floor);
    case LogFloor::add:
      return floored<LogFloor::add>(x, t.log_floor);
    default:
      return floored<LogFloor::zero>(x, t.log_floor);
  }
}

PYASR_INLINE Vf band(const MfccTables& t, Vf x) { return t.log ? vlog(floored(t, x)) * t.log_gain + t.log_offset : x; }

// Energies that the floor hides.
PYASR_INLINE float negligible(const MfccTables& t) {
  if (t.floor != LogFloor::max) return 0;
  return 0.5f * (t.log_floor > t.mel_floor ? t.log_floor : t.mel_floor);
}

// Sums of the spectrum under filter j.
PYASR_INLINE Vf under_filter(const MfccTables& t, const float* power, int j) {
  const float* const w = t.mel_weight + t.mel_offset[j];
  const float* const p = power + static_cast<long>(t.mel_begin[j]) * V;
  const long n = t.mel_offset[j + 1] - t.mel_offset[j];
  Vf a{}, b{}, c{}, d{};
  long k = 0;
  for (; k + 4 <= n; k += 4) {
    a += load(p + k * V) * w[k];
    b += load(p + (k + 1) * V) * w[k + 1];
    c += load(p + (k + 2) * V) * w[k + 2];
    d += load(p + (k + 3) * V) * w[k + 3];
  }
  for (; k < n; ++k) a += load(p + k * V) * w[k];
  return (a + b) + (c + d);
}

// Lanes in which a filter's energy is too weak beside the rest for float32, and not under the floor.
template <LogFloor mode>
Vi log_filter(const MfccTables& t, const float* power, Vf total, float* mel) {
  const float floor = t.log_floor, gain = t.log_gain, shift = t.log_offset, least = t.mel_floor;
  const float ignored = negligible(t);
  Vf doubt{};  // above 0 where a filter is weaker than float32 allows and stronger than the floor
  for (int j = 0; j < t.mels; ++j) {
    const Vf energy = under_filter(t, power, j);
    doubt = vmax(doubt, vmin(total * t.mel_trust[j] - energy, energy - ignored));
    store(mel + j * V, vlog(floored<mode>(vmax(energy, splat(least)), floor)) * gain + shift);
  }
  return doubt > 0;
}

inline Vi filter(const MfccTables& t, const float* power, Vf total, float* mel) {
  if (!t.log) {
    for (int j = 0; j < t.mels; ++j) store(mel + j * V, vmax(under_filter(t, power, j), splat(t.mel_floor)));
    return Vi{};
  }
  switch (t.floor) {
    case LogFloor::max:
      return log_filter<LogFloor::max>(t, power, total, mel);
    case LogFloor::add:
      return log_filter<LogFloor::add>(t, power, total, mel);
    default:
      return log_filter<LogFloor::zero>(t, power, total, mel);
  }
}

inline Vf sum_of(const float* power, long n) {
  Vf a{}, b{}, c{}, d{};
  long k = 0;
  for (; k + 4 <= n; k += 4) {
    a += load(power + k * V);
    b += load(power + (k + 1) * V);
    c += load(power + (k + 2) * V);
    d += load(power + (k + 3) * V);
  }
  for (; k < n; ++k) a += load(power + k * V);
  return (a + b) + (c + d);
}

template <int N>
PYASR_INLINE void cepstra(const MfccTables& t, const float* mel, int k, float* out) {
  Vf sum[N] = {};
  const float* d = t.dct + k;
  for (int j = 0; j < t.mels; ++j, d += t.ceps) {
    const Vf m = load(mel + j * V);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) sum[i] += m * d[i];
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) store(out + (k + i) * V, sum[i]);
}

// result [F, V] in the order of the output's columns, from power or magnitudes. Returns the lanes whose spectrum should
// be more precise; drift is the offset beside which their samples were rounded.
inline Vi features(const MfccTables& t, const float* power, Vf energy, Vf drift, float* mel, float* result) {
  const long bins = t.fft / 2 + 1;
  const bool with_energy = t.energy != FrameEnergy::none;
  const Vf total = sum_of(power, bins);
  if (t.energy == FrameEnergy::spectral) energy = total;
  const Vf rounded = total + (t.power ? drift * drift : vabs(drift)) * t.drift_trust;
  const Vf log_energy = vlog(vmax(floored(t, energy), splat(t.energy_floor)));
  switch (t.kind) {
    case FeatureKind::spectrogram: {
      Vf doubt{};
      for (long k = 0; k < bins; ++k) {
        const Vf x = load(power + k * V);
        doubt = vmax(doubt, vmin(rounded * t.bin_trust - x, x - negligible(t)));
        store(result + k * V, band(t, x));
      }
      if (with_energy) store(result, log_energy);
      return doubt > 0;
    }
    case FeatureKind::fbank: {
      const Vi weak = filter(t, power, rounded, result + (with_energy && !t.htk_compat ? V : 0));
      if (with_energy) store(result + (t.htk_compat ? t.mels * V : 0), log_energy);
      return weak;
    }
    case FeatureKind::mfcc:
      break;
  }
  const Vi weak = filter(t, power, rounded, mel);
  int k = 0;
  for (; k + 8 <= t.ceps; k += 8) cepstra<8>(t, mel, k, result);
  for (; k + 4 <= t.ceps; k += 4) cepstra<4>(t, mel, k, result);
  for (; k < t.ceps; ++k) cepstra<1>(t, mel, k, result);
  if (with_energy) store(result, log_energy);
  if (t.htk_compat) {
    Vf zeroth = load(result);
    if (!with_energy) zeroth *= 1.41421356237f;
    for (int c = 1; c < t.ceps; ++c) store(result + (c - 1) * V, load(result + c * V));
    store(result + (t.ceps - 1) * V, zeroth);
  }
  return weak;
}

// The lanes of result [n, V] as rows [V, width].
inline void lanes_to_rows(long n, long width, const float* result, float* rows) {
  for (long c = 0; c < n; c += V) {
    Vf v[V];
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) v[i] = load(result + (c + i) * V);
    transpose(v);
#pragma GCC unroll 16
    for (int i = 0; i < V; ++i) store(rows + i * width + c, v[i]);
  }
}

// The first rows, n numbers of width, to out, out + stride ...
inline void emit(long n, long width, const float* rows, long frames, float* out, long stride) {
  // Whole registers: what runs over the end of a row is overwritten by the next one, and not done where none follows.
  for (long f = 0; f < frames; ++f) {
    const float* const row = rows + f * width;
    for (long c = 0; c < n; c += V) {
      float* const to = out + f * stride + c;
      if (c + V <= n || (stride == n && f * n + c + V <= frames * n))
        store(to, load(row + c));
      else
        for (long i = 0; i < n - c && i < V; ++i) to[i] = row[c + i];
    }
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
