// softmax_cross_entropy on a CUDA device.
#pragma once
#include <cuda_runtime_api.h>

#include "pyasr/softmax.hpp"

namespace pyasr::cuda {

// Queues the call on the stream and returns at once; args point to memory of the current device. Labels are not
// trusted: where one is neither -1 nor in [0, V), loss and gradient of its row are NaN.
template <class T>
cudaError_t softmax_cross_entropy(const SoftmaxArgs<T>& args, cudaStream_t stream);

}  // namespace pyasr::cuda
