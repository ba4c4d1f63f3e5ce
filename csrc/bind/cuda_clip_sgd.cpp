#include "bind/cuda_family.hpp"
#include "cuda/clip_sgd.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_clip_sgd(Address value, Address grad, Address buffer, std::size_t n, const ClipSgdOptions& options,
                         Address workspace, Address report, Address stream) {
  const ClipSgdArgs<T> args{at<T>(value), at<const T>(grad), at<T>(buffer), n, options};
  return cuda::clip_sgd(args, at<void>(workspace), at<cuda::ClipSgdReport>(report), stream_at(stream));
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
  queue("clip_sgd", [&] {
    return is_double ? run_clip_sgd<double>(value, grad, buffer, n, o, workspace, report, stream)
                     : run_clip_sgd<float>(value, grad, buffer, n, o, workspace, report, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(clip_sgd) {
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

}  // namespace pyasr::bind
