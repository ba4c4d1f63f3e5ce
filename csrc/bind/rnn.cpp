#include "pyasr/rnn.hpp"

#include "bind/frozen.hpp"

namespace pyasr::bind {

struct RnnKind {
  static constexpr const char *name = "rnn", *forward = "rnn_forward", *backward = "rnn_backward", *jvp = "rnn_jvp";
  static constexpr const char *w_ih = "S H D", *w_hh = "S H H", *bias = "S H";
  static constexpr const char *h = "S B H", *y = "T B S*H";
  static constexpr const char *frozen = "freeze", *frozen_forward = "frozen forward", *frozen_class = "_FrozenRnn";
  static constexpr bool own_cell = false;
  static const RecurrentFamily& op() { return *kernels().rnn; }
};

void bind_rnn(py::module_& m) {
  bind_saved<RnnKind>(m, "RnnSaved");
  bind_frozen<RnnKind>(m, RnnKind::op());
  bind_plain<RnnKind>(m);
}

}  // namespace pyasr::bind
