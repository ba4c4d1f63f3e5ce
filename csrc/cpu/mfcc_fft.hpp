// A complex FFT of lanes<R> frames at once, one frame per lane, in place by decimation in frequency, of any length made
// of 2, 3 and 5. Element e of x lies in registers 2 e (real) and 2 e + 1 (imaginary).
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class R>
struct Complex {
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

// p[q] = sum over k of p[k] e^{-2 pi i k q / r}
template <class R>
PYASR_INLINE void butterfly(Complex<R> (&p)[2]) {
  const Complex<R> a = p[0];
  p[0] = a + p[1];
  p[1] = a - p[1];
}
template <class R>
PYASR_INLINE void butterfly(Complex<R> (&p)[3]) {
  const Complex<R> sum = p[1] + p[2], t = p[0] - sum * R(0.5);
  const Complex<R> u = back((p[1] - p[2]) * R(0.86602540378443864676));
  p[0] = p[0] + sum;
  p[1] = t + u;
  p[2] = t - u;
}
template <class R>
PYASR_INLINE void butterfly(Complex<R> (&p)[4]) {
  const Complex<R> s = p[0] + p[2], t = p[0] - p[2], u = p[1] + p[3], v = p[1] - p[3];
  p[0] = s + u;
  p[2] = s - u;
  p[1] = {t.r + v.i, t.i - v.r};
  p[3] = {t.r - v.i, t.i + v.r};
}
template <class R>
PYASR_INLINE void butterfly(Complex<R> (&p)[5]) {
  constexpr R c1 = R(0.30901699437494742410), c2 = R(-0.80901699437494742410);
  constexpr R s1 = R(0.95105651629515357212), s2 = R(0.58778525229247312917);
  const Complex<R> t1 = p[1] + p[4], t2 = p[2] + p[3], t3 = p[1] - p[4], t4 = p[2] - p[3];
  const Complex<R> m1 = p[0] + t1 * c1 + t2 * c2, m2 = p[0] + t1 * c2 + t2 * c1;
  const Complex<R> n1 = back(t3 * s1 + t4 * s2), n2 = back(t3 * s2 - t4 * s1);
  p[0] = p[0] + t1 + t2;
  p[1] = m1 + n1;
  p[2] = m2 + n2;
  p[3] = m2 - n2;
  p[4] = m1 - n1;
}
template <class R>
PYASR_INLINE void butterfly(Complex<R> (&p)[8]) {
  constexpr R h = R(0.70710678118654752440);
  Complex<R> e[4] = {p[0], p[2], p[4], p[6]}, o[4] = {p[1], p[3], p[5], p[7]};
  butterfly(e);
  butterfly(o);
  o[1] = Complex<R>{o[1].r + o[1].i, o[1].i - o[1].r} * h;
  o[2] = back(o[2]);
  o[3] = Complex<R>{o[3].i - o[3].r, -o[3].r - o[3].i} * h;
#pragma GCC unroll 4
  for (int q = 0; q < 4; ++q) {
    p[q] = e[q] + o[q];
    p[q + 4] = e[q] - o[q];
  }
}

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
