// SGD with momentum. Bytes per parameter in two passes: 16 without momentum, 24 with it (float32). torch's
// clip_grad_norm_ + fused SGD moves 24 and 32.
#include "pyasr/clip_sgd.hpp"

#include "cpu/update.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// Flags are template arguments: each form is one loop without branches. numbers: momentum, 1 - dampening.
template <bool Momentum, bool Nesterov, bool First, bool L1>
struct SgdStep {
  static constexpr int states = Momentum ? 1 : 0;
  static constexpr int place[] = {0};
  static constexpr bool l1 = L1;
  template <class V, class T>
  PYASR_INLINE V step(V g, V* m, const T* r) {
    if constexpr (!Momentum) return g;
    if constexpr (First)
      m[0] = g;
    else
      m[0] = r[0] * m[0] + r[1] * g;
    if constexpr (Nesterov) return g + r[0] * m[0];
    return m[0];
  }
};

template <class T, bool L1>
BlockFn<T> choose(const ClipSgdRule& r) {
  if (r.momentum == 0) return update_block<T, SgdStep<false, false, false, L1>>;
  if (r.first)
    return r.nesterov ? update_block<T, SgdStep<true, true, true, L1>>
                      : update_block<T, SgdStep<true, false, true, L1>>;
  return r.nesterov ? update_block<T, SgdStep<true, true, false, L1>>
                    : update_block<T, SgdStep<true, false, false, L1>>;
}

template <class T>
UpdateResult run(const UpdateArgs<T>& a, const ClipSgdRule& r, void* workspace, const Runtime& runtime) noexcept {
  const double numbers[6] = {r.momentum, 1 - r.dampening};
  bool l1 = false;
  for (std::size_t i = 0; i < a.count; ++i) l1 |= !a.options.proximal && a.pieces[i].l1 != 0;
  return run_update(a, l1 ? choose<T, true>(r) : choose<T, false>(r), numbers, workspace, runtime);
}

}  // namespace

extern const ClipSgd clip_sgd;
const ClipSgd clip_sgd = {workspace_bytes<float>, workspace_bytes<double>, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
