#include "pyasr/clip_sgd.hpp"

#include <limits>

#include "bind/function.hpp"
#include "bind/update.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

py::object clip_sgd(py::handle value, py::handle grad, py::handle lr, py::handle momentum, py::handle buffer,
                    py::handle step, py::handle dampening, py::handle nesterov, py::handle weight_decay,
                    py::handle decoupled, py::handle l1, py::handle proximal, py::handle clip, py::handle eps,
                    py::handle grad_scale, py::handle nonfinite, py::handle sum_squares, py::handle average,
                    py::handle average_decay, py::handle segments, py::handle threads) {
  UpdateDoor door("clip_sgd", value);
  door.common({lr, weight_decay, clip, eps, grad_scale, nonfinite, sum_squares, average_decay, threads, "eps",
               UpdateDoor::largest},
              decoupled, l1, proximal);
  ClipSgdRule rule{};
  rule.momentum = door.factor("momentum", momentum, 0);
  rule.dampening = door.factor("dampening", dampening);
  rule.nesterov = door.boolean("nesterov", nesterov);
  rule.first = !step.is_none() && door.integer_in("step", step, 0, std::numeric_limits<std::int64_t>::max()) == 0;
  if (rule.nesterov && (rule.momentum == 0 || rule.dampening != 0))
    door.value_error("nesterov needs momentum above 0 and dampening 0");
  door.needs_buffer = rule.momentum != 0 && buffer.is_none();
  return door.run(*kernels().clip_sgd, rule, value, grad, {{"buffer", buffer}}, average, segments);
}

}  // namespace

void bind_clip_sgd(py::module_& m) {
  def(m, "clip_sgd", &clip_sgd,
      {"value"_a,
       "grad"_a,
       py::kw_only(),
       "lr"_a,
       "momentum"_a = 0.0,
       "buffer"_a = py::none(),
       "step"_a = py::none(),
       "dampening"_a = 0.0,
       "nesterov"_a = false,
       "weight_decay"_a = 0.0,
       "decoupled"_a = false,
       "l1"_a = 0.0,
       "proximal"_a = false,
       "clip"_a = py::none(),
       "eps"_a = 0.0,
       "grad_scale"_a = 1.0,
       "nonfinite"_a = "skip",
       "sum_squares"_a = py::none(),
       "average"_a = py::none(),
       "average_decay"_a = 0.999,
       "segments"_a = py::none(),
       "threads"_a = py::none()});
}

}  // namespace pyasr::bind
