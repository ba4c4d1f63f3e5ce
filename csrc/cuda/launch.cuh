// The vocabulary of every CUDA kernel here: barriers that carry a name, shared memory, operations of a warp, and
// launches. tests/cuda_on_cpu compiles the same sources with a C++ compiler, so they use these words, the thread
// indices and the functions of math.h, and no CUDA feature beyond.
//
// The id of a barrier names it in the tests, which leave out one at a time and expect a wrong answer. A family owns a
// hundred ids, for its .cu files and the .cuh files that begin with its name:
//   clip_sgd 100, adam 200, rmsprop 300, mfcc 400, lstm 500, gru 600, rnn 700, recurrent 800, ctc 900, align 1000,
//   greedy 1100, beam 1200, hmm 1300, softmax 1400, cg 1500, spd 1600, update 1700.
// There are no atomic operations on floats: their sums would depend on the order, and results are the same bits in
// every run.
#pragma once
#include <type_traits>

#include "cuda/device.hpp"

#if defined(PYASR_CUDA_ON_CPU)
#include "emulation.hpp"
#else
// Without libcu++, of which a grid barrier needs nothing: a kernel compiles in a quarter of the time.
#define _CG_LIMIT_INCLUDED_DEPENDENCIES
#include <cooperative_groups.h>
#include <cuda_runtime.h>

#define PYASR_SYNC_BLOCK(id) __syncthreads()
#define PYASR_SYNC_WARP(id) __syncwarp()
#define PYASR_SYNC_GRID(id) ::cooperative_groups::this_grid().sync()

// The group barrier: blocks that wait for each other, fewer than the grid, meet at a counter in global memory, which is
// zeroed in the stream before the launch (cooperative: launch_grid). All threads of a block call both. ARRIVE counts
// the block when all its threads have come, and what they wrote is seen by whoever sees the count; WAIT returns when
// the counter has reached the value. Between them a block may do what the others need not wait for. What other blocks
// wrote is read by dev::load_cg: L1 may hold what lay there before.
#define PYASR_GROUP_ARRIVE(id, counter) ::pyasr::cuda::group_arrive(counter)
#define PYASR_GROUP_WAIT(id, counter, value) ::pyasr::cuda::group_wait(counter, value)

// A device function that is compiled once for all kernels of its source and called, for what is rare in a launch: nvcc
// takes as long as its kernels have instructions. What it gets by reference is in shared or global memory, not in a
// kernel's arguments, of which it would make a copy.
#define PYASR_CALLED __noinline__
#define PYASR_SHARED(type, name, count) __shared__ type name[count]
// The shared memory whose size the launch gives, in bytes. Aligned to 128.
#define PYASR_DYNAMIC_SHARED(type, name)                                 \
  extern __shared__ __align__(128) unsigned char pyasr_dynamic_shared[]; \
  type* const name = reinterpret_cast<type*>(pyasr_dynamic_shared)

namespace pyasr::cuda {

__device__ inline void group_arrive(unsigned* counter) {
  __syncthreads();
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0)
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}
__device__ inline void group_wait(const unsigned* counter, unsigned value) {
  if (threadIdx.x == 0 && threadIdx.y == 0 && threadIdx.z == 0) {
    unsigned seen;
    do asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(seen) : "l"(counter) : "memory");
    while (seen < value);
  }
  __syncthreads();
}

