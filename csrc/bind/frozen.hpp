// A recurrent layer for inference: weights packed once, in float32 or bfloat16, and forward alone. Only read once it is
// made, so several threads may use one.
#pragma once
#include <memory>

#include "bind/recurrent.hpp"

namespace pyasr::bind {

template <class Kind>
class FrozenLayer {
 public:
  FrozenLayer(const RecurrentFamily& family, py::handle w_ih, py::handle w_hh, py::handle bias,
              const RecurrentOptions& options, py::handle reverse, py::handle storage)
      : op_(family.frozen) {
    Door door(Kind::frozen);
    const auto weights = read_weights<Kind, float>(door, w_ih, w_hh, bias, options);
    shape_.D = door["D"], shape_.H = door["H"], shape_.R = door["R"], shape_.S = static_cast<int>(door["S"]);
    shape_.peephole = weights.peephole, shape_.projected = weights.projection;
    shape_.reverse = door.boolean("reverse", reverse);
    if (shape_.reverse && shape_.S != 1) door.value_error("reverse needs S = 1, got S = 2");
    cell_clip_ = read_cell_clip(door, options.cell_clip);
    if (door.choice("storage", storage, {"float32", "bfloat16"}) == 1) op_ = family.frozen_bf16;
    shape_.frozen = true;
    bytes_ = op_.packed_bytes(shape_);
    packed_ = new_scratch(bytes_);
    run_released(1, [&](const Runtime& runtime) { op_.pack(shape_, weights, packed_.get(), runtime); });
  }

  py::tuple forward(py::handle x, py::handle lengths, py::handle h0, py::handle c0, py::handle keep_h,
                    py::handle keep_c, py::handle threads) const {
    Door door(Kind::frozen_forward);
    RecurrentShape shape = shape_;
    RecurrentForward<float> a{};
    door.bind("D", shape.D);
    door.bind("S", shape.S);
    door.bind("H", shape.H);
    door.bind("R", shape.R);
    a.x = door.read<float>("x", x, "T B D");
    shape.T = door["T"], shape.B = door["B"];
    a.lengths = door.read<std::int32_t>("lengths", lengths, "B");
    door.lengths_within("lengths", a.lengths, shape.B, shape.T, "T");
    a.h0 = door.read_optional<float>("h0", h0, Kind::h);
    if (Kind::own_cell) a.c0 = door.read_optional<float>("c0", c0, "S B H");
    a.masks.cell_clip = static_cast<float>(cell_clip_);
    a.masks.keep_h = door.read_optional<float>("keep_h", keep_h, Kind::y);
    a.masks.keep_c = door.read_optional<float>("keep_c", keep_c, "T B S*H");
    const int workers = door.threads(threads);
    for (long b = 0; b < shape.B; ++b) shape.frames += a.lengths[b];
    door.product({shape.S, shape.T, shape.B, shape.H + shape.R + 16, 8, 8});
    py::array y = new_array<float>({shape.T, shape.B, shape.S * shape.R});
    py::array hn = new_array<float>({shape.S, shape.B, shape.R});
    py::array cn = new_array<float>({shape.S, shape.B, Kind::own_cell ? shape.H : 0});
    a.y = data<float>(y), a.hn = data<float>(hn), a.cn = data<float>(cn);
    const auto saved = new_scratch(op_.saved_bytes(shape)), scratch = new_scratch(op_.forward_bytes(shape, workers));
    a.packed = packed_.get();
    a.saved = saved.get();
    run_released(workers, [&](const Runtime& runtime) { op_.forward(shape, a, scratch.get(), runtime); });
    if (Kind::own_cell) return py::make_tuple(y, hn, cn);
    return py::make_tuple(y, hn);
  }

  std::size_t bytes() const { return bytes_; }

 private:
  Frozen op_;
  RecurrentShape shape_{};
  double cell_clip_ = 0;
  std::size_t bytes_ = 0;
  runtime::Lease packed_;
};

template <class Kind>
void bind_frozen(py::module_& m, const RecurrentFamily& family) {
  using namespace py::literals;
  using Layer = FrozenLayer<Kind>;
  py::class_<Layer>(m, Kind::frozen_class, "Weights packed for inference; see pyasr/layers/frozen.py.")
      .def(py::init([&family](py::handle w_ih, py::handle w_hh, py::handle bias, py::object peephole,
                              py::object projection, py::object cell_clip, py::handle reverse, py::handle storage) {
             RecurrentOptions options;
             options.peephole = peephole, options.projection = projection, options.cell_clip = cell_clip;
             return std::make_unique<Layer>(family, w_ih, w_hh, bias, options, reverse, storage);
           }),
           "w_ih"_a, "w_hh"_a, "bias"_a, py::kw_only(), "peephole"_a = py::none(), "projection"_a = py::none(),
           "cell_clip"_a = 0.0, "reverse"_a = false, "storage"_a = "float32")
      .def("forward", &Layer::forward, "x"_a, "lengths"_a, "h0"_a = py::none(), "c0"_a = py::none(), py::kw_only(),
           "keep_h"_a = py::none(), "keep_c"_a = py::none(), "threads"_a = py::none())
      .def_property_readonly("nbytes", &Layer::bytes, "Bytes of the packed weights.");
}

}  // namespace pyasr::bind
