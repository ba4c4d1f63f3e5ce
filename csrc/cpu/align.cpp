// ctc_align: Viterbi in float64 over blanks and labels in arrays of their own (see ctc.cpp), one utterance per work
// item.
//
// The path is found from the logits less their frame's maximum, so that it does not depend on the softmax; only cells
// that a path can have reached, and that can still reach the end, are worked on. A byte per cell says where it came
// from. Cost per frame: V exps, and about 8 operations per label.
#include "pyasr/align.hpp"

#include "cpu/softmax_row.hpp"
#include "math/semiring.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr double nothing = -__builtin_inf();

struct Sizes {
  std::size_t cells, back, row, most, total;
};

Sizes sizes_of(std::int64_t frames, std::int64_t labels, std::int64_t V) {
  const auto n = static_cast<std::size_t>(labels) + 2;
  Sizes s{};
  s.cells = (n * 8 + 63) / 64 * 64;
  s.back = (static_cast<std::size_t>(frames) * 2 * n + 63) / 64 * 64;
  s.row = (static_cast<std::size_t>(V) * 8 + 63) / 64 * 64;
  s.most = (static_cast<std::size_t>(frames) * 8 + 63) / 64 * 64;
  s.total = 4 * s.cells + s.back + s.row + s.most;
  return s;
}

// What leads to a cell: the first of the largest.
struct Best {
  double value;
  unsigned char way;
};
struct Ways {
  PYASR_MATH static unsigned char way(long k) { return static_cast<unsigned char>(k); }
};
PYASR_INLINE Best best(double stay, double step, double skip) {
  using Max = math::MaxProduct<Ways, Best>;
  return Max::meet(Max::meet({stay, 0}, {step, 0}, 1), {skip, 0}, 2);
}

template <class T>
void align_one(const AlignArgs<T>& a, std::int64_t b, char* workspace, const Sizes& sizes, const Runtime& runtime) {
  const std::int64_t frames = a.lengths[b], n = a.label_lengths[b];
  const std::int32_t* const label = a.labels + b * a.U;
  for (std::int64_t t = 0; t < a.frames; ++t) {
    a.positions[t * a.B + b] = -1;
    a.scores[t * a.B + b] = 0;
  }
  a.log_p[b] = n == 0 ? T(0) : static_cast<T>(nothing);
  if (frames == 0) return;

  // blank u comes before label u; entry -1 of each is nothing
  double* rows[4];
  for (int k = 0; k < 4; ++k) {
    rows[k] = reinterpret_cast<double*>(workspace + static_cast<std::size_t>(k) * sizes.cells) + 1;
    for (std::int64_t u = -1; u <= n; ++u) rows[k][u] = nothing;
  }
  double *blanks = rows[0], *labels = rows[1], *next_blanks = rows[2], *next_labels = rows[3];
  auto* const back = reinterpret_cast<unsigned char*>(workspace + 4 * sizes.cells);
  T* const y = reinterpret_cast<T*>(workspace + 4 * sizes.cells + sizes.back);
  auto* const maxima = reinterpret_cast<double*>(workspace + 4 * sizes.cells + sizes.back + sizes.row);  // [frames]
  bool lost = false;
  for (std::int64_t t = 0; t < frames; ++t) {
    if (t % 64 == 0 && runtime.stop(runtime.self)) return;
    const T* const x = a.logits + (t * a.B + b) * a.V;
    const RowSum<T> sum = exp_row(x, y, a.V);
    lost |= sum.sum != sum.sum;
    const double max = maxima[t] = static_cast<double>(sum.max);
    a.scores[t * a.B + b] = static_cast<T>(__builtin_log(static_cast<double>(sum.sum)));  // until the path is known
    const double at_blank = static_cast<double>(x[a.blank]) - max;
    if (t == 0) {
      blanks[0] = at_blank;
      if (n) labels[0] = static_cast<double>(x[label[0]]) - max;
      continue;
    }
    unsigned char* const to_blank = back + t * 2 * (n + 1);
    unsigned char* const to_label = to_blank + n + 1;
    // blanks u <= (t + 1) / 2 and labels u <= t / 2 can be reached with a blank each; without, u <= t
    const std::int64_t high = t < n ? t : n, left = frames - 1 - t;
    const std::int64_t low = n - left - 1 > 0 ? n - left - 1 : 0;
    for (std::int64_t u = low; u <= high; ++u) {
      const Best best_blank = best(blanks[u], labels[u - 1], nothing);
      next_blanks[u] = best_blank.value + at_blank;
      to_blank[u] = best_blank.way;
      if (u == n) break;
      const bool may_skip = u > 0 && label[u] != label[u - 1];
      const Best best_label = best(labels[u], blanks[u], may_skip ? labels[u - 1] : nothing);
      next_labels[u] = best_label.value + (static_cast<double>(x[label[u]]) - max);
      to_label[u] = best_label.way;
    }
    double* const old_blanks = blanks;
    double* const old_labels = labels;
    blanks = next_blanks;
    labels = next_labels;
    next_blanks = old_blanks;
    next_labels = old_labels;
    if (low > 0) blanks[low - 1] = labels[low - 1] = nothing;
  }
  const bool at_label = n > 0 && labels[n - 1] > blanks[n];
  const double value = at_label ? labels[n - 1] : blanks[n];
  if (lost || value == nothing) {
    const T what = lost ? static_cast<T>(__builtin_nan("")) : T(0);
    for (std::int64_t t = 0; t < frames; ++t) a.scores[t * a.B + b] = what;
    a.log_p[b] = lost ? what : static_cast<T>(nothing);
    return;
  }
  std::int64_t u = at_label ? n - 1 : n;
  bool label_now = at_label;
  double total = 0;
  for (std::int64_t t = frames - 1; t >= 0; --t) {
    const std::int64_t cell = t * a.B + b;
    const double x = static_cast<double>(a.logits[cell * a.V + (label_now ? label[u] : a.blank)]);
    const double score = (x - maxima[t]) - static_cast<double>(a.scores[cell]);
    a.scores[cell] = static_cast<T>(score);
    a.positions[cell] = label_now ? static_cast<std::int32_t>(u) : -1;
    total += score;
    if (t == 0) break;
    const unsigned char* const ways = back + t * 2 * (n + 1);
    if (label_now) {
      const unsigned char way = ways[n + 1 + u];
      if (way == 1) label_now = false;
      if (way == 2) --u;
    } else if (ways[u]) {
      label_now = true;
      --u;
    }
  }
  a.log_p[b] = static_cast<T>(total);
}

template <class T>
void run(const AlignArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  std::int64_t frames = 0, labels = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    frames = a.lengths[b] > frames ? a.lengths[b] : frames;
    labels = a.label_lengths[b] > labels ? a.label_lengths[b] : labels;
  }
  const Sizes sizes = sizes_of(frames, labels, a.V);
  parallel_for(runtime, static_cast<long>(a.B), [&](long b, int worker) {
    align_one(a, b, static_cast<char*>(workspace) + static_cast<std::size_t>(worker) * sizes.total, sizes, runtime);
  });
}

std::size_t workspace_bytes(std::int64_t frames, std::int64_t labels, std::int64_t V, int threads) noexcept {
  return sizes_of(frames, labels, V).total * static_cast<std::size_t>(threads);
}

}  // namespace

extern const Align align;
const Align align = {workspace_bytes, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
