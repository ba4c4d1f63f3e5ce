// hmm_forward_backward for models with missing or very unequal arcs: alpha, then beta fused with posteriors and counts.
//
// A cell is m * 2^e with an exponent of its own, as in ctc.cpp: in a chain, the states that the path must pass may lie
// thousands of binary orders below those that the emissions alone would choose. Measured on a chain of 50 states that
// ends in its last, T = 10000: with one scale per frame float32 has no right posterior left at emissions of deviation 3
// nats, float64 none at 40; these cells are in float32 3e-8 of their norm off float64 logarithms at either, and no
// posterior above 1e-6 by more than 8e-6 of itself. Cells are normalized at every frame, rows shifted every 64; offsets
// are added up in float64.
//
// Arithmetic per frame and slot of a register: about 15 operations forward, 25 backward. Kept: 2 numbers per state and
// frame.
#pragma once
#include "cpu/hmm_arcs.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int shift_every = 64, flush_every = 64;
// The batch is cut into so many runs of utterances, each with counts of its own, which are added up in order.
constexpr std::int64_t most_runs = 32;

template <class T>
using SumArcs = Arcs<T, 2>;

std::int64_t runs_of(std::int64_t B) { return B < most_runs ? B : most_runs; }

// Scratch of a worker; carved anew for every utterance.
template <class T>
struct SparseScratch {
  T *m, *e, *next_m, *next_e;  // rows of cells
  T *emission_m, *emission_e;  // [states]
  T *edge, *occupancy;         // [states]
  T* alpha;                    // [frames, registers, 2, lanes]
  double* shift;               // [frames] to add to the exponents of alpha
  T* recent;                   // [slots, lanes] counts of the last frames
  double* counts;              // [slots, lanes] of the utterance
};

template <class T>
SparseScratch<T> carve(Carver memory, std::int64_t frames, std::int64_t registers, std::int64_t slots) {
  constexpr int L = lanes<T>;
  SparseScratch<T> s{};
  T** const rows[] = {&s.m, &s.e, &s.next_m, &s.next_e};
  T** const frames_own[] = {&s.emission_m, &s.emission_e, &s.edge, &s.occupancy};
  for (T** row : rows) *row = memory.take<T>(row_size<T>(registers)) + L;
  for (T** row : frames_own) *row = memory.take<T>(registers * L);
  s.alpha = memory.take<T>(frames * registers * 2 * L);
  s.shift = memory.take<double>(frames);
  s.recent = memory.take<T>(slots * L);
  s.counts = memory.take<double>(slots * L);
  return s;
}

template <class T>
std::size_t sparse_worker_bytes(std::int64_t frames, std::int64_t registers, std::int64_t slots) {
  constexpr int L = lanes<T>;
  const auto cells = static_cast<std::size_t>(registers * L), edges = static_cast<std::size_t>(slots * L);
  const auto f = static_cast<std::size_t>(frames);
  return 4 * aligned((cells + 2 * L) * sizeof(T)) + 4 * aligned(cells * sizeof(T)) +
         aligned(f * cells * 2 * sizeof(T)) + aligned(f * 8) + aligned(edges * sizeof(T)) + aligned(edges * 8);
}

template <class T>
class SparseUtterance {
 public:
  SparseUtterance(const HmmArgs<T>& args, const SumArcs<T>& into_, const SumArcs<T>& out_of_, std::int64_t b_,
                  char* workspace, const Runtime& runtime_)
      : a(args),
        into(into_),
        out_of(out_of_),
        runtime(runtime_),
        b(b_),
        frames(a.lengths[b]),
        registers(into.registers),
        s(carve<T>(Carver{workspace}, frames, registers, out_of.slots())) {}

  // log_p, posteriors, and the counts added to `counts`.
  void run(double* counts) {
    fill_posteriors<T>(a, b, frames, a.frames, 0, runtime);
    a.log_p[b] = 0;
    if (frames == 0) return;
    Outcome outcome = a.lost ? Outcome::lost : forward();
    if (outcome == Outcome::possible) outcome = backward() ? outcome : Outcome::impossible;
    if (outcome != Outcome::possible) return finish(a, b, outcome, runtime);
    a.log_p[b] = static_cast<T>(offset + __builtin_log(mantissa) + exponent * ln2);
    for (std::int64_t i = 0; i < out_of.slots() * L; ++i) counts[i] += s.counts[i];
  }

 private:
  static constexpr int L = lanes<T>;
  using Cell = Scaled<T>;

  bool stopped(std::int64_t t) const { return t % 16 == 0 && runtime.stop(runtime.self); }
  static Cell zero() { return {Vec<T>{}, splat(no_exponent<T>)}; }
  static Cell cells(const T* m, const T* e, std::int64_t r) { return {load(m + r * L), load(e + r * L)}; }
  static void put(T* m, T* e, std::int64_t r, const Cell& c) {
    store(m + r * L, c.m);
    store(e + r * L, c.e);
  }
  T* alpha(std::int64_t t, std::int64_t r) const { return s.alpha + (t * registers + r) * 2 * L; }
  void clear_rows() {
    for (std::int64_t r = -1; r <= registers; ++r) {
      put(s.m, s.e, r, zero());
      put(s.next_m, s.next_e, r, zero());
    }
  }
  void swap_rows() {
    T *const m = s.m, *const e = s.e;
    s.m = s.next_m;
    s.e = s.next_e;
    s.next_m = m;
    s.next_e = e;
  }

