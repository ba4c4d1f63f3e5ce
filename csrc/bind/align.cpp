#include "pyasr/align.hpp"

#include <algorithm>

#include "bind/function.hpp"
#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct AlignCall {
  Lattice lattice;
  py::handle threads;
};

template <class T>
py::tuple run(Door& door, const AlignCall& call) {
  AlignArgs<T> a{};
  read_lattice<T>(door, call.lattice, a);
  int workers = door.threads(call.threads);
  check_lattice(door, a);

  py::array positions = new_array<std::int32_t>({a.frames, a.B});
  py::array scores = new_array<T>({a.frames, a.B}), log_p = new_array<T>({a.B});
  a.positions = data<std::int32_t>(positions);
  a.scores = data<T>(scores);
  a.log_p = data<T>(log_p);
  const std::int64_t frames = longest(a.lengths, a.B), labels = longest(a.label_lengths, a.B);
  if (workers > a.B) workers = std::max(1, static_cast<int>(a.B));
  const Align& op = *kernels().align;
  door.product({workers, frames + 64, 2 * labels + 64, 8});
  const auto scratch = new_scratch(op.workspace_bytes(frames, labels, a.V, workers));
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(a, scratch.get(), runtime);
    else
      op.f64(a, scratch.get(), runtime);
  });
  return py::make_tuple(positions, scores, log_p);
}

py::tuple ctc_align(py::handle logits, py::handle lengths, py::handle labels, py::handle label_lengths,
                    py::handle blank, py::handle threads) {
  Door door("ctc_align");
  const AlignCall call{{logits, lengths, labels, label_lengths, blank}, threads};
  return door.float_type("logits", logits) == 'd' ? run<double>(door, call) : run<float>(door, call);
}

}  // namespace

void bind_align(py::module_& m) {
  def(m, "ctc_align", &ctc_align,
      {"logits"_a, "lengths"_a, "labels"_a, "label_lengths"_a, py::kw_only(), "blank"_a = 0, "threads"_a = py::none()});
}

}  // namespace pyasr::bind
