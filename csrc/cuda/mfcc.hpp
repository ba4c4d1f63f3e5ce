// mfcc, fbank and spectrogram on a CUDA device: the launchers and, as plain host code that needs no GPU, the shape of
// their launches.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/device.hpp"
#include "pyasr/mfcc.hpp"

namespace pyasr::cuda {

// Frames of a tile, which belong to one wave.
constexpr int mfcc_most_frames_each = 32;
constexpr int mfcc_frames_each(int fft) noexcept { return fft == 1024 || fft == 2048 ? 16 : mfcc_most_frames_each; }

// A wave of a ragged batch.
struct MfccPiece {
  std::int64_t begin;        // its first sample among those of the job
  std::int64_t n;            // samples
  std::int64_t frames;       // T
  std::int64_t first_frame;  // frames of the waves before it
  std::int64_t first_tile;   // tiles of the waves before it
  std::int64_t row;          // frame f goes to row + f * step of the result
  std::int64_t number;       // of the wave
};

// One call. Everything lies on the device, but for `one`, which makes a table needless where there is one wave.
struct MfccJob {
  const void* samples;      // of all waves
  const MfccPiece* pieces;  // [count], or null
  MfccPiece one;
  std::int64_t count, frames, tiles;  // waves, and the sums over them
  int each;                           // mfcc_frames_each
  std::int64_t step;
  bool dense;  // rows are the frames' flat numbers instead
  WaveType type;
  double scale;         // brings samples to int16 scale
  double largest;       // magnitude of a floating sample; frames that see a larger one, or one not finite, are NaN
  bool exact;           // samples at int16 scale are float32 numbers, exactly
  float* out;           // rows of F; may not overlap the samples
  unsigned char* weak;  // [frames] rounded up to 16 and aligned to 16: left to float64
  float* bands;         // [frames, M] logs, where a floor depends on the whole wave and cepstra follow; else null
  int* peaks;           // [count] largest log of a wave, where a floor depends on it
  void* memory;         // [blocks, MfccFramePlan::memory] where a frame does not fit into shared memory
};

// The tables of a plan with pointers to the device, and what the kernels of some sizes want besides.
struct MfccOnDevice {
  MfccTables t;         // window has zeros up to N
  const float* middle;  // [A, lanes, 2] e^{-2 pi i j q / (N / 2)} at q * lanes + j; see mfcc_tile_lanes
};

// ---- the kernels for some N: the N / 2 complex points of a frame are A a lane, through two transforms, of A points
// ---- and of as many as a frame has lanes

constexpr int mfcc_tile_threads = 256;
constexpr int mfcc_tile_most_mels = 256;

// Lanes of a frame, a power of 2; 0 for the sizes that have no such kernel.
constexpr int mfcc_tile_lanes(int fft) noexcept {
  return fft == 256 || fft == 400 ? 8 : fft == 512 || fft == 1024 ? 16 : fft == 2048 ? 32 : 0;
}

// Where the spectra of a tile lie: those of a warp side by side, `frame` floats each, so that their lanes meet
// different banks; behind them one float, so that the lanes that take a frame each do, too.
struct MfccTileRows {
  int together;  // frames of a warp
  int frame;     // floats: A rows of lanes + 1, and congruent to the lanes modulo 32
  constexpr int at(int f) const noexcept { return f / together * (together * frame + 1) + f % together * frame; }
};
constexpr MfccTileRows mfcc_tile_rows_of(int fft) noexcept {
  const int lanes = mfcc_tile_lanes(fft), least = fft / 2 / lanes * (lanes + 1);
  return {32 / lanes, least + ((lanes - least) % 32 + 32) % 32};
}

// Shared memory of a block: the samples in two planes, those at even places and those at odd ones, later bands and
// columns; behind them the spectra.
struct MfccTilePlan {
  int plane;           // floats of a plane
  int front;           // floats in front of the spectra
  std::size_t shared;  // bytes; 0 where the plan is not one for these kernels
};

constexpr MfccTilePlan plan_mfcc_tile(int fft, int length, int shift, int mels, int features,
                                      const DeviceProperties& device) noexcept {
  if (!mfcc_tile_lanes(fft) || mels > mfcc_tile_most_mels) return {0, 0, 0};
  const int frames = mfcc_frames_each(fft);
  const int plane = ((frames - 1) * shift + length) / 2 + 1;
  const int columns = mels ? (frames + 1) * (mels + features) : 0;  // a spectrogram goes out from where it lies
  const int front = ((2 * plane > columns ? 2 * plane : columns) + 3) / 4 * 4;
  const auto bytes = static_cast<std::size_t>(front + mfcc_tile_rows_of(fft).at(frames)) * sizeof(float);
  // 4 KB are left to what a kernel declares by itself.
  return {plane, front, bytes + 4096 <= device.shared_per_block ? bytes : 0};
}

// ---- the kernel for all other sizes, and for float64: a block works on one frame at a time

struct MfccFramePlan {
  int threads;
  std::size_t shared;  // bytes
  std::size_t memory;  // bytes of a block in device memory, where a frame does not fit into shared memory; else 0
};

// Numbers of a frame's buffers: samples in float64, one or two transforms of real_bytes each, the spectrum, the bands.
constexpr std::size_t mfcc_frame_bytes(int length, int fft, int points, bool chirp, int mels, std::size_t real_bytes) {
  const auto up = [](std::size_t n) { return (n + 15) / 16 * 16; };
  return up(static_cast<std::size_t>(length) * 8) +
         (chirp ? 2 : 1) * up(static_cast<std::size_t>(points) * 2 * real_bytes) +
         up(static_cast<std::size_t>(fft / 2 + 1) * 4) + up(static_cast<std::size_t>(mels) * 4);
}

constexpr MfccFramePlan plan_mfcc_frame(int length, int fft, int points, bool chirp, int mels, std::size_t real_bytes,
                                        const DeviceProperties& device) noexcept {
  const int wanted = (points / 4 + 31) / 32 * 32;  // about a butterfly a thread
  const std::size_t bytes = mfcc_frame_bytes(length, fft, points, chirp, mels, real_bytes);
  const bool fits = bytes + 4096 <= device.shared_per_block;
  return {wanted < 32 ? 32 : wanted > 256 ? 256 : wanted, fits ? bytes : 0, fits ? 0 : bytes};
}

// Blocks that may work at the same time and so need memory of their own.
constexpr int mfcc_most_blocks(const DeviceProperties& device) noexcept { return 2 * device.processors; }

// ---- launchers: they queue on the stream and return at once

// Bytes of MfccJob::memory on the current device.
cudaError_t mfcc_memory_bytes(const MfccTables& tables, std::size_t* bytes);

// The features of all waves.
cudaError_t mfcc(const MfccOnDevice& plan, const MfccJob& job, cudaStream_t stream);

// worst[b] = (n - i of the first sample of wave b that is not finite, that of the first one beyond `largest`), or 0
cudaError_t mfcc_check(const MfccJob& job, unsigned long long* worst /* [count, 2] */, cudaStream_t stream);

}  // namespace pyasr::cuda