  template <class Each, class Done>
  void scan_step(const SumArcs<T>& arcs, const Each& each, const Done& done) const {
    step<Sum<T>>(
        arcs, zero(), [&](std::int64_t k) { return Cell{arcs.at(s.m, k), arcs.at(s.e, k)}; },
        [&](std::int64_t k) { return Cell{arcs.field(k, 0), arcs.field(k, 1)}; }, each, done);
  }

  // The emissions of a frame as cells, and the log that they are too small by; lost: NaN.
  double emit(std::int64_t t) const {
    const Emissions<T> x = emissions_of(a, b, t, s.edge);
    if (x.lost) return __builtin_nan("");
    // Where it can be, the maximum is taken from the exponents, which loses nothing.
    constexpr T large = sizeof(T) == 4 ? T(0x1p14) : T(0x1p30);
    const bool any = x.max > no_exponent<T>;
    const T origin = any && (x.max > large || x.max < -large) ? x.max : T(0);
    const T top = any ? exp_scaled<T>(splat(x.max - origin)).e[0] : T(0);
    constexpr T limit = sizeof(T) == 4 ? static_cast<T>(2.3e38) : static_cast<T>(1.2e308);
    for (std::int64_t r = 0; r < registers; ++r) {
      const Vec<T> v = load_row(x.x, r * L, a.N, no_exponent<T>);
      const Vec<T> z = v - origin;
      const Cell y = exp_scaled<T>(z < -limit ? splat(-limit) : z);
      put(s.emission_m, s.emission_e, r, {y.m, v == no_exponent<T> ? v : y.e - top});
    }
    return x.offset + static_cast<double>(origin) + static_cast<double>(top) * ln2;
  }

  // Subtracts the largest exponent of the running row from all; returns it.
  double shift_row() const {
    Vec<T> most = splat(no_exponent<T>);
    for (std::int64_t r = 0; r < registers; ++r) most = vmax(load(s.e + r * L), most);
    const T largest = max_lanes<T>(most);
    if (!(largest > T(-1e7))) return 0;  // all cells are zero, or exponents have no units left
    for (std::int64_t r = 0; r < registers; ++r) store(s.e + r * L, load(s.e + r * L) - largest);
    return static_cast<double>(largest);
  }

  Outcome forward() {
    double shift = 0;
    offset = static_cast<double>(frames - 1) * static_cast<double>(a.highest);
    clear_rows();
    for (std::int64_t t = 0; t < frames; ++t) {
      if (stopped(t)) return Outcome::impossible;
      const double added = emit(t);
      if (!(added == added)) return Outcome::lost;
      offset += added;
      auto enter = [&](std::int64_t r, const Cell& from) {
        const Cell c = normalized<T>(Sum<T>::times(from, cells(s.emission_m, s.emission_e, r)));
        put(s.next_m, s.next_e, r, c);
        put(alpha(t, r), alpha(t, r) + L, 0, c);
      };
      if (t == 0)
        for (std::int64_t r = 0; r < registers; ++r) enter(r, {splat(T(1)), Vec<T>{}});
      else
        scan_step(into, [](std::int64_t, std::int64_t, const Cell&) {}, enter);
      swap_rows();
      s.shift[t] = shift;
      if (t % shift_every == shift_every - 1) shift += shift_row();
    }
    double most = nothing;
    for (std::int64_t i = 0; i < a.N; ++i)
      most = static_cast<double>(s.e[i]) > most ? static_cast<double>(s.e[i]) : most;
    if (most == nothing) return Outcome::impossible;
    for (std::int64_t i = 0; i < a.N; ++i)
      mantissa += static_cast<double>(s.m[i]) * __builtin_exp2(static_cast<double>(s.e[i]) - most);
    exponent = most + shift;
    return Outcome::possible;
  }

  void flush() const {
    for (std::int64_t i = 0; i < out_of.slots() * L; ++i) {
      s.counts[i] += static_cast<double>(s.recent[i]);
      s.recent[i] = 0;
    }
  }

