// The arcs of a model in registers of states, the emissions of a frame, and the step that every scan over a model with
// missing arcs takes.
//
// Slot k of a register holds at most one arc of each of its states, in the order of the states at their other ends; a
// lane without one has weight zero. Where all lanes leave the same state (a dense model) the slot loads one cell, where
// they leave neighbors (a chain, a band) one register, else it gathers. Registers take the union of their states'
// sources, one slot each, where that is at most twice the slots they need; so half-filled matrices never gather.
#pragma once
#include "cpu/scaled.hpp"
#include "pyasr/hmm.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr double nothing = -__builtin_inf();

constexpr std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }
template <class T>
std::int64_t registers_of(std::int64_t states) {
  return (states + lanes<T> - 1) / lanes<T>;
}

// Memory handed out front to back.
struct Carver {
  char* at;
  template <class T>
  T* take(std::int64_t count) {
    char* p = at;
    at += aligned(static_cast<std::size_t>(count) * sizeof(T));
    return reinterpret_cast<T*>(p);
  }
};

// A row of cells, with a register of zeros on either side that neighbors may be loaded from.
template <class T>
constexpr std::int64_t row_size(std::int64_t registers) {
  return (registers + 2) * lanes<T>;
}

constexpr std::int32_t gathered = INT32_MIN, one_state = INT32_MIN + 1;

// Fields numbers of type T are the weight of an arc.
template <class T, int Fields>
struct Arcs {
  std::int64_t registers;
  std::int64_t* begin;  // [registers + 1] slots
  std::int32_t* first;  // [slots] the state at the other end of lane 0 where all follow; or gathered, one_state
  std::int32_t* other;  // [slots, lanes]
  T* weight;            // [slots, Fields, lanes]

  std::int64_t slots() const { return begin[registers]; }
  Vec<T> field(std::int64_t slot, int f) const { return load(weight + (slot * Fields + f) * lanes<T>); }
  // Of a row of cells, those that the arcs of a slot have at their other ends.
  [[gnu::always_inline]] Vec<T> at(const T* row, std::int64_t slot) const {
    const std::int32_t f = first[slot];
    if (f == one_state) return splat(row[other[slot * lanes<T>]]);
    if (f != gathered) return load(row + f);
    Vec<T> v;
    for (int l = 0; l < lanes<T>; ++l) v[l] = row[other[slot * lanes<T> + l]];
    return v;
  }
};

// The slots that a register of states needs: the most arcs of one of them.
template <class T>
std::int64_t most_arcs(const HmmArcs& arcs, std::int64_t N, std::int64_t r) {
  std::int64_t most = 0;
  for (std::int64_t i = r * lanes<T>; i < N && i < (r + 1) * lanes<T>; ++i)
    most = arcs.begin[i + 1] - arcs.begin[i] > most ? arcs.begin[i + 1] - arcs.begin[i] : most;
  return most;
}

template <class T, int Fields>
std::size_t arcs_bytes(const HmmArcs& arcs, std::int64_t N) {
  std::int64_t slots = 0;
  for (std::int64_t r = 0; r < registers_of<T>(N); ++r) {
    const std::int64_t most = 2 * most_arcs<T>(arcs, N, r);
    slots += most < N ? most : N;
  }
  const auto n = static_cast<std::size_t>(slots);
  return aligned(static_cast<std::size_t>(registers_of<T>(N) + 1) * 8) + aligned(n * 4) + aligned(n * lanes<T> * 4) +
         aligned(n * Fields * register_bytes) + aligned(static_cast<std::size_t>(N) * 4);
}

