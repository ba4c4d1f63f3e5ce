// ctc_align: the most probable alignment of labels with frames over the lattice of ctc_loss.
//
// positions[t,b] is u where frame t belongs to label u of row b, -1 at a blank and from frame lengths[b] on;
// scores[t,b] = log softmax(logits[t,b]) of the symbol there, 0 in the padding; log_p[b] their sum. Without an
// alignment log_p is -inf (scores 0); where a valid frame's softmax is NaN, log_p and scores are. Of equal alignments
// it is the one that stays longest in a state, seen from the end.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

// labels are trusted: every one that is read lies in [0, V) and differs from blank.
template <class T>
struct AlignArgs {
  const T* logits;                    // [T,B,V]
  const std::int32_t* lengths;        // [B] in [0, T]
  const std::int32_t* labels;         // [B,U], of row b only the first label_lengths[b] are read
  const std::int32_t* label_lengths;  // [B] in [0, U]
  std::int32_t* positions;            // [T,B] out
  T* scores;                          // [T,B] out
  T* log_p;                           // [B] out
  std::int64_t frames, B, V, U;
  std::int32_t blank;
};

struct Align {
  // Bytes of scratch, 64-byte aligned; frames and labels are the largest of lengths and label_lengths.
  std::size_t (*workspace_bytes)(std::int64_t frames, std::int64_t labels, std::int64_t V, int threads) noexcept;
  // Parallel over utterances.
  void (*f32)(const AlignArgs<float>& args, void* workspace, const Runtime& runtime) noexcept;
  void (*f64)(const AlignArgs<double>& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
