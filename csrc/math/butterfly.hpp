// Small Fourier transforms, the butterflies of an FFT: p[q] = sum over k of p[k] e^{-2 pi i k q / r}. C is a complex
// number {r, i} of CPU vectors or scalars, with C::Real, the type of constants, and operators + and -, * by a Real, and
// back(c), c times -i. Everything is inlined by force, so nothing here becomes a symbol.
#pragma once

#if defined(__CUDACC__)
#define PYASR_MATH __host__ __device__ __forceinline__
#else
#define PYASR_MATH [[gnu::always_inline]] inline
#endif

namespace pyasr::math {

template <class C>
PYASR_MATH void butterfly(C (&p)[2]) {
  const C a = p[0];
  p[0] = a + p[1];
  p[1] = a - p[1];
}
template <class C>
PYASR_MATH void butterfly(C (&p)[3]) {
  using R = typename C::Real;
  const C sum = p[1] + p[2], t = p[0] - sum * R(0.5);
  const C u = back((p[1] - p[2]) * R(0.86602540378443864676));
  p[0] = p[0] + sum;
  p[1] = t + u;
  p[2] = t - u;
}
template <class C>
PYASR_MATH void butterfly(C (&p)[4]) {
  const C s = p[0] + p[2], t = p[0] - p[2], u = p[1] + p[3], v = p[1] - p[3];
  p[0] = s + u;
  p[2] = s - u;
  p[1] = {t.r + v.i, t.i - v.r};
  p[3] = {t.r - v.i, t.i + v.r};
}
template <class C>
PYASR_MATH void butterfly(C (&p)[5]) {
  using R = typename C::Real;
  constexpr R c1 = R(0.30901699437494742410), c2 = R(-0.80901699437494742410);
  constexpr R s1 = R(0.95105651629515357212), s2 = R(0.58778525229247312917);
  const C t1 = p[1] + p[4], t2 = p[2] + p[3], t3 = p[1] - p[4], t4 = p[2] - p[3];
  const C m1 = p[0] + t1 * c1 + t2 * c2, m2 = p[0] + t1 * c2 + t2 * c1;
  const C n1 = back(t3 * s1 + t4 * s2), n2 = back(t3 * s2 - t4 * s1);
  p[0] = p[0] + t1 + t2;
  p[1] = m1 + n1;
  p[2] = m2 + n2;
  p[3] = m2 - n2;
  p[4] = m1 - n1;
}
template <class C>
PYASR_MATH void butterfly(C (&p)[8]) {
  constexpr auto h = typename C::Real(0.70710678118654752440);
  C e[4] = {p[0], p[2], p[4], p[6]}, o[4] = {p[1], p[3], p[5], p[7]};
  butterfly(e);
  butterfly(o);
  o[1] = C{o[1].r + o[1].i, o[1].i - o[1].r} * h;
  o[2] = back(o[2]);
  o[3] = C{o[3].i - o[3].r, -o[3].r - o[3].i} * h;
  p[0] = e[0] + o[0], p[4] = e[0] - o[0];
  p[1] = e[1] + o[1], p[5] = e[1] - o[1];
  p[2] = e[2] + o[2], p[6] = e[2] - o[2];
  p[3] = e[3] + o[3], p[7] = e[3] - o[3];
}

}  // namespace pyasr::math
