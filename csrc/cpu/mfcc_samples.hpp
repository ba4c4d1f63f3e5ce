// Samples of a wave as centered float32 at int16 scale, their largest magnitude, and float64 sums.
#pragma once
#include "cpu/simd.hpp"
#include "pyasr/mfcc.hpp"

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
  double preemph;  // of the wave
  Padding padding;
  float base;  // subtracted from every sample: the integer nearest to the mean of the first frame

  // The sample at i, which may lie outside [0, n).
  double at(std::int64_t i) const {
    i = mfcc_padded(padding, i, n);
    if (i < 0) return 0;
    const double before = preemph != 0 && i > 0 ? preemph * static_cast<double>(wave[i - 1]) : 0;
    return (static_cast<double>(wave[i]) - before) * scale;
  }
};

// y[i] = wave[i] * scale - base, preemphasized before with a difference that is exact for integers; with preemphasis,
// begin must not be 0.
template <class T>
inline void convert(const Stream<T>& in, std::int64_t begin, long count, float* y) {
  const T* const x = in.wave + begin;
  if (in.preemph != 0) {
    const double base = in.base, keep = 1 - in.preemph;
    for (long i = 0; i < count; ++i) {
      const double before = x[i - 1];
      y[i] = static_cast<float>(((x[i] - before) + keep * before) * in.scale - base);
    }
  } else if constexpr (sizeof(T) == 8) {
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

// Samples begin ... begin + count - 1 in float64, exact but for preemphasis and a scale that is no power of 2.
template <class T>
void fill(const Stream<T>& in, std::int64_t begin, long count, double* y) {
  if (begin <= 0 || begin + count > in.n) {
    for (long i = 0; i < count; ++i) y[i] = in.at(begin + i);
    return;
  }
  const T* const x = in.wave + begin;
  for (long i = 0; i < count; ++i)
    y[i] = (static_cast<double>(x[i]) - in.preemph * static_cast<double>(x[i - 1])) * in.scale;
}

// Samples begin ... begin + count - 1, and zeros up to total.
template <class T>
void fill(const Stream<T>& in, std::int64_t begin, long count, long total, float* y) {
  const std::int64_t least = in.preemph != 0;  // what convert can begin with
  long i = 0;
  while (i < count) {
    const std::int64_t at = begin + i;
    if (at < least || at >= in.n) {
      y[i++] = static_cast<float>(in.at(at) - static_cast<double>(in.base));
      continue;
    }
    const std::int64_t left = in.n - at;
    const long run = left < count - i ? static_cast<long>(left) : count - i;
    convert(in, at, run, y + i);
    i += run;
  }
  for (; i < total; ++i) y[i] = 0;
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

// From the sums of a frame's samples less base: what is to be subtracted from each, and the energy.
inline void frame_statistics(const MfccTables& t, double total, double square, double base, float& mean,
                             float& energy) {
  if (t.remove_dc) {
    mean = static_cast<float>(total / t.length);
    square -= total * total / t.length;
  } else {
    mean = static_cast<float>(-base);
    square += 2 * base * total + base * base * t.length;
  }
  energy = static_cast<float>(square) * t.raw_gain;
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
