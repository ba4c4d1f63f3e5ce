// adam on a CUDA device: the launcher.
#pragma once
#include "cuda/update.hpp"
#include "pyasr/adam.hpp"

namespace pyasr::cuda {

// state: mean, square, and largest or null.
template <class T>
cudaError_t adam(const UpdateVectors<T>& vectors, const UpdateCall& call, const AdamRule& rule);

}  // namespace pyasr::cuda
