#include "cuda/device.hpp"

#include <mutex>

namespace pyasr::cuda {

cudaError_t device_properties(DeviceProperties* out) {
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
