// rmsprop on a CUDA device. 16 flops per parameter; bytes and launch are those of update.cuh.
#include "cuda/rmsprop.hpp"
#include "cuda/update_launch.cuh"

namespace pyasr::cuda {
namespace {

template <class T>
struct RmspropStep {
  static constexpr int states = 3;
  T alpha, rest, eps, momentum;  // rest = 1 - alpha
  bool buffer, centered;
  __device__ void begin(double, Joiner&) {}
  __device__ T step(T g, T* v) const {
    v[0] = alpha * v[0] + rest * g * g;
    T power = v[0];
    if (centered) {
      v[2] += rest * (g - v[2]);
      power -= v[2] * v[2];
      power = power < 0 ? T{} : power;  // below 0 by rounding alone: a root of it would be NaN
    }
    g = g / (sqrt(power) + eps);
    if (buffer) g = v[1] = momentum * v[1] + g;
    return g;
  }
};

}  // namespace

template <class T>
cudaError_t rmsprop(const UpdateVectors<T>& a, const UpdateCall& call, const RmspropRule& r) {
  return run_update(a, call,
                    RmspropStep<T>{static_cast<T>(r.alpha), static_cast<T>(1 - r.alpha), static_cast<T>(r.eps),
                                   static_cast<T>(r.momentum), a.state[1] != nullptr, a.state[2] != nullptr});
}

template cudaError_t rmsprop(const UpdateVectors<float>&, const UpdateCall&, const RmspropRule&);
template cudaError_t rmsprop(const UpdateVectors<double>&, const UpdateCall&, const RmspropRule&);

}  // namespace pyasr::cuda
