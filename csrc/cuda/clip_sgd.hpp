// clip_sgd on a CUDA device: the launcher.
#pragma once
#include "cuda/update.hpp"
#include "pyasr/clip_sgd.hpp"

namespace pyasr::cuda {

// state[0]: the buffer, null without momentum.
template <class T>
cudaError_t clip_sgd(const UpdateVectors<T>& vectors, const UpdateCall& call, const ClipSgdRule& rule);

}  // namespace pyasr::cuda
