// clip_sgd on a CUDA device. 8 flops per parameter; bytes and launch are those of update.cuh.
#include "cuda/clip_sgd.hpp"
#include "cuda/update_launch.cuh"

namespace pyasr::cuda {
namespace {

template <class T>
struct SgdStep {
  static constexpr int states = 1;
  T momentum, damp;
  bool buffer, nesterov, first;
  __device__ void begin(double done, Joiner&) { first = done == 0; }
  __device__ T step(T g, T* m) const {
    if (!buffer) return g;
    m[0] = first ? g : momentum * m[0] + damp * g;
    return nesterov ? g + momentum * m[0] : m[0];
  }
};

}  // namespace

template <class T>
cudaError_t clip_sgd(const UpdateVectors<T>& a, const UpdateCall& call, const ClipSgdRule& r) {
  return run_update(a, call,
                    SgdStep<T>{static_cast<T>(r.momentum), static_cast<T>(1 - r.dampening), a.state[0] != nullptr,
                               r.nesterov, r.first});
}

template cudaError_t clip_sgd(const UpdateVectors<float>&, const UpdateCall&, const ClipSgdRule&);
template cudaError_t clip_sgd(const UpdateVectors<double>&, const UpdateCall&, const ClipSgdRule&);

}  // namespace pyasr::cuda
