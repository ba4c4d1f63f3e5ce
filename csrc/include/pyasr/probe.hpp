// probe: what this machine can do at best, in the units of the benchmarks. Not an op: benchmarks/ alone uses it.
#pragma once
#include <cstddef>

#include "pyasr/runtime.hpp"

namespace pyasr {

struct Probe {
  // Multiply-adds on registers alone, `rounds` times on every worker. Returns the flops done.
  double (*fma)(long rounds, const Runtime& runtime) noexcept;
  // a[i] = b[i] for n float32, streamed past the caches where the instruction set can.
  void (*copy)(float* a, const float* b, std::size_t n, const Runtime& runtime) noexcept;
  // The sum of n float32: reads and hardly anything else.
  float (*read)(const float* a, std::size_t n, const Runtime& runtime) noexcept;
  // Reads a; then reads a, b and c and writes b and c: what an update with one state does to memory, in order and with
  // hardly any arithmetic.
  float (*update)(const float* a, float* b, float* c, std::size_t n, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
