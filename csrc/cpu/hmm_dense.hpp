// hmm_forward_backward for models whose transitions are all above -inf and within e^27 of each other: matrix products
// over groups of utterances, and one over time for the counts.
//
// One scale per frame is enough here, whatever the emissions are. Every state leads to every other with at least 2^-39
// of the best, so what a state adds after it has fallen below 2^-126 of its frame's largest is below 2^-48 of the
// whole. In float32 at T = 10000, N = 50 and emissions of deviation 3, 40, 200 nats, posteriors were measured to
// be 1.2e-7, 4e-8, 2e-8 of their norm off float64 logarithms, and none above 1e-6 by more than 2e-6 of itself.
//
// Bytes and flops per frame and utterance: three products of N^2 multiply-adds; a matrix of N^2 from cache per group.
// Kept: alpha, emissions times beta, 2 numbers per state and frame of the whole batch.
#pragma once
#include "cpu/gemm.hpp"
#include "cpu/hmm_arcs.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr double dense_range = 27;
constexpr long chunk = 128;        // frames whose counts are added up in T
constexpr long count_slivers = 4;  // of states, per work item of the counts

template <class T>
bool is_dense(const HmmArgs<T>& a) {
  return a.into.begin[a.N] == a.N * a.N &&
         static_cast<double>(a.highest) - static_cast<double>(a.lowest) <= dense_range;
}

template <class T>
struct DenseModel {
  std::int64_t N, width;  // states, and padded to registers
  T* forward;             // panels of exp(transitions - highest)
  T* backward;            // of its transpose
};

// What is kept of the batch; row t of utterance b is start[b] + t of alpha.
template <class T>
struct Kept {
  std::int64_t* start;  // [B] frames before b's
  std::int64_t* order;  // [B] utterances, longest first
  Outcome* outcome;     // [B]
  T* alpha;             // [frames, width], rows sum to one
  T* ahead;             // per utterance panels of [frames, width]: emissions, then times beta and over scale
  T* scale;             // [frames] sum of alpha before it is made one
};

template <class T>
std::int64_t padded_states(std::int64_t N) {
  return registers_of<T>(N) * lanes<T>;
}

// Where state n of row t of [frames, width] panels lies; n is a multiple of lanes.
template <class T>
PYASR_INLINE T* in_panels(T* panels, std::int64_t frames, std::int64_t N, std::int64_t t, std::int64_t n) {
  const std::int64_t panel = n / Tile<T>::columns * Tile<T>::columns;
  return panels + panel * frames + t * panel_width<T>(static_cast<long>(panel), static_cast<long>(N)) + (n - panel);
}

template <class T>
std::size_t dense_worker_bytes(std::int64_t N) {
  const auto width = static_cast<std::size_t>(padded_states<T>(N));
  const std::size_t group = 2 * aligned(Tile<T>::rows * width * sizeof(T)) + aligned(width * sizeof(T));
  constexpr std::size_t rows = count_slivers * Tile<T>::rows;
  const std::size_t counts = aligned(rows * width * 8) + aligned(rows * width * sizeof(T)) +
                             aligned(rows * chunk * sizeof(T)) + aligned(rows * sizeof(long));
  return group > counts ? group : counts;
}

template <class T>
std::size_t dense_bytes(const HmmArgs<T>& a, int threads) {
  std::int64_t frames = 0;
  for (std::int64_t b = 0; b < a.B; ++b) frames += a.lengths[b];
  const auto f = static_cast<std::size_t>(frames), B = static_cast<std::size_t>(a.B);
  const auto N = static_cast<std::size_t>(a.N), width = static_cast<std::size_t>(padded_states<T>(a.N));
  return 2 * aligned(N * width * sizeof(T)) + 3 * aligned(B * 8) + 2 * aligned(f * width * sizeof(T)) +
         aligned(f * sizeof(T)) + static_cast<std::size_t>(threads) * dense_worker_bytes<T>(a.N);
}

