#include "bind/cuda_family.hpp"
#include "cuda/softmax.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_softmax(Address logits, Address labels, Address loss, Address dlogits, std::int64_t N, std::int64_t V,
                        Address stream) {
  const SoftmaxArgs<T> args{at<const T>(logits), at<const std::int32_t>(labels), at<T>(loss), at<T>(dlogits), N, V};
  return cuda::softmax_cross_entropy(args, stream_at(stream));
}

void softmax_cross_entropy(Address logits, Address labels, Address loss, Address dlogits, std::int64_t N,
                           std::int64_t V, bool is_double, Address stream) {
  queue("softmax_cross_entropy", [&] {
    return is_double ? run_softmax<double>(logits, labels, loss, dlogits, N, V, stream)
                     : run_softmax<float>(logits, labels, loss, dlogits, N, V, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(softmax) {
  m.def("softmax_cross_entropy", &softmax_cross_entropy, py::kw_only(), "logits"_a, "labels"_a, "loss"_a, "dlogits"_a,
        "N"_a, "V"_a, "is_double"_a, "stream"_a);
}

}  // namespace pyasr::bind
