// What the bindings of lstm, gru and rnn share. A Kind names the shapes of a family:
//
//   name; dims of w_ih, w_hh, bias, h and y; own_cell: whether there is a c
#pragma once
#include <memory>

#include "bind/array.hpp"
#include "bind/function.hpp"
#include "pyasr/lstm.hpp"

namespace pyasr::bind {

// The options of an LSTM call as they came; None and 0 are none. The other kinds leave them empty.
struct RecurrentOptions {
  py::object peephole = py::none(), projection = py::none();
  py::object cell_clip = py::float_(0.0), state_mask = py::none(), keep_h = py::none(), keep_c = py::none();
};

// What forward keeps: one leased block, and the caller's x and masks. Only read afterwards, so it may be used any
// number of times and by several threads at once.
template <class Kind>
struct RecurrentSaved {
  py::object x;
  RecurrentOptions options;
  const void* x_data;
  const void *state_mask, *keep_h, *keep_c;
  double cell_clip;
  RecurrentShape shape;
  char type;  // 'f' or 'd'
  runtime::Lease block;

  template <class T>
  RecurrentMasks<T> masks() const {
    return {static_cast<const T*>(state_mask), static_cast<const T*>(keep_h), static_cast<const T*>(keep_c),
            static_cast<T>(cell_clip)};
  }
};

// Weights at the door, which bind S, H and R.
template <class Kind, class T>
RecurrentWeights<T> read_weights(Door& door, py::handle w_ih, py::handle w_hh, py::handle bias,
                                 const RecurrentOptions& options) {
  RecurrentWeights<T> w{};
  w.w_ih = door.read<T>("w_ih", w_ih, Kind::w_ih);
  if (door["S"] != 1 && door["S"] != 2)
    door.value_error("w_ih must have S of 1 or 2 directions, got " + std::to_string(door["S"]));
  const std::string got = py::cast<std::string>(py::str(py::handle(w_ih).attr("shape")));
  if (door["H"] == 0) door.value_error("w_ih must have at least one hidden unit, got " + got);
  if (door["D"] == 0) door.value_error("w_ih must have at least one input, got " + got);
  w.projection = door.read_optional<T>("projection", options.projection, "S R H");
  if (!w.projection) door.bind("R", door["H"], "H without projection");
  if (door["R"] == 0) door.value_error("projection must have at least one row, got 0");
  w.w_hh = door.read<T>("w_hh", w_hh, Kind::w_hh);
  w.bias = door.read<T>("bias", bias, Kind::bias);
  w.peephole = door.read_optional<T>("peephole", options.peephole, "S 3*H");
  return w;
}

inline double read_cell_clip(const Door& door, py::handle x) {
  const double clip = door.real_in("cell_clip", x, 0, 1e30);
  if (clip > 0 && clip < 1e-30)
    door.value_error("cell_clip must be 0 or at least 1e-30, got " + py::cast<std::string>(py::repr(x)));
  return clip;
}

template <class Kind, class T>
py::tuple recurrent_forward(Door& door, const Recurrent<T>& op, py::handle x, py::handle lengths, py::handle w_ih,
                            py::handle w_hh, py::handle bias, py::handle h0, py::handle c0,
                            const RecurrentOptions& options, py::handle reverse, py::handle threads) {
  RecurrentForward<T> a{};
  a.x = door.read<T>("x", x, "T B D");
  a.lengths = door.read<std::int32_t>("lengths", lengths, "B");
  door.lengths_within("lengths", a.lengths, door["B"], door["T"], "T");
  a.weights = read_weights<Kind, T>(door, w_ih, w_hh, bias, options);
  RecurrentShape shape{};
  shape.T = door["T"], shape.B = door["B"], shape.D = door["D"], shape.H = door["H"], shape.R = door["R"];
  shape.S = static_cast<int>(door["S"]);
  shape.peephole = a.weights.peephole, shape.projected = a.weights.projection;
  a.h0 = door.read_optional<T>("h0", h0, Kind::h);
  if (Kind::own_cell) a.c0 = door.read_optional<T>("c0", c0, "S B H");
  a.masks.cell_clip = static_cast<T>(read_cell_clip(door, options.cell_clip));
  a.masks.state = door.read_optional<T>("state_mask", options.state_mask, Kind::h);
  a.masks.keep_h = door.read_optional<T>("keep_h", options.keep_h, Kind::y);
  a.masks.keep_c = door.read_optional<T>("keep_c", options.keep_c, "T B S*H");
  shape.reverse = door.boolean("reverse", reverse);
  if (shape.reverse && shape.S != 1) door.value_error("reverse needs S = 1, got S = 2");
  const int workers = door.threads(threads);
  for (long b = 0; b < shape.B; ++b) shape.frames += a.lengths[b];
  door.product({shape.S, shape.T, shape.B, shape.H + shape.R + 16, 8, 8});

  py::array y = new_array<T>({shape.T, shape.B, shape.S * shape.R});
  py::array hn = new_array<T>({shape.S, shape.B, shape.R});
  a.y = data<T>(y);
  a.hn = data<T>(hn);
  py::array cn;
  if (Kind::own_cell) {
    cn = new_array<T>({shape.S, shape.B, shape.H});
    a.cn = data<T>(cn);
  }
  auto saved = std::make_unique<RecurrentSaved<Kind>>();
  saved->x = py::reinterpret_borrow<py::object>(x);
  saved->options = options;
  saved->x_data = a.x;
  saved->state_mask = a.masks.state, saved->keep_h = a.masks.keep_h, saved->keep_c = a.masks.keep_c;
  saved->cell_clip = static_cast<double>(a.masks.cell_clip);
  saved->shape = shape;
  saved->type = sizeof(T) == 4 ? 'f' : 'd';
  saved->block = new_scratch(op.saved_bytes(shape));
  a.saved = saved->block.get();
  const auto scratch = new_scratch(op.forward_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.forward(shape, a, scratch.get(), runtime); });
  if (Kind::own_cell) return py::make_tuple(y, hn, cn, py::cast(std::move(saved)));
  return py::make_tuple(y, hn, py::cast(std::move(saved)));
}

