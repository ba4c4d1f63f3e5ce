#include "pyasr/rmsprop.hpp"

#include "bind/function.hpp"
#include "bind/update.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

py::object rmsprop(py::handle value, py::handle grad, py::handle square, py::handle lr, py::handle alpha,
                   py::handle eps, py::handle momentum, py::handle buffer, py::handle mean, py::handle weight_decay,
                   py::handle clip, py::handle clip_eps, py::handle grad_scale, py::handle nonfinite,
                   py::handle sum_squares, py::handle average, py::handle average_decay, py::handle segments,
                   py::handle threads) {
  UpdateDoor door("rmsprop", value);
  door.common({lr, weight_decay, clip, clip_eps, grad_scale, nonfinite, sum_squares, average_decay, threads});
  RmspropRule rule{};
  rule.alpha = door.real_in("alpha", alpha, 0, 1);
  rule.eps = door.factor("eps", eps, 0);
  rule.momentum = door.factor("momentum", momentum, 0);
  door.needs_buffer = rule.momentum != 0 && buffer.is_none();
  return door.run(*kernels().rmsprop, rule, value, grad,
                  {{"square", square, false}, {"buffer", buffer}, {"mean", mean}}, average, segments);
}

}  // namespace

void bind_rmsprop(py::module_& m) {
  def(m, "rmsprop", &rmsprop,
      {"value"_a,
       "grad"_a,
       "square"_a,
       py::kw_only(),
       "lr"_a,
       "alpha"_a = 0.99,
       "eps"_a = 1e-8,
       "momentum"_a = 0.0,
       "buffer"_a = py::none(),
       "mean"_a = py::none(),
       "weight_decay"_a = 0.0,
       "clip"_a = py::none(),
       "clip_eps"_a = 0.0,
       "grad_scale"_a = 1.0,
       "nonfinite"_a = "skip",
       "sum_squares"_a = py::none(),
       "average"_a = py::none(),
       "average_decay"_a = 0.999,
       "segments"_a = py::none(),
       "threads"_a = py::none()});
}

}  // namespace pyasr::bind
