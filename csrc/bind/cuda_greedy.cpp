#include "bind/cuda_family.hpp"
#include "cuda/greedy.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_greedy(Address logits, Address lengths, Address labels, Address counts, std::int64_t frames,
                       std::int64_t B, std::int64_t V, std::int32_t blank, Address workspace, Address stream) {
  const GreedyArgs<T> args{at<const T>(logits),
                           at<const std::int32_t>(lengths),
                           at<std::int32_t>(labels),
                           at<std::int32_t>(counts),
                           frames,
                           B,
                           V,
                           blank};
  return cuda::ctc_greedy(args, at<void>(workspace), stream_at(stream));
}

void ctc_greedy(Address logits, Address lengths, Address labels, Address counts, std::int64_t T, std::int64_t B,
                std::int64_t V, std::int32_t blank, bool is_double, Address workspace, Address stream) {
  queue("ctc_greedy", [&] {
    const auto call = is_double ? run_greedy<double> : run_greedy<float>;
    return call(logits, lengths, labels, counts, T, B, V, blank, workspace, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(greedy) {
  m.def("greedy_workspace_bytes", &cuda::greedy_workspace_bytes, "T"_a, "B"_a);
  m.def("ctc_greedy", &ctc_greedy, py::kw_only(), "logits"_a, "lengths"_a, "labels"_a, "counts"_a, "T"_a, "B"_a, "V"_a,
        "blank"_a, "is_double"_a, "workspace"_a, "stream"_a);
}

}  // namespace pyasr::bind
