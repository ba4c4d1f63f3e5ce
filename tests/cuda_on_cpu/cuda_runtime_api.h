// The part of the CUDA runtime that this project calls, on the host: one stream, in which everything has happened when
// the call returns, and memory that belongs to the current device. An error can be planted, to see what becomes of it.
#pragma once
#include <cstddef>
#include <cstring>
#include <string>
#include <vector>

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidValue = 1,
  cudaErrorMemoryAllocation = 2,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorInsufficientDriver = 35,
  cudaErrorNoDevice = 100,
  cudaErrorInvalidDevice = 101,
  cudaErrorECCUncorrectable = 214,
  cudaErrorIllegalAddress = 700,
  cudaErrorLaunchOutOfResources = 701,
  cudaErrorLaunchTimeout = 702,
  cudaErrorAssert = 710,
  cudaErrorHardwareStackError = 714,
  cudaErrorIllegalInstruction = 715,
  cudaErrorMisalignedAddress = 716,
  cudaErrorInvalidAddressSpace = 717,
  cudaErrorInvalidPc = 718,
  cudaErrorLaunchFailure = 719,
  cudaErrorCooperativeLaunchTooLarge = 720,
  cudaErrorUnknown = 999,  // the emulation found a mistake of the kernel; cudaGetErrorString has the words
};
using cudaStream_t = struct Stream*;
using cudaEvent_t = struct Event*;

enum cudaDeviceAttr {
  cudaDevAttrMaxSharedMemoryPerBlock = 8,
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrL2CacheSize = 38,
  cudaDevAttrMaxThreadsPerMultiProcessor = 39,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76,
  cudaDevAttrMaxSharedMemoryPerMultiprocessor = 81,
  cudaDevAttrMaxSharedMemoryPerBlockOptin = 97,
};
enum cudaMemoryType { cudaMemoryTypeUnregistered, cudaMemoryTypeHost, cudaMemoryTypeDevice, cudaMemoryTypeManaged };
struct cudaPointerAttributes {
  cudaMemoryType type;
  int device;
};
enum cudaMemcpyKind { cudaMemcpyHostToDevice = 1, cudaMemcpyDeviceToHost = 2, cudaMemcpyDeviceToDevice = 3 };
enum { cudaEventDisableTiming = 2 };

namespace emulation {

struct Index {
  unsigned x, y, z;
  constexpr Index(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
  std::size_t count() const { return std::size_t{x} * y * z; }
  Index at(std::size_t i) const {
    const auto k = static_cast<unsigned>(i);
    return {k % x, k / x % y, k / x / y};
  }
  std::string text() const { return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")"; }
};

// Who goes first among those who can run: all in turn; the block or the warp with the highest of random priorities,
// of which one is drawn anew now and then. One block or warp may run far ahead of the others.
enum class Schedule { fair, block, warp };
inline Schedule schedule = Schedule::fair;
inline unsigned seed = 0;  // an odd one goes through the threads downwards
inline int skip = 0;       // the id of the barrier that is left out

struct Properties {
  int processors, threads_per_processor, shared_per_block, shared_per_processor, l2, major, minor;
};
// The devices that tests have described; the last one that they asked for is the current one.
inline std::vector<Properties> devices = {{4, 2048, 65536, 65536, 1 << 20, 7, 5}};
inline int device = 0;
inline int resident = 3;                // blocks that the device holds at once; 0: as its properties say
inline int planted = 0;                 // the error of the next launch
inline cudaError_t last = cudaSuccess;  // what the next cudaGetLastError returns
inline std::string problem;             // the words of the last cudaErrorUnknown

inline cudaError_t result(cudaError_t e) {
  if (e != cudaSuccess) last = e;
  return e;
}

}  // namespace emulation

using dim3 = emulation::Index;

inline cudaError_t cudaGetLastError() {
  const cudaError_t e = emulation::last;
  emulation::last = cudaSuccess;
  return e;
}
inline const char* cudaGetErrorName(cudaError_t e) {
  switch (e) {
    case cudaSuccess:
      return "cudaSuccess";
    case cudaErrorInvalidValue:
      return "cudaErrorInvalidValue";
    case cudaErrorMemoryAllocation:
      return "cudaErrorMemoryAllocation";
    case cudaErrorInvalidConfiguration:
      return "cudaErrorInvalidConfiguration";
    case cudaErrorIllegalAddress:
      return "cudaErrorIllegalAddress";
    case cudaErrorCooperativeLaunchTooLarge:
      return "cudaErrorCooperativeLaunchTooLarge";
    case cudaErrorUnknown:
      return "the emulated grid";
    default:
      return "a CUDA error";
  }
}
inline const char* cudaGetErrorString(cudaError_t e) {
  return e == cudaErrorUnknown ? emulation::problem.c_str() : "of the emulated runtime";
}

inline cudaError_t cudaGetDeviceCount(int* count) {
  *count = static_cast<int>(emulation::devices.size());
  return cudaSuccess;
}
inline cudaError_t cudaGetDevice(int* device) {
  *device = emulation::device;
  return cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr which, int device) {
  const emulation::Properties& p = emulation::devices[static_cast<std::size_t>(device)];
  switch (which) {
    case cudaDevAttrMaxSharedMemoryPerBlock:
      *value = 49152;
      break;
    case cudaDevAttrMultiProcessorCount:
      *value = p.processors;
      break;
    case cudaDevAttrL2CacheSize:
      *value = p.l2;
      break;
    case cudaDevAttrMaxThreadsPerMultiProcessor:
      *value = p.threads_per_processor;
      break;
    case cudaDevAttrComputeCapabilityMajor:
      *value = p.major;
      break;
    case cudaDevAttrComputeCapabilityMinor:
      *value = p.minor;
      break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
      *value = p.shared_per_processor;
      break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin:
      *value = p.shared_per_block;
      break;
  }
  return cudaSuccess;
}
inline cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* a, const void*) {
  *a = {cudaMemoryTypeDevice, emulation::device};
  return cudaSuccess;
}

inline cudaError_t cudaMemsetAsync(void* p, int value, std::size_t bytes, cudaStream_t) {
  if (bytes) std::memset(p, value, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
  if (bytes) std::memcpy(to, from, bytes);
  return cudaSuccess;
}
inline cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  *event = nullptr;
  return cudaSuccess;
}
inline cudaError_t cudaEventRecord(cudaEvent_t, cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaStreamWaitEvent(cudaStream_t, cudaEvent_t, unsigned) { return cudaSuccess; }
inline cudaError_t cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
