// Power spectra in float64, from the wave on: for sizes that have no packed FFT, and for frames with a band so weak
// beside the others that float32 rounding, that of the centered samples included, would show in its log.
#pragma once
#include "cpu/mfcc_spectrum.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct PreciseScratch {
  double* samples;  // [1 + L rounded up to D] of a frame
  double* rows;     // [D, L rounded up to D] windowed samples
  double* x;        // [precise_samples, D]
  double* y;        // [points, 2, D], Bluestein alone
  double* p;        // [N/2 + 1, D]
};

// Doubles of x per lane.
inline long precise_samples(const MfccTables& t) {
  return 2L * t.points > t.length + 1L ? 2L * t.points : t.length + 1L;
}
inline long precise_stride(const MfccTables& t) { return (t.length + D - 1L) / D * D; }

// Windowed samples of the frame that begins at sample `begin`, and its energy. `noise` is that of its lane, or
// null.
template <class T>
void precise_frame(const MfccTables& t, const Stream<T>& in, std::int64_t begin, const float* noise, double* samples,
                   double* row, float& energy) {
  double* const y = samples + 1;
  fill(in, begin, t.length, y);
  double mean = 0;
  if (t.remove_dc) {
    Vd sum{};
    long n = 0;
    for (; n + D <= t.length; n += D) sum += load(y + n);
    for (; n < t.length; ++n) mean += y[n];
    mean = (mean + sum_lanes<double>(sum)) / t.length + (noise ? static_cast<double>(noise[(t.length + 1L) * V]) : 0);
  }
  y[-1] = y[0];
  for (long n = 0; n < t.length; n += D)
    store(row + n, ((load(y + n) - mean) - t.preemph * (load(y + n - 1) - mean)) * load(t.window64 + n));
  for (long n = 0; noise && n < t.length; ++n) row[n] += static_cast<double>(noise[n * V]) * t.window64[n];
  const bool raw = t.energy == FrameEnergy::raw;
  if ((raw && noise) || (!raw && t.energy != FrameEnergy::windowed)) return;
  const double* const x = raw ? y : row;
  const double offset = raw ? mean : 0;
  double square = 0;
  Vd squares{};
  long n = 0;
  for (; n + D <= t.length; n += D) squares += (load(x + n) - offset) * (load(x + n) - offset);
  for (; n < t.length; ++n) square += (x[n] - offset) * (x[n] - offset);
  energy = static_cast<float>(square + sum_lanes<double>(squares)) * (raw ? t.raw_gain : t.windowed_gain);
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

// Power spectra of the windowed samples in s.rows, `count` <= D frames, to lanes first ... of power [N/2 + 1, V].
inline void precise_spectra(const MfccTables& t, const PreciseScratch& s, int count, int first, float* power) {
  const long stride = precise_stride(t);
  for (int j = count; j < D; ++j) __builtin_memset(s.rows + j * stride, 0, static_cast<std::size_t>(stride) * 8);
  for (long n = 0; n < t.length; ++n)
#pragma GCC unroll 8
    for (int j = 0; j < D; ++j) s.x[n * D + j] = s.rows[j * stride + n];
  if (t.chirp) {
    power_by_chirp(t, s);
  } else {
    __builtin_memset(s.x + t.length * D, 0, static_cast<std::size_t>((precise_samples(t) - t.length) * D) * 8);
    fft(s.x, t.points, t.stages, t.radix, t.twiddle64, 0);
    power_of_halves(t, t.split64, s.x, s.p);
  }
  for (long k = 0; k <= t.fft / 2; ++k)
    for (int j = 0; j < D; ++j) power[k * V + first + j] = static_cast<float>(s.p[k * D + j]);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