// The saved state behind a Python object, and its dims at the door.
template <class Kind>
const RecurrentSaved<Kind>& open_saved(Door& door, py::handle saved) {
  if (!py::isinstance<RecurrentSaved<Kind>>(saved))
    door.type_error(std::string("saved must come from ") + Kind::name + "_forward of the same backend, got " +
                    type_name(saved));
  const auto& k = saved.cast<const RecurrentSaved<Kind>&>();
  door.bind("T", k.shape.T);
  door.bind("B", k.shape.B);
  door.bind("D", k.shape.D);
  door.bind("S", k.shape.S);
  door.bind("H", k.shape.H);
  door.bind("R", k.shape.R);
  return k;
}

// A gradient that must be there exactly where forward had the weight.
template <class T>
T* gradient_of(Door& door, const char* name, py::handle x, const char* dims, bool there) {
  if (x.is_none() == there)
    door.value_error(std::string(name) + " must be " + (there ? "an array, as" : "None, as") + " forward had " +
                     (there ? "its weight" : "no such weight") + ", got " + type_name(x));
  return door.write_optional<T>(name, x, dims);
}

template <class Kind, class T>
py::tuple recurrent_backward(Door& door, const Recurrent<T>& op, const RecurrentSaved<Kind>& k, py::handle dy,
                             py::handle dhn, py::handle dcn, py::handle dw_ih, py::handle dw_hh, py::handle dbias,
                             py::handle dpeephole, py::handle dprojection, py::handle need_dx, py::handle threads) {
  const RecurrentShape& shape = k.shape;
  RecurrentBackward<T> a{};
  a.saved = k.block.get();
  a.x = static_cast<const T*>(k.x_data);
  a.masks = k.template masks<T>();
  a.dy = door.read<T>("dy", dy, Kind::y);
  a.dhn = door.read_optional<T>("dhn", dhn, Kind::h);
  if (Kind::own_cell) a.dcn = door.read_optional<T>("dcn", dcn, "S B H");
  a.weights.w_ih = door.write<T>("dw_ih", dw_ih, Kind::w_ih);
  a.weights.w_hh = door.write<T>("dw_hh", dw_hh, Kind::w_hh);
  a.weights.bias = door.write<T>("dbias", dbias, Kind::bias);
  a.weights.peephole = gradient_of<T>(door, "dpeephole", dpeephole, "S 3*H", shape.peephole);
  a.weights.projection = gradient_of<T>(door, "dprojection", dprojection, "S R H", shape.projected);
  const bool wants_dx = door.boolean("need_dx", need_dx);
  const int workers = door.threads(threads);
  door.no_overlap({"dy", "dhn", "dcn", "dw_ih", "dw_hh", "dbias", "dpeephole", "dprojection"});

  py::object dx = py::none();
  if (wants_dx) {
    py::array fresh = new_array<T>({shape.T, shape.B, shape.D});
    a.dx = data<T>(fresh);
    dx = fresh;
  }
  py::array dh0 = new_array<T>({shape.S, shape.B, shape.R});
  a.dh0 = data<T>(dh0);
  py::array dc0;
  if (Kind::own_cell) {
    dc0 = new_array<T>({shape.S, shape.B, shape.H});
    a.dc0 = data<T>(dc0);
  }
  const auto scratch = new_scratch(op.backward_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.backward(shape, a, scratch.get(), runtime); });
  if (Kind::own_cell) return py::make_tuple(dx, dh0, dc0);
  return py::make_tuple(dx, dh0);
}

// A tangent may be there only where forward had the weight.
template <class T>
const T* tangent_of(Door& door, const char* name, py::handle x, const char* dims, bool there) {
  if (!there && !x.is_none())
    door.value_error(std::string(name) + " must be None, as forward had no such weight, got " + type_name(x));
  return door.read_optional<T>(name, x, dims);
}

