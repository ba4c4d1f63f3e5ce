// The launchers of probes.cu.
#pragma once
#include <cuda_runtime.h>

#include <cstddef>

namespace pyasr::cuda {

enum class Mistake {
  divergent_block,
  divergent_warp,
  leaves_block,
  leaves_warp,
  leaves_grid,
  dead_end,
  grid_barrier_alone,
  reads_unwritten,
  beyond_shared,
  beyond_global,
};

cudaError_t probe_indices(int* out, dim3 grid, dim3 block);
cudaError_t probe_warp_operations(int* out, int threads);
cudaError_t probe_block_exchange(int* out, int blocks, int threads);
cudaError_t probe_warp_exchange(int* out);
cudaError_t probe_grid_sum(int* out, int blocks);
cudaError_t probe_group_steps(int* out, unsigned* counters, int groups, int steps);
cudaError_t probe_atomics(int* out, int blocks);
cudaError_t probe_mistake(Mistake which, int* out, unsigned* counter);
cudaError_t probe_large_shared(int* out, std::size_t bytes);

}  // namespace pyasr::cuda
