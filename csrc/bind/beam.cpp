#include "pyasr/beam.hpp"

#include <algorithm>
#include <limits>

#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

constexpr std::int64_t most_prefixes = 1 << 30;  // nodes are numbered by int32

struct BeamCall {
  py::handle logits, lengths, width, blank, length_bonus, n_best, min_log_p, threads;
};

template <class T>
py::tuple run_beam(Door& door, const BeamCall& call) {
  BeamArgs<T> a{};
  read_frames<T>(door, call.logits, call.lengths, call.blank, a);
  a.width = door.integer_in("width", call.width, 1, 4096);
  a.length_bonus = door.real_in("length_bonus", call.length_bonus, -1e6, 1e6);
  a.N = door.integer_in("n_best", call.n_best, 1, a.width);
  a.min_log_p =
      call.min_log_p.is_none() ? -std::numeric_limits<double>::infinity() : door.real("min_log_p", call.min_log_p);
  a.delimiter = -1;
  int workers = door.threads(call.threads);
  door.lengths_within("lengths", a.lengths, a.B, a.frames, "T");
  const std::int64_t frames = longest(a.lengths, a.B);
  if (frames > most_prefixes / a.width)
    door.value_error("lengths must be at most " + std::to_string(most_prefixes / a.width) +
                     " with width = " + std::to_string(a.width) + ", got " + std::to_string(frames));

  py::array labels = new_array<std::int32_t>({a.B, a.N, a.frames}), counts = new_array<std::int32_t>({a.B, a.N});
  py::array scores = new_array<T>({a.B, a.N}), log_p = new_array<T>({a.B, a.N}), lm_log_p = new_array<T>({a.B, a.N});
  a.labels = data<std::int32_t>(labels);
  a.counts = data<std::int32_t>(counts);
  a.scores = data<T>(scores);
  a.log_p = data<T>(log_p);
  a.lm_log_p = data<T>(lm_log_p);
  if (workers > a.B) workers = std::max(1, static_cast<int>(a.B));
  const Beam& op = *kernels().beam;
  door.product({workers, a.width, 64 + frames + a.V, 64});
  const auto scratch = new_scratch(op.workspace_bytes(frames, a.V, a.width, a.ngram || a.hook, workers));
  run_released(workers, [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(a, scratch.get(), runtime);
    else
      op.f64(a, scratch.get(), runtime);
  });
  return py::make_tuple(labels, counts, scores, log_p, lm_log_p);
}

py::tuple ctc_beam(py::handle logits, py::handle lengths, py::handle width, py::handle blank, py::handle length_bonus,
                   py::handle n_best, py::handle min_log_p, py::handle threads) {
  Door door("ctc_beam");
  const BeamCall call{logits, lengths, width, blank, length_bonus, n_best, min_log_p, threads};
  return door.float_type("logits", logits) == 'd' ? run_beam<double>(door, call) : run_beam<float>(door, call);
}

}  // namespace

void bind_beam(py::module_& m) {
  m.def("ctc_beam", &ctc_beam, "logits"_a, "lengths"_a, py::kw_only(), "width"_a = 16, "blank"_a = 0,
        "length_bonus"_a = 0.0, "n_best"_a = 1, "min_log_p"_a = py::none(), "threads"_a = py::none());
}

}  // namespace pyasr::bind
