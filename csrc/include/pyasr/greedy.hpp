// ctc_greedy: the labels of the best path of each utterance: the best symbol per frame, repeats merged, blanks removed.
//
// At equal scores the lower symbol wins; a frame with NaN counts as the first symbol that is NaN.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

template <class T>
struct GreedyArgs {
  const T* logits;              // [T,B,V]
  const std::int32_t* lengths;  // [B] in [0, T]
  std::int32_t* labels;         // [B,T] out, -1 from counts[b] on
  std::int32_t* counts;         // [B] out
  std::int64_t frames, B, V;    // V >= 1
  std::int32_t blank;
};

struct Greedy {
  // Parallel over utterances.
  void (*f32)(const GreedyArgs<float>& args, const Runtime& runtime) noexcept;
  void (*f64)(const GreedyArgs<double>& args, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
