// ctc_greedy, ctc_beam and ctc_align against all paths of small lattices, in float64.
#include <algorithm>
#include <cmath>
#include <map>

#include "cpu/selfcheck.hpp"

namespace pyasr::selfcheck {

namespace {

using cpu::Table;

constexpr std::size_t frames = 6, B = 3, V = 4;
constexpr std::int32_t lengths[B] = {6, 0, 5}, blank = 1;
using Labels = std::vector<std::int32_t>;

struct Paths {
  double sum = 0, best = 0;  // probability of all paths of the labels, and of the likeliest
};

Labels collapsed(const Labels& path) {
  Labels out;
  for (std::size_t t = 0; t < path.size(); ++t)
    if (path[t] != blank && (t == 0 || path[t] != path[t - 1])) out.push_back(path[t]);
  return out;
}

// Every label sequence that utterance b may spell.
template <class T>
std::map<Labels, Paths> enumerate(const std::vector<T>& logits, std::size_t b) {
  std::map<Labels, Paths> out;
  const auto n = static_cast<std::size_t>(lengths[b]);
  std::size_t count = 1;
  for (std::size_t t = 0; t < n; ++t) count *= V;
  for (std::size_t i = 0; i < count; ++i) {
    Labels path(n);
    double p = 1;
    for (std::size_t t = 0, rest = i; t < n; ++t, rest /= V) {
      const T* x = logits.data() + (t * B + b) * V;
      double sum = 0;
      for (std::size_t v = 0; v < V; ++v) sum += std::exp(static_cast<double>(x[v]));
      path[t] = static_cast<std::int32_t>(rest % V);
      p *= std::exp(static_cast<double>(x[rest % V])) / sum;
    }
    Paths& of = out[collapsed(path)];
    of.sum += p;
    of.best = std::max(of.best, p);
  }
  return out;
}

template <class T>
double decode_case(const Table& table, const Runtime& runtime) {
  auto logits = random<T>(frames * B * V, 31);
  for (T& x : logits) x *= 3;
  std::vector<std::int32_t> greedy(B * frames), greedy_counts(B), beam(B * frames), beam_counts(B);
  std::vector<T> scores(B), log_p(B), lm_log_p(B);
  GreedyArgs<T> g{};
  g.logits = logits.data();
  g.lengths = lengths;
  g.labels = greedy.data();
  g.counts = greedy_counts.data();
  BeamArgs<T> a{};
  a.logits = logits.data();
  a.lengths = lengths;
  a.labels = beam.data();
  a.counts = beam_counts.data();
  a.scores = scores.data();
  a.log_p = log_p.data();
  a.lm_log_p = lm_log_p.data();
  a.N = 1;
  a.width = 4096;  // nothing is cut off
  a.delimiter = -1;
  a.min_log_p = -std::numeric_limits<double>::infinity();
  g.frames = a.frames = frames;
  g.B = a.B = B;
  g.V = a.V = V;
  g.blank = a.blank = blank;
  Memory scratch(table.beam->workspace_bytes(frames, V, a.width, false, runtime.threads));
  if constexpr (sizeof(T) == 4) {
    table.greedy->f32(g, runtime);
    table.beam->f32(a, scratch.get(), runtime);
  } else {
    table.greedy->f64(g, runtime);
    table.beam->f64(a, scratch.get(), runtime);
  }

  std::vector<double> want_log_p(B), want_best(B);
  std::vector<std::int32_t> targets(B * frames), counts(B);
  for (std::size_t b = 0; b < B; ++b) {
    const auto all = enumerate(logits, b);
    const auto best =
        std::max_element(all.begin(), all.end(), [](auto& x, auto& y) { return x.second.sum < y.second.sum; });
    want_log_p[b] = std::log(best->second.sum);
    want_best[b] = std::log(best->second.best);
    counts[b] = static_cast<std::int32_t>(best->first.size());
    std::copy(best->first.begin(), best->first.end(), targets.begin() + static_cast<std::ptrdiff_t>(b * frames));
    const auto row = [&](const Labels& from, std::int32_t n) {
      const auto begin = from.begin() + static_cast<std::ptrdiff_t>(b * frames);
      return Labels(begin, begin + n);
    };
    if (beam_counts[b] != counts[b] || row(beam, counts[b]) != best->first) return INFINITY;
    Labels path;
    for (std::size_t t = 0; t < static_cast<std::size_t>(lengths[b]); ++t) {
      const T* x = logits.data() + (t * B + b) * V;
      path.push_back(static_cast<std::int32_t>(std::max_element(x, x + V) - x));
    }
    const Labels greediest = collapsed(path);
    if (greedy_counts[b] != static_cast<std::int32_t>(greediest.size()) || row(greedy, greedy_counts[b]) != greediest)
      return INFINITY;
  }

  std::vector<std::int32_t> positions(frames * B);
  std::vector<T> frame_scores(frames * B), path_log_p(B);
  AlignArgs<T> w{};
  w.logits = logits.data();
  w.lengths = lengths;
  w.labels = targets.data();
  w.label_lengths = counts.data();
  w.positions = positions.data();
  w.scores = frame_scores.data();
  w.log_p = path_log_p.data();
  w.frames = frames;
  w.B = B;
  w.V = V;
  w.U = frames;
  w.blank = blank;
  Memory lattice(table.align->workspace_bytes(frames, frames, V, runtime.threads));
  if constexpr (sizeof(T) == 4)
    table.align->f32(w, lattice.get(), runtime);
  else
    table.align->f64(w, lattice.get(), runtime);
  return std::fmax(off(log_p, want_log_p), off(path_log_p, want_best));
}

}  // namespace

double decode(const Table& table, const Runtime& runtime, bool in_double) {
  return in_double ? decode_case<double>(table, runtime) : decode_case<float>(table, runtime);
}

}  // namespace pyasr::selfcheck
