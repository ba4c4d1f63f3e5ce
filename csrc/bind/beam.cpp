#include "pyasr/beam.hpp"

#include <algorithm>
#include <limits>

#include "bind/beam_lm.hpp"
#include "bind/function.hpp"
#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

constexpr std::int64_t most_prefixes = 1 << 30;  // nodes are numbered by int32

struct BeamCall {
  py::handle logits, lengths, width, blank, lm, lm_weight, length_bonus, delimiter, n_best, min_log_p, threads;
};

template <class T>
py::tuple run_beam(Door& door, const BeamCall& call) {
  BeamArgs<T> a{};
  read_frames<T>(door, call.logits, call.lengths, call.blank, a);
  a.width = door.integer_in("width", call.width, 1, 4096);
  Model model = read_model(door, call.lm, call.delimiter, a.blank);
  a.delimiter = model.delimiter;
  a.ngram = model.ngram;
  a.lm_weight = door.real_in("lm_weight", call.lm_weight, 0, 1e6);
  a.length_bonus = door.real_in("length_bonus", call.length_bonus, -1e6, 1e6);
  a.N = door.integer_in("n_best", call.n_best, 1, a.width);
  a.min_log_p =
      call.min_log_p.is_none() ? -std::numeric_limits<double>::infinity() : door.real("min_log_p", call.min_log_p);
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
  Hook hook(call.lm, a.delimiter);
  const LmHook functions = hook.functions();
  if (model.asked) {
    a.hook = &functions;
    workers = 1;
  }
  if (workers > a.B) workers = std::max(1, static_cast<int>(a.B));
  const Beam& op = *kernels().beam;
  door.product({workers, a.width, 64 + frames + a.V, 64});
  const auto scratch = new_scratch(op.workspace_bytes(frames, a.V, a.width, a.ngram || a.hook, workers));
  const auto search = [&](const Runtime& runtime) {
    if constexpr (sizeof(T) == 4)
      op.f32(a, scratch.get(), runtime);
    else
      op.f64(a, scratch.get(), runtime);
  };
  if (model.asked)
    hook.run(search);
  else
    run_released(workers, search);
  return py::make_tuple(labels, counts, scores, log_p, lm_log_p);
}

py::tuple ctc_beam(py::handle logits, py::handle lengths, py::handle width, py::handle blank, py::handle lm,
                   py::handle lm_weight, py::handle length_bonus, py::handle delimiter, py::handle n_best,
                   py::handle min_log_p, py::handle threads) {
  Door door("ctc_beam");
  const BeamCall call{logits,       lengths,   width,  blank,     lm,     lm_weight,
                      length_bonus, delimiter, n_best, min_log_p, threads};
  return door.float_type("logits", logits) == 'd' ? run_beam<double>(door, call) : run_beam<float>(door, call);
}

}  // namespace

void bind_beam(py::module_& m) {
  def(m, "ctc_beam", &ctc_beam,
      {"logits"_a, "lengths"_a, py::kw_only(), "width"_a = 16, "blank"_a = 0, "lm"_a = py::none(), "lm_weight"_a = 0.5,
       "length_bonus"_a = 0.0, "delimiter"_a = py::none(), "n_best"_a = 1, "min_log_p"_a = py::none(),
       "threads"_a = py::none()});
}

}  // namespace pyasr::bind
