// Probabilities as m * 2^e in registers: the sum-product semiring that ctc.cpp and hmm_sparse.hpp scan with.
#pragma once
#include "cpu/softmax_row.hpp"
#include "math/semiring.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr double ln2 = 0.693147180559945309417;
// The exponent of a cell that is zero, whatever its mantissa: pow2 of -inf, and of -inf - -inf, is 0.
template <class T>
constexpr T no_exponent = -static_cast<T>(__builtin_inf());

template <class T>
struct Powers {
  PYASR_MATH static Vec<T> max(Vec<T> a, Vec<T> b) { return vmax(a, b); }
  PYASR_MATH static Vec<T> pow2(Vec<T> d) { return PYASR_ISA::pow2<T>(d); }
};
template <class T>
using Sum = math::SumProduct<Powers<T>, Scaled<T>>;

// A mantissa in [1, 2).
template <class T>
PYASR_INLINE Scaled<T> normalized(Scaled<T> a) {
  using F = Float<T>;
  constexpr std::int64_t unit = std::int64_t{1} << F::fraction_bits;
  constexpr T base = static_cast<T>(unit);  // base + i holds a small integer i in its fraction
  const VecInt<T> bits = reinterpret_cast<VecInt<T>>(a.m);
  const VecInt<T> one_bits = reinterpret_cast<VecInt<T>>(splat<T>(1));
  const VecInt<T> base_bits = reinterpret_cast<VecInt<T>>(splat<T>(base));
  const VecInt<T> fraction = VecInt<T>{} - 1 + unit;
  return {reinterpret_cast<Vec<T>>((bits & fraction) | one_bits),
          a.e + (reinterpret_cast<Vec<T>>((bits >> F::fraction_bits) | base_bits) - (base + F::bias))};
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