namespace dev {

// All lanes of the warp take part, at the same place. A lane reads from its own segment of `width` lanes, a power of
// two; beyond it, it keeps its value.
template <class T>
__device__ T shuffle(T v, int lane, int width = 32) {
  return __shfl_sync(0xffffffffu, v, lane, width);
}
template <class T>
__device__ T shuffle_up(T v, unsigned delta, int width = 32) {
  return __shfl_up_sync(0xffffffffu, v, delta, width);
}
template <class T>
__device__ T shuffle_down(T v, unsigned delta, int width = 32) {
  return __shfl_down_sync(0xffffffffu, v, delta, width);
}
template <class T>
__device__ T shuffle_xor(T v, int mask, int width = 32) {
  return __shfl_xor_sync(0xffffffffu, v, mask, width);
}
__device__ inline unsigned ballot(bool predicate) { return __ballot_sync(0xffffffffu, predicate); }
__device__ inline bool any(bool predicate) { return __any_sync(0xffffffffu, predicate); }
__device__ inline bool all(bool predicate) { return __all_sync(0xffffffffu, predicate); }

// On int, unsigned and unsigned long long. Each returns what was there.
template <class T>
__device__ T atomic_add(T* p, T v) {
  static_assert(std::is_integral_v<T>, "sums of floats would depend on the order");
  return atomicAdd(p, v);
}
template <class T>
__device__ T atomic_max(T* p, T v) {
  static_assert(std::is_integral_v<T>);
  return atomicMax(p, v);
}
template <class T>
__device__ T atomic_exchange(T* p, T v) {
  return atomicExch(p, v);
}
template <class T>
__device__ T atomic_cas(T* p, T expected, T v) {
  return atomicCAS(p, expected, v);
}

// Past L1, for what other blocks of this launch have written: float, double, int, float2, float4, int4, double2.
template <class T>
__device__ T load_cg(const T* p) {
  return __ldcg(p);
}
template <class T>
__device__ void store_cg(T* p, T v) {
  __stcg(p, v);
}

}  // namespace dev

// More than 48 KB of shared memory have to be asked for; what the kernel declares itself counts too. It is asked for
// all that the device has, once: a launch of another thread that needs less does not take it away from one that needs
// more.
template <class... P>
cudaError_t allow_shared(void (*kernel)(P...), std::size_t bytes) {
  if (bytes <= 16 * 1024) return cudaSuccess;
  const void* const address = reinterpret_cast<const void*>(kernel);
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  cudaFuncAttributes own;
  if (const cudaError_t e = cudaFuncGetAttributes(&own, address)) return e;
  if (bytes <= static_cast<std::size_t>(own.maxDynamicSharedSizeBytes)) return cudaSuccess;
  if (own.sharedSizeBytes + bytes > device.shared_per_block) return cudaErrorInvalidValue;
  return cudaFuncSetAttribute(address, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              static_cast<int>(device.shared_per_block - own.sharedSizeBytes));
}

// How many blocks of this kernel, with these threads and this dynamic shared memory, the current device holds at once.
// None where one is too large for it.
template <class... P>
cudaError_t resident_blocks(void (*kernel)(P...), int threads, std::size_t shared_bytes, int* blocks) {
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  *blocks = 0;
  if (shared_bytes) {
    cudaFuncAttributes own;
    if (const cudaError_t e = cudaFuncGetAttributes(&own, reinterpret_cast<const void*>(kernel))) return e;
    if (own.sharedSizeBytes + shared_bytes > device.shared_per_block) return cudaSuccess;
    if (const cudaError_t e = allow_shared(kernel, shared_bytes)) return e;
  }
  int each = 0;
  if (const cudaError_t e = cudaOccupancyMaxActiveBlocksPerMultiprocessor(&each, kernel, threads, shared_bytes))
    return e;
  *blocks = device.processors * each;
  return cudaSuccess;
}

// Queues a grid whose blocks do not wait for each other, and returns at once.
template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                   std::type_identity_t<P>... args) {
  if (const cudaError_t e = allow_shared(kernel, shared_bytes)) return e;
  void* pointers[] = {&args..., nullptr};
  return cudaLaunchKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared_bytes, stream);
}

// A grid whose blocks all run at once, so that they may wait for each other. Refused by the driver, never hanging, when
// it is more than the device holds.
template <class... P>
cudaError_t launch_grid(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t stream,
                        std::type_identity_t<P>... args) {
  if (const cudaError_t e = allow_shared(kernel, shared_bytes)) return e;
  void* pointers[] = {&args..., nullptr};
  return cudaLaunchCooperativeKernel(reinterpret_cast<const void*>(kernel), grid, block, pointers, shared_bytes,
                                     stream);
}

}  // namespace pyasr::cuda
#endif
