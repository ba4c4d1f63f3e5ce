// Sums over paths, the best path, and the step of a scan that gives either: a semiring brings the cell of a state, ⊗
// along an arc and ⊕ where arcs meet (Mohri, "Semiring frameworks and algorithms for shortest-distance problems",
// 2002). Cells are CPU vectors or scalars. Everything is inlined by force, so nothing here becomes a symbol.
#pragma once

#if defined(__CUDACC__)
#define PYASR_MATH __host__ __device__ __forceinline__
#else
#define PYASR_MATH [[gnu::always_inline]] inline
#endif

namespace pyasr::math {

// Probabilities m * 2^e: no exp and no log, and every cell keeps its own relative accuracy. C is a struct {m, e}; M
// brings M::max(e, e) and M::pow2(d) for d <= 0, which is 0 for -inf and for NaN. A cell is zero by e = -inf.
template <class M, class C>
struct SumProduct {
  using Cell = C;
  PYASR_MATH static C plus(C a, C b) {
    const auto e = M::max(a.e, b.e);
    return {a.m * M::pow2(a.e - e) + b.m * M::pow2(b.e - e), e};
  }
  PYASR_MATH static C plus(C a, C b, C c) {
    const auto e = M::max(M::max(a.e, b.e), c.e);
    return {a.m * M::pow2(a.e - e) + b.m * M::pow2(b.e - e) + c.m * M::pow2(c.e - e), e};
  }
  PYASR_MATH static C times(C a, C b) { return {a.m * b.m, a.e + b.e}; }
  PYASR_MATH static C meet(C sum, C term, long) { return plus(sum, term); }
};

// Log probabilities, and the arc that the best one came by: the first of equals. C is a struct {value, way}, of which a
// weight has way 0; M brings M::way(long).
template <class M, class C>
struct MaxProduct {
  using Cell = C;
  PYASR_MATH static C times(C a, C b) { return {a.value + b.value, a.way}; }
  PYASR_MATH static C meet(C sum, C term, long arc) {
    const auto better = term.value > sum.value;
    return {better ? term.value : sum.value, better ? M::way(arc) : sum.way};
  }
};

// ⊕ over `count` arcs into each of Chains states: from(c, k) is the cell that arc k of state c leaves, weight(c, k) its
// own; each(c, k, term) sees every term. A chain waits for its last sum, so several are taken at once.
template <class S, int Chains, class From, class Weight, class Each>
PYASR_MATH void meet_arcs(typename S::Cell (&sum)[Chains], long count, const From& from, const Weight& weight,
                          const Each& each) {
  for (long k = 0; k < count; ++k)
#if defined(__CUDACC__)
#pragma unroll
#else
#pragma GCC unroll 4
#endif
    for (int c = 0; c < Chains; ++c) {
      const typename S::Cell term = S::times(from(c, k), weight(c, k));
      each(c, k, term);
      sum[c] = S::meet(sum[c], term, k);
    }
}

}  // namespace pyasr::math
