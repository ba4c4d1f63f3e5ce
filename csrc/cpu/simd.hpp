// Registers of the instruction set at hand as GCC/Clang vector types, and the few functions on them that the kernels
// share. Everything is inside the namespace of its instruction set and has internal linkage, so that no copy can
// replace another's.
//
// Accuracy (largest error over 4 M points, float32): exp 0.99 ulp, tanh 2.5, sigmoid 2.4, log 1.2e-6 absolute.
// The float32 exp coefficients are the well-known Cephes ones; float64 calls the C library lane by lane,
// because only gradient checks use it.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

#define PYASR_INLINE [[gnu::always_inline]] static inline

namespace pyasr::cpu::PYASR_ISA {

#if defined(__AVX512F__)
constexpr int register_bytes = 64;
constexpr int register_count = 32;
#elif defined(__AVX2__)
constexpr int register_bytes = 32;
constexpr int register_count = 16;
#elif defined(__aarch64__)
constexpr int register_bytes = 16;
constexpr int register_count = 32;
#else
constexpr int register_bytes = 16;
constexpr int register_count = 16;
#endif

template <class T>
constexpr int lanes = register_bytes / static_cast<int>(sizeof(T));

template <class T>
struct VecOf;
template <>
struct VecOf<float> {
  typedef float type __attribute__((vector_size(register_bytes)));
  typedef float unaligned __attribute__((vector_size(register_bytes), aligned(4), may_alias));
  typedef std::int32_t integer __attribute__((vector_size(register_bytes)));
};
template <>
struct VecOf<double> {
  typedef double type __attribute__((vector_size(register_bytes)));
  typedef double unaligned __attribute__((vector_size(register_bytes), aligned(8), may_alias));
  typedef std::int64_t integer __attribute__((vector_size(register_bytes)));
};
template <class T>
using Vec = typename VecOf<T>::type;
using Vf = Vec<float>;
using Vi = VecOf<float>::integer;

template <class T>
PYASR_INLINE Vec<T> load(const T* p) {
  return *reinterpret_cast<const typename VecOf<T>::unaligned*>(p);
}
template <class T>
PYASR_INLINE void store(T* p, Vec<T> v) {
  *reinterpret_cast<typename VecOf<T>::unaligned*>(p) = v;
}
// x - {} and not {} + x: -0 + 0 is +0, so the compiler would have to keep that addition.
template <class T>
PYASR_INLINE Vec<T> splat(T x) {
  return x - Vec<T>{};
}
// The first n lanes from memory, the others zero.
template <class T>
PYASR_INLINE Vec<T> load_part(const T* p, int n) {
  Vec<T> v{};
  for (int i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
template <class T>
PYASR_INLINE void store_part(T* p, Vec<T> v, int n) {
  for (int i = 0; i < n; ++i) p[i] = v[i];
}
// The upper half of a float32, for weights that are read more often than their accuracy is worth. Rows of them lie in
// pairs of vectors, the first in the low halves of 32-bit words and the second in the high ones, so that a shift and a
// mask are all it takes to read them; a vector without a partner lies as it is.
struct Bfloat16 {
  std::uint16_t bits;
};
typedef std::uint32_t Vu __attribute__((vector_size(register_bytes)));
typedef std::uint32_t Words __attribute__((vector_size(register_bytes), aligned(2), may_alias));
typedef std::uint16_t Halves __attribute__((vector_size(register_bytes / 2), aligned(2), may_alias));

// One row of NV vectors of weights.
template <class T, int NV>
PYASR_INLINE void load_row(const T* p, Vec<T> (&v)[NV]) {
#pragma GCC unroll 4
  for (int j = 0; j < NV; ++j) v[j] = load(p + j * lanes<T>);
}
template <int NV>
PYASR_INLINE void load_row(const Bfloat16* p, Vf (&v)[NV]) {
  constexpr int L = lanes<float>;
#pragma GCC unroll 4
  for (int j = 0; j + 1 < NV; j += 2) {
    const Vu pair = *reinterpret_cast<const Words*>(p + j * L);
    v[j] = reinterpret_cast<Vf>(pair << 16);
    v[j + 1] = reinterpret_cast<Vf>(pair & 0xFFFF0000u);
  }
  if constexpr (NV % 2)
    v[NV - 1] =
        reinterpret_cast<Vf>(__builtin_convertvector(*reinterpret_cast<const Halves*>(p + (NV - 1) * L), Vu) << 16);
}
// Vector j of the `vectors` of a row, the earlier ones first.
template <class T>
PYASR_INLINE void store_row(T* row, long j, long, Vec<T> v) {
  store(row + j * lanes<T>, v);
}
// To nearest, ties to even; NaN stays NaN.
PYASR_INLINE void store_row(Bfloat16* row, long j, long vectors, Vf v) {
  const Vu u = reinterpret_cast<Vu>(v);
  const Vu bits = (v == v ? u + 0x7FFF + ((u >> 16) & 1) : u | 0x400000) >> 16;
  Words* const pair = reinterpret_cast<Words*>(row + j / 2 * 2 * lanes<float>);
  if (j % 2)
    *pair |= bits << 16;
  else if (j + 1 < vectors)
    *pair = bits;
  else
    *reinterpret_cast<Halves*>(pair) = __builtin_convertvector(bits, Halves);
}
template <class V>
PYASR_INLINE V vmin(V a, V b) {
  return a < b ? a : b;
}
template <class V>
PYASR_INLINE V vmax(V a, V b) {
  return a > b ? a : b;
}
template <class V>
PYASR_INLINE V vabs(V a) {
  return a < 0 ? -a : a;
}
// Sum of the lanes by halving: the same tree on every machine with this register width.
template <class T>
PYASR_INLINE T sum_lanes(Vec<T> v) {
  T s[lanes<T>];
  store(s, v);
#pragma GCC unroll 8
  for (int half = lanes<T> / 2; half > 0; half /= 2)
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  return s[0];
}

// exp(x) = 2^k (1 + p) for -87.3 <= x <= 88.3.
struct Exponential {
  Vf two_k, p;
};
PYASR_INLINE Exponential vexp_parts(Vf x) {
  const Vf t = x * 1.44269504f + 12582912.f;  // 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
  const Vf k = t - 12582912.f;
  const Vf r = (x - k * 0.693359375f) - k * -2.12194440e-4f;  // Cody and Waite
  Vf p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const Vi e = reinterpret_cast<Vi>(t) - (0x4B400000 - 127);
  return {reinterpret_cast<Vf>(e << 23), p * (r * r) + r};
}
// NaN passes through. Saturates at 1.2e-38 and 2.4e38 instead of 0 and inf.
PYASR_INLINE Vf vexp(Vf x) {
  x = x < -87.3365f ? splat(-87.3365f) : x;
  x = x > 88.3762f ? splat(88.3762f) : x;
  const Exponential e = vexp_parts(x);
  return (e.p + 1.f) * e.two_k;
}
PYASR_INLINE Vf vsigmoid(Vf x) { return 1.f / (1.f + vexp(-x)); }
// m / (2 - m) with m = 1 - exp(-2 |x|), which keeps the relative accuracy near 0.
PYASR_INLINE Vf vtanh(Vf x) {
  const Vi bits = reinterpret_cast<Vi>(x), sign = bits & static_cast<std::int32_t>(0x80000000u);
  Vf y = reinterpret_cast<Vf>(bits ^ sign) * -2.f;
  y = y < -87.f ? splat(-87.f) : y;
  const Exponential e = vexp_parts(y);
  const Vf m = (1.f - e.two_k) - e.p * e.two_k;
  return reinterpret_cast<Vf>(reinterpret_cast<Vi>(m / (2.f - m)) | sign);
}
// Natural logarithm of a positive, normal x.
PYASR_INLINE Vf vlog(Vf x) {
  Vi u = reinterpret_cast<Vi>(x);
  const Vi e = (u - 0x3f3504f3) >> 23;
  u -= e << 23;
  const Vf m = reinterpret_cast<Vf>(u) - 1.0f;
  const Vf ef = __builtin_convertvector(e, Vf);
  Vf p = m * 7.0376836292e-2f - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const Vf z = m * m;
  return ((p * m * z + ef * -2.12194440e-4f) - 0.5f * z + m) + ef * 0.693359375f;
}

using Vd = Vec<double>;
PYASR_INLINE Vd vexp(Vd x) {
  for (int i = 0; i < lanes<double>; ++i) x[i] = __builtin_exp(x[i]);
  return x;
}
PYASR_INLINE Vd vsigmoid(Vd x) { return 1. / (1. + vexp(-x)); }
PYASR_INLINE Vd vtanh(Vd x) {
  for (int i = 0; i < lanes<double>; ++i) x[i] = __builtin_tanh(x[i]);
  return x;
}
PYASR_INLINE Vd vlog(Vd x) {
  for (int i = 0; i < lanes<double>; ++i) x[i] = __builtin_log(x[i]);
  return x;
}

namespace {

// body(i, worker) for every i in [0, n), on the runtime's workers.
template <class Body>
[[gnu::always_inline]] inline void parallel_for(const Runtime& runtime, long n, const Body& body) {
  runtime.run(
      runtime.self, runtime.threads, n,
      [](void* arg, long i, int worker) noexcept { (*static_cast<const Body*>(arg))(i, worker); },
      const_cast<void*>(static_cast<const void*>(&body)));
}

}  // namespace

}  // namespace pyasr::cpu::PYASR_ISA
