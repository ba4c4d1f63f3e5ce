// A complex FFT of lanes<R> frames at once, one frame per lane, in place by decimation in frequency, of any length made
// of 2, 3 and 5. Element e of x lies in registers 2 e (real) and 2 e + 1 (imaginary).
#pragma once
#include "cpu/simd.hpp"
#include "math/butterfly.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class R>
struct Complex {
  using Real = R;
  Vec<R> r, i;
};

template <class R>
PYASR_INLINE Complex<R> point(const R* x, long e) {
  return {load(x + 2 * e * lanes<R>), load(x + (2 * e + 1) * lanes<R>)};
}
template <class R>
PYASR_INLINE void put(R* x, long e, Complex<R> c) {
  store(x + 2 * e * lanes<R>, c.r);
  store(x + (2 * e + 1) * lanes<R>, c.i);
}
template <class R>
PYASR_INLINE Complex<R> operator+(Complex<R> a, Complex<R> b) {
  return {a.r + b.r, a.i + b.i};
}
template <class R>
PYASR_INLINE Complex<R> operator-(Complex<R> a, Complex<R> b) {
  return {a.r - b.r, a.i - b.i};
}
template <class R>
PYASR_INLINE Complex<R> operator*(Complex<R> a, R b) {
  return {a.r * b, a.i * b};
}
// a times -i
template <class R>
PYASR_INLINE Complex<R> back(Complex<R> a) {
  return {a.i, -a.r};
}
// c times the complex number at w
template <class R>
PYASR_INLINE Complex<R> turn(Complex<R> c, const R* w) {
  return {c.r * w[0] - c.i * w[1], c.r * w[1] + c.i * w[0]};
}

using math::butterfly;

template <int r, class R>
inline void stage(R* x,            // [n] complex
                  long n, long m,  // blocks of m points
                  const R* w) {    // [m/r, r-1] complex
  const long q = m / r;
  Complex<R> p[r];
  if (q == 1) {  // the last stage: no twiddles
    for (long b = 0; b < n; b += r) {
#pragma GCC unroll 8
      for (int k = 0; k < r; ++k) p[k] = point(x, b + k);
      butterfly(p);
#pragma GCC unroll 8
      for (int k = 0; k < r; ++k) put(x, b + k, p[k]);
    }
    return;
  }
  for (long b = 0; b < n; b += m)
    for (long j = b; j < b + q; ++j) {
#pragma GCC unroll 8
      for (int k = 0; k < r; ++k) p[k] = point(x, j + k * q);
      butterfly(p);
      put(x, j, p[0]);
      const R* const t = w + 2 * (j - b) * (r - 1);
#pragma GCC unroll 8
      for (int k = 1; k < r; ++k) put(x, j + k * q, turn(p[k], t + 2 * (k - 1)));
    }
}

// Stages first ... stages-1 of an FFT of n points.
template <class R>
inline void fft(R* x, long n, int stages, const int* radix, const R* w, int first) {
  long m = n;
  for (int s = 0; s < stages; ++s) {
    const long r = radix[s];
    if (s >= first) switch (r) {
        case 2:
          stage<2>(x, n, m, w);
          break;
        case 3:
          stage<3>(x, n, m, w);
          break;
        case 4:
          stage<4>(x, n, m, w);
          break;
        case 5:
          stage<5>(x, n, m, w);
          break;
        default:
          stage<8>(x, n, m, w);
      }
    w += 2 * (m / r * (r - 1));
    m /= r;
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
