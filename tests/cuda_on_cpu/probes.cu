// Small kernels that use every word of csrc/cuda/launch.cuh, and some that break its rules. The tests of the emulation
// run them; nvcc compiles them too. Barrier ids below 100 are theirs.
#include "cuda/launch.cuh"
#include "probes.hpp"

namespace pyasr::cuda {
namespace {

__device__ int thread_of_grid() {
  const int block = static_cast<int>(blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z));
  const int threads = static_cast<int>(blockDim.x * blockDim.y * blockDim.z);
  return block * threads + static_cast<int>(threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z));
}

__global__ void indices(int* out) { out[thread_of_grid()] = thread_of_grid() + 1; }

// out [12, threads]: each operation of a warp with the thread's number as value.
__global__ void warp_operations(int* out) {
  const int t = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x);
  out[0 * n + t] = dev::shuffle(t, 5);
  out[1 * n + t] = dev::shuffle(t, t + 3, 8);
  out[2 * n + t] = dev::shuffle_up(t, 1);
  out[3 * n + t] = dev::shuffle_up(t, 2, 4);
  out[4 * n + t] = dev::shuffle_down(t, 16);
  out[5 * n + t] = dev::shuffle_down(t, 1, 2);
  out[6 * n + t] = dev::shuffle_xor(t, 1);
  out[7 * n + t] = dev::shuffle_xor(t, 9, 8);
  out[8 * n + t] = static_cast<int>(dev::ballot(t % 3 == 0));
  out[9 * n + t] = dev::any(t == 40);
  out[10 * n + t] = dev::all(t < 40);
  double sum = t;
  for (int d = 16; d; d /= 2) sum += dev::shuffle_xor(sum, d);
  out[11 * n + t] = static_cast<int>(sum);
}

// out [blocks, threads]: the threads of the block backwards, through both kinds of shared memory.
__global__ void block_exchange(int* out) {
  const int t = static_cast<int>(threadIdx.x), n = static_cast<int>(blockDim.x), b = static_cast<int>(blockIdx.x);
  PYASR_SHARED(int, fixed, 64);
  PYASR_DYNAMIC_SHARED(int, sized);
  fixed[t] = t;
  PYASR_SYNC_BLOCK(1);
  sized[t] = fixed[n - 1 - t];
  PYASR_SYNC_BLOCK(2);
  out[b * n + t] = b * n + sized[n - 1 - (n - 1 - t)];
  out[b * n + t] += 1000 * sized[(t + 1) % n];
}

// Neighbours of a warp, without the block's barrier.
__global__ void warp_exchange(int* out) {
  const int t = static_cast<int>(threadIdx.x);
  PYASR_SHARED(int, part, 64);
  part[t] = t;
  PYASR_SYNC_WARP(3);
  out[t] = part[t ^ 1];
}

// out [blocks + 1]: its block's number in each entry, their sum in the last.
__global__ void grid_sum(int* out) {
  const int b = static_cast<int>(blockIdx.x), n = static_cast<int>(gridDim.x);
  if (threadIdx.x == 0) dev::store_cg(out + b, b + 1);
  PYASR_SYNC_GRID(4);
  if (b == 0 && threadIdx.x == 0) {
    int sum = 0;
    for (int i = 0; i < n; ++i) sum += dev::load_cg(out + i);
    out[n] = sum;
  }
}

// out [groups, steps, 2]: two blocks per group; each adds its number to what both wrote one step before.
__global__ void group_steps(int* out, unsigned* counters /* [groups], zero */, int steps) {
  const int group = static_cast<int>(blockIdx.x) / 2, mine = static_cast<int>(blockIdx.x) % 2;
  int* const h = out + group * steps * 2;
  for (int t = 0; t < steps; ++t) {
    if (threadIdx.x == blockDim.x - 1) {
      const int* const before = h + (t - 1) * 2;
      dev::store_cg(h + t * 2 + mine, (t ? dev::load_cg(before) + dev::load_cg(before + 1) : 1) + mine);
    }
    PYASR_GROUP_ARRIVE(5, counters + group);
    PYASR_GROUP_WAIT(6, counters + group, static_cast<unsigned>(2 * (t + 1)));
  }
}

// out [4]: how many threads, the largest number, who was last, who was first.
__global__ void atomics(int* out) {
  const int t = thread_of_grid();
  dev::atomic_add(out, 1);
  dev::atomic_max(out + 1, t);
  dev::atomic_exchange(out + 2, t);
  dev::atomic_cas(out + 3, -1, t);
}

__global__ void mistake(Mistake which, int* out, unsigned* counter) {
  const int t = static_cast<int>(threadIdx.x);
  PYASR_SHARED(int, part, 64);
  switch (which) {
    case Mistake::divergent_block:
      if (t < 32) {
        PYASR_SYNC_BLOCK(11);
      } else {
        PYASR_SYNC_BLOCK(12);
      }
      break;
    case Mistake::divergent_warp:
      if (t % 2)
        out[t] = dev::shuffle(t, 0);
      else
        out[t] = dev::shuffle(t, 1);
      break;
    case Mistake::leaves_block:
      if (t < 40) PYASR_SYNC_BLOCK(13);
      break;
    case Mistake::leaves_warp:
      if (t != 3) PYASR_SYNC_WARP(14);
      break;
    case Mistake::leaves_grid:
      if (blockIdx.x) PYASR_SYNC_GRID(15);
      break;
    case Mistake::dead_end:
      PYASR_GROUP_ARRIVE(16, counter);
      PYASR_GROUP_WAIT(17, counter, gridDim.x + 1);
      break;
    case Mistake::grid_barrier_alone:
      PYASR_SYNC_GRID(18);
      break;
    case Mistake::reads_unwritten:
      out[t] = part[t];
      break;
    case Mistake::beyond_shared:
      part[t + 1] = t;
      break;
    case Mistake::beyond_global:
      out[t + (t == 63)] = t;
      break;
  }
}

}  // namespace

cudaError_t probe_indices(int* out, dim3 grid, dim3 block) { return launch(indices, grid, block, 0, nullptr, out); }
cudaError_t probe_warp_operations(int* out, int threads) {
  return launch(warp_operations, 1, threads, 0, nullptr, out);
}
cudaError_t probe_block_exchange(int* out, int blocks, int threads) {
  return launch(block_exchange, blocks, threads, sizeof(int) * static_cast<std::size_t>(threads), nullptr, out);
}
cudaError_t probe_warp_exchange(int* out) { return launch(warp_exchange, 1, 64, 0, nullptr, out); }
cudaError_t probe_grid_sum(int* out, int blocks) { return launch_grid(grid_sum, blocks, 40, 0, nullptr, out); }
cudaError_t probe_group_steps(int* out, unsigned* counters, int groups, int steps) {
  if (const cudaError_t e = cudaMemsetAsync(counters, 0, sizeof(unsigned) * static_cast<std::size_t>(groups), nullptr))
    return e;
  return launch_grid(group_steps, 2 * groups, 64, 0, nullptr, out, counters, steps);
}
cudaError_t probe_atomics(int* out, int blocks) { return launch(atomics, blocks, 40, 0, nullptr, out); }
cudaError_t probe_mistake(Mistake which, int* out, unsigned* counter) {
  if (which == Mistake::grid_barrier_alone) return launch(mistake, 2, 64, 0, nullptr, which, out, counter);
  return launch_grid(mistake, 2, 64, 0, nullptr, which, out, counter);
}
cudaError_t probe_large_shared(int* out, std::size_t bytes) {
  return launch(block_exchange, 1, 1, bytes, nullptr, out);
}

}  // namespace pyasr::cuda
