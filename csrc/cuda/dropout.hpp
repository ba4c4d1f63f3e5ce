// dropout on a CUDA device.
#pragma once
#include <cuda_runtime_api.h>

#include "pyasr/dropout.hpp"

namespace pyasr::cuda {

constexpr int dropout_threads = 256;
constexpr int dropout_tile = 256;  // entries of a warp at a time: a block of Philox, 8 entries, is a lane's

// Blocks of the launch: a warp for each tile, at most as many as the device holds at once, which then take turns.
constexpr std::int64_t plan_dropout(std::int64_t entries, int resident_blocks) noexcept {
  constexpr std::int64_t each = dropout_threads / 32 * dropout_tile;
  const std::int64_t wanted = (entries + each - 1) / each;
  return wanted < resident_blocks ? wanted : resident_blocks;
}

// Queues the call on the stream and returns at once; args point to memory of the current device.
template <class T>
cudaError_t dropout(const DropoutArgs<T>& args, cudaStream_t stream);

}  // namespace pyasr::cuda
