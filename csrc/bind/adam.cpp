#include "pyasr/adam.hpp"

#include <cmath>

#include "bind/function.hpp"
#include "bind/update.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

py::object adam(py::handle value, py::handle grad, py::handle mean, py::handle square, py::handle step, py::handle lr,
                py::handle beta1, py::handle beta2, py::handle eps, py::handle weight_decay, py::handle decoupled,
                py::handle largest, py::handle clip, py::handle clip_eps, py::handle grad_scale, py::handle nonfinite,
                py::handle sum_squares, py::handle average, py::handle average_decay, py::handle segments,
                py::handle threads) {
  UpdateDoor door("adam", value);
  door.common({lr, weight_decay, clip, clip_eps, grad_scale, nonfinite, sum_squares, average_decay, threads},
              decoupled);
  const auto count = static_cast<double>(door.integer_in("step", step, 1, std::int64_t{1} << 53));
  AdamRule rule{};
  rule.beta1 = door.real_in("beta1", beta1, 0, 1);
  rule.beta2 = door.real_in("beta2", beta2, 0, 1);
  if (rule.beta1 == 1) door.value_error("beta1 must be below 1, got 1.0");
  if (rule.beta2 == 1) door.value_error("beta2 must be below 1, got 1.0");
  rule.eps = door.factor("eps", eps, 0);
  rule.unbias1 = 1 / (1 - std::pow(rule.beta1, count));
  rule.unbias2 = 1 / std::sqrt(1 - std::pow(rule.beta2, count));
  return door.run(*kernels().adam, rule, value, grad,
                  {{"mean", mean, false}, {"square", square, false}, {"largest", largest}}, average, segments);
}

}  // namespace

void bind_adam(py::module_& m) {
  def(m, "adam", &adam,
      {"value"_a,
       "grad"_a,
       "mean"_a,
       "square"_a,
       py::kw_only(),
       "step"_a,
       "lr"_a,
       "beta1"_a = 0.9,
       "beta2"_a = 0.999,
       "eps"_a = 1e-8,
       "weight_decay"_a = 0.0,
       "decoupled"_a = false,
       "largest"_a = py::none(),
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
