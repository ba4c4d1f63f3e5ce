// ctc_greedy on a CUDA device.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "pyasr/greedy.hpp"

namespace pyasr::cuda {

constexpr std::size_t greedy_workspace_bytes(std::int64_t T, std::int64_t B) noexcept {
  return static_cast<std::size_t>(T * B) * sizeof(std::int32_t);
}

// Queues the call on the stream and returns at once. args and workspace point to memory of the current device. A length
// outside of [0, T] shows as a count of -1, without labels.
template <class T>
cudaError_t ctc_greedy(const GreedyArgs<T>& args, void* workspace /* greedy_workspace_bytes */, cudaStream_t stream);

}  // namespace pyasr::cuda
