#include "pyasr/lstm.hpp"

#include "bind/frozen.hpp"
#include "bind/function.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct LstmKind {
  static constexpr const char* name = "lstm";
  static constexpr const char *w_ih = "S 4*H D", *w_hh = "S 4*H R", *bias = "S 4*H";
  static constexpr const char *h = "S B R", *y = "T B S*R";
  static constexpr const char *frozen = "freeze", *frozen_forward = "frozen forward", *frozen_class = "_FrozenLstm";
  static constexpr bool own_cell = true;
};

py::tuple lstm_forward(py::handle x, py::handle lengths, py::handle w_ih, py::handle w_hh, py::handle bias,
                       py::handle h0, py::handle c0, py::object peephole, py::object projection, py::object cell_clip,
                       py::object state_mask, py::object keep_h, py::object keep_c, py::handle reverse,
                       py::handle threads) {
  Door door("lstm_forward");
  const Lstm& op = *kernels().lstm;
  const RecurrentOptions options{peephole, projection, cell_clip, state_mask, keep_h, keep_c};
  if (door.float_type("x", x) == 'd')
    return recurrent_forward<LstmKind, double>(door, op.f64, x, lengths, w_ih, w_hh, bias, h0, c0, options, reverse,
                                               threads);
  return recurrent_forward<LstmKind, float>(door, op.f32, x, lengths, w_ih, w_hh, bias, h0, c0, options, reverse,
                                            threads);
}

py::tuple lstm_backward(py::handle saved, py::handle dy, py::handle dhn, py::handle dcn, py::handle dw_ih,
                        py::handle dw_hh, py::handle dbias, py::handle dpeephole, py::handle dprojection,
                        py::handle need_dx, py::handle threads) {
  Door door("lstm_backward");
  const Lstm& op = *kernels().lstm;
  const auto& k = open_saved<LstmKind>(door, saved);
  if (k.type == 'd')
    return recurrent_backward<LstmKind, double>(door, op.f64, k, dy, dhn, dcn, dw_ih, dw_hh, dbias, dpeephole,
                                                dprojection, need_dx, threads);
  return recurrent_backward<LstmKind, float>(door, op.f32, k, dy, dhn, dcn, dw_ih, dw_hh, dbias, dpeephole, dprojection,
                                             need_dx, threads);
}

py::tuple lstm_jvp(py::handle saved, py::handle dx, py::handle dw_ih, py::handle dw_hh, py::handle dbias,
                   py::handle dh0, py::handle dc0, py::handle dpeephole, py::handle dprojection, py::handle threads) {
  Door door("lstm_jvp");
  const Lstm& op = *kernels().lstm;
  const auto& k = open_saved<LstmKind>(door, saved);
  if (k.type == 'd')
    return recurrent_jvp<LstmKind, double>(door, op.f64, k, dx, dw_ih, dw_hh, dbias, dh0, dc0, dpeephole, dprojection,
                                           threads);
  return recurrent_jvp<LstmKind, float>(door, op.f32, k, dx, dw_ih, dw_hh, dbias, dh0, dc0, dpeephole, dprojection,
                                        threads);
}

}  // namespace

void bind_lstm(py::module_& m) {
  bind_saved<LstmKind>(m, "LstmSaved");
  bind_frozen<LstmKind>(m, *kernels().lstm);
  def(m, "lstm_forward", &lstm_forward,
      {"x"_a, "lengths"_a, "w_ih"_a, "w_hh"_a, "bias"_a, "h0"_a = py::none(), "c0"_a = py::none(), py::kw_only(),
       "peephole"_a = py::none(), "projection"_a = py::none(), "cell_clip"_a = 0.0, "state_mask"_a = py::none(),
       "keep_h"_a = py::none(), "keep_c"_a = py::none(), "reverse"_a = false, "threads"_a = py::none()});
  def(m, "lstm_backward", &lstm_backward,
      {"saved"_a, "dy"_a, "dhn"_a = py::none(), "dcn"_a = py::none(), py::kw_only(), "dw_ih"_a, "dw_hh"_a, "dbias"_a,
       "dpeephole"_a = py::none(), "dprojection"_a = py::none(), "need_dx"_a = true, "threads"_a = py::none()});
  def(m, "lstm_jvp", &lstm_jvp,
      {"saved"_a, "dx"_a = py::none(), "dw_ih"_a = py::none(), "dw_hh"_a = py::none(), "dbias"_a = py::none(),
       "dh0"_a = py::none(), "dc0"_a = py::none(), py::kw_only(), "dpeephole"_a = py::none(),
       "dprojection"_a = py::none(), "threads"_a = py::none()});
}

}  // namespace pyasr::bind
