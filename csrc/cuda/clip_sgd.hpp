// clip_sgd on a CUDA device: the launcher and, as plain host code that needs no GPU, the shape of its launch.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "pyasr/clip_sgd.hpp"

namespace pyasr {

// One vector without segments, clipped by its norm, by value or not at all: what one launch takes.
struct ClipSgdOptions {
  double lr, momentum, dampening, weight_decay, limit, eps, grad_scale;
  bool nesterov, decoupled;
  bool first;  // the buffer holds nothing yet: it becomes g, without dampening
  Clip clip;
  NonFinite nonfinite;
};

template <class T>
struct ClipSgdArgs {
  T* value;       // [n] in and out
  const T* grad;  // [n] may not overlap value or buffer
  T* buffer;      // [n] momentum in and out, or null
  std::size_t n;
  ClipSgdOptions options;
};

}  // namespace pyasr

namespace pyasr::cuda {

// The gradient is cut into slots, whose sums of squares are added in a fixed order by every block. Slots depend on n
// alone: the same bits on any device, whatever the number of blocks.
struct ClipSgdPlan {
  std::size_t slot_size;  // entries of a slot, a multiple of the tile; the last slot may be shorter
  int slots;
  int blocks;
};

constexpr int clip_sgd_threads = 256;
constexpr std::size_t clip_sgd_tile = 4 * clip_sgd_threads;  // entries that a block takes at a time
constexpr int clip_sgd_most_slots = 1024;
// Two sets of slots, because float64 may have to form the sum twice.
constexpr std::size_t clip_sgd_workspace_bytes = 2 * clip_sgd_most_slots * sizeof(double);

constexpr ClipSgdPlan plan_clip_sgd(std::size_t n, int resident_blocks) noexcept {
  const std::size_t tiles = n / clip_sgd_tile + (n % clip_sgd_tile != 0);
  const std::size_t per_slot = tiles ? (tiles - 1) / clip_sgd_most_slots + 1 : 1;
  const int slots = static_cast<int>((tiles + per_slot - 1) / per_slot);
  const int blocks = slots < resident_blocks ? slots : resident_blocks;
  return {per_slot * clip_sgd_tile, slots, blocks > 1 ? blocks : 1};
}

// What the kernel leaves on the device. `skipped` is 0 or 1.
struct ClipSgdReport {
  double norm, scale, skipped;
};

// Queues one update on the stream and returns at once. args, workspace and report point to device memory of the current
// device; the workspace is free again when the stream has passed this call.
template <class T>
cudaError_t clip_sgd(const ClipSgdArgs<T>& args,
                     void* workspace,        // clip_sgd_workspace_bytes, aligned to 8
                     ClipSgdReport* report,  // [1]
                     cudaStream_t stream);

}  // namespace pyasr::cuda
