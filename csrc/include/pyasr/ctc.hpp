// ctc_loss: loss[b] = -log p(labels[b] | logits[:,b]) over all alignments, and its gradient
//
//   dlogits[t,b,k] = y_t(k) - posterior_t(k),   y = softmax(logits)
//
// with the posterior of symbol k at frame t (Graves et al., ICML 2006). Where no alignment has a probability above
// zero, the loss is inf (0 with zero_infinity) and the gradient 0; where a valid frame's softmax is NaN, both are NaN.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

// labels are trusted: every one that is read lies in [0, V) and differs from blank.
template <class T>
struct CtcArgs {
  const T* logits;                    // [T,B,V]
  const std::int32_t* lengths;        // [B] in [0, T]
  const std::int32_t* labels;         // [B,U], of row b only the first label_lengths[b] are read
  const std::int32_t* label_lengths;  // [B] in [0, U]
  T* loss;                            // [B] out
  T* dlogits;                         // [T,B,V] out, may not overlap logits; 0 from frame lengths[b] on
  double* mass;                       // [T,B] out or null: sum of a frame's posteriors before it is made one
  std::int64_t frames, B, V, U;       // frames is the T of [T,B,V]
  std::int32_t blank;
  bool zero_infinity;
};

struct Ctc {
  // Bytes of scratch, any alignment of 64. frames and labels are the largest of lengths and label_lengths, entry is
  // sizeof(T), threads that of the runtime.
  std::size_t (*workspace_bytes)(std::int64_t frames, std::int64_t labels, std::size_t entry, int threads) noexcept;
  // Parallel over utterances, each of which gives the same bits in any batch.
  void (*f32)(const CtcArgs<float>& args, void* workspace, const Runtime& runtime) noexcept;
  void (*f64)(const CtcArgs<double>& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
