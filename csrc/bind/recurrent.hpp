// What the bindings of lstm and rnn share. G is the number of gates: 4, with a cell state c, or 1 without.
#pragma once
#include <memory>

#include "bind/array.hpp"
#include "pyasr/lstm.hpp"

namespace pyasr::bind {

// What forward keeps: one leased block, and the caller's x. Only read afterwards, so it may be used any number of times
// and by several threads at once.
template <int G>
struct RecurrentSaved {
  py::object x;
  const void* x_data;
  RecurrentShape shape;
  char type;  // 'f' or 'd'
  runtime::Lease block;
};

template <int G>
struct RecurrentDims {
  static constexpr const char* w_ih = G == 4 ? "S 4*H D" : "S H D";
  static constexpr const char* w_hh = G == 4 ? "S 4*H H" : "S H H";
  static constexpr const char* bias = G == 4 ? "S 4*H" : "S H";
};

template <class T, int G>
py::tuple recurrent_forward(Door& door, const Recurrent<T>& op, py::handle x, py::handle lengths, py::handle w_ih,
                            py::handle w_hh, py::handle bias, py::handle h0, py::handle c0, py::handle reverse,
                            py::handle threads) {
  using Dims = RecurrentDims<G>;
  RecurrentForward<T> a{};
  a.x = door.read<T>("x", x, "T B D");
  a.lengths = door.read<std::int32_t>("lengths", lengths, "B");
  door.lengths_within("lengths", a.lengths, door["B"], door["T"], "T");
  a.w_ih = door.read<T>("w_ih", w_ih, Dims::w_ih);
  RecurrentShape shape{door["T"], door["B"], door["D"], door["H"], 0, false, 0};
  if (door["S"] != 1 && door["S"] != 2)
    door.value_error("w_ih must have S of 1 or 2 directions, got " + std::to_string(door["S"]));
  shape.S = static_cast<int>(door["S"]);
  const std::string got = py::cast<std::string>(py::str(py::handle(w_ih).attr("shape")));
  if (shape.H == 0) door.value_error("w_ih must have at least one hidden unit, got " + got);
  if (shape.D == 0) door.value_error("w_ih must have at least one input, got " + got);
  a.w_hh = door.read<T>("w_hh", w_hh, Dims::w_hh);
  a.bias = door.read<T>("bias", bias, Dims::bias);
  a.h0 = door.read_optional<T>("h0", h0, "S B H");
  if (G == 4) a.c0 = door.read_optional<T>("c0", c0, "S B H");
  shape.reverse = door.boolean("reverse", reverse);
  if (shape.reverse && shape.S != 1) door.value_error("reverse needs S = 1, got S = 2");
  const int workers = door.threads(threads);
  for (long b = 0; b < shape.B; ++b) shape.frames += a.lengths[b];
  door.product({shape.S, shape.T, shape.B, shape.H + 16, 8, 8});

  py::array y = new_array<T>({shape.T, shape.B, shape.S * shape.H});
  py::array hn = new_array<T>({shape.S, shape.B, shape.H});
  a.y = data<T>(y);
  a.hn = data<T>(hn);
  py::array cn;
  if (G == 4) {
    cn = new_array<T>({shape.S, shape.B, shape.H});
    a.cn = data<T>(cn);
  }
  auto saved = std::make_unique<RecurrentSaved<G>>();
  saved->x = py::reinterpret_borrow<py::object>(x);
  saved->x_data = a.x;
  saved->shape = shape;
  saved->type = sizeof(T) == 4 ? 'f' : 'd';
  saved->block = new_scratch(op.saved_bytes(shape));
  a.saved = saved->block.get();
  const auto scratch = new_scratch(op.forward_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.forward(shape, a, scratch.get(), runtime); });
  if (G == 4) return py::make_tuple(y, hn, cn, py::cast(std::move(saved)));
  return py::make_tuple(y, hn, py::cast(std::move(saved)));
}

// The saved state behind a Python object, and its dims at the door.
template <int G>
const RecurrentSaved<G>& open_saved(Door& door, py::handle saved) {
  if (!py::isinstance<RecurrentSaved<G>>(saved))
    door.type_error(std::string("saved must come from ") + (G == 4 ? "lstm" : "rnn") +
                    "_forward of the same backend, got " + py::cast<std::string>(py::type::of(saved).attr("__name__")));
  const auto& k = saved.cast<const RecurrentSaved<G>&>();
  door.bind("T", k.shape.T);
  door.bind("B", k.shape.B);
  door.bind("D", k.shape.D);
  door.bind("S", k.shape.S);
  door.bind("H", k.shape.H);
  return k;
}

