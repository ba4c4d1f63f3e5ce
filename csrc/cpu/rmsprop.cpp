// RMSprop. Bytes per parameter in two passes: 24 (float32), and 8 for momentum and for the mean each.
#include "pyasr/rmsprop.hpp"

#include "cpu/update.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// numbers: alpha, 1 - alpha, eps, momentum
template <bool Momentum, bool Mean>
struct RmspropStep {
  static constexpr int states = 1 + Momentum + Mean;
  static constexpr int place[] = {0, Momentum ? 1 : 2, 2};
  static constexpr bool l1 = false;
  template <class V, class T>
  PYASR_INLINE V step(V g, V* v, const T* r) {
    v[0] = r[0] * v[0] + r[1] * g * g;
    V power = v[0];
    if constexpr (Mean) {
      V& mean = v[1 + Momentum];
      mean += r[1] * (g - mean);
      power = power - mean * mean;
      power = power < 0 ? V{} : power;  // below 0 by rounding alone: a root of it would be NaN
    }
    g = g / (vsqrt(power) + r[2]);
    if constexpr (Momentum) g = v[1] = r[3] * v[1] + g;
    return g;
  }
};

template <class T>
UpdateResult run(const UpdateArgs<T>& a, const RmspropRule& r, void* workspace, const Runtime& runtime) noexcept {
  const double numbers[6] = {r.alpha, 1 - r.alpha, r.eps, r.momentum};
  const bool momentum = r.momentum != 0, mean = a.count && a.pieces[0].state[2];
  const BlockFn<T> fn =
      momentum ? (mean ? update_block<T, RmspropStep<true, true>> : update_block<T, RmspropStep<true, false>>)
               : (mean ? update_block<T, RmspropStep<false, true>> : update_block<T, RmspropStep<false, false>>);
  return run_update(a, fn, numbers, workspace, runtime);
}

}  // namespace

extern const Rmsprop rmsprop;
const Rmsprop rmsprop = {workspace_bytes<float>, workspace_bytes<double>, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
