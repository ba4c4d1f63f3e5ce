#include "pyasr/greedy.hpp"

#include "bind/function.hpp"
#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

template <class T>
py::tuple run(Door& door, py::handle logits, py::handle lengths, py::handle blank, py::handle threads) {
  GreedyArgs<T> a{};
  read_frames<T>(door, logits, lengths, blank, a);
  const int workers = door.threads(threads);
  door.lengths_within("lengths", a.lengths, a.B, a.frames, "T");
  py::array labels = new_array<std::int32_t>({a.B, a.frames}), counts = new_array<std::int32_t>({a.B});
  a.labels = data<std::int32_t>(labels);
  a.counts = data<std::int32_t>(counts);
  const Greedy& op = *kernels().greedy;
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(a, runtime);
    else
      op.f64(a, runtime);
  });
  return py::make_tuple(labels, counts);
}

py::tuple ctc_greedy(py::handle logits, py::handle lengths, py::handle blank, py::handle threads) {
  Door door("ctc_greedy");
  return door.float_type("logits", logits) == 'd' ? run<double>(door, logits, lengths, blank, threads)
                                                  : run<float>(door, logits, lengths, blank, threads);
}

}  // namespace

void bind_greedy(py::module_& m) {
  def(m, "ctc_greedy", &ctc_greedy, {"logits"_a, "lengths"_a, py::kw_only(), "blank"_a = 0, "threads"_a = py::none()});
}

}  // namespace pyasr::bind