// write(weight fields of a lane, from, other) gives an arc its weight; `zero` is what fields of missing arcs hold.
template <class T, int Fields, class Write>
Arcs<T, Fields> make_arcs(Carver& memory, const HmmArcs& list, std::int64_t N, const T (&zero)[Fields],
                          const Write& write) {
  constexpr int L = lanes<T>;
  Arcs<T, Fields> a{};
  a.registers = registers_of<T>(N);
  a.begin = memory.take<std::int64_t>(a.registers + 1);
  auto* const place = memory.take<std::int32_t>(N);  // of a source among the union's
  for (std::int64_t i = 0; i < N; ++i) place[i] = -1;
  auto each_source = [&](std::int64_t r, const auto& body) {
    for (std::int64_t i = r * L; i < N && i < (r + 1) * L; ++i)
      for (std::int64_t k = list.begin[i]; k < list.begin[i + 1]; ++k) body(i, k - list.begin[i], list.other[k]);
  };
  // whether a register takes the union: then `place` is filled, until it is cleared
  auto unite = [&](std::int64_t r, std::int64_t most) {
    std::int64_t count = 0;
    std::int32_t low = static_cast<std::int32_t>(N), high = -1;
    each_source(r, [&](std::int64_t, std::int64_t, std::int32_t other) {
      count += place[other] < 0;
      place[other] = 0;
      low = other < low ? other : low;
      high = other > high ? other : high;
    });
    std::int32_t next = 0;
    for (std::int32_t j = low; j <= high; ++j)
      if (place[j] == 0) place[j] = next++;
    return count <= 2 * most ? count : 0;  // 0: no union
  };
  auto clear = [&](std::int64_t r) {
    each_source(r, [&](std::int64_t, std::int64_t, std::int32_t other) { place[other] = -1; });
  };
  a.begin[0] = 0;
  for (std::int64_t r = 0; r < a.registers; ++r) {
    const std::int64_t most = most_arcs<T>(list, N, r), united = unite(r, most);
    a.begin[r + 1] = a.begin[r] + (united ? united : most);
    clear(r);
  }
  a.first = memory.take<std::int32_t>(a.slots());
  a.other = memory.take<std::int32_t>(a.slots() * L);
  a.weight = memory.take<T>(a.slots() * Fields * L);
  for (std::int64_t k = 0; k < a.slots(); ++k)
    for (int l = 0; l < L; ++l) {
      a.other[k * L + l] = -1;
      for (int f = 0; f < Fields; ++f) a.weight[(k * Fields + f) * L + l] = zero[f];
    }
  for (std::int64_t r = 0; r < a.registers; ++r) {
    const bool united = unite(r, most_arcs<T>(list, N, r)) > 0;
    each_source(r, [&](std::int64_t i, std::int64_t k, std::int32_t other) {
      const std::int64_t slot = a.begin[r] + (united ? place[other] : k);
      a.other[slot * L + i - r * L] = other;
      T fields[Fields];
      write(fields, i, other);
      for (int f = 0; f < Fields; ++f) a.weight[(slot * Fields + f) * L + i - r * L] = fields[f];
    });
    clear(r);
    for (std::int64_t slot = a.begin[r]; slot < a.begin[r + 1]; ++slot) {
      std::int32_t* const other = a.other + slot * L;
      bool same = true, follow = true;
      int known = 0;
      while (other[known] < 0) ++known;
      for (int l = 0; l < L; ++l) {
        same &= other[l] < 0 || other[l] == other[known];
        follow &= other[l] < 0 || other[l] - l == other[known] - known;
      }
      a.first[slot] = same ? one_state : follow ? other[known] - known : gathered;
      for (int l = 0; l < L; ++l) other[l] = other[l] < 0 ? other[known] : other[l];
    }
  }
  return a;
}

// One step: every cell is ⊕ over its arcs of the cells before. before(slot) is the register of cells at the other ends,
// weight(slot) that of the arcs; each(register, slot, term) sees the terms; done(register, cell) takes what came of
// them.
template <class S, int Chains, class A, class Before, class Weight, class Each, class Done>
PYASR_INLINE void step_registers(const A& arcs, std::int64_t r, typename S::Cell zero, const Before& before,
                                 const Weight& weight, const Each& each, const Done& done) {
  typename S::Cell sum[Chains];
  std::int64_t begin[Chains];
  for (int c = 0; c < Chains; ++c) {
    sum[c] = zero;
    begin[c] = arcs.begin[r + c];
  }
  math::meet_arcs<S, Chains>(
      sum, static_cast<long>(arcs.begin[r + 1] - begin[0]), [&](int c, long k) { return before(begin[c] + k); },
      [&](int c, long k) { return weight(begin[c] + k); },
      [&](int c, long k, const typename S::Cell& term) { each(r + c, begin[c] + k, term); });
  for (int c = 0; c < Chains; ++c) done(r + c, sum[c]);
}
template <class S, class A, class Before, class Weight, class Each, class Done>
PYASR_INLINE void step(const A& arcs, typename S::Cell zero, const Before& before, const Weight& weight,
                       const Each& each, const Done& done) {
  for (std::int64_t r = 0; r < arcs.registers;) {
    const std::int64_t* const at = arcs.begin + r;
    const bool alike = r + 4 <= arcs.registers && at[4] - at[3] == at[1] - at[0] && at[3] - at[2] == at[1] - at[0] &&
                       at[2] - at[1] == at[1] - at[0];
    if (alike) {
      step_registers<S, 4>(arcs, r, zero, before, weight, each, done);
      r += 4;
    } else {
      step_registers<S, 1>(arcs, r, zero, before, weight, each, done);
      ++r;
    }
  }
}

