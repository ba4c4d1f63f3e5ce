// What a device is, as far as the shape of a launch depends on it. Plans are functions of these numbers, so they are
// tested where no device is.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>

namespace pyasr::cuda {

struct DeviceProperties {
  int processors;                    // streaming multiprocessors
  int threads_per_processor;         // resident at once
  std::size_t shared_per_block;      // bytes that a block may ask for, after opting in
  std::size_t shared_per_processor;  // bytes that its blocks share
  std::size_t l2;                    // bytes
  int major, minor;                  // compute capability
};

// The properties of the current device, read once per device. Defined apart: <mutex> would take nvcc a second per
// kernel source.
cudaError_t device_properties(DeviceProperties* out);

}  // namespace pyasr::cuda
