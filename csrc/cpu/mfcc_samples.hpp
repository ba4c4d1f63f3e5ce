// Samples of a wave as centered float32 at int16 scale, their largest magnitude, and float64 sums.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int D = lanes<double>;
typedef float HalfUnaligned __attribute__((vector_size(register_bytes / 2), aligned(4), may_alias));

PYASR_INLINE Vd widen(const float* p) {
  const auto half = *reinterpret_cast<const HalfUnaligned*>(p);
#if defined(__AVX512F__)
  return __builtin_ia32_cvtps2pd512_mask(half, Vd{}, -1, 4);  // GCC 12 makes four instructions of the conversion below
#else
  return __builtin_convertvector(half, Vd);
#endif
}

template <class T>
struct Stream {
  const T* wave;  // [n]
  std::int64_t n;
  double scale;
  float base;  // subtracted from every sample: the integer nearest to the mean of the first frame

  // The sample at i, which may lie outside [0, n): the wave is mirrored at its ends.
  double at(std::int64_t i) const {
    i %= 2 * n;
    if (i < 0) i += 2 * n;
    return static_cast<double>(wave[i < n ? i : 2 * n - 1 - i]) * scale;
  }
};

// y[i] = wave[i] * scale - base
template <class T>
inline void convert(const Stream<T>& in, std::int64_t begin, long count, float* y) {
  const T* const x = in.wave + begin;
  if constexpr (sizeof(T) == 8) {
    const double base = in.base;
    for (long i = 0; i < count; ++i) y[i] = static_cast<float>(x[i] * in.scale - base);
  } else {
    const float scale = static_cast<float>(in.scale);
    for (long i = 0; i < count; ++i) y[i] = static_cast<float>(x[i]) * scale - in.base;
  }
}

// Largest magnitude as bits, which order like the numbers; a NaN is above infinity.
inline std::uint64_t peak_bits(const std::int16_t*, long) { return 0; }
inline std::uint64_t peak_bits(const float* x, long n) {
  typedef std::int32_t Bits __attribute__((may_alias));
  const auto* const b = reinterpret_cast<const Bits*>(x);
  std::int32_t most = 0;
  for (long i = 0; i < n; ++i) {
    const std::int32_t v = b[i] & 0x7fffffff;
    most = v > most ? v : most;
  }
  float f;
  __builtin_memcpy(&f, &most, 4);
  const double d = most > 0x7f800000 ? __builtin_inf() : static_cast<double>(f);
  std::uint64_t bits;
  __builtin_memcpy(&bits, &d, 8);
  return bits;
}
inline std::uint64_t peak_bits(const double* x, long n) {
  typedef std::int64_t Bits __attribute__((may_alias));
  const auto* const b = reinterpret_cast<const Bits*>(x);
  std::int64_t most = 0;
  for (long i = 0; i < n; ++i) {
    const std::int64_t v = b[i] & 0x7fffffffffffffff;
    most = v > most ? v : most;
  }
  return static_cast<std::uint64_t>(most > 0x7ff0000000000000 ? 0x7ff0000000000000 : most);
}

template <class T>
void fill(const Stream<T>& in, std::int64_t begin, long count, long total, float* y) {
  if (begin >= 0 && begin + count <= in.n) {
    convert(in, begin, count, y);
  } else {
    for (long i = 0; i < count; ++i) {
      const std::int64_t at = begin + i;
      if (at >= 0 && at < in.n)
        convert(in, at, 1, y + i);
      else
        y[i] = static_cast<float>(in.at(at) - static_cast<double>(in.base));
    }
  }
  for (long i = count; i < total; ++i) y[i] = 0;
}

struct Sums {
  Vd sum{}, squares{};
};

inline void accumulate(const float* y, long n, Sums& s) {
  long i = 0;
  for (; i + 2 * D <= n; i += 2 * D) {
    const Vd a = widen(y + i), b = widen(y + i + D);
    s.sum += a + b;
    s.squares += a * a;
    s.squares += b * b;
  }
  for (; i < n; ++i) {
    const double a = y[i];
    s.sum[0] += a;
    s.squares[0] += a * a;
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
