#include "pyasr/ctc.hpp"

#include <algorithm>

#include "bind/function.hpp"
#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct Call {
  Lattice lattice;
  py::handle zero_infinity, threads;
};

// (loss, dlogits), and with_mass also the posteriors' sums [T,B] before they are made one.
template <class T>
py::tuple run(Door& door, const Call& call, bool with_mass) {
  CtcArgs<T> a{};
  read_lattice<T>(door, call.lattice, a);
  a.zero_infinity = door.boolean("zero_infinity", call.zero_infinity);
  int workers = door.threads(call.threads);
  check_lattice(door, a);

  py::array loss = new_array<T>({a.B}), dlogits = new_array<T>({a.frames, a.B, a.V});
  a.loss = data<T>(loss);
  a.dlogits = data<T>(dlogits);
  py::object mass = py::none();
  if (with_mass) {
    py::array sums = new_array<double>({a.frames, a.B});
    a.mass = data<double>(sums);
    mass = sums;
  }
  const std::int64_t frames = longest(a.lengths, a.B), labels = longest(a.label_lengths, a.B);
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
  const Call call{{logits, lengths, labels, label_lengths, blank}, zero_infinity, threads};
  return door.float_type("logits", logits) == 'd' ? run<double>(door, call, WithMass)
                                                  : run<float>(door, call, WithMass);
}

}  // namespace

void bind_ctc(py::module_& m) {
  def(m, "ctc_loss", &ctc_loss<false>,
      {"logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, py::kw_only(), "blank"_a = 0, "zero_infinity"_a = false,
       "threads"_a = py::none()});
  // ctc_loss, and the sum of every frame's posteriors [T,B] before it is made one: for tests.
  def(m, "_ctc_loss_and_mass", &ctc_loss<true>,
      {"logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, py::kw_only(), "blank"_a = 0, "zero_infinity"_a = false,
       "threads"_a = py::none()});
}

}  // namespace pyasr::bind