template <class T>
DenseModel<T> dense_model(const HmmArgs<T>& a, Carver& memory) {
  DenseModel<T> m{a.N, padded_states<T>(a.N), nullptr, nullptr};
  m.forward = memory.take<T>(a.N * m.width);
  m.backward = memory.take<T>(a.N * m.width);
  for (std::int64_t i = 0; i < a.N * m.width; i += lanes<T>) store(m.backward + i, Vec<T>{});
  for (std::int64_t i = 0; i < a.N; ++i)
    for (std::int64_t j = 0; j < a.N; j += lanes<T>) {
      const Vec<T> x = load_row(a.transitions + i * a.N, j, a.N, static_cast<T>(nothing));
      const Vec<T> p = exp_negative<T>(x - a.highest);
      store(in_panels(m.forward, a.N, a.N, i, j), p);
      T* const column = in_panels(m.backward, a.N, a.N, 0, i / lanes<T> * lanes<T>) + i % lanes<T>;
      const std::int64_t panel = i / Tile<T>::columns * Tile<T>::columns;
      const long width = panel_width<T>(static_cast<long>(panel), static_cast<long>(a.N));
      for (int l = 0; l < lanes<T> && j + l < a.N; ++l) column[(j + l) * width] = p[l];
    }
  return m;
}

// The utterances order[begin, end), frame by frame.
template <class T>
class DenseGroup {
 public:
  DenseGroup(const HmmArgs<T>& args, const DenseModel<T>& model_, const Kept<T>& kept_, std::int64_t begin_,
             std::int64_t end, char* workspace, const Runtime& runtime_)
      : a(args), model(model_), kept(kept_), runtime(runtime_), begin(begin_), count(end - begin_) {
    Carver memory{workspace};
    rows = memory.take<T>(Tile<T>::rows * model.width);
    next = memory.take<T>(Tile<T>::rows * model.width);
    edge = memory.take<T>(model.width);
  }

  void run() {
    const std::int64_t longest = a.lengths[utterance(0)];
    for (std::int64_t m = 0; m < count; ++m) {
      fill_posteriors<T>(a, utterance(m), a.lengths[utterance(m)], a.frames, 0, runtime);
      kept.outcome[utterance(m)] = Outcome::possible;
    }
    for (std::int64_t t = 0; t < longest && !stopped(t); ++t) {
      if (t > 0) multiply(active(t), model.forward);
      for (std::int64_t m = 0; m < active(t); ++m) enter(m, t);
    }
    for (std::int64_t t = longest - 1; t >= 0 && !stopped(t); --t) {
      if (t + 1 < longest) multiply(active(t + 1), model.backward);
      for (std::int64_t m = 0; m < active(t); ++m) leave(m, t);
    }
    for (std::int64_t m = 0; m < count; ++m) {
      const std::int64_t b = utterance(m);
      if (kept.outcome[b] == Outcome::possible)
        a.log_p[b] = static_cast<T>(log_p[m]);
      else
        finish(a, b, kept.outcome[b], runtime);
    }
  }

 private:
  static constexpr int L = lanes<T>;

  bool stopped(std::int64_t t) const { return t % 16 == 0 && runtime.stop(runtime.self); }
  std::int64_t utterance(std::int64_t m) const { return kept.order[begin + m]; }
  // How many utterances have frame t: they come first.
  std::int64_t active(std::int64_t t) const {
    std::int64_t m = count;
    while (m > 0 && a.lengths[utterance(m - 1)] <= t) --m;
    return m;
  }
  // next = rows times the matrix
  void multiply(std::int64_t m, const T* panels) const {
    const auto N = static_cast<long>(model.N), width = static_cast<long>(model.width);
    for (long n = 0; n < N; n += Tile<T>::columns)
      rows_times_panel<T>(static_cast<long>(m), N, rows, width, panels + n * N, panel_width<T>(n, N), next + n, width,
                          false);
  }

