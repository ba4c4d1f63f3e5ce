#include "pyasr/hmm.hpp"

#include <algorithm>
#include <limits>
#include <vector>

#include "bind/function.hpp"
#include "bind/lattice.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

struct HmmCall {
  py::handle emissions, lengths, initial, transitions, final, threads;
};

template <class T>
const HmmKernels<T>& hmm() {
  if constexpr (sizeof(T) == 4)
    return kernels().hmm->f32;
  else
    return kernels().hmm->f64;
}

// The arguments of one call, and the arcs of its model.
template <class T>
struct HmmModel {
  HmmArgs<T> a{};
  int workers = 1;

  HmmModel(Door& door, const HmmCall& call) {
    a.emissions = door.read<T>("log_emissions", call.emissions, "T B N");
    a.lengths = door.read<std::int32_t>("lengths", call.lengths, "B");
    a.initial = door.read<T>("log_initial", call.initial, "N");
    a.transitions = door.read<T>("log_transitions", call.transitions, "N N");
    a.final = door.read_optional<T>("log_final", call.final, "N");
    workers = door.threads(call.threads);
    a.frames = door["T"];
    a.B = door["B"];
    a.N = door["N"];
    if (a.N == 0) door.value_error("log_emissions must have at least one state, got N = 0");
    door.lengths_within("lengths", a.lengths, a.B, a.frames, "T");
    if (workers > a.B) workers = std::max(1, static_cast<int>(a.B));
  }

  // Lists the arcs; a model with NaN or +inf has none.
  void list_arcs() {
    const auto states = static_cast<std::size_t>(a.N), entries = states * states;
    auto bad = [](T x) { return !(x < std::numeric_limits<T>::infinity()); };
    a.lost = std::any_of(a.initial, a.initial + states, bad) ||
             (a.final && std::any_of(a.final, a.final + states, bad)) ||
             std::any_of(a.transitions, a.transitions + entries, bad);
    into_begin.assign(states + 1, 0);
    out_begin.assign(states + 1, 0);
    a.lowest = std::numeric_limits<T>::max();
    a.highest = std::numeric_limits<T>::lowest();
    for (std::size_t i = 0; i < states; ++i) {
      for (std::size_t j = 0; j < states && !a.lost; ++j) {
        const T x = a.transitions[i * states + j];
        if (!(x > -std::numeric_limits<T>::infinity())) continue;
        out.push_back(static_cast<std::int32_t>(j));
        ++into_begin[j + 1];
        a.lowest = std::min(a.lowest, x);
        a.highest = std::max(a.highest, x);
      }
      out_begin[i + 1] = static_cast<std::int64_t>(out.size());
    }
    if (out.empty()) a.lowest = a.highest = 0;
    for (std::size_t j = 0; j < states; ++j) into_begin[j + 1] += into_begin[j];
    into.resize(out.size());
    std::vector<std::int64_t> next(into_begin.begin(), into_begin.end() - 1);
    for (std::size_t i = 0; i < states; ++i)
      for (auto k = static_cast<std::size_t>(out_begin[i]); k < static_cast<std::size_t>(out_begin[i + 1]); ++k)
        into[static_cast<std::size_t>(next[static_cast<std::size_t>(out[k])]++)] = static_cast<std::int32_t>(i);
    a.into = {into_begin.data(), into.data()};
    a.out_of = {out_begin.data(), out.data()};
  }

 private:
  std::vector<std::int64_t> into_begin, out_begin;
  std::vector<std::int32_t> into, out;
};

template <class T>
py::tuple hmm_sum(Door& door, const HmmCall& call) {
  HmmModel<T> model(door, call);
  HmmArgs<T>& a = model.a;
  py::array log_p = new_array<T>({a.B}), posteriors = new_array<T>({a.frames, a.B, a.N});
  py::array counts = new_array<T>({a.N, a.N});
  a.log_p = data<T>(log_p);
  a.posteriors = data<T>(posteriors);
  a.counts = data<T>(counts);
  model.list_arcs();
  door.product({model.workers + a.B, longest(a.lengths, a.B) + 64, a.N + 64, 2 * sizeof(T)});
  door.product({model.workers + 48, a.N + 64, a.N + 64, 2 * sizeof(double)});
  const auto scratch = new_scratch(hmm<T>().forward_backward_bytes(a, model.workers));
  run_released(model.workers, [&](const Runtime& runtime) { hmm<T>().forward_backward(a, scratch.get(), runtime); });
  return py::make_tuple(log_p, posteriors, counts);
}

template <class T>
py::tuple hmm_best(Door& door, const HmmCall& call) {
  HmmModel<T> model(door, call);
  HmmArgs<T>& a = model.a;
  py::array path = new_array<std::int32_t>({a.frames, a.B}), log_p = new_array<T>({a.B});
  a.path = data<std::int32_t>(path);
  a.log_p = data<T>(log_p);
  model.list_arcs();
  door.product({model.workers, longest(a.lengths, a.B) + 64, a.N + 64, sizeof(double)});
  door.product({a.N + 64, a.N + 64, 2 * sizeof(double)});
  const auto scratch = new_scratch(hmm<T>().viterbi_bytes(a, model.workers));
  run_released(model.workers, [&](const Runtime& runtime) { hmm<T>().viterbi(a, scratch.get(), runtime); });
  return py::make_tuple(path, log_p);
}

py::tuple hmm_forward_backward(py::handle emissions, py::handle lengths, py::handle initial, py::handle transitions,
                               py::handle final, py::handle threads) {
  Door door("hmm_forward_backward");
  const HmmCall call{emissions, lengths, initial, transitions, final, threads};
  return door.float_type("log_emissions", emissions) == 'd' ? hmm_sum<double>(door, call) : hmm_sum<float>(door, call);
}

py::tuple viterbi(py::handle emissions, py::handle lengths, py::handle initial, py::handle transitions,
                  py::handle final, py::handle threads) {
  Door door("viterbi");
  const HmmCall call{emissions, lengths, initial, transitions, final, threads};
  return door.float_type("log_emissions", emissions) == 'd' ? hmm_best<double>(door, call)
                                                            : hmm_best<float>(door, call);
}

}  // namespace

void bind_hmm(py::module_& m) {
  def(m, "hmm_forward_backward", &hmm_forward_backward,
      {"log_emissions"_a, "lengths"_a, "log_initial"_a, "log_transitions"_a, "log_final"_a = py::none(), py::kw_only(),
       "threads"_a = py::none()});
  def(m, "viterbi", &viterbi,
      {"log_emissions"_a, "lengths"_a, "log_initial"_a, "log_transitions"_a, "log_final"_a = py::none(), py::kw_only(),
       "threads"_a = py::none()});
}

}  // namespace pyasr::bind
