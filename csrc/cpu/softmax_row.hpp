// exp in two parts, and the softmax of one row: shared by softmax.cpp and ctc.cpp.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {

template <class T>
struct Float;
template <>
struct Float<float> {
  static constexpr int fraction_bits = 23;
  static constexpr float bias = 127;
  static constexpr float magic = 12582912;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // Cody and Waite
  static constexpr float smallest_log = -87.3365f;                            // of a normal number
};
template <>
struct Float<double> {
  static constexpr int fraction_bits = 52;
  static constexpr double bias = 1023;
  static constexpr double magic = 6755399441055744;
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double smallest_log = -708.3964;
};

template <class T>
using VecInt = typename VecOf<T>::integer;

// 2^d for integers d <= bias; 0 from -bias downwards.
template <class T>
PYASR_INLINE Vec<T> pow2(Vec<T> d) {
  using F = Float<T>;
  d = d > -F::bias ? d : splat<T>(-F::bias);
  return reinterpret_cast<Vec<T>>(reinterpret_cast<VecInt<T>>(d + (F::magic + F::bias)) << F::fraction_bits);
}

// exp on [-ln2/2, ln2/2]: 1 ulp.
PYASR_INLINE Vf exp_near_zero(Vf r) {
  Vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r + 1.f;
}
PYASR_INLINE Vd exp_near_zero(Vd r) {  // 1 / n! up to 13: what is left is below 4e-18
  Vd p = splat(1. / 6227020800.);
  p = p * r + 1. / 479001600.;
  p = p * r + 1. / 39916800.;
  p = p * r + 1. / 3628800.;
  p = p * r + 1. / 362880.;
  p = p * r + 1. / 40320.;
  p = p * r + 1. / 5040.;
  p = p * r + 1. / 720.;
  p = p * r + 1. / 120.;
  p = p * r + 1. / 24.;
  p = p * r + 1. / 6.;
  p = p * r + .5;
  return p * (r * r) + r + 1.;
}

// exp(x) = m * 2^e with m in [0.7, 1.42] and an integer e, for any finite |x| <= 1e34.
template <class T>
struct Scaled {
  Vec<T> m, e;
};
template <class T>
PYASR_INLINE Scaled<T> exp_scaled(Vec<T> x) {
  using F = Float<T>;
  const Vec<T> k = (x * static_cast<T>(1.4426950408889634) + F::magic) - F::magic;
  Vec<T> r = (x - k * F::ln2_high) - k * F::ln2_low;
  r = r < T(0.5) ? r : splat<T>(T(0.5));  // only where |x| is so large that neighboring floats are nats apart
  r = r > T(-0.5) ? r : splat<T>(T(-0.5));
  return {exp_near_zero(r), k};
}

// exp of x <= 0; what would be subnormal is 0. NaN passes through.
template <class T>
PYASR_INLINE Vec<T> exp_negative(Vec<T> x) {
  using F = Float<T>;
  const Vec<T> c = x < F::smallest_log ? splat<T>(F::smallest_log) : x;
  const Vec<T> t = c * static_cast<T>(1.4426950408889634) + F::magic;
  const Vec<T> k = t - F::magic;
  const Vec<T> p = exp_near_zero((c - k * F::ln2_high) - k * F::ln2_low);
  const VecInt<T> e = reinterpret_cast<VecInt<T>>(t + F::bias) << F::fraction_bits;
  return x < F::smallest_log ? Vec<T>{} : p * reinterpret_cast<Vec<T>>(e);
}

template <class T>
PYASR_INLINE T max_lanes(Vec<T> v) {
  T s[lanes<T>];
  store(s, v);
#pragma GCC unroll 8
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] = s[i + half] > s[i] ? s[i + half] : s[i];
  return s[0];
}

template <class T>
struct RowSum {
  T max;  // of the row; a NaN may be passed over
  T sum;  // of exp(x - max), in [1, n]; NaN when the row holds NaN or +inf, or only -inf
};

// y = exp(x - max). x [n], y [n] may not overlap, n >= 1.
template <class T>
PYASR_INLINE RowSum<T> exp_row(const T* x, T* y, std::int64_t n) {
  constexpr int L = lanes<T>;
  if (n < L) {
    const int part = static_cast<int>(n);
    Vec<T> v = splat<T>(static_cast<T>(-__builtin_inf()));
    for (int i = 0; i < part; ++i) v[i] = x[i];
    const T max = max_lanes<T>(v);
    v = exp_negative<T>(v - max);
    T sum = 0;
    for (int i = 0; i < part; ++i) sum += y[i] = v[i];
    return {max, sum};
  }
  Vec<T> m0 = load(x), m1 = load(x + n - L), m2 = m0, m3 = m0;  // the last register overlaps the one before
  std::int64_t i = L;
  for (; i + 4 * L <= n; i += 4 * L) {
    m0 = vmax(load(x + i), m0);
    m1 = vmax(load(x + i + L), m1);
    m2 = vmax(load(x + i + 2 * L), m2);
    m3 = vmax(load(x + i + 3 * L), m3);
  }
  for (; i + L <= n; i += L) m0 = vmax(load(x + i), m0);
  const T max = max_lanes<T>(vmax(vmax(m0, m1), vmax(m2, m3)));

  Vec<T> s0{}, s1{};
  i = 0;
  for (; i + 2 * L <= n; i += 2 * L) {
    const Vec<T> a = exp_negative<T>(load(x + i) - max), b = exp_negative<T>(load(x + i + L) - max);
    store(y + i, a);
    store(y + i + L, b);
    s0 += a;
    s1 += b;
  }
  for (; i + L <= n; i += L) {
    const Vec<T> a = exp_negative<T>(load(x + i) - max);
    store(y + i, a);
    s0 += a;
  }
  if (i < n) {
    const Vec<T> a = exp_negative<T>(load(x + n - L) - max);
    store(y + n - L, a);
    VecInt<T> lane;
    for (int l = 0; l < L; ++l) lane[l] = l;
    s1 += lane < static_cast<decltype(+lane[0])>(L - (n - i)) ? Vec<T>{} : a;
  }
  return {max, sum_lanes<T>(s0 + s1)};
}

// y *= factor
template <class T>
PYASR_INLINE void scale_row(T* y, T factor, std::int64_t n) {
  constexpr int L = lanes<T>;
  if (n < L) {
    for (std::int64_t i = 0; i < n; ++i) y[i] *= factor;
    return;
  }
  const Vec<T> last = load(y + n - L) * factor;
  for (std::int64_t i = 0; i + L <= n; i += L) store(y + i, load(y + i) * factor);
  store(y + n - L, last);
}

template <class T>
PYASR_INLINE void fill_row(T* y, T value, std::int64_t n) {
  std::int64_t i = 0;
  for (; i + lanes<T> <= n; i += lanes<T>) store(y + i, splat(value));
  for (; i < n; ++i) y[i] = value;
}

}  // namespace pyasr::cpu::PYASR_ISA
