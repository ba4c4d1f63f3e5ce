// What the updates share on a CUDA device: their arguments and, as plain host code that needs no GPU, the shape of
// their launch. The rules are in clip_sgd.hpp, adam.hpp and rmsprop.hpp.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pyasr/update.hpp"

namespace pyasr::cuda {

template <class T>
struct UpdateArrays {
  T* value;                 // [n] in and out
  const T* grad;            // [n] may not overlap what is written
  T* state[update_states];  // [n] in and out, or null; what they are the rule's contract says
  T* average;               // [n] in and out, or null
  std::int64_t aligned;     // of a list: whether all of them begin at multiples of 16 bytes
};
static_assert(sizeof(UpdateArrays<float>) == 56, "pyasr/ops/_cuda/_update.py writes those of a list");

// Of a list, what is null says what a call leaves out, and n has no part.
template <class T>
struct UpdateVectors : UpdateArrays<T> {
  std::size_t n;
  T* count;                     // [1] the updates done, in and out, or null where the rule has it from the host
  const UpdateArrays<T>* list;  // of a list of arrays, which the slots number, or of vectors with short rows; else null
};

struct UpdateNumbers {
  UpdateOptions options;        // `limit` is that of value clipping too
  double lr, weight_decay, l1;  // before the factors of a segment
  bool root;                    // value clipping by the `root` of the slot instead
  const double* grad_scale;     // [1] on the device, in the place of the option, or null
  const double* sum_squares;    // [1] as that
};

// The gradient is cut into slots. A block forms the norm of a slot, and all blocks join norms in the order of slots.
// Slots depend on n and the segment table alone: the same bits on any device, whatever the number of blocks. Rows of
// adaptive clipping that are shorter than a tile are slots at the end of the table; a warp takes one, and a block a
// bundle of them, in the place of a slot.
struct UpdateSlot {
  std::int64_t begin;  // in the vector, or in its array of a list
  std::int32_t length;
  std::int32_t first, end;  // the slots that are clipped together with this one: a group, a row or a segment
  std::int32_t array;       // its number in the list
  double lr, decay;         // the factors of its segment
  double root;              // 1 / sqrt(entries of its segment)
};
static_assert(sizeof(UpdateSlot) == 48, "pyasr/ops/_cuda/_update.py writes them");

struct UpdateTable {
  const UpdateSlot* slots;  // [count], by group; null for a vector without segments
  int count;
  int whole;              // of these, those that are no short rows
  std::size_t slot_size;  // entries of the longest, a multiple of the tile
  bool aligned;           // every slot begins at a multiple of 4 entries
};

constexpr int update_threads = 256;
constexpr std::size_t update_tile = 4 * update_threads;  // entries that a block takes at a time
constexpr int update_warps = update_threads / 32;
constexpr int update_most_slots = 1024;  // of a vector without segments

struct UpdatePlan {
  std::size_t slot_size;  // entries of a slot, a multiple of the tile; the last slot may be shorter
  int slots, blocks;
};

// The fewest blocks that are done in as many rounds as all resident ones: each then has the same number of slots, or
// one less.
constexpr int update_blocks(int slots, int resident_blocks) noexcept {
  if (slots <= 1 || resident_blocks <= 1) return 1;
  const int rounds = (slots - 1) / resident_blocks + 1;
  return (slots - 1) / rounds + 1;
}

constexpr UpdatePlan plan_update(std::size_t n, int resident_blocks) noexcept {
  const std::size_t tiles = n / update_tile + (n % update_tile != 0);
  const std::size_t per_slot = tiles ? (tiles - 1) / update_most_slots + 1 : 1;
  const int slots = static_cast<int>((tiles + per_slot - 1) / per_slot);
  return {per_slot * update_tile, slots, update_blocks(slots, resident_blocks)};
}

// Short rows of a bundle: a multiple of the warps, and so many that there are few bundles.
constexpr int update_bundle(int rows) noexcept {
  return rows ? ((rows - 1) / (update_warps * update_most_slots) + 1) * update_warps : 0;
}

// Two norms per slot: of the gradient, and of the weights or of the step where a way of clipping asks for it. With
// short rows, one more for every other slot and every bundle.
constexpr std::size_t update_workspace_bytes(int slots) noexcept {
  return 3 * sizeof(double) * static_cast<std::size_t>(slots);
}

// What the kernel leaves on the device. `skipped` is 0 or 1.
struct UpdateReport {
  double norm, scale, skipped;
};

// All but the vectors. A launch is queued on the stream and returns at once; everything points to memory of the current
// device, and the workspace is free again when the stream has passed the call.
struct UpdateCall {
  UpdateNumbers numbers;
  UpdateTable table;
  double* norms;  // update_workspace_bytes
  UpdateReport* report;
  cudaStream_t stream;
};

}  // namespace pyasr::cuda
