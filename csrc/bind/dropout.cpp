#include "pyasr/dropout.hpp"

#include "bind/array.hpp"
#include "bind/function.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
py::tuple run_dropout(Door& door, py::handle x, py::handle rate, py::handle key, py::handle threads) {
  DropoutArgs<T> args{};
  args.x = door.read<T>("x", x, "N");
  args.N = door["N"];
  args.rate = door.real_in("rate", rate, 0, 1);
  if (args.rate == 1) door.value_error("rate must be below 1, got 1.0");
  if (!PyTuple_Check(key.ptr())) door.type_error("key must be a tuple of two integers, got " + type_name(key));
  if (PyTuple_GET_SIZE(key.ptr()) != 2)
    door.value_error("key must be a tuple of two integers, got " + std::to_string(PyTuple_GET_SIZE(key.ptr())));
  args.key[0] = door.word("key[0]", PyTuple_GET_ITEM(key.ptr(), 0));
  args.key[1] = door.word("key[1]", PyTuple_GET_ITEM(key.ptr(), 1));
  const int workers = door.threads(threads);
  py::array y = new_array<T>({args.N}), factor = new_array<T>({args.N});
  args.y = data<T>(y);
  args.factor = data<T>(factor);
  const Dropout& op = *kernels().dropout;
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(args, runtime);
    else
      op.f64(args, runtime);
  });
  return py::make_tuple(y, factor);
}

py::tuple dropout(py::handle x, py::handle rate, py::handle key, py::handle threads) {
  Door door("dropout");
  return door.float_type("x", x) == 'd' ? run_dropout<double>(door, x, rate, key, threads)
                                        : run_dropout<float>(door, x, rate, key, threads);
}

}  // namespace

void bind_dropout(py::module_& m) {
  def(m, "dropout", &dropout, {"x"_a, py::kw_only(), "rate"_a, "key"_a, "threads"_a = py::none()});
}

}  // namespace pyasr::bind
