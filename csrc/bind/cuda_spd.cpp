#include "bind/cuda_family.hpp"
#include "cuda/spd.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_spd(Address A, Address b, Address x, Address minor, int n, int systems, Address workspace,
                    Address stream) {
  const SpdArgs<T> args{at<const T>(A),
                        at<const T>(b),
                        at<T>(x),
                        at<std::int64_t>(minor),
                        static_cast<std::size_t>(systems),
                        static_cast<std::size_t>(n)};
  return cuda::spd_solve<T>(args, at<void>(workspace), stream_at(stream));
}

void spd_solve(Address A, Address b, Address x, Address minor, int n, int systems, bool is_double, Address workspace,
               Address stream) {
  queue("spd_solve", [&] {
    return is_double ? run_spd<double>(A, b, x, minor, n, systems, workspace, stream)
                     : run_spd<float>(A, b, x, minor, n, systems, workspace, stream);
  });
}

std::size_t spd_workspace_bytes(int n, int systems, bool is_double) {
  cuda::SpdPlan plan;
  int groups = 0;
  queue("spd_solve", [&] {
    return is_double ? cuda::spd_plan<double>(n, systems, &plan, &groups)
                     : cuda::spd_plan<float>(n, systems, &plan, &groups);
  });
  return static_cast<std::size_t>(groups) * plan.workspace_bytes;
}

}  // namespace

PYASR_CUDA_FAMILY(spd) {
  m.def("spd_workspace_bytes", &spd_workspace_bytes, py::kw_only(), "n"_a, "systems"_a, "is_double"_a);
  m.def(
      "spd_plan",
      [](int n, bool is_double, int systems, int processors, std::size_t shared) {
        const auto p = cuda::plan_spd(n, is_double ? 8 : 4, systems, processors, shared);
        return py::dict("blocks"_a = p.blocks, "threads"_a = p.threads, "padded"_a = p.padded, "on_chip"_a = p.on_chip,
                        "shared_bytes"_a = p.shared_bytes, "workspace_bytes"_a = p.workspace_bytes);
      },
      "n"_a, "is_double"_a, "systems"_a, "processors"_a, "shared"_a, "The launch on such a device.");
  m.def("spd_solve", &spd_solve, py::kw_only(), "A"_a, "b"_a, "x"_a, "minor"_a, "n"_a, "systems"_a, "is_double"_a,
        "workspace"_a, "stream"_a);
}

}  // namespace pyasr::bind
