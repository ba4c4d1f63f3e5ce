// softmax_cross_entropy: loss[n] = -log softmax(logits[n])[labels[n]] and dlogits[n] = softmax(logits[n]) -
// one_hot(labels[n]). A label of -1 leaves its row out: loss 0, gradient 0. A row that holds NaN or +inf, or only -inf,
// becomes NaN.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

template <class T>
struct SoftmaxArgs {
  const T* logits;             // [N,V]
  const std::int32_t* labels;  // [N] in [-1, V)
  T* loss;                     // [N] out
  T* dlogits;                  // [N,V] out, may not overlap logits
  std::int64_t N, V;
};

struct Softmax {
  void (*f32)(const SoftmaxArgs<float>& args, const Runtime& runtime) noexcept;
  void (*f64)(const SoftmaxArgs<double>& args, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