template <class T, int G>
py::tuple recurrent_backward(Door& door, const Recurrent<T>& op, const RecurrentSaved<G>& k, py::handle dy,
                             py::handle dhn, py::handle dcn, py::handle dw_ih, py::handle dw_hh, py::handle dbias,
                             py::handle need_dx, py::handle threads) {
  using Dims = RecurrentDims<G>;
  const RecurrentShape& shape = k.shape;
  RecurrentBackward<T> a{};
  a.saved = k.block.get();
  a.x = static_cast<const T*>(k.x_data);
  a.dy = door.read<T>("dy", dy, "T B S*H");
  a.dhn = door.read_optional<T>("dhn", dhn, "S B H");
  if (G == 4) a.dcn = door.read_optional<T>("dcn", dcn, "S B H");
  a.dw_ih = door.write<T>("dw_ih", dw_ih, Dims::w_ih);
  a.dw_hh = door.write<T>("dw_hh", dw_hh, Dims::w_hh);
  a.dbias = door.write<T>("dbias", dbias, Dims::bias);
  const bool wants_dx = door.boolean("need_dx", need_dx);
  const int workers = door.threads(threads);
  door.no_overlap({"dy", "dhn", "dcn", "dw_ih", "dw_hh", "dbias"});

  py::object dx = py::none();
  if (wants_dx) {
    py::array fresh = new_array<T>({shape.T, shape.B, shape.D});
    a.dx = data<T>(fresh);
    dx = fresh;
  }
  py::array dh0 = new_array<T>({shape.S, shape.B, shape.H});
  a.dh0 = data<T>(dh0);
  py::array dc0;
  if (G == 4) {
    dc0 = new_array<T>({shape.S, shape.B, shape.H});
    a.dc0 = data<T>(dc0);
  }
  const auto scratch = new_scratch(op.backward_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.backward(shape, a, scratch.get(), runtime); });
  if (G == 4) return py::make_tuple(dx, dh0, dc0);
  return py::make_tuple(dx, dh0);
}

template <class T, int G>
py::tuple recurrent_jvp(Door& door, const Recurrent<T>& op, const RecurrentSaved<G>& k, py::handle dx, py::handle dw_ih,
                        py::handle dw_hh, py::handle dbias, py::handle dh0, py::handle dc0, py::handle threads) {
  using Dims = RecurrentDims<G>;
  const RecurrentShape& shape = k.shape;
  RecurrentJvp<T> a{};
  a.saved = k.block.get();
  a.x = static_cast<const T*>(k.x_data);
  a.dx = door.read_optional<T>("dx", dx, "T B D");
  a.dw_ih = door.read_optional<T>("dw_ih", dw_ih, Dims::w_ih);
  a.dw_hh = door.read_optional<T>("dw_hh", dw_hh, Dims::w_hh);
  a.dbias = door.read_optional<T>("dbias", dbias, Dims::bias);
  a.dh0 = door.read_optional<T>("dh0", dh0, "S B H");
  if (G == 4) a.dc0 = door.read_optional<T>("dc0", dc0, "S B H");
  const int workers = door.threads(threads);

  py::array dy = new_array<T>({shape.T, shape.B, shape.S * shape.H});
  py::array dhn = new_array<T>({shape.S, shape.B, shape.H});
  a.dy = data<T>(dy);
  a.dhn = data<T>(dhn);
  py::array dcn;
  if (G == 4) {
    dcn = new_array<T>({shape.S, shape.B, shape.H});
    a.dcn = data<T>(dcn);
  }
  const auto scratch = new_scratch(op.jvp_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.jvp(shape, a, scratch.get(), runtime); });
  if (G == 4) return py::make_tuple(dy, dhn, dcn);
  return py::make_tuple(dy, dhn);
}

template <int G>
void bind_saved(py::module_& m, const char* name) {
  py::class_<RecurrentSaved<G>>(m, name, "What forward keeps for backward and jvp; may be used any number of times.")
      .def_property_readonly(
          "frames", [](const RecurrentSaved<G>& k) { return k.shape.frames; }, "Sum of the lengths.");
}

}  // namespace pyasr::bind
