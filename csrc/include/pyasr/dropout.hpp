// dropout: y[i] = x[i] * factor[i] with factor[i] = 0 where u[i] < rate, else 1 / (1 - rate), and u the float32 that
// NumPy draws from Philox4x64-10 with this key: Generator(Philox(key=key)).random(N, "float32"). u[i] depends on the
// key and i alone.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

template <class T>
struct DropoutArgs {
  const T* x;  // [N]
  T* y;        // [N] out, may not overlap x
  T* factor;   // [N] out
  std::int64_t N;
  double rate;           // 0 <= rate < 1
  std::uint64_t key[2];  // any
};

struct Dropout {
  void (*f32)(const DropoutArgs<float>& args, const Runtime& runtime) noexcept;
  void (*f64)(const DropoutArgs<double>& args, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
