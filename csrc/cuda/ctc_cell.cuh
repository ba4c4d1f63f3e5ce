// A cell of the lattice is a probability m * 2^e, as on the CPU (csrc/cpu/ctc.cpp says why): no exp and no log in the
// recurrence, and each cell keeps its own relative accuracy at any length.
#pragma once
#include <cstdint>

#include "cuda/softmax_row.cuh"
#include "math/semiring.hpp"

namespace pyasr::cuda {
namespace {

template <class T>
struct alignas(2 * sizeof(T)) Cell {
  T m, e;  // e is a whole number, or -inf where the cell is zero
};
template <class T>
__device__ Cell<T> zero_cell() {
  return {T(0), -infinity<T>};
}

template <class T>
struct Bits;
template <>
struct Bits<float> {
  using integer = std::uint32_t;
  static constexpr int fraction = 23;
  static constexpr float bias = 127, magic = 12582912;  // 1.5 * 2^23: adding it rounds to a whole number
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;  // Cody and Waite
  static constexpr float large = 0x1p14f, largest = 2.3e38f;
};
template <>
struct Bits<double> {
  using integer = std::uint64_t;
  static constexpr int fraction = 52;
  static constexpr double bias = 1023, magic = 6755399441055744;
  static constexpr double ln2_high = 6.93145751953125e-1, ln2_low = 1.42860682030941723212e-6;
  static constexpr double large = 0x1p30, largest = 1.2e308;
};

// 2^d for whole d <= bias; 0 from -bias downwards, and for NaN.
template <class T>
PYASR_MATH T power_of_two(T d) {
  using B = Bits<T>;
  using I = typename B::integer;
  d = fmax(d, -B::bias);
  return __builtin_bit_cast(T, static_cast<I>(__builtin_bit_cast(I, d + (B::magic + B::bias)) << B::fraction));
}

template <class T>
struct Powers {
  PYASR_MATH static T max(T a, T b) { return fmax(a, b); }
  PYASR_MATH static T pow2(T d) { return power_of_two(d); }
};
template <class T>
using Sum = math::SumProduct<Powers<T>, Cell<T>>;

// A mantissa in [1, 2).
template <class T>
__device__ Cell<T> normalized(Cell<T> a) {
  using I = typename Bits<T>::integer;
  constexpr I fraction = (I{1} << Bits<T>::fraction) - 1;
  const I bits = __builtin_bit_cast(I, a.m), one = __builtin_bit_cast(I, T(1));
  const T exponent = static_cast<T>(static_cast<int>(bits >> Bits<T>::fraction)) - Bits<T>::bias;
  return {__builtin_bit_cast(T, static_cast<I>((bits & fraction) | one)), a.e + exponent};
}

// exp on [-ln2/2, ln2/2]
__device__ inline float exp_near_zero(float r) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r + 1.f;
}
__device__ inline double exp_near_zero(double r) { return exp(r); }

// exp(x) = m * 2^e with m in [0.7, 1.42], for any finite x.
template <class T>
__device__ Cell<T> exp_cell(T x) {
  using B = Bits<T>;
  const T k = (x * static_cast<T>(1.4426950408889634) + B::magic) - B::magic;
  T r = (x - k * B::ln2_high) - k * B::ln2_low;
  r = r < T(0.5) ? r : T(0.5);  // only where x is so large that neighboring floats are nats apart
  r = r > T(-0.5) ? r : T(-0.5);
  return {exp_near_zero(r), k};
}

// The emissions of a frame are too small by the power of two of its largest logit, whose mantissa is `top`.
template <class T>
struct Frame {
  T origin, exponent, top;

  __device__ explicit Frame(T max) {
    // Beyond `large` exp_cell loses more than the difference to the largest logit does.
    origin = max > Bits<T>::large || max < -Bits<T>::large ? max : T(0);
    const Cell<T> c = exp_cell(max - origin);
    exponent = c.e;
    top = c.m;
  }
  __device__ Cell<T> emission(T logit) const {
    if (logit == -infinity<T>) return zero_cell<T>();
    const T z = logit - origin;
    constexpr T most = Bits<T>::largest;
    const Cell<T> c = exp_cell(z < -most ? -most : z > most ? most : z);
    return {c.m, c.e - exponent};
  }
};

}  // namespace
}  // namespace pyasr::cuda
