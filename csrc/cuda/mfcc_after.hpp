// What is done to features on a CUDA device, one launch each: derivatives in time and normalization per utterance.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/device.hpp"

namespace pyasr::cuda {

// Where frames lie. Frame t of line b is row b * line + t * step. A line is an utterance and its padding or, where
// there are offsets, all utterances one behind the other. What lengths and offsets hold is not trusted: they are cut to
// the frames that there are, and frames of no utterance become zeros.
struct FrameLayout {
  std::int64_t lines, frames;   // of a line
  std::int64_t line, step;      // rows
  std::int64_t utterances;      // B
  const std::int32_t* lengths;  // [lines], or null: all frames
  const std::int64_t* offsets;  // [B + 1], or null: an utterance a line
};

constexpr int after_threads = 256;

// ---- derivatives: a block takes a tile of frames with those around it into shared memory, as float64

struct DeltasArgs {
  FrameLayout at;
  int F, window, order;
  bool repeated;       // the derivative of the derivative, its ends repeated; else each filter from the features
  const double* taps;  // filters 0 ... order, [2 k window + 1] each
};

struct DeltasPlan {
  int frames;          // of a tile; 0 where not even one fits
  int columns;         // of a tile
  std::size_t shared;  // bytes
};

constexpr DeltasPlan plan_deltas(int F, int window, int order, bool repeated, const DeviceProperties& device) noexcept {
  const std::int64_t around = 2 * std::int64_t{window} * order, most = 128, few = 32;
  const int chunks = (F + 63) / 64;
  int columns = (F + chunks - 1) / chunks;
  auto row = [&] { return static_cast<std::int64_t>(columns) * 8 * (repeated ? 2 : 1) + 8; };
  auto fits = [&](std::int64_t bytes) { return bytes / row() - around; };
  std::int64_t frames = fits(28 * 1024);  // eight blocks to a processor
  if (frames < few) {
    const auto all = static_cast<std::int64_t>(device.shared_per_block) - 1024;
    while (fits(all) < few && columns > 1) columns = (columns + 1) / 2;
    frames = fits(all);
  }
  if (frames < 1) return {0, 0, 0};
  if (frames > most) frames = most;
  return {static_cast<int>(frames), columns, static_cast<std::size_t>((frames + around) * row())};
}

// ---- normalization: a block takes 8 columns of an utterance

constexpr int cmvn_threads = 512;
constexpr int cmvn_columns = 8;

// ---- launchers: they queue on the stream and return at once

// y [rows, F * (order + 1)]. cudaErrorInvalidConfiguration where plan_deltas says 0.
template <class T>
cudaError_t deltas(const DeltasArgs& args, const T* x, T* y, cudaStream_t stream);

template <class T>
cudaError_t cmvn(const FrameLayout& at, int F, bool variance, const T* x, T* y, cudaStream_t stream);

}  // namespace pyasr::cuda
