#include "bind/cuda_family.hpp"
#include "cuda/dropout.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
cudaError_t run_dropout(Address x, Address y, Address factor, std::int64_t N, double rate, std::uint64_t k0,
                        std::uint64_t k1, Address stream) {
  const DropoutArgs<T> args{at<const T>(x), at<T>(y), at<T>(factor), N, rate, {k0, k1}};
  return cuda::dropout(args, stream_at(stream));
}

void dropout(Address x, Address y, Address factor, std::int64_t N, double rate, std::uint64_t k0, std::uint64_t k1,
             bool is_double, Address stream) {
  queue("dropout", [&] {
    return is_double ? run_dropout<double>(x, y, factor, N, rate, k0, k1, stream)
                     : run_dropout<float>(x, y, factor, N, rate, k0, k1, stream);
  });
}

}  // namespace

PYASR_CUDA_FAMILY(dropout) {
  m.def("dropout", &dropout, py::kw_only(), "x"_a, "y"_a, "factor"_a, "N"_a, "rate"_a, "k0"_a, "k1"_a, "is_double"_a,
        "stream"_a);
}

}  // namespace pyasr::bind
