#include "pyasr/rnn.hpp"

#include "bind/recurrent.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

py::tuple rnn_forward(py::handle x, py::handle lengths, py::handle w_ih, py::handle w_hh, py::handle bias,
                      py::handle h0, py::handle reverse, py::handle threads) {
  Door door("rnn_forward");
  const Rnn& op = *kernels().rnn;
  const py::none none;
  if (door.float_type("x", x) == 'd')
    return recurrent_forward<double, 1>(door, op.f64, x, lengths, w_ih, w_hh, bias, h0, none, reverse, threads);
  return recurrent_forward<float, 1>(door, op.f32, x, lengths, w_ih, w_hh, bias, h0, none, reverse, threads);
}

py::tuple rnn_backward(py::handle saved, py::handle dy, py::handle dhn, py::handle dw_ih, py::handle dw_hh,
                       py::handle dbias, py::handle need_dx, py::handle threads) {
  Door door("rnn_backward");
  const Rnn& op = *kernels().rnn;
  const auto& k = open_saved<1>(door, saved);
  const py::none none;
  if (k.type == 'd')
    return recurrent_backward<double, 1>(door, op.f64, k, dy, dhn, none, dw_ih, dw_hh, dbias, need_dx, threads);
  return recurrent_backward<float, 1>(door, op.f32, k, dy, dhn, none, dw_ih, dw_hh, dbias, need_dx, threads);
}

py::tuple rnn_jvp(py::handle saved, py::handle dx, py::handle dw_ih, py::handle dw_hh, py::handle dbias, py::handle dh0,
                  py::handle threads) {
  Door door("rnn_jvp");
  const Rnn& op = *kernels().rnn;
  const auto& k = open_saved<1>(door, saved);
  const py::none none;
  if (k.type == 'd') return recurrent_jvp<double, 1>(door, op.f64, k, dx, dw_ih, dw_hh, dbias, dh0, none, threads);
  return recurrent_jvp<float, 1>(door, op.f32, k, dx, dw_ih, dw_hh, dbias, dh0, none, threads);
}

}  // namespace

void bind_rnn(py::module_& m) {
  bind_saved<1>(m, "RnnSaved");
  m.def("rnn_forward", &rnn_forward, "x"_a, "lengths"_a, "w_ih"_a, "w_hh"_a, "bias"_a, "h0"_a = py::none(),
        py::kw_only(), "reverse"_a = false, "threads"_a = py::none());
  m.def("rnn_backward", &rnn_backward, "saved"_a, "dy"_a, "dhn"_a = py::none(), py::kw_only(), "dw_ih"_a, "dw_hh"_a,
        "dbias"_a, "need_dx"_a = true, "threads"_a = py::none());
  m.def("rnn_jvp", &rnn_jvp, "saved"_a, "dx"_a = py::none(), "dw_ih"_a = py::none(), "dw_hh"_a = py::none(),
        "dbias"_a = py::none(), "dh0"_a = py::none(), py::kw_only(), "threads"_a = py::none());
}

}  // namespace pyasr::bind