template <class Kind, class T>
py::tuple recurrent_jvp(Door& door, const Recurrent<T>& op, const RecurrentSaved<Kind>& k, py::handle dx,
                        py::handle dw_ih, py::handle dw_hh, py::handle dbias, py::handle dh0, py::handle dc0,
                        py::handle dpeephole, py::handle dprojection, py::handle threads) {
  const RecurrentShape& shape = k.shape;
  RecurrentJvp<T> a{};
  a.saved = k.block.get();
  a.x = static_cast<const T*>(k.x_data);
  a.masks = k.template masks<T>();
  a.dx = door.read_optional<T>("dx", dx, "T B D");
  a.weights.w_ih = door.read_optional<T>("dw_ih", dw_ih, Kind::w_ih);
  a.weights.w_hh = door.read_optional<T>("dw_hh", dw_hh, Kind::w_hh);
  a.weights.bias = door.read_optional<T>("dbias", dbias, Kind::bias);
  a.dh0 = door.read_optional<T>("dh0", dh0, Kind::h);
  if (Kind::own_cell) a.dc0 = door.read_optional<T>("dc0", dc0, "S B H");
  a.weights.peephole = tangent_of<T>(door, "dpeephole", dpeephole, "S 3*H", shape.peephole);
  a.weights.projection = tangent_of<T>(door, "dprojection", dprojection, "S R H", shape.projected);
  const int workers = door.threads(threads);

  py::array dy = new_array<T>({shape.T, shape.B, shape.S * shape.R});
  py::array dhn = new_array<T>({shape.S, shape.B, shape.R});
  a.dy = data<T>(dy);
  a.dhn = data<T>(dhn);
  py::array dcn;
  if (Kind::own_cell) {
    dcn = new_array<T>({shape.S, shape.B, shape.H});
    a.dcn = data<T>(dcn);
  }
  const auto scratch = new_scratch(op.jvp_bytes(shape, workers));
  run_released(workers, [&](const Runtime& runtime) { op.jvp(shape, a, scratch.get(), runtime); });
  if (Kind::own_cell) return py::make_tuple(dy, dhn, dcn);
  return py::make_tuple(dy, dhn);
}

template <class Kind>
void bind_saved(py::module_& m, const char* name) {
  py::class_<RecurrentSaved<Kind>>(m, name, "What forward keeps for backward and jvp; may be used any number of times.")
      .def_property_readonly(
          "frames", [](const RecurrentSaved<Kind>& k) { return k.shape.frames; }, "Sum of the lengths.");
}

// The three rows of a family without c and options.
template <class Kind>
void bind_plain(py::module_& m) {
  using namespace py::literals;
  def(m, Kind::forward,
      [](py::handle x, py::handle lengths, py::handle w_ih, py::handle w_hh, py::handle bias, py::handle h0,
         py::handle reverse, py::handle threads) {
        Door door(Kind::forward);
        const py::none none;
        if (door.float_type("x", x) == 'd')
          return recurrent_forward<Kind, double>(door, Kind::op().f64, x, lengths, w_ih, w_hh, bias, h0, none, {},
                                                 reverse, threads);
        return recurrent_forward<Kind, float>(door, Kind::op().f32, x, lengths, w_ih, w_hh, bias, h0, none, {}, reverse,
                                              threads);
      },
      {"x"_a, "lengths"_a, "w_ih"_a, "w_hh"_a, "bias"_a, "h0"_a = py::none(), py::kw_only(), "reverse"_a = false,
       "threads"_a = py::none()});
  def(m, Kind::backward,
      [](py::handle saved, py::handle dy, py::handle dhn, py::handle dw_ih, py::handle dw_hh, py::handle dbias,
         py::handle need_dx, py::handle threads) {
        Door door(Kind::backward);
        const auto& k = open_saved<Kind>(door, saved);
        const py::none none;
        if (k.type == 'd')
          return recurrent_backward<Kind, double>(door, Kind::op().f64, k, dy, dhn, none, dw_ih, dw_hh, dbias, none,
                                                  none, need_dx, threads);
        return recurrent_backward<Kind, float>(door, Kind::op().f32, k, dy, dhn, none, dw_ih, dw_hh, dbias, none, none,
                                               need_dx, threads);
      },
      {"saved"_a, "dy"_a, "dhn"_a = py::none(), py::kw_only(), "dw_ih"_a, "dw_hh"_a, "dbias"_a, "need_dx"_a = true,
       "threads"_a = py::none()});
  def(m, Kind::jvp,
      [](py::handle saved, py::handle dx, py::handle dw_ih, py::handle dw_hh, py::handle dbias, py::handle dh0,
         py::handle threads) {
        Door door(Kind::jvp);
        const auto& k = open_saved<Kind>(door, saved);
        const py::none none;
        if (k.type == 'd')
          return recurrent_jvp<Kind, double>(door, Kind::op().f64, k, dx, dw_ih, dw_hh, dbias, dh0, none, none, none,
                                             threads);
        return recurrent_jvp<Kind, float>(door, Kind::op().f32, k, dx, dw_ih, dw_hh, dbias, dh0, none, none, none,
                                          threads);
      },
      {"saved"_a, "dx"_a = py::none(), "dw_ih"_a = py::none(), "dw_hh"_a = py::none(), "dbias"_a = py::none(),
       "dh0"_a = py::none(), py::kw_only(), "threads"_a = py::none()});
}

}  // namespace pyasr::bind
