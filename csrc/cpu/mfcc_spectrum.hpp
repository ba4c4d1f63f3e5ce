// From windowed frames to power spectra, lanes<float> frames at once: a packed real FFT in float32 where the size
// allows it, Bluestein's convolution in float64 elsewhere.
//
// Flops per frame of N = 512 (256 complex points): 7.1 k, of which an FMA machine issues 5.6 k. The first pass takes
// its input through the window and leaves out the points that are zero padding.
#pragma once
#include "cpu/mfcc_fft.hpp"
#include "cpu/mfcc_samples.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int V = lanes<float>;

// Samples 2 e and 2 e + 1 of V frames, windowed. `tile` points to the first frame's column.
PYASR_INLINE Complex<float> windowed(const MfccTables& t, const float* tile, Vf offset, long e) {
  const float* const w = t.window + 2 * e;
  const int* const at = t.sample + 2 * e;
  return {(load(tile + at[0]) - offset) * w[0], (load(tile + at[1]) - offset) * w[1]};
}

// The same with noise added before the window, [L + 1, V], unless it is null.
PYASR_INLINE Complex<float> windowed(const MfccTables& t, const float* tile, Vf offset, const float* noise, long e) {
  Complex<float> c = windowed(t, tile, offset, e);
  if (noise) {
    c.r += load(noise + 2 * e * V) * t.window[2 * e];
    c.i += load(noise + (2 * e + 1) * V) * t.window[2 * e + 1];
  }
  return c;
}

PYASR_INLINE long clamp(long x, long high) { return x < 0 ? 0 : x > high ? high : x; }

// The first stage of radix r, from samples: points from `points` on are zero, so that of the r inputs at j the first
// `count` are not.
template <int r, int count>
inline void first_stage(const MfccTables& t, const float* tile, Vf offset, float* x, long points) {
  const long q = t.points / r;
  const long begin = clamp(points - count * q, q), end = clamp(points - (count - 1) * q, q);
  Complex<float> p[r];
  for (long j = begin; j < end; ++j) {
#pragma GCC unroll 8
    for (int k = 0; k < r; ++k) p[k] = k < count ? windowed(t, tile, offset, j + k * q) : Complex<float>{};
    butterfly(p);
    put(x, j, p[0]);
    const float* const w = t.twiddle + 2 * j * (r - 1);
#pragma GCC unroll 8
    for (int k = 1; k < r; ++k) put(x, j + k * q, turn(p[k], w + 2 * (k - 1)));
  }
  if constexpr (count > 1) {
    first_stage<r, count - 1>(t, tile, offset, x, points);
  } else {
    for (long j = clamp(points, q); j < q; ++j)
      for (int k = 0; k < r; ++k) put(x, j + k * q, Complex<float>{});
  }
}

// |X[k]|^2, k = 0 ... N/2, of the real signal whose even and odd samples (times 1/2) were transformed.
template <class R>
inline void power_of_halves(const MfccTables& t, const R* split, const R* x, R* p) {
  constexpr int W = lanes<R>;
  const long n = t.points;
  const Complex<R> z = point(x, 0);
  const Vec<R> sum = (z.r + z.i) * R(2), difference = (z.r - z.i) * R(2);
  store(p, sum * sum);
  store(p + n * W, difference * difference);
  for (long k = 1; k <= n / 2; ++k) {
    const Complex<R> a = point(x, t.order[k]), b = point(x, t.order[n - k]);
    const Vec<R> sr = a.r + b.r, si = a.i - b.i, dr = a.r - b.r, di = a.i + b.i;
    const R wr = split[2 * k], wi = split[2 * k + 1];
    const Vec<R> gr = di * wr + dr * wi, gi = di * wi - dr * wr;
    const Vec<R> pr = sr + gr, pi = si + gi, qr = sr - gr, qi = si - gi;
    store(p + k * W, pr * pr + pi * pi);
    store(p + (n - k) * W, qr * qr + qi * qi);
  }
}

// Power spectra of V frames in float32. `noise` [L + 1, V] is added to the samples before the window, unless it is
// null.
inline void power_spectrum(const MfccTables& t, const float* tile, Vf offset, const float* noise, float* x,
                           float* power) {
  const long points = (t.length + 1) / 2;
  if (!noise && t.stages && t.radix[0] == 4) {
    first_stage<4, 4>(t, tile, offset, x, points);
    fft(x, t.points, t.stages, t.radix, t.twiddle, 1);
  } else if (!noise && t.stages && t.radix[0] == 8) {
    first_stage<8, 8>(t, tile, offset, x, points);
    fft(x, t.points, t.stages, t.radix, t.twiddle, 1);
  } else {
    for (long e = 0; e < points; ++e) put(x, e, windowed(t, tile, offset, noise, e));
    for (long e = points; e < t.points; ++e) put(x, e, Complex<float>{});
    fft(x, t.points, t.stages, t.radix, t.twiddle, 0);
  }
  power_of_halves(t, t.split, x, power);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
