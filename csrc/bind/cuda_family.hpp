// What the bindings of the CUDA families share. A family is one file, csrc/bind/cuda_<family>.cpp, and registers
// itself:
//
//   PYASR_CUDA_FAMILY(clip_sgd) { m.def("clip_sgd", &clip_sgd, py::kw_only(), …); }
//
// Its functions take addresses of device memory and a stream as integers. Arguments are checked before, in
// pyasr/ops/_cuda, which also owns the memory.
#pragma once
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <utility>

#include "cuda/device.hpp"

namespace pyasr::bind {

namespace py = pybind11;
using Address = std::uintptr_t;

template <class T>
T* at(Address a) {
  return reinterpret_cast<T*>(a);
}
inline cudaStream_t stream_at(Address a) { return reinterpret_cast<cudaStream_t>(a); }

// Raises for an error, in the words of the driver, and consumes it, so that the next call does not inherit it. An error
// that leaves the device unusable for this process is remembered.
void check(const char* op, cudaError_t e);
// Raises DeviceFault where such an error has been seen.
void refuse_after_fault(const char* op);

// Queues work: `work()` runs without the GIL and returns a cudaError_t.
template <class Work>
void queue(const char* op, Work&& work) {
  refuse_after_fault(op);
  cudaError_t e{};
  {
    py::gil_scoped_release released;
    e = std::forward<Work>(work)();
  }
  check(op, e);
}

struct Family {
  explicit Family(void (*add)(py::module_&)) : add(add), next(first()) { first() = this; }
  static Family*& first() {
    static Family* head = nullptr;
    return head;
  }
  void (*add)(py::module_&);
  Family* next;
};

}  // namespace pyasr::bind

#define PYASR_CUDA_FAMILY(name)                            \
  static void add_##name(::pybind11::module_& m);          \
  static ::pyasr::bind::Family family_##name(&add_##name); \
  static void add_##name(::pybind11::module_& m)
