// adam on a CUDA device. 18 flops per parameter; bytes and launch are those of update.cuh.
#include <cmath>

#include "cuda/adam.hpp"
#include "cuda/update_launch.cuh"

namespace pyasr::cuda {
namespace {

template <class T>
struct AdamStep {
  static constexpr int states = 3;
  T towards, beta2, rest, unbias1, unbias2, eps;  // towards = 1 - beta1, rest = 1 - beta2
  bool largest;
  double log1, log2;  // of beta1 and beta2
  // 1 - beta^step as expm1 has it: no worse than by a power, and a fraction of its instructions.
  __device__ void begin(double done, Joiner& all) {
    unbias1 = static_cast<T>(all.once([&] { return -1 / expm1((done + 1) * log1); }));
    unbias2 = static_cast<T>(all.once([&] { return 1 / sqrt(-expm1((done + 1) * log2)); }));
  }
  __device__ T step(T g, T* v) const {
    v[0] += towards * (g - v[0]);
    v[1] = beta2 * v[1] + rest * g * g;
    T square = v[1];
    if (largest) square = v[2] = v[1] < v[2] ? v[2] : v[1];
    return v[0] * unbias1 / (sqrt(square) * unbias2 + eps);
  }
};

}  // namespace

template <class T>
cudaError_t adam(const UpdateVectors<T>& a, const UpdateCall& call, const AdamRule& r) {
  const AdamStep<T> rule{static_cast<T>(1 - r.beta1), static_cast<T>(r.beta2),   static_cast<T>(1 - r.beta2),
                         static_cast<T>(r.unbias1),   static_cast<T>(r.unbias2), static_cast<T>(r.eps),
                         a.state[2] != nullptr,       std::log(r.beta1),         std::log(r.beta2)};
  return run_update(a, call, rule);
}

template cudaError_t adam(const UpdateVectors<float>&, const UpdateCall&, const AdamRule&);
template cudaError_t adam(const UpdateVectors<double>&, const UpdateCall&, const AdamRule&);

}  // namespace pyasr::cuda
