// What a device is, as far as the shape of a launch depends on it. Plans are functions of these numbers, so they are
// tested where no device is.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <mutex>

namespace pyasr::cuda {

struct DeviceProperties {
  int processors;                    // streaming multiprocessors
  int threads_per_processor;         // resident at once
  std::size_t shared_per_block;      // bytes that a block may ask for, after opting in
  std::size_t shared_per_processor;  // bytes that its blocks share
  std::size_t l2;                    // bytes
  int major, minor;                  // compute capability
};

// The properties of the current device, read once per device.
inline cudaError_t device_properties(DeviceProperties* out) {
  static std::mutex one;
  static DeviceProperties known[64];
  static bool read[64];
  int device = 0;
  if (const cudaError_t e = cudaGetDevice(&device)) return e;
  if (device < 0 || device >= 64) return cudaErrorInvalidDevice;
  const std::lock_guard<std::mutex> held(one);
  if (!read[device]) {
    constexpr cudaDeviceAttr which[] = {cudaDevAttrMultiProcessorCount,
                                        cudaDevAttrMaxThreadsPerMultiProcessor,
                                        cudaDevAttrMaxSharedMemoryPerBlockOptin,
                                        cudaDevAttrMaxSharedMemoryPerMultiprocessor,
                                        cudaDevAttrL2CacheSize,
                                        cudaDevAttrComputeCapabilityMajor,
                                        cudaDevAttrComputeCapabilityMinor};
    int v[7];
    for (int k = 0; k < 7; ++k)
      if (const cudaError_t e = cudaDeviceGetAttribute(&v[k], which[k], device)) return e;
    known[device] = {
        v[0], v[1], static_cast<std::size_t>(v[2]), static_cast<std::size_t>(v[3]), static_cast<std::size_t>(v[4]),
        v[5], v[6]};
    read[device] = true;
  }
  *out = known[device];
  return cudaSuccess;
}

}  // namespace pyasr::cuda
