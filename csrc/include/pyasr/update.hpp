// What clip_sgd, adam and rmsprop share: the pieces that they update in place and how gradients are clipped. The rule
// of each is in its own contract.
//
//   g = grad_scale * grad      c = factor of norm or adaptive clipping      g = min(max(c * g, -limit), limit)
//   g += decay * value + l1 * sign(value)      (or value *= 1 - lr * decay, or a soft threshold of lr * l1 at the end)
//   value -= lr * rule(g)      average += (1 - average_decay) * (value - average)
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

enum class Clip : int { none, norm, value, adaptive, max_change };
enum class NonFinite : int { skip, raise, propagate };  // raise is the binding's business: the kernel treats it as skip

constexpr int update_states = 3;  // vectors that a rule may keep

// A run of entries with one learning rate: a segment of a vector, or an array of a list.
template <class T>
struct UpdatePiece {
  T* value;                 // [n] in and out
  const T* grad;            // [n] may not overlap what is written
  T* state[update_states];  // [n] in and out, or null
  T* average;               // [n] in and out, or null
  std::size_t n;
  std::size_t rows, columns;     // rows * columns = n: the units of adaptive clipping; 0 rows where n is 0
  double lr, decay, l1;          // of this piece
  double limit;                  // of value clipping, else infinity
  std::int64_t group;            // of norm clipping, in [0, count)
  std::size_t first, first_row;  // the kernel's: its first block, and its first row of all
};

struct UpdateOptions {
  double limit, total;  // M of the norm, factor of adaptive clipping, or most change per piece and in total
  double eps;           // added to the norm
  double grad_scale;
  double sum_squares;  // of grad, where `known`; with one group only, where the norm is clipped
  double average_decay;
  bool known, decoupled, proximal;
  Clip clip;
  NonFinite nonfinite;
};

template <class T>
struct UpdateArgs {
  UpdatePiece<T>* pieces;  // [count]
  std::size_t count;
  UpdateOptions options;
};

struct UpdateResult {
  double norm;   // of grad_scale * grad, before clipping; infinite where an entry of that is beyond T
  double scale;  // the least factor that norm, adaptive or max_change clipping applied, 1 otherwise
  bool skipped;  // an entry of grad_scale * grad was not finite in T and nothing was written
};

// One of these per rule, `Rule` being a struct of numbers.
template <class Rule>
struct Update {
  // Bytes of scratch; any alignment of 8.
  std::size_t (*workspace_f32)(const UpdateArgs<float>& args) noexcept;
  std::size_t (*workspace_f64)(const UpdateArgs<double>& args) noexcept;
  UpdateResult (*f32)(const UpdateArgs<float>& args, const Rule& rule, void* workspace,
                      const Runtime& runtime) noexcept;
  UpdateResult (*f64)(const UpdateArgs<double>& args, const Rule& rule, void* workspace,
                      const Runtime& runtime) noexcept;
};

}  // namespace pyasr
