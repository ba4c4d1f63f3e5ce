// rmsprop on a CUDA device: the launcher.
#pragma once
#include "cuda/update.hpp"
#include "pyasr/rmsprop.hpp"

namespace pyasr::cuda {

// state: square, the buffer or null without momentum, the mean or null.
template <class T>
cudaError_t rmsprop(const UpdateVectors<T>& vectors, const UpdateCall& call, const RmspropRule& rule);

}  // namespace pyasr::cuda
