// The limits of the machine, measured with the same flags as the kernels: FMA peak, copy and read bandwidth.
#include "pyasr/probe.hpp"

#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int chains = register_count >= 32 ? 24 : 12;  // independent sums: more than latency x ports of any core
constexpr std::size_t block = 1 << 18;                  // entries per work item: 1 MB

// 2 * lanes * chains flops per round. x <- x * a + b with a fixed point at 1, so that nothing over- or underflows.
float fma_chains(long rounds, float a, float b) {
  Vf x[chains];  // in registers: every loop over it is unrolled
#pragma GCC unroll 24
  for (int c = 0; c < chains; ++c) x[c] = splat(1.f + 1e-3f * static_cast<float>(c));
  const Vf va = splat(a), vb = splat(b);
  for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 24
    for (int c = 0; c < chains; ++c) {
      x[c] = x[c] * va + vb;
      asm("" : "+x"(x[c]));  // the compiler may neither merge rounds nor drop a chain
    }
  }
  Vf s{};
#pragma GCC unroll 24
  for (int c = 0; c < chains; ++c) s += x[c];
  return sum_lanes<float>(s);
}

double fma(long rounds, const Runtime& runtime) noexcept {
  float sink[1024] = {};
  parallel_for(runtime, runtime.threads, [&](long i, int) { sink[i & 1023] = fma_chains(rounds, 0.5f, 0.5f); });
  const double flops = 2.0 * lanes<float> * chains * static_cast<double>(rounds) * runtime.threads;
  return sink[0] == sink[0] ? flops : 0;
}

PYASR_INLINE void store_past_caches(float* p, Vf v) {
#if defined(__AVX512F__)
  asm volatile("vmovntps %1, %0" : "=m"(*reinterpret_cast<Vf*>(p)) : "v"(v));
#elif defined(__AVX2__)
  asm volatile("vmovntps %1, %0" : "=m"(*reinterpret_cast<Vf*>(p)) : "x"(v));
#elif defined(__SSE2__)
  asm volatile("movntps %1, %0" : "=m"(*reinterpret_cast<Vf*>(p)) : "x"(v));
#else
  store(p, v);
#endif
}

// a is 64-byte aligned, n a multiple of 64 entries.
void copy(float* a, const float* b, std::size_t n, const Runtime& runtime) noexcept {
  const bool past = n > (std::size_t{1} << 23);  // 2 x 32 MB: no cache holds them
  parallel_for(runtime, static_cast<long>((n + block - 1) / block), [&](long i, int) {
    const std::size_t begin = static_cast<std::size_t>(i) * block;
    const std::size_t end = begin + block < n ? begin + block : n;
    if (past)
      for (std::size_t k = begin; k < end; k += lanes<float>) store_past_caches(a + k, load(b + k));
    else
      for (std::size_t k = begin; k < end; k += lanes<float>) store(a + k, load(b + k));
#if defined(__SSE2__)
    asm volatile("sfence" ::: "memory");
#endif
  });
}

float read(const float* a, std::size_t n, const Runtime& runtime) noexcept {
  constexpr int U = 8;
  float sink[1024] = {};
  parallel_for(runtime, static_cast<long>((n + block - 1) / block), [&](long i, int worker) {
    const std::size_t begin = static_cast<std::size_t>(i) * block;
    const std::size_t end = begin + block < n ? begin + block : n;
    Vf s[U] = {};
    for (std::size_t k = begin; k + U * lanes<float> <= end; k += U * lanes<float>)
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) s[u] += load(a + k + u * lanes<float>);
    for (int u = 1; u < U; ++u) s[0] += s[u];
    sink[worker & 1023] += sum_lanes<float>(s[0]);
  });
  return sink[0];
}

// n is a multiple of 64 entries.
float update(const float* a, float* b, float* c, std::size_t n, const Runtime& runtime) noexcept {
  const float sum = read(a, n, runtime);
  parallel_for(runtime, static_cast<long>((n + block - 1) / block), [&](long i, int) {
    const std::size_t begin = static_cast<std::size_t>(i) * block;
    const std::size_t end = begin + block < n ? begin + block : n;
    for (std::size_t k = begin; k + 4 * lanes<float> <= end; k += 4 * lanes<float>)
#pragma GCC unroll 4
      for (int u = 0; u < 4; ++u) {
        const std::size_t at = k + static_cast<std::size_t>(u * lanes<float>);
        const Vf x = load(c + at) + load(a + at);
        store(c + at, x);
        store(b + at, load(b + at) + x);
      }
  });
  return sum;
}

}  // namespace

extern const Probe probe;
const Probe probe = {fma, copy, read, update};

}  // namespace pyasr::cpu::PYASR_ISA