  // False when a frame has no posteriors, which only logits at the end of the range bring about.
  bool backward() {
    for (std::int64_t i = 0; i < out_of.slots() * L; ++i) s.counts[i] = s.recent[i] = 0;
    clear_rows();
    double shift = 0;
    T share = 0;  // of the frame behind: what makes its posteriors sum to one, and the steps into it
    for (std::int64_t t = frames - 1; t >= 0; --t) {
      if (stopped(t)) return false;
      const T total = static_cast<T>(exponent - s.shift[t] - shift);
      emit(t);
      Vec<T> sum{};
      auto leave = [&](std::int64_t r, const Cell& beta) {
        const Cell both = Sum<T>::times(cells(alpha(t, r), alpha(t, r) + L, 0), beta);
        const Vec<T> occupancy = both.m * pow2<T>(both.e - total);
        store(s.occupancy + r * L, occupancy);
        sum += occupancy;
        put(s.next_m, s.next_e, r, normalized<T>(Sum<T>::times(beta, cells(s.emission_m, s.emission_e, r))));
      };
      if (t == frames - 1)
        for (std::int64_t r = 0; r < registers; ++r) leave(r, {splat(T(1)), Vec<T>{}});
      else
        scan_step(
            out_of,
            [&](std::int64_t r, std::int64_t slot, const Cell& term) {
              const Cell from = cells(alpha(t, r), alpha(t, r) + L, 0);
              T* const count = s.recent + slot * L;
              store(count, load(count) + from.m * share * term.m * pow2<T>(from.e - total + term.e));
            },
            leave);
      swap_rows();
      if (t % flush_every == 0) flush();
      if ((frames - 1 - t) % shift_every == shift_every - 1) shift += shift_row();
      const T mass = sum_lanes<T>(sum);
      if (!(mass > 0)) return false;
      share = T(1) / mass;
      T* const out = a.posteriors + (t * a.B + b) * a.N;
      for (std::int64_t r = 0; r < registers; ++r) store_row(out, r * L, a.N, load(s.occupancy + r * L) * share);
    }
    return true;
  }

  const HmmArgs<T>& a;
  const SumArcs<T>&into, &out_of;
  const Runtime& runtime;
  const std::int64_t b, frames, registers;
  SparseScratch<T> s;
  double offset = 0;  // p = mantissa * 2^exponent * exp(offset)
  double mantissa = 0, exponent = 0;
};

// The weight of an arc, the highest transition being one.
template <class T>
void arc_weight(const HmmArgs<T>& a, std::int64_t from, std::int64_t to, T (&weight)[2]) {
  const double x = static_cast<double>(a.transitions[from * a.N + to]) - static_cast<double>(a.highest);
  const Scaled<double> y = exp_scaled<double>(splat(x));
  weight[0] = static_cast<T>(y.m[0]);
  weight[1] = static_cast<T>(y.e[0]);
}

template <class T>
std::size_t sparse_bytes(const HmmArgs<T>& a, int threads) {
  std::int64_t slots = 0;
  for (std::int64_t r = 0; r < registers_of<T>(a.N); ++r) {
    const std::int64_t most = 2 * most_arcs<T>(a.out_of, a.N, r);
    slots += most < a.N ? most : a.N;
  }
  return arcs_bytes<T, 2>(a.into, a.N) + arcs_bytes<T, 2>(a.out_of, a.N) +
         aligned(static_cast<std::size_t>(runs_of(a.B) * slots * lanes<T>) * 8) +
         static_cast<std::size_t>(threads) * sparse_worker_bytes<T>(longest(a), registers_of<T>(a.N), slots);
}

template <class T>
void sparse_forward_backward(const HmmArgs<T>& a, void* workspace, const Runtime& runtime) {
  constexpr int L = lanes<T>;
  Carver memory{static_cast<char*>(workspace)};
  const T zero[2] = {0, no_exponent<T>};
  const SumArcs<T> into =
      make_arcs<T, 2>(memory, a.into, a.N, zero,
                      [&](T(&weight)[2], std::int64_t to, std::int64_t from) { arc_weight(a, from, to, weight); });
  const SumArcs<T> out_of =
      make_arcs<T, 2>(memory, a.out_of, a.N, zero,
                      [&](T(&weight)[2], std::int64_t from, std::int64_t to) { arc_weight(a, from, to, weight); });
  const std::int64_t size = out_of.slots() * L, runs = runs_of(a.B);
  auto* const counts = memory.take<double>(runs * size);
  const std::size_t worker_bytes = sparse_worker_bytes<T>(longest(a), into.registers, out_of.slots());
  parallel_for(runtime, static_cast<long>(runs), [&](long run, int worker) {
    double* const mine = counts + run * size;
    for (std::int64_t i = 0; i < size; ++i) mine[i] = 0;
    for (std::int64_t b = run * a.B / runs; b < (run + 1) * a.B / runs; ++b)
      SparseUtterance<T>(a, into, out_of, b, memory.at + static_cast<std::size_t>(worker) * worker_bytes, runtime)
          .run(mine);
  });
  fill_row<T>(a.counts, 0, a.N * a.N);
  for (std::int64_t i = 0; i < a.N; ++i) {
    const std::int64_t r = i / L;
    for (std::int64_t slot = out_of.begin[r]; slot < out_of.begin[r + 1]; ++slot) {
      const std::int64_t at = slot * L + i % L;
      double sum = 0;
      for (std::int64_t run = 0; run < runs; ++run) sum += counts[run * size + at];
      if (sum > 0) a.counts[i * a.N + out_of.other[at]] += static_cast<T>(sum);
    }
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
