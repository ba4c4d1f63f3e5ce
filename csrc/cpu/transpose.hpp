// A square of lanes<float> registers, transposed with two-register shuffles.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {

// Row i of r becomes column i: 4 x 4 blocks inside 128-bit quarters first, then whole quarters.
PYASR_INLINE void transpose(Vf (&r)[lanes<float>]) {
  constexpr int V = lanes<float>;
#if defined(__AVX512F__)
#define PYASR_LOW 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13, 29
#define PYASR_HIGH 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14, 30, 15, 31
#define PYASR_LOW_PAIR 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29
#define PYASR_HIGH_PAIR 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31
#elif defined(__AVX2__)
#define PYASR_LOW 0, 8, 1, 9, 4, 12, 5, 13
#define PYASR_HIGH 2, 10, 3, 11, 6, 14, 7, 15
#define PYASR_LOW_PAIR 0, 1, 8, 9, 4, 5, 12, 13
#define PYASR_HIGH_PAIR 2, 3, 10, 11, 6, 7, 14, 15
#else
#define PYASR_LOW 0, 4, 1, 5
#define PYASR_HIGH 2, 6, 3, 7
#define PYASR_LOW_PAIR 0, 1, 4, 5
#define PYASR_HIGH_PAIR 2, 3, 6, 7
#endif
#pragma GCC unroll 4
  for (int i = 0; i < V; i += 4) {
    const Vf a = __builtin_shufflevector(r[i], r[i + 1], PYASR_LOW);
    const Vf b = __builtin_shufflevector(r[i], r[i + 1], PYASR_HIGH);
    const Vf c = __builtin_shufflevector(r[i + 2], r[i + 3], PYASR_LOW);
    const Vf d = __builtin_shufflevector(r[i + 2], r[i + 3], PYASR_HIGH);
    r[i] = __builtin_shufflevector(a, c, PYASR_LOW_PAIR);
    r[i + 1] = __builtin_shufflevector(a, c, PYASR_HIGH_PAIR);
    r[i + 2] = __builtin_shufflevector(b, d, PYASR_LOW_PAIR);
    r[i + 3] = __builtin_shufflevector(b, d, PYASR_HIGH_PAIR);
  }
#undef PYASR_LOW
#undef PYASR_HIGH
#undef PYASR_LOW_PAIR
#undef PYASR_HIGH_PAIR
  // Quarter q of r[4 g + i] now holds rows 4 g ... 4 g + 3 of column 4 q + i.
#if defined(__AVX512F__)
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Vf a = r[i], b = r[i + 4], c = r[i + 8], d = r[i + 12];
    const Vf ab = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    const Vf AB = __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    const Vf cd = __builtin_shufflevector(c, d, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    const Vf CD = __builtin_shufflevector(c, d, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
    r[i] = __builtin_shufflevector(ab, cd, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    r[i + 4] = __builtin_shufflevector(ab, cd, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    r[i + 8] = __builtin_shufflevector(AB, CD, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    r[i + 12] = __builtin_shufflevector(AB, CD, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
#elif defined(__AVX2__)
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    const Vf a = r[i], b = r[i + 4];
    r[i] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11);
    r[i + 4] = __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15);
  }
#endif
}

}  // namespace pyasr::cpu::PYASR_ISA
