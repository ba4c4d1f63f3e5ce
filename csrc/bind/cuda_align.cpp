#include "bind/cuda_family.hpp"
#include "cuda/align.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct AlignSizes {
  std::int64_t T, B, V, U;
};

template <class T>
cudaError_t run_align(Address logits, Address lengths, Address labels, Address label_lengths, Address positions,
                      Address scores, Address log_p, const AlignSizes& n, std::int32_t blank, Address workspace,
                      Address stream) {
  const AlignArgs<T> args{at<const T>(logits),
                          at<const std::int32_t>(lengths),
                          at<const std::int32_t>(labels),
                          at<const std::int32_t>(label_lengths),
                          at<std::int32_t>(positions),
                          at<T>(scores),
                          at<T>(log_p),
                          n.T,
                          n.B,
                          n.V,
                          n.U,
                          blank};
  return cuda::ctc_align(args, at<void>(workspace), stream_at(stream));
}

void ctc_align(Address logits, Address lengths, Address labels, Address label_lengths, Address positions,
               Address scores, Address log_p, std::int64_t T, std::int64_t B, std::int64_t V, std::int64_t U,
               std::int32_t blank, bool is_double, Address workspace, Address stream) {
  const AlignSizes n{T, B, V, U};
  queue("ctc_align", [&] {
    const auto call = is_double ? run_align<double> : run_align<float>;
    return call(logits, lengths, labels, label_lengths, positions, scores, log_p, n, blank, workspace, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(align) {
  m.def(
      "align_workspace_bytes",
      [](std::int64_t T, std::int64_t B, std::int64_t U) { return cuda::plan_align(T, B, U).bytes; }, "T"_a, "B"_a,
      "U"_a);
  m.def("ctc_align", &ctc_align, py::kw_only(), "logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, "positions"_a,
        "scores"_a, "log_p"_a, "T"_a, "B"_a, "V"_a, "U"_a, "blank"_a, "is_double"_a, "workspace"_a, "stream"_a);
}

}  // namespace pyasr::bind
