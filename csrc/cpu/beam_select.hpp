// The best of many candidates, in order.
#pragma once
#include "cpu/softmax_row.hpp"

namespace pyasr::cpu::PYASR_ISA {

struct Candidate {
  double key;
  std::int64_t index;  // all different
};

PYASR_INLINE bool before(Candidate a, Candidate b) { return a.key > b.key || (a.key == b.key && a.index < b.index); }

namespace {

// Splits c [lo, hi), at least three, into those before a pivot and the others; where the others begin, inside both
// ends.
inline std::int64_t split(Candidate* c, std::int64_t lo, std::int64_t hi) {
  Candidate x = c[lo], y = c[lo + (hi - lo) / 2], z = c[hi - 1];
  const Candidate pivot = before(x, y)   ? (before(y, z)   ? y
                                            : before(x, z) ? z
                                                           : x)
                          : before(x, z) ? x
                          : before(y, z) ? z
                                         : y;
  std::int64_t i = lo - 1, j = hi;
  for (;;) {
    do ++i;
    while (before(c[i], pivot));
    do --j;
    while (before(pivot, c[j]));
    if (i >= j) return i > lo ? i : lo + 1;
    const Candidate swapped = c[i];
    c[i] = c[j];
    c[j] = swapped;
  }
}

// The best k of c [n] come first, in any order.
inline void select_best(Candidate* c, std::int64_t n, std::int64_t k) {
  std::int64_t lo = 0, hi = n;
  while (hi - lo > 2 && lo < k && k < hi) {
    const std::int64_t at = split(c, lo, hi);
    if (k <= at)
      hi = at;
    else
      lo = at;
  }
  if (hi - lo == 2 && before(c[lo + 1], c[lo])) {
    const Candidate swapped = c[lo];
    c[lo] = c[lo + 1];
    c[lo + 1] = swapped;
  }
}

// Best first. Recursion takes the shorter part, so it is no deeper than log2 n.
void sort(Candidate* c, std::int64_t lo, std::int64_t hi) {
  while (hi - lo > 24) {
    const std::int64_t at = split(c, lo, hi);
    if (at - lo < hi - at) {
      sort(c, lo, at);
      lo = at;
    } else {
      sort(c, at, hi);
      hi = at;
    }
  }
  for (std::int64_t i = lo + 1; i < hi; ++i) {
    const Candidate x = c[i];
    std::int64_t j = i;
    for (; j > lo && before(x, c[j - 1]); --j) c[j] = c[j - 1];
    c[j] = x;
  }
}

}  // namespace

}  // namespace pyasr::cpu::PYASR_ISA