  // alpha of a frame; its emissions into `ahead`.
  void enter(std::int64_t m, std::int64_t t) {
    const std::int64_t b = utterance(m), frames = a.lengths[b];
    const Emissions<T> x = emissions_of(a, b, t, edge);
    Outcome& outcome = kept.outcome[b];
    if (x.lost)
      outcome = Outcome::lost;
    else if (!(x.max > static_cast<T>(nothing)) && outcome == Outcome::possible)
      outcome = Outcome::impossible;
    T *const row = rows + m * model.width, *const alpha = kept.alpha + (kept.start[b] + t) * model.width;
    T* const ahead = kept.ahead + kept.start[b] * model.width;
    Vec<T> sums{};
    for (std::int64_t n = 0; n < model.width; n += L) {
      const Vec<T> z = load_row(x.x, n, a.N, static_cast<T>(nothing)) - x.max;
      const Vec<T> e = outcome == Outcome::possible ? exp_negative<T>(z) : Vec<T>{};
      const Vec<T> c = t == 0 ? e : load(next + m * model.width + n) * e;
      store(in_panels(ahead, frames, a.N, t, n), e);
      store(row + n, c);
      sums += c;
    }
    const T sum = sum_lanes<T>(sums), share = sum > 0 ? T(1) / sum : T(0);
    if (!(sum > 0) && outcome == Outcome::possible) outcome = Outcome::impossible;
    kept.scale[kept.start[b] + t] = share;
    for (std::int64_t n = 0; n < model.width; n += L) {
      const Vec<T> c = load(row + n) * share;
      store(row + n, c);
      store(alpha + n, c);
    }
    if (t == 0) log_p[m] = 0;
    log_p[m] += x.offset + static_cast<double>(x.max) + __builtin_log(static_cast<double>(sum)) +
                (t > 0 ? static_cast<double>(a.highest) : 0);
  }

  // Posteriors of a frame from alpha and beta, which `next` holds; beta times emissions for the frame before.
  void leave(std::int64_t m, std::int64_t t) const {
    const std::int64_t b = utterance(m), frames = a.lengths[b];
    const T* const alpha = kept.alpha + (kept.start[b] + t) * model.width;
    T* const ahead = kept.ahead + kept.start[b] * model.width;
    T *const beta = next + m * model.width, *const row = rows + m * model.width;
    if (t == frames - 1)
      for (std::int64_t n = 0; n < model.width; n += L) store(beta + n, splat(T(1)));
    Vec<T> sums{};
    for (std::int64_t n = 0; n < model.width; n += L) sums += load(alpha + n) * load(beta + n);
    const T mass = sum_lanes<T>(sums), share = mass > 0 ? T(1) / mass : T(0);
    const T share_ahead = share * kept.scale[kept.start[b] + t];
    T* const out = a.posteriors + (t * a.B + b) * a.N;
    for (std::int64_t n = 0; n < model.width; n += L) {
      const Vec<T> g = load(beta + n);
      store_row(out, n, a.N, load(alpha + n) * g * share);
      T* const e = in_panels(ahead, frames, a.N, t, n);
      const Vec<T> w = load(e) * g * share_ahead;
      store(e, w);
      store(row + n, w);
    }
  }

  const HmmArgs<T>& a;
  const DenseModel<T>& model;
  const Kept<T>& kept;
  const Runtime& runtime;
  const std::int64_t begin, count;
  T *rows, *next;  // [Tile::rows, width]
  T* edge;         // [N]
  double log_p[Tile<T>::rows] = {};
};

