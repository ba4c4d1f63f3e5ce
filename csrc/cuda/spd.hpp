// spd on a CUDA device: the launcher and, as plain host code that needs no GPU, the shape of its launch.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

#include "cuda/device.hpp"
#include "pyasr/spd.hpp"

namespace pyasr::cuda {

// A is copied, made a whole number of panels by rows of the identity, and b stands below it as one more row: what the
// factorization does to a row of A makes of b the solution y of L y = b.
struct SpdPlan {
  int blocks;    // that factorize one system together; with one, every block of the grid has a system of its own
  int threads;   // of a block
  int padded;    // n, up to a whole number of panels
  int stride;    // between rows, odd in shared memory
  bool on_chip;  // the copy lies in shared memory
  std::size_t shared_bytes, workspace_bytes;  // of a block; of one system under way
};

constexpr int spd_panel = 32;  // columns of a panel: a lane of a warp each
constexpr int spd_most_threads = 256;
constexpr int spd_memory_threads = 128;  // a warp for every 8 rows of a tile

constexpr SpdPlan plan_spd(int n, std::size_t entry, int systems, int processors, std::size_t shared) {
  SpdPlan p{};
  p.padded = (n + spd_panel - 1) / spd_panel * spd_panel;
  const std::size_t tile = spd_panel * (spd_panel + 1) * entry, fixed = tile + 2 * spd_panel * entry;
  p.stride = p.padded + 1;
  p.shared_bytes = fixed + static_cast<std::size_t>(p.padded + 1) * static_cast<std::size_t>(p.stride) * entry;
  p.threads = p.padded <= 32 ? 32 : p.padded <= 96 ? 128 : spd_most_threads;
  p.on_chip = p.shared_bytes <= shared;
  p.blocks = 1;
  if (p.on_chip) return p;
  p.stride = p.padded;
  p.shared_bytes = fixed + 2 * tile;
  p.workspace_bytes = static_cast<std::size_t>(p.padded + 1) * static_cast<std::size_t>(p.stride) * entry;
  p.threads = spd_memory_threads;
  if (systems < processors) p.blocks = (entry == 8 ? 2 : 4) * processors;     // as registers allow
  const int panels = p.padded / spd_panel, most = panels * (panels + 3) / 2;  // tiles behind the first panel
  if (p.blocks > most) p.blocks = most;
  return p;
}

// The plan on the current device, and in `groups` how many systems are under way at once: so many workspaces it takes.
template <class T>
cudaError_t spd_plan(int n, int systems, SpdPlan* plan, int* groups);

// Queues the solution of all systems on the stream and returns at once. Where a leading minor is not positive and
// finite, the solution is NaN and `minor` has its order. args and workspace point to device memory.
template <class T>
cudaError_t spd_solve(const SpdArgs<T>& args,
                      void* workspace,  // groups times workspace_bytes of the plan, aligned to 16
                      cudaStream_t stream);

}  // namespace pyasr::cuda
