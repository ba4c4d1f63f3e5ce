// Power spectra in float64, from the wave on: for sizes that have no packed FFT, and for frames with a band so weak
// beside the others that float32 rounding, that of the centered samples included, would show in its log.
#pragma once
#include "cpu/mfcc_spectrum.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct PreciseScratch {
  double* x;  // [precise_samples, D]
  double* y;  // [points, 2, D], Bluestein alone
  double* p;  // [N/2 + 1, D]
};

// Doubles of x per lane.
inline long precise_samples(const MfccTables& t) {
  return 2L * t.points > t.length + 1L ? 2L * t.points : t.length + 1L;
}

// Windowed samples x [L, D] of at most D frames, one per lane: frame lane[j] of those that begin at begin + i * S.
template <class T>
void precise_frames(const MfccTables& t, const Stream<T>& in, std::int64_t begin, const float* noise, const int* lane,
                    int frames, double* x) {
  for (int j = 0; j < frames; ++j) {
    const std::int64_t first = begin + lane[j] * static_cast<std::int64_t>(t.shift);
    if (first >= (in.preemph != 0) && first + t.length <= in.n)
      for (long n = 0; n < t.length; ++n) x[n * D + j] = in.inner(first + n);
    else
      for (long n = 0; n < t.length; ++n) x[n * D + j] = in.at(first + n);
  }
  auto noise_at = [&](long n) {
    Vd z{};
    for (int j = 0; noise && j < frames; ++j) z[j] = static_cast<double>(noise[n * V + lane[j]]);
    return z;
  };
  Vd mean{};
  if (t.remove_dc) {
    for (long n = 0; n < t.length; ++n) mean += load(x + n * D);
    mean = mean / t.length + noise_at(t.length + 1L);
  }
  Vd before = load(x) - mean;
  for (long n = 0; n < t.length; ++n) {
    const Vd v = load(x + n * D) - mean;
    store(x + n * D, (v - t.preemph * before + noise_at(n)) * t.window64[n]);
    before = v;
  }
}

// |X[k]|^2 by convolution with a chirp. The chirp that would follow does not change it.
inline void power_by_chirp(const MfccTables& t, const PreciseScratch& s) {
  double* const x = s.x;
  for (long n = t.length; n < t.points; ++n) put(s.y, n, Complex<double>{});
  for (long n = 0; n < t.length; ++n) {
    const Vd v = load(x + n * D);
    put(s.y, n, Complex<double>{v * t.chirp[2 * n], v * t.chirp[2 * n + 1]});
  }
  fft(s.y, t.points, t.stages, t.radix, t.twiddle64, 0);
  for (long k = 0; k < t.points; ++k) {
    const long at = t.order[k];
    const Complex<double> z = turn(point(s.y, at), t.response + 2 * at);
    put(x, k, Complex<double>{z.r, -z.i});  // the inverse transform is the conjugate of the conjugate's transform
  }
  fft(x, t.points, t.stages, t.radix, t.twiddle64, 0);
  for (long k = 0; k <= t.fft / 2; ++k) {
    const Complex<double> z = point(x, t.order[k]);
    store(s.p + k * D, z.r * z.r + z.i * z.i);
  }
}

// Replaces the power spectra [N/2 + 1, V] of the lanes listed, at most V; lane i is the frame at begin + i * S.
template <class T>
void precise_spectra(const MfccTables& t, const Stream<T>& in, std::int64_t begin, const float* noise,
                     const int* listed, int count, const PreciseScratch& s, float* power) {
  for (int first = 0; first < count; first += D) {
    const int here = count - first < D ? count - first : D;
    __builtin_memset(s.x, 0, static_cast<std::size_t>(precise_samples(t) * D) * 8);
    precise_frames(t, in, begin, noise, listed + first, here, s.x);
    if (t.chirp) {
      power_by_chirp(t, s);
    } else {
      fft(s.x, t.points, t.stages, t.radix, t.twiddle64, 0);
      power_of_halves(t, t.split64, s.x, s.p);
    }
    for (long k = 0; k <= t.fft / 2; ++k)
      for (int j = 0; j < here; ++j) power[k * V + listed[first + j]] = static_cast<float>(s.p[k * D + j]);
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
