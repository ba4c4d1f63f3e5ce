#include "pyasr/ctc.hpp"

#include <algorithm>

#include "bind/labels.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct Call {
  py::handle logits, lengths, labels, label_lengths, blank, zero_infinity, threads;
};

// (loss, dlogits), and with_mass also the posteriors' sums [T,B] before they are made one.
template <class T>
py::tuple run(Door& door, const Call& call, bool with_mass) {
  CtcArgs<T> a{};
  a.logits = door.read<T>("logits", call.logits, "T B V");
  a.lengths = door.read<std::int32_t>("lengths", call.lengths, "B");
  a.labels = door.read<std::int32_t>("labels", call.labels, "B U");
  a.label_lengths = door.read<std::int32_t>("label_lengths", call.label_lengths, "B");
  a.frames = door["T"];
  a.B = door["B"];
  a.V = door["V"];
  a.U = door["U"];
  if (a.V == 0) door.value_error("logits must have at least one symbol, got V = 0");
  a.blank = static_cast<std::int32_t>(door.integer_in("blank", call.blank, 0, a.V - 1));
  a.zero_infinity = door.boolean("zero_infinity", call.zero_infinity);
  int workers = door.threads(call.threads);
  door.lengths_within("lengths", a.lengths, a.B, a.frames, "T");
  door.lengths_within("label_lengths", a.label_lengths, a.B, a.U, "U");
  check_labels(door, a);

  py::array loss = new_array<T>({a.B}), dlogits = new_array<T>({a.frames, a.B, a.V});
  a.loss = data<T>(loss);
  a.dlogits = data<T>(dlogits);
  py::object mass = py::none();
  if (with_mass) {
    py::array sums = new_array<double>({a.frames, a.B});
    a.mass = data<double>(sums);
    mass = sums;
  }
  std::int64_t frames = 0, labels = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    frames = std::max<std::int64_t>(frames, a.lengths[b]);
    labels = std::max<std::int64_t>(labels, a.label_lengths[b]);
  }
  if (workers > a.B) workers = std::max(1, static_cast<int>(a.B));
  const Ctc& op = *kernels().ctc;
  door.product({workers, frames + 64, labels + 64, 8 * static_cast<std::int64_t>(sizeof(T))});
  const auto scratch = new_scratch(op.workspace_bytes(frames, labels, sizeof(T), workers));
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(a, scratch.get(), runtime);
    else
      op.f64(a, scratch.get(), runtime);
  });
  if (with_mass) return py::make_tuple(loss, dlogits, mass);
  return py::make_tuple(loss, dlogits);
}

template <bool WithMass>
py::tuple ctc_loss(py::handle logits, py::handle lengths, py::handle labels, py::handle label_lengths, py::handle blank,
                   py::handle zero_infinity, py::handle threads) {
  Door door("ctc_loss");
  const Call call{logits, lengths, labels, label_lengths, blank, zero_infinity, threads};
  return door.float_type("logits", logits) == 'd' ? run<double>(door, call, WithMass)
                                                  : run<float>(door, call, WithMass);
}

}  // namespace

void bind_ctc(py::module_& m) {
  m.def("ctc_loss", &ctc_loss<false>, "logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, py::kw_only(),
        "blank"_a = 0, "zero_infinity"_a = false, "threads"_a = py::none());
  m.def("_ctc_loss_and_mass", &ctc_loss<true>, "logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, py::kw_only(),
        "blank"_a = 0, "zero_infinity"_a = false, "threads"_a = py::none(),
        "ctc_loss, and the sum of every frame's posteriors [T,B] before it is made one: for tests.");
}

}  // namespace pyasr::bind
