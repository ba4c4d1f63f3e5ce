// ctc_align on a CUDA device: the launcher and, as plain host code, the shape of its launches and its workspace.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "pyasr/align.hpp"

namespace pyasr::cuda {

constexpr int align_most_threads = 512;   // of a block that keeps the lattice's row in registers
constexpr int align_wide_threads = 1024;  // of one that walks over a row in memory

// Where the parts of the workspace begin, in bytes, and the block of the lattice. A slot is a label and the blank
// before it; the last one has a blank alone.
struct AlignPlan {
  std::size_t emissions;  // [B,T,slots] float64: blank, then labels, less the frame's largest logit
  std::size_t log_norms;  // [B,T] float64
  std::size_t rows;       // [B,2,2,slots] float64: blanks and labels of a row, twice
  std::size_t ways;       // [B,T,slots] bytes: how the blank (bit 0) and the label (bits 1 and 2) were reached
  std::size_t bytes;
  int threads;
  bool wide;
};

constexpr AlignPlan plan_align(std::int64_t T, std::int64_t B, std::int64_t U) noexcept {
  AlignPlan p{};
  const std::int64_t slots = U + 1;
  std::size_t end = 0;
  auto take = [&](std::int64_t count, std::size_t each) {
    const std::size_t at = end;
    end += (static_cast<std::size_t>(count) * each + 255) / 256 * 256;
    return at;
  };
  p.wide = slots > align_most_threads;
  p.threads = p.wide ? align_wide_threads : static_cast<int>((slots + 31) / 32 * 32);
  p.emissions = take(B * T * slots, 8);
  p.log_norms = take(B * T, 8);
  p.rows = take(p.wide ? B * 4 * slots : 0, 8);
  p.ways = take(B * T * slots, 1);
  p.bytes = end;
  return p;
}

// Queues the call on the stream and returns at once. args and workspace point to memory of the current device. Nothing
// that lies there is trusted: where an utterance has a length outside of [0, T], a label_length outside of [0, U], or a
// label that is blank or outside of [0, V), its log_p is NaN and so are the scores of its frames.
template <class T>
cudaError_t ctc_align(const AlignArgs<T>& args, void* workspace /* plan_align(…).bytes, aligned to 256 */,
                      cudaStream_t stream);

}  // namespace pyasr::cuda
