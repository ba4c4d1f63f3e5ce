// Adam. Bytes per parameter in two passes: 32 (float32), 40 with the largest squares; torch's clip_grad_norm_ + fused
// Adam moves 40 and 48.
#include "pyasr/adam.hpp"

#include "cpu/update.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// numbers: 1 - beta1, beta2, 1 - beta2, unbias1, unbias2, eps
template <bool Largest>
struct AdamStep {
  static constexpr int states = Largest ? 3 : 2;
  static constexpr int place[] = {0, 1, 2};
  static constexpr bool l1 = false;
  template <class V, class T>
  PYASR_INLINE V step(V g, V* v, const T* r) {
    v[0] += r[0] * (g - v[0]);
    v[1] = r[1] * v[1] + r[2] * g * g;
    V square = v[1];
    if constexpr (Largest) square = v[2] = v[1] < v[2] ? v[2] : v[1];
    return v[0] * r[3] / (vsqrt(square) * r[4] + r[5]);
  }
};

template <class T>
UpdateResult run(const UpdateArgs<T>& a, const AdamRule& r, void* workspace, const Runtime& runtime) noexcept {
  const double numbers[6] = {1 - r.beta1, r.beta2, 1 - r.beta2, r.unbias1, r.unbias2, r.eps};
  const bool largest = a.count && a.pieces[0].state[2];
  return run_update(a, largest ? update_block<T, AdamStep<true>> : update_block<T, AdamStep<false>>, numbers, workspace,
                    runtime);
}

}  // namespace

extern const Adam adam;
const Adam adam = {workspace_bytes<float>, workspace_bytes<double>, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