// counts of the states [from, from + rows) over the whole batch: exp(transitions) times alpha^T ahead.
template <class T>
void dense_counts(const HmmArgs<T>& a, const DenseModel<T>& model, const Kept<T>& kept, std::int64_t from,
                  std::int64_t rows, char* workspace, const Runtime& runtime) {
  constexpr long most = count_slivers * Tile<T>::rows;
  constexpr int R = Tile<T>::rows, L = lanes<T>;
  Carver memory{workspace};
  auto* const sums = memory.take<double>(most * model.width);
  auto* const part = memory.take<T>(most * model.width);
  auto* const slivers = memory.take<T>(most * chunk);
  auto* const row = memory.take<long>(most);
  for (std::int64_t i = 0; i < rows * model.width; ++i) sums[i] = 0;
  for (long i = 0; i < rows; ++i) row[i] = i * static_cast<long>(model.width);
  for (std::int64_t b = 0; b < a.B; ++b) {
    if (kept.outcome[b] != Outcome::possible) continue;
    const std::int64_t frames = a.lengths[b];
    for (std::int64_t t = 1; t < frames; t += chunk) {
      if (runtime.stop(runtime.self)) return;
      const long K = least(chunk, static_cast<long>(frames - t));
      for (std::int64_t m = 0; m < rows; m += R)
        for (long k = 0; k < K; ++k)
          for (int r = 0; r < R; ++r)
            slivers[m * K + k * R + r] =
                m + r < rows ? kept.alpha[(kept.start[b] + t - 1 + k) * model.width + from + m + r] : T(0);
      T* const ahead = kept.ahead + kept.start[b] * model.width;
      for (long n = 0; n < a.N; n += Tile<T>::columns)
        slivers_times_panel<T>(static_cast<long>(rows), K, slivers, in_panels(ahead, frames, a.N, t, n),
                               panel_width<T>(n, static_cast<long>(a.N)), part + n, row, false);
      for (std::int64_t i = 0; i < rows * model.width; ++i) sums[i] += static_cast<double>(part[i]);
    }
  }
  for (std::int64_t i = 0; i < rows; ++i)
    for (std::int64_t j = 0; j < a.N; ++j) {
      const T p = in_panels(model.forward, a.N, a.N, from + i, j / L * L)[j % L];
      a.counts[(from + i) * a.N + j] = static_cast<T>(static_cast<double>(p) * sums[i * model.width + j]);
    }
}

// Longest first; of equals in any order.
template <class T>
void sort_by_length(const HmmArgs<T>& a, std::int64_t* order) {
  for (std::int64_t b = 0; b < a.B; ++b) order[b] = b;
  std::int64_t gap = 1;
  while (gap < a.B / 3) gap = 3 * gap + 1;
  for (; gap > 0; gap /= 3)
    for (std::int64_t i = gap; i < a.B; ++i) {
      const std::int64_t b = order[i];
      std::int64_t k = i;
      for (; k >= gap && a.lengths[order[k - gap]] < a.lengths[b]; k -= gap) order[k] = order[k - gap];
      order[k] = b;
    }
}

template <class T>
void dense_forward_backward(const HmmArgs<T>& a, void* workspace, const Runtime& runtime) {
  Carver memory{static_cast<char*>(workspace)};
  const DenseModel<T> model = dense_model(a, memory);
  Kept<T> kept{};
  kept.start = memory.take<std::int64_t>(a.B);
  kept.order = memory.take<std::int64_t>(a.B);
  kept.outcome = reinterpret_cast<Outcome*>(memory.take<std::int64_t>(a.B));
  std::int64_t frames = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    kept.start[b] = frames;
    frames += a.lengths[b];
  }
  kept.alpha = memory.take<T>(frames * model.width);
  kept.ahead = memory.take<T>(frames * model.width);
  kept.scale = memory.take<T>(frames);
  sort_by_length(a, kept.order);
  const std::size_t worker_bytes = dense_worker_bytes<T>(a.N);
  auto mine = [&](int worker) { return memory.at + static_cast<std::size_t>(worker) * worker_bytes; };
  // as many utterances at once as a tile takes, but work for every thread
  const long each = least(Tile<T>::rows, divide_up(static_cast<long>(a.B), runtime.threads));
  if (a.B > 0)
    parallel_for(runtime, divide_up(static_cast<long>(a.B), each), [&](long i, int worker) {
      const std::int64_t end = (i + 1) * each < a.B ? (i + 1) * each : a.B;
      DenseGroup<T>(a, model, kept, i * each, end, mine(worker), runtime).run();
    });
  constexpr long rows = count_slivers * Tile<T>::rows;
  parallel_for(runtime, divide_up(static_cast<long>(a.N), rows), [&](long i, int worker) {
    dense_counts(a, model, kept, i * rows, least(rows, static_cast<long>(a.N) - i * rows), mine(worker), runtime);
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
