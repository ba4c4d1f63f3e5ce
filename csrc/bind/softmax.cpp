#include "pyasr/softmax.hpp"

#include "bind/array.hpp"
#include "bind/function.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
py::tuple run(Door& door, py::handle logits, py::handle labels, py::handle threads) {
  SoftmaxArgs<T> args{};
  args.logits = door.read<T>("logits", logits, "N V");
  args.labels = door.read<std::int32_t>("labels", labels, "N");
  const int workers = door.threads(threads);
  args.N = door["N"];
  args.V = door["V"];
  for (std::int64_t n = 0; n < args.N; ++n)
    if (args.labels[n] < -1 || args.labels[n] >= args.V)
      door.value_error("labels must lie in [-1, V = " + std::to_string(args.V) + "), got " +
                       std::to_string(args.labels[n]) + " at " + std::to_string(n));
  py::array loss = new_array<T>({args.N}), dlogits = new_array<T>({args.N, args.V});
  args.loss = data<T>(loss);
  args.dlogits = data<T>(dlogits);
  const Softmax& op = *kernels().softmax;
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(args, runtime);
    else
      op.f64(args, runtime);
  });
  return py::make_tuple(loss, dlogits);
}

py::tuple softmax_cross_entropy(py::handle logits, py::handle labels, py::handle threads) {
  Door door("softmax_cross_entropy");
  return door.float_type("logits", logits) == 'd' ? run<double>(door, logits, labels, threads)
                                                  : run<float>(door, logits, labels, threads);
}

}  // namespace

void bind_softmax(py::module_& m) {
  def(m, "softmax_cross_entropy", &softmax_cross_entropy,
      {"logits"_a, "labels"_a, py::kw_only(), "threads"_a = py::none()});
}

}  // namespace pyasr::bind
