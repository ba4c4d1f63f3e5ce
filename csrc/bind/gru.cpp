#include "pyasr/gru.hpp"

#include "bind/frozen.hpp"

namespace pyasr::bind {

struct GruKind {
  static constexpr const char *name = "gru", *forward = "gru_forward", *backward = "gru_backward", *jvp = "gru_jvp";
  static constexpr const char *w_ih = "S 3*H D", *w_hh = "S 3*H H", *bias = "S 4*H";
  static constexpr const char *h = "S B H", *y = "T B S*H";
  static constexpr const char *frozen = "freeze", *frozen_forward = "frozen forward", *frozen_class = "_FrozenGru";
  static constexpr bool own_cell = false;
  static const RecurrentFamily& op() { return *kernels().gru; }
};

void bind_gru(py::module_& m) {
  bind_saved<GruKind>(m, "GruSaved");
  bind_frozen<GruKind>(m, GruKind::op());
  bind_plain<GruKind>(m);
}

}  // namespace pyasr::bind
