// Philox4x64-10, a random generator without a state: block b of a stream is a function of its key and b (Salmon et al.,
// "Parallel random numbers: as easy as 1, 2, 3", SC 2011). One source for CPU vectors, CPU scalars and CUDA: V holds
// 64-bit words, M brings M::multiply(x, by, high, low), the 128 bits of a product. Everything is inlined by force, so
// nothing here becomes a symbol.
#pragma once
#include <cstdint>

#if defined(__CUDACC__)
#define PYASR_MATH __host__ __device__ __forceinline__
#else
#define PYASR_MATH [[gnu::always_inline]] inline
#endif

namespace pyasr::math {

// c: in, the counter of a block, b + 1 in c[0] and 0 elsewhere for block b of NumPy's stream, which counts before it
// draws; out, its four words.
template <class M, class V>
PYASR_MATH void philox(V (&c)[4], std::uint64_t k0, std::uint64_t k1) {
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 10
#endif
  for (int round = 0; round < 10; ++round) {
    V high0, low0, high1, low1;
    M::multiply(c[0], 0xD2E7470EE14C6C93u, high0, low0);
    M::multiply(c[2], 0xCA5A826395121157u, high1, low1);
    c[0] = high1 ^ c[1] ^ k0;
    c[1] = low1;
    c[2] = high0 ^ c[3] ^ k1;
    c[3] = low0;
    k0 += 0x9E3779B97F4A7C15u;
    k1 += 0xBB67AE8584CAA73Bu;
  }
}

// NumPy's float32 in [0, 1) is n * 2^-24 with the upper 24 bits n of half a word, the lower half first. It is at least
// the float32 nearest to rate where n is at least this.
PYASR_MATH std::uint32_t least_number(double rate) {
  const float wanted = static_cast<float>(rate) * 0x1p24f;  // exact
  const auto n = static_cast<std::uint32_t>(wanted);
  return n + (static_cast<float>(n) < wanted);
}

}  // namespace pyasr::math
