// viterbi in float64 over logarithms, one utterance per work item; the arc that each cell came by is kept, 4 bytes per
// state and frame.
#pragma once
#include "cpu/hmm_arcs.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct LogCell {
  Vec<double> value;
  VecInt<double> way;
};
struct Ways {
  PYASR_MATH static VecInt<double> way(long k) { return VecInt<double>{} + static_cast<std::int64_t>(k); }
};
using Best = math::MaxProduct<Ways, LogCell>;
using LogArcs = Arcs<double, 1>;

std::size_t viterbi_worker_bytes(std::int64_t frames, std::int64_t N) {
  const auto states = static_cast<std::size_t>(registers_of<double>(N) * lanes<double>);
  return 2 * aligned((states + 2 * lanes<double>)*8) + aligned(static_cast<std::size_t>(frames) * states * 4);
}

template <class T>
void best_path(const HmmArgs<T>& a, const LogArcs& arcs, std::int64_t b, char* workspace, const Runtime& runtime) {
  constexpr int L = lanes<double>;
  const std::int64_t frames = a.lengths[b], states = arcs.registers * L;
  for (std::int64_t t = 0; t < a.frames; ++t) a.path[t * a.B + b] = -1;
  a.log_p[b] = 0;
  if (frames == 0) return;
  if (a.lost) return finish(a, b, Outcome::lost, runtime);
  Carver memory{workspace};
  double* now = memory.take<double>(row_size<double>(arcs.registers)) + L;
  double* next = memory.take<double>(row_size<double>(arcs.registers)) + L;
  auto* const ways = memory.take<std::int32_t>(frames * states);
  for (std::int64_t i = -L; i < states + L; ++i) now[i] = next[i] = nothing;
  VecInt<double> good = VecInt<double>{} - 1;
  const Vec<double> infinite = splat(__builtin_inf());
  for (std::int64_t t = 0; t < frames; ++t) {
    if (t % 16 == 0 && runtime.stop(runtime.self)) return;
    const T* const x = a.emissions + (t * a.B + b) * a.N;
    auto enter = [&](std::int64_t r, const LogCell& cell) {
      Vec<double> e = splat(nothing);
      const std::int64_t left = a.N - r * L, count = left < L ? left : L;
      for (int l = 0; l < count; ++l) e[l] = static_cast<double>(x[r * L + l]);
      good &= e < infinite;
      store(next + r * L, cell.value + e);
      std::int32_t* const way = ways + t * states + r * L;
      for (int l = 0; l < L; ++l) way[l] = static_cast<std::int32_t>(cell.way[l]);
    };
    if (t == 0) {
      for (std::int64_t r = 0; r < arcs.registers; ++r) {
        LogCell cell{splat(nothing), {}};
        for (int l = 0; l < L && r * L + l < a.N; ++l) cell.value[l] = static_cast<double>(a.initial[r * L + l]);
        enter(r, cell);
      }
    } else {
      step<Best>(
          arcs, LogCell{splat(nothing), {}}, [&](std::int64_t slot) { return LogCell{arcs.at(now, slot), {}}; },
          [&](std::int64_t slot) { return LogCell{arcs.field(slot, 0), {}}; },
          [](std::int64_t, std::int64_t, const LogCell&) {}, enter);
    }
    double* const old = now;
    now = next;
    next = old;
  }
  bool lost = false;
  for (int l = 0; l < L; ++l) lost |= good[l] == 0;
  std::int64_t state = 0;
  double best = nothing;
  for (std::int64_t i = 0; i < a.N; ++i) {
    const double value = a.final ? now[i] + static_cast<double>(a.final[i]) : now[i];
    if (value > best) {
      best = value;
      state = i;
    }
  }
  if (lost || best == nothing) return finish(a, b, lost ? Outcome::lost : Outcome::impossible, runtime);
  a.log_p[b] = static_cast<T>(best);
  for (std::int64_t t = frames - 1;; --t) {
    a.path[t * a.B + b] = static_cast<std::int32_t>(state);
    if (t == 0) break;
    state = arcs.other[(arcs.begin[state / L] + ways[t * states + state]) * L + state % L];
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
