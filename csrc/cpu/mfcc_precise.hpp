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

// Windowed samples of the frame that begins at sample `begin`, to every D-th place of out. `noise` is that of its lane.
template <class T>
void precise_frame(const MfccTables& t, const Stream<T>& in, std::int64_t begin, const float* noise, double* out) {
  const bool inside = begin >= (in.preemph != 0) && begin + t.length <= in.n;
  double total = 0;
  for (long n = 0; n < t.length; ++n) {
    const double v = inside ? in.inner(begin + n) : in.at(begin + n);
    out[n * D] = v;
    total += v;
  }
  double mean = 0;
  if (t.remove_dc) mean = total / t.length + (noise ? static_cast<double>(noise[(t.length + 1L) * V]) : 0);
  double before = out[0] - mean;
  for (long n = 0; n < t.length; ++n) {
    const double v = out[n * D] - mean;
    double x = v - t.preemph * before;
    if (noise) x += static_cast<double>(noise[n * V]);
    out[n * D] = x * t.window64[n];
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
    for (int j = 0; j < here; ++j) {
      const int lane = listed[first + j];
      precise_frame(t, in, begin + lane * static_cast<std::int64_t>(t.shift), noise ? noise + lane : nullptr, s.x + j);
    }
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