// The register of x [n] that begins at i, `rest` behind its end.
template <class T>
PYASR_INLINE Vec<T> load_row(const T* x, std::int64_t i, std::int64_t n, T rest) {
  if (i + lanes<T> <= n) return load(x + i);
  Vec<T> v = splat(rest);
  for (int l = 0; l < n - i; ++l) v[l] = x[i + l];
  return v;
}
template <class T>
PYASR_INLINE void store_row(T* x, std::int64_t i, std::int64_t n, Vec<T> v) {
  if (i + lanes<T> <= n)
    store(x + i, v);
  else
    store_part(x + i, v, static_cast<int>(n - i));
}

// What a frame adds to every path that passes a state: x less offset, where max is the largest of x.
template <class T>
struct Emissions {
  const T* x;
  T max;
  double offset;
  bool lost;  // NaN or +inf
};

// The initial and final probabilities are emissions of the first and last frame; `edge` [N] holds those sums.
template <class T>
PYASR_INLINE Emissions<T> emissions_of(const HmmArgs<T>& a, std::int64_t b, std::int64_t t, T* edge) {
  Emissions<T> e{a.emissions + (t * a.B + b) * a.N, static_cast<T>(nothing), 0, false};
  constexpr T infinite = static_cast<T>(__builtin_inf());
  Vec<T> max = splat(static_cast<T>(nothing));
  VecInt<T> good = VecInt<T>{} - 1;
  for (std::int64_t i = 0; i < a.N; i += lanes<T>) {
    const Vec<T> v = load_row(e.x, i, a.N, static_cast<T>(nothing));
    max = vmax(v, max);
    good &= v < infinite;
  }
  e.max = max_lanes<T>(max);
  for (int l = 0; l < lanes<T>; ++l) e.lost |= good[l] == 0;
  const bool first = t == 0, last = a.final && t == a.lengths[b] - 1;
  if (e.lost || !(first || last)) return e;
  auto sum = [&](std::int64_t i) {
    const double from = first ? static_cast<double>(a.initial[i]) : 0, to = last ? static_cast<double>(a.final[i]) : 0;
    return static_cast<double>(e.x[i]) + from + to;
  };
  double most = nothing;
  for (std::int64_t i = 0; i < a.N; ++i) most = sum(i) > most ? sum(i) : most;
  e.offset = most > nothing ? most : 0;
  for (std::int64_t i = 0; i < a.N; ++i) edge[i] = static_cast<T>(sum(i) - e.offset);
  e.x = edge;
  e.max = most > nothing ? T(0) : static_cast<T>(nothing);
  return e;
}

// How the utterance ended.
enum class Outcome { possible, impossible, lost };

// What an utterance that has no posteriors gets, and all padding.
template <class T>
void fill_posteriors(const HmmArgs<T>& a, std::int64_t b, std::int64_t begin, std::int64_t end, T value,
                     const Runtime& runtime) {
  for (std::int64_t t = begin; t < end; ++t) {
    if (t % 64 == 0 && runtime.stop(runtime.self)) return;
    fill_row<T>(a.posteriors + (t * a.B + b) * a.N, value, a.N);
  }
}
template <class T>
void finish(const HmmArgs<T>& a, std::int64_t b, Outcome outcome, const Runtime& runtime) {
  const T nan = static_cast<T>(__builtin_nan(""));
  a.log_p[b] = outcome == Outcome::lost ? nan : static_cast<T>(nothing);
  if (a.posteriors) fill_posteriors<T>(a, b, 0, a.lengths[b], outcome == Outcome::lost ? nan : T(0), runtime);
}

template <class T>
std::int64_t longest(const HmmArgs<T>& a) {
  std::int64_t most = 0;
  for (std::int64_t b = 0; b < a.B; ++b) most = a.lengths[b] > most ? a.lengths[b] : most;
  return most;
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
