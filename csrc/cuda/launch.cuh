// What every CUDA kernel here is written in: barriers that carry a name, shared memory, and a launch of one grid that
// is resident as a whole. tests/cuda_on_cpu compiles the same kernels with a C++ compiler, so sources use these macros
// and no CUDA feature beyond them and the thread indices.
#pragma once
#include <type_traits>

#if defined(PYASR_CUDA_ON_CPU)
#include "emulation.hpp"
#else
#include <cooperative_groups.h>
#include <cuda_runtime.h>

// The id names the barrier in the tests, which drop one at a time and expect a wrong answer.
#define PYASR_SYNC_BLOCK(id) __syncthreads()
#define PYASR_SYNC_GRID(id) ::cooperative_groups::this_grid().sync()
#define PYASR_SHARED(type, name, count) __shared__ type name[count]

namespace pyasr::cuda {

// How many blocks of `threads` threads of this kernel the current device holds at once.
template <class... P>
cudaError_t resident_blocks(void (*kernel)(P...), int threads, int* blocks) {
  int device = 0, processors = 0, each = 0;
  if (const cudaError_t e = cudaGetDevice(&device)) return e;
  if (const cudaError_t e = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device)) return e;
  if (const cudaError_t e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, 0)) return e;
  *blocks = processors * each;
  return cudaSuccess;
}

// One grid whose blocks all run at once, so that they may wait for each other. Refused by the driver, never hanging,
// when `blocks` is more than the device holds.
template <class... P>
cudaError_t launch_grid(void (*kernel)(P...), int blocks, int threads, cudaStream_t stream,
                        std::type_identity_t<P>... args) {
  void* pointers[] = {&args...};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), dim3(static_cast<unsigned>(blocks)),
                                     dim3(static_cast<unsigned>(threads)), pointers, 0, stream);
}

}  // namespace pyasr::cuda
#endif
