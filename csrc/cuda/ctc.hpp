// ctc_loss on a CUDA device: the launcher and, as plain host code, the shape of its launches and its workspace.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "pyasr/ctc.hpp"

namespace pyasr::cuda {

// Threads of a block that keeps the lattice's row in registers, and of one that walks over a row in memory: as many as
// the registers of a float32 or a float64 allow. entry is sizeof(T).
constexpr int ctc_most_threads(std::size_t entry) noexcept { return entry == 4 ? 512 : 256; }
constexpr int ctc_wide_threads(std::size_t entry) noexcept { return 2 * ctc_most_threads(entry); }
constexpr std::int64_t ctc_shift_every = 64;

// Where the parts of the workspace begin, in bytes, and the block of the lattice. A slot is a label and the blank
// before it; the last one has a blank alone. Sizes follow from T, B and U: no length has to be looked at.
struct CtcPlan {
  std::size_t emissions;  // [B,T,slots] cells: blank, then labels
  std::size_t kept;       // [B,T,slots,2] cells of one direction, later the occupancies there
  std::size_t rows;       // [B,2,2,2,slots] cells: a direction's row, twice
  std::size_t shifts;     // [B,2,T / ctc_shift_every + 4] float64
  std::size_t log_norms;  // [B,T] float64
  std::size_t log_z;      // [B] float64
  std::size_t links;      // [B,U] int32
  std::size_t fates;      // [B] int32
  std::size_t bytes;
  int threads;
  bool wide;
};

constexpr CtcPlan plan_ctc(std::int64_t T, std::int64_t B, std::int64_t U, std::size_t entry) noexcept {
  CtcPlan p{};
  const std::int64_t slots = U + 1;
  std::size_t end = 0;
  auto take = [&](std::int64_t count, std::size_t each) {
    const std::size_t at = end;
    end += (static_cast<std::size_t>(count) * each + 255) / 256 * 256;
    return at;
  };
  p.emissions = take(B * T * slots, 2 * entry);
  p.kept = take(B * T * 2 * slots, 2 * entry);
  p.rows = take(B * 8 * slots, 2 * entry);
  p.shifts = take(B * 2 * (T / ctc_shift_every + 4), 8);
  p.log_norms = take(B * T, 8);
  p.log_z = take(B, 8);
  p.links = take(B * U, 4);
  p.fates = take(B, 4);
  p.bytes = end;
  p.wide = slots > ctc_most_threads(entry);
  p.threads = p.wide ? ctc_wide_threads(entry) : static_cast<int>((slots + 31) / 32 * 32);
  return p;
}

// Queues the call on the stream and returns at once. args and workspace point to memory of the current device; mass is
// not written. Nothing that lies there is trusted: where an utterance has a length outside of [0, T], a label_length
// outside of [0, U], or a label that is blank or outside of [0, V), its loss is NaN and so is the gradient of its
// frames.
template <class T>
cudaError_t ctc_loss(const CtcArgs<T>& args, void* workspace /* plan_ctc(…).bytes, aligned to 256 */,
                     cudaStream_t stream);

}  // namespace pyasr::cuda
