#include "bind/cuda_family.hpp"
#include "cuda/cg.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_cg(Address A, Address M, Address b, Address x0, Address x, Address report, int n, int systems,
                   bool b_is_double, bool x0_is_double, const cuda::CgOptions& o, Address workspace, Address stream) {
  const cuda::CgArgs<T> args{at<const T>(A),
                             at<const T>(M),
                             at<const void>(b),
                             at<const void>(x0),
                             at<void>(x),
                             at<cuda::CgReport>(report),
                             n,
                             systems,
                             b_is_double,
                             x0_is_double,
                             o};
  return cuda::cg<T>(args, at<void>(workspace), stream_at(stream));
}

void cg(Address A, Address M, Address b, Address x0, Address x, Address report, int n, int systems, bool is_double,
        bool b_is_double, bool x0_is_double, const cuda::CgOptions& o, Address workspace, Address stream) {
  queue("cg", [&] {
    return (is_double ? run_cg<double> : run_cg<float>)(A, M, b, x0, x, report, n, systems, b_is_double, x0_is_double,
                                                        o, workspace, stream);
  });
}

std::size_t cg_workspace_bytes(int n, int systems, bool is_double, const cuda::CgOptions& o) {
  cuda::CgPlan plan;
  int groups = 0;
  queue("cg",
        [&] { return (is_double ? cuda::cg_plan<double> : cuda::cg_plan<float>)(n, systems, o, &plan, &groups); });
  return static_cast<std::size_t>(groups) * plan.workspace_bytes;
}

template <class T>
cudaError_t run_cg_step(Address answer, Address b, Address x0, Address v, Address x, Address report, int n,
                        bool answer_is_double, bool x0_is_double, const cuda::CgOptions& o, Address workspace,
                        Address stream) {
  const cuda::CgStepArgs<T> args{at<const void>(answer),
                                 at<const T>(b),
                                 at<const void>(x0),
                                 at<T>(v),
                                 at<T>(x),
                                 at<cuda::CgReport>(report),
                                 n,
                                 answer_is_double,
                                 x0_is_double,
                                 o};
  return cuda::cg_step<T>(args, at<void>(workspace), stream_at(stream));
}

void cg_step(Address answer, Address b, Address x0, Address v, Address x, Address report, int n, bool is_double,
             bool answer_is_double, bool x0_is_double, const cuda::CgOptions& o, Address workspace, Address stream) {
  queue("cg", [&] {
    return (is_double ? run_cg_step<double> : run_cg_step<float>)(answer, b, x0, v, x, report, n, answer_is_double,
                                                                  x0_is_double, o, workspace, stream);
  });
}

std::size_t cg_step_workspace_bytes(int n, bool is_double, const cuda::CgOptions& o) {
  cuda::CgStepPlan plan;
  queue("cg", [&] { return (is_double ? cuda::cg_step_plan<double> : cuda::cg_step_plan<float>)(n, o, &plan); });
  return plan.workspace_bytes;
}

}  // namespace

PYASR_CUDA_FAMILY(cg) {
  py::class_<cuda::CgOptions>(m, "CgOptions")
      .def(py::init([](double rtol, double atol, double damping, double martens_eps, long long maxiter, int stored,
                       bool martens, bool scale_by_k, bool flexible, bool verify) {
             return cuda::CgOptions{rtol,    atol,       damping,  martens_eps, maxiter, static_cast<CgStored>(stored),
                                    martens, scale_by_k, flexible, verify};
           }),
           py::kw_only(), "rtol"_a, "atol"_a, "damping"_a, "martens_eps"_a, "maxiter"_a, "stored"_a, "martens"_a,
           "scale_by_k"_a, "flexible"_a, "verify"_a);
  m.attr("cg_asymmetric") = cuda::cg_asymmetric;
  m.attr("cg_under_way") = cuda::cg_under_way;
  m.def("cg_most_products", &cuda::cg_most_products, "maxiter"_a, "So many products, and the solution is over.");
  m.def("cg_step_workspace_bytes", &cg_step_workspace_bytes, py::kw_only(), "n"_a, "is_double"_a, "options"_a);
  m.def("cg_step", &cg_step, py::kw_only(), "answer"_a, "b"_a, "x0"_a, "v"_a, "x"_a, "report"_a, "n"_a, "is_double"_a,
        "answer_is_double"_a, "x0_is_double"_a, "options"_a, "workspace"_a, "stream"_a);
  m.def("cg_workspace_bytes", &cg_workspace_bytes, py::kw_only(), "n"_a, "systems"_a, "is_double"_a, "options"_a);
  m.def(
      "cg_plan",
      [](int n, bool is_double, const cuda::CgOptions& o, int systems, int blocks, std::size_t shared) {
        const auto p = cuda::plan_cg(n, is_double ? 8 : 4, o, systems, blocks, shared);
        return py::dict("blocks"_a = p.blocks, "threads"_a = p.threads, "rows"_a = p.rows, "panels"_a = p.panels,
                        "resident"_a = p.resident, "kept"_a = p.kept, "on_chip"_a = p.on_chip,
                        "shared_bytes"_a = p.shared_bytes, "workspace_bytes"_a = p.workspace_bytes);
      },
      "n"_a, "is_double"_a, "options"_a, "systems"_a, "blocks"_a, "shared"_a,
      "The launch on a device that runs so many blocks.");
  m.def("cg", &cg, py::kw_only(), "A"_a, "M"_a, "b"_a, "x0"_a, "x"_a, "report"_a, "n"_a, "systems"_a, "is_double"_a,
        "b_is_double"_a, "x0_is_double"_a, "options"_a, "workspace"_a, "stream"_a);
}

}  // namespace pyasr::bind
