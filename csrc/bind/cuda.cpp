// pyasr._cuda: launchers over raw pointers and a stream, and what is to know about the device. Importing needs no
// driver. The families are beside this file and register themselves (cuda_family.hpp).
#include <atomic>
#include <stdexcept>
#include <string>

#include "bind/cuda_family.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct DeviceFault : std::runtime_error {
  using std::runtime_error::runtime_error;
};

std::string words(cudaError_t e) { return std::string(cudaGetErrorName(e)) + ": " + cudaGetErrorString(e); }

// After these the context is lost: every later call of any library in this process fails.
bool lost(cudaError_t e) {
  switch (e) {
    case cudaErrorECCUncorrectable:
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorLaunchFailure:
      return true;
    default:
      return false;
  }
}

std::atomic<cudaError_t> fault{cudaSuccess};

}  // namespace

void refuse_after_fault(const char* op) {
  if (const cudaError_t e = fault.load())
    throw DeviceFault(std::string(op) + ": the device failed (" + words(e) +
                      ") and this process can not use it any more: restart the process");
}

void check(const char* op, cudaError_t e) {
  if (e == cudaSuccess) return;
  static_cast<void>(cudaGetLastError());
  if (lost(e)) {
    fault = e;
    refuse_after_fault(op);
  }
  throw std::runtime_error(std::string(op) + ": " + words(e));
}

namespace {

constexpr int oldest = 75;  // compute capability of the oldest code in this module

// None where a device can run kernels, else the reason, in the driver's words where they are its own.
py::object problem() {
  int count = 0;
  if (const cudaError_t e = cudaGetDeviceCount(&count)) {
    static_cast<void>(cudaGetLastError());
    return py::str(words(e));
  }
  if (count == 0) return py::str("the driver lists no device");
  cuda::DeviceProperties p;
  if (const cudaError_t e = cuda::device_properties(&p)) {
    static_cast<void>(cudaGetLastError());
    return py::str(words(e));
  }
  if (const int is = 10 * p.major + p.minor; is < oldest)
    return py::str("the device is an sm_" + std::to_string(is) + ", these kernels need sm_" + std::to_string(oldest) +
                   " or newer");
  return py::none();
}

// The device whose memory this is, or -1 for memory that no kernel may touch.
int device_of(Address p) {
  refuse_after_fault("device_of");
  cudaPointerAttributes a{};
  check("device_of", cudaPointerGetAttributes(&a, at<const void>(p)));
  return a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged ? a.device : -1;
}

int current_device() {
  refuse_after_fault("current_device");
  int device = 0;
  check("current_device", cudaGetDevice(&device));
  return device;
}

// What is queued on `stream` from now on waits for what `producer` has queued so far; the host does not wait.
void wait_for(Address stream, Address producer) {
  refuse_after_fault("wait_for");
  cudaEvent_t event = nullptr;
  check("wait_for", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaError_t e = cudaEventRecord(event, stream_at(producer));
  if (e == cudaSuccess) e = cudaStreamWaitEvent(stream_at(stream), event, 0);
  cudaEventDestroy(event);
  check("wait_for", e);
}

py::dict properties() {
  cuda::DeviceProperties p;
  check("properties", cuda::device_properties(&p));
  return py::dict("processors"_a = p.processors, "threads_per_processor"_a = p.threads_per_processor,
                  "shared_per_block"_a = p.shared_per_block, "shared_per_processor"_a = p.shared_per_processor,
                  "l2"_a = p.l2, "major"_a = p.major, "minor"_a = p.minor);
}

}  // namespace
}  // namespace pyasr::bind

PYBIND11_MODULE(_cuda, m) {
  using namespace pyasr::bind;
  m.doc() = "CUDA kernels of pyasr over raw addresses. Use them through pyasr.backend(\"cuda\").";
  m.attr("__version__") = PYASR_VERSION;
  py::register_local_exception<DeviceFault>(m, "DeviceFault", PyExc_RuntimeError);
  m.def("problem", &problem, "None where a device can run kernels, else the reason.");
  m.def("device_of", &device_of, "address"_a, "The device whose memory this is, -1 for host memory.");
  m.def("current_device", &current_device);
  m.def("properties", &properties, "What plans depend on, of the current device.");
  m.def("wait_for", &wait_for, "stream"_a, "producer"_a, "Later work on stream waits for producer; the host does not.");
  for (const Family* family = Family::first(); family; family = family->next) family->add(m);
}
