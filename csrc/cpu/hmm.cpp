// hmm_forward_backward and viterbi. Models whose states all reach each other go by matrix products (hmm_dense.hpp), all
// others over their arcs (hmm_sparse.hpp), as does the best path (hmm_viterbi.hpp).
#include "pyasr/hmm.hpp"

#include "cpu/hmm_dense.hpp"
#include "cpu/hmm_sparse.hpp"
#include "cpu/hmm_viterbi.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T>
std::size_t forward_backward_bytes(const HmmArgs<T>& a, int threads) noexcept {
  return is_dense(a) ? dense_bytes(a, threads) : sparse_bytes(a, threads);
}

template <class T>
void forward_backward(const HmmArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  if (is_dense(a))
    dense_forward_backward(a, workspace, runtime);
  else
    sparse_forward_backward(a, workspace, runtime);
}

template <class T>
std::size_t viterbi_bytes(const HmmArgs<T>& a, int threads) noexcept {
  return arcs_bytes<double, 1>(a.into, a.N) + static_cast<std::size_t>(threads) * viterbi_worker_bytes(longest(a), a.N);
}

template <class T>
void viterbi(const HmmArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  Carver memory{static_cast<char*>(workspace)};
  const double zero[1] = {nothing};
  const LogArcs arcs =
      make_arcs<double, 1>(memory, a.into, a.N, zero, [&](double (&weight)[1], std::int64_t to, std::int64_t from) {
        weight[0] = static_cast<double>(a.transitions[from * a.N + to]);
      });
  const std::size_t worker_bytes = viterbi_worker_bytes(longest(a), a.N);
  parallel_for(runtime, static_cast<long>(a.B), [&](long b, int worker) {
    best_path(a, arcs, b, memory.at + static_cast<std::size_t>(worker) * worker_bytes, runtime);
  });
}

template <class T>
constexpr HmmKernels<T> kernels = {forward_backward_bytes<T>, viterbi_bytes<T>, forward_backward<T>, viterbi<T>};

}  // namespace

extern const Hmm hmm;
const Hmm hmm = {kernels<float>, kernels<double>};

}  // namespace pyasr::cpu::PYASR_ISA
