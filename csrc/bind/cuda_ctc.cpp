#include "bind/cuda_family.hpp"
#include "cuda/ctc.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct CtcSizes {
  std::int64_t T, B, V, U;
};

template <class T>
cudaError_t run_ctc(Address logits, Address lengths, Address labels, Address label_lengths, Address loss,
                    Address dlogits, const CtcSizes& n, std::int32_t blank, bool zero_infinity, Address workspace,
                    Address stream) {
  const CtcArgs<T> args{at<const T>(logits),
                        at<const std::int32_t>(lengths),
                        at<const std::int32_t>(labels),
                        at<const std::int32_t>(label_lengths),
                        at<T>(loss),
                        at<T>(dlogits),
                        nullptr,
                        n.T,
                        n.B,
                        n.V,
                        n.U,
                        blank,
                        zero_infinity};
  return cuda::ctc_loss(args, at<void>(workspace), stream_at(stream));
}

void ctc_loss(Address logits, Address lengths, Address labels, Address label_lengths, Address loss, Address dlogits,
              std::int64_t T, std::int64_t B, std::int64_t V, std::int64_t U, std::int32_t blank, bool zero_infinity,
              bool is_double, Address workspace, Address stream) {
  const CtcSizes n{T, B, V, U};
  queue("ctc_loss", [&] {
    const auto call = is_double ? run_ctc<double> : run_ctc<float>;
    return call(logits, lengths, labels, label_lengths, loss, dlogits, n, blank, zero_infinity, workspace, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(ctc) {
  m.def(
      "ctc_workspace_bytes",
      [](std::int64_t T, std::int64_t B, std::int64_t U, std::size_t entry) {
        return cuda::plan_ctc(T, B, U, entry).bytes;
      },
      "T"_a, "B"_a, "U"_a, "entry"_a, "What ctc_loss needs for entries of `entry` bytes.");
  m.def("ctc_loss", &ctc_loss, py::kw_only(), "logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, "loss"_a,
        "dlogits"_a, "T"_a, "B"_a, "V"_a, "U"_a, "blank"_a, "zero_infinity"_a, "is_double"_a, "workspace"_a,
        "stream"_a);
}

}  // namespace pyasr::bind
