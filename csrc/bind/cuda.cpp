// pyasr._cuda: launchers over raw pointers and a stream. Arguments are checked before, in pyasr/ops/_cuda.py, which
// also owns the memory through CuPy. Importing needs no driver.
#include <cuda_runtime_api.h>
#include <pybind11/pybind11.h>

#include <cstdint>
#include <stdexcept>
#include <string>

#include "cuda/clip_sgd.hpp"

namespace py = pybind11;

namespace {

using namespace pyasr;
using Address = std::uintptr_t;

void check(const char* op, cudaError_t e) {
  if (e == cudaSuccess) return;
  cudaGetLastError();  // the next call starts clean
  throw std::runtime_error(std::string(op) + ": " + cudaGetErrorName(e) + ": " + cudaGetErrorString(e));
}

// None where a device can run kernels, else the driver's words.
py::object problem() {
  int count = 0;
  const cudaError_t e = cudaGetDeviceCount(&count);
  if (e != cudaSuccess) {
    cudaGetLastError();
    return py::str(std::string(cudaGetErrorName(e)) + ": " + cudaGetErrorString(e));
  }
  if (count == 0) return py::str("the driver lists no device");
  return py::none();
}

// The device whose memory this is, or -1 for memory that no kernel may touch.
int device_of(Address p) {
  cudaPointerAttributes a{};
  check("device_of", cudaPointerGetAttributes(&a, reinterpret_cast<const void*>(p)));
  return a.type == cudaMemoryTypeDevice || a.type == cudaMemoryTypeManaged ? a.device : -1;
}

int current_device() {
  int device = 0;
  check("current_device", cudaGetDevice(&device));
  return device;
}

// What is queued on `stream` from now on waits for what `producer` has queued so far; the host does not wait.
void wait_for(Address stream, Address producer) {
  cudaEvent_t event = nullptr;
  check("wait_for", cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
  cudaError_t e = cudaEventRecord(event, reinterpret_cast<cudaStream_t>(producer));
  if (e == cudaSuccess) e = cudaStreamWaitEvent(reinterpret_cast<cudaStream_t>(stream), event, 0);
  cudaEventDestroy(event);
  check("wait_for", e);
}

template <class T>
cudaError_t run(Address value, Address grad, Address buffer, std::size_t n, const ClipSgdOptions& options,
                Address workspace, Address report, Address stream) {
  const ClipSgdArgs<T> args{reinterpret_cast<T*>(value), reinterpret_cast<const T*>(grad), reinterpret_cast<T*>(buffer),
                            n, options};
  return cuda::clip_sgd(args, reinterpret_cast<void*>(workspace), reinterpret_cast<cuda::ClipSgdReport*>(report),
                        reinterpret_cast<cudaStream_t>(stream));
}

void clip_sgd(Address value, Address grad, Address buffer, std::size_t n, bool is_double, double lr, double momentum,
              double dampening, bool nesterov, double weight_decay, bool decoupled, const std::string& clip,
              double limit, double eps, double grad_scale, bool first, bool propagate, Address workspace,
              Address report, Address stream) {
  ClipSgdOptions o{};
  o.lr = lr;
  o.momentum = momentum;
  o.dampening = dampening;
  o.weight_decay = weight_decay;
  o.limit = limit;
  o.eps = eps;
  o.grad_scale = grad_scale;
  o.nesterov = nesterov;
  o.decoupled = decoupled;
  o.first = first;
  o.clip = clip == "norm" ? Clip::norm : clip == "value" ? Clip::value : Clip::none;
  o.nonfinite = propagate ? NonFinite::propagate : NonFinite::skip;
  cudaError_t e{};
  {
    py::gil_scoped_release released;
    e = is_double ? run<double>(value, grad, buffer, n, o, workspace, report, stream)
                  : run<float>(value, grad, buffer, n, o, workspace, report, stream);
  }
  check("clip_sgd", e);
}

}  // namespace

PYBIND11_MODULE(_cuda, m) {
  using namespace py::literals;
  m.doc() = "CUDA kernels of pyasr over raw addresses. Use them through pyasr.backend(\"cuda\").";
  m.attr("__version__") = PYASR_VERSION;
  m.def("problem", &problem, "None where a device can run kernels, else the driver's words.");
  m.def("device_of", &device_of, "address"_a, "The device whose memory this is, -1 for host memory.");
  m.def("current_device", &current_device);
  m.def("wait_for", &wait_for, "stream"_a, "producer"_a, "Later work on stream waits for producer; the host does not.");
  m.attr("clip_sgd_workspace_bytes") = cuda::clip_sgd_workspace_bytes;
  m.def(
      "clip_sgd_plan",
      [](std::size_t n, int resident_blocks) {
        const auto p = cuda::plan_clip_sgd(n, resident_blocks);
        return py::make_tuple(p.slot_size, p.slots, p.blocks);
      },
      "n"_a, "resident_blocks"_a, "The launch for n parameters: (slot_size, slots, blocks).");
  m.def("clip_sgd", &clip_sgd, py::kw_only(), "value"_a, "grad"_a, "buffer"_a, "n"_a, "is_double"_a, "lr"_a,
        "momentum"_a, "dampening"_a, "nesterov"_a, "weight_decay"_a, "decoupled"_a, "clip"_a, "limit"_a, "eps"_a,
        "grad_scale"_a, "first"_a, "propagate"_a, "workspace"_a, "report"_a, "stream"_a);
}
