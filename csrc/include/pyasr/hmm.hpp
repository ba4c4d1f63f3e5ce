// hmm_forward_backward and viterbi: one hidden Markov model over a batch of sequences (Rabiner, Proc. IEEE 1989;
// Viterbi, IEEE Trans. Information Theory 1967). With natural logarithms throughout, a path s has
//
//   log p(s) = initial[s_0] + sum_t transitions[s_{t-1}, s_t] + sum_t emissions[t,b,s_t] + final[s_last]
//
// log_p[b] is the logarithm of the sum over all paths, posteriors[t,b,i] = p(s_t = i), counts[i,j] the expected number
// of steps from i to j, summed over the batch: the gradients of sum_b log_p[b] for emissions and transitions. viterbi
// gives the best path and its log p; of equals the one with the lowest state, seen from the end.
//
// A sequence without frames has log_p 0. Without a path of probability above zero log_p is -inf, posteriors are 0 and
// the path -1; where a valid frame, or the model, holds NaN or +inf, log_p and posteriors are NaN and the path -1.
// Neither adds to the counts.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

// The arcs above -inf: state i has the arcs [begin[i], begin[i + 1]), with other[] the state at their other end,
// ascending.
struct HmmArcs {
  const std::int64_t* begin;  // [N + 1]
  const std::int32_t* other;  // [begin[N]]
};

template <class T>
struct HmmArgs {
  const T* emissions;           // [T,B,N]
  const std::int32_t* lengths;  // [B] in [0, T]
  const T* initial;             // [N]
  const T* transitions;         // [N,N] from, to
  const T* final;               // [N] or null: zeros
  HmmArcs into, out_of;         // of every state; trusted
  T lowest, highest;            // of the transitions above -inf; 0 without any
  bool lost;                    // initial, transitions or final hold NaN or +inf
  T* log_p;                     // [B] out
  T* posteriors;                // [T,B,N] out, 0 from frame lengths[b] on; not used by viterbi
  T* counts;                    // [N,N] out; not used by viterbi
  std::int32_t* path;           // [T,B] out, -1 from frame lengths[b] on; only used by viterbi
  std::int64_t frames, B, N;    // frames is the T of [T,B,N]; N >= 1
};

template <class T>
struct HmmKernels {
  // Bytes of scratch, 64-byte aligned, for what does not lie in out arrays.
  std::size_t (*forward_backward_bytes)(const HmmArgs<T>& args, int threads) noexcept;
  std::size_t (*viterbi_bytes)(const HmmArgs<T>& args, int threads) noexcept;
  // Parallel over sequences, each of which gives the same bits in any batch.
  void (*forward_backward)(const HmmArgs<T>& args, void* workspace, const Runtime& runtime) noexcept;
  void (*viterbi)(const HmmArgs<T>& args, void* workspace, const Runtime& runtime) noexcept;
};

struct Hmm {
  HmmKernels<float> f32;
  HmmKernels<double> f64;
};

}  // namespace pyasr
