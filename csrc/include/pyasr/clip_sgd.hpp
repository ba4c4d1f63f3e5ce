// clip_sgd: scale a gradient by its global norm or clamp its entries, then one step of SGD with momentum, in place.
//
//   g = grad_scale * grad                          c = 1 or clip / (|g| + eps) where that is below 1     (norm
//   clipping) g = c * g   or   min(max(g, -clip), clip)      g += weight_decay * value       (or value *= 1 - lr *
//   weight_decay) m = first ? g : momentum * m + (1 - dampening) * g        value -= lr * (nesterov ? g + momentum * m
//   : m)
#pragma once
#include <cstddef>

#include "pyasr/runtime.hpp"

namespace pyasr {

enum class Clip : int { none, norm, value };
enum class NonFinite : int { skip, raise, propagate };  // raise is the binding's business: the kernel treats it as skip

struct ClipSgdOptions {
  double lr, momentum, dampening, weight_decay, limit, eps, grad_scale;
  bool nesterov, decoupled;
  bool first;  // the buffer holds nothing yet: it becomes g, without dampening
  Clip clip;
  NonFinite nonfinite;
};

template <class T>
struct ClipSgdArgs {
  T* value;       // [n] in and out
  const T* grad;  // [n] may not overlap value or buffer
  T* buffer;      // [n] momentum in and out, or null
  std::size_t n;
  ClipSgdOptions options;
};

struct ClipSgdResult {
  double norm;   // of grad_scale * grad, before clipping
  double scale;  // the factor that norm clipping applied, 1 otherwise
  bool skipped;  // a gradient entry was not finite and nothing was written
};

struct ClipSgd {
  // Bytes of scratch for n entries; any alignment of 8.
  std::size_t (*workspace_bytes)(std::size_t n) noexcept;
  ClipSgdResult (*f32)(const ClipSgdArgs<float>& args, void* workspace, const Runtime& runtime) noexcept;
  ClipSgdResult (*f64)(const ClipSgdArgs<double>& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
