// ctc_beam: CTC prefix beam search with a language model.
//
// A prefix carries two log probabilities, of its paths that end in a blank and of those that end in its last label; to
// both the weights of its tokens are added: lm_weight * log p_lm(token) + length_bonus. Per frame every prefix in the
// beam stays (a blank, or its last label again) and is extended by every label; what leads to the same prefix is added
// up, and the `width` best go on. Prefixes are compared by their log probabilities rounded to 2^-30, so that rounding
// does not decide; at equal ones a prefix that was in the beam wins over a new one, then the rank in the beam before,
// of the new ones' parents, then the lower label.
//
// Source: Graves, "Sequence transduction with recurrent neural networks" (2012) for the search; Hannun et al.,
// "First-pass large vocabulary continuous speech recognition using bi-directional recurrent DNNs" (2014) for the
// language model.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

// A back-off n-gram. A state is a context, state 0 the empty one; natural logarithms. Arcs of a state are sorted by
// token.
struct NgramTables {
  const double* backoff;          // [S] added when a token is looked up in the suffix instead; unused at 0
  const std::int32_t* suffix;     // [S] the longest shorter context that is a state; -1 at 0
  const double* end;              // [S] log p(end | state)
  const std::int64_t* arc_begin;  // [S+1]
  const std::int32_t* arc_token;  // [A]
  const double* arc_log_p;        // [A]
  const std::int32_t* arc_next;   // [A] the state after the token
  std::int32_t start;
  // Of a model over words: the tree of their spellings, node 0 the empty word; null for one over labels, whose state 0
  // has an arc for every label but the blank.
  const std::int64_t* spell_begin;  // [W+1]
  const std::int32_t* spell_label;  // [L] sorted within a node
  const std::int32_t* spell_next;   // [L]
  const std::int32_t* spell_token;  // [W] the word that ends here, or -1
  std::int32_t unknown;             // the token of every other word, or -1: no such token, and the next state is 0
  double unknown_log_p;             // added for such a word
};

// A language model that is asked. Nodes are the prefixes of an utterance, 0 the empty one. False stops the search,
// whose results are then meaningless.
struct LmHook {
  void* self;
  bool (*begin)(void* self) noexcept;                                                               // another utterance
  bool (*extend)(void* self, std::int64_t node, std::int64_t parent, std::int32_t label) noexcept;  // a new node
  // log_p[v] for those labels v in wanted that are NaN there. With a delimiter it alone is wanted.
  bool (*scores)(void* self, std::int64_t node, const std::int32_t* wanted, std::int64_t count, double* log_p) noexcept;
  // The log probability of the unfinished word (0 without one), and of the end after it.
  bool (*end)(void* self, std::int64_t node, double* word, double* end) noexcept;
};

template <class T>
struct BeamArgs {
  const T* logits;              // [T,B,V]
  const std::int32_t* lengths;  // [B] in [0, T]
  std::int32_t* labels;         // [B,N,T] out, -1 behind the labels
  std::int32_t* counts;         // [B,N] out; -1 where there is no such hypothesis
  T* scores;                    // [B,N] out: log_p + lm_weight * lm_log_p + length_bonus * tokens; -inf without one
  T* log_p;                     // [B,N] out: of the labels under CTC, as far as the beam has seen their paths
  T* lm_log_p;                  // [B,N] out
  std::int64_t frames, B, V, N, width;  // N <= width
  std::int32_t blank;
  std::int32_t delimiter;  // the label that ends a word, the token of the model then; -1: labels are the tokens
  double lm_weight, length_bonus;
  double min_log_p;          // a label below it begins nowhere in that frame
  const NgramTables* ngram;  // or null
  const LmHook* hook;        // or null; then the threads of the runtime are 1
};

// Where a frame has no softmax, an utterance has counts -1 and NaN in scores.
struct Beam {
  // Bytes of scratch, 64-byte aligned; frames is the largest of lengths.
  std::size_t (*workspace_bytes)(std::int64_t frames, std::int64_t V, std::int64_t width, bool model,
                                 int threads) noexcept;
  // Parallel over utterances.
  void (*f32)(const BeamArgs<float>& args, void* workspace, const Runtime& runtime) noexcept;
  void (*f64)(const BeamArgs<double>& args, void* workspace, const Runtime& runtime) noexcept;
};

}  // namespace pyasr
