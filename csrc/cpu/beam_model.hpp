// What the beam search asks of a language model: the back-off n-gram on its tables, in the arithmetic of
// pyasr/ops/_ngram.py.
#pragma once
#include "cpu/simd.hpp"
#include "pyasr/beam.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int longest_context = 32;  // that pyasr/ops/_ngram.py lets through

// Where key stands in sorted [begin, end), or -1.
inline std::int64_t find(const std::int32_t* sorted, std::int64_t begin, std::int64_t end, std::int32_t key) {
  while (begin < end) {
    const std::int64_t middle = begin + (end - begin) / 2;
    if (sorted[middle] == key) return middle;
    if (sorted[middle] < key)
      begin = middle + 1;
    else
      end = middle;
  }
  return -1;
}

struct Scored {
  double log_p;
  std::int32_t next;
};

// log p(token | state): that of the longest context that has the token, then the back-off of each longer one.
inline Scored score(const NgramTables& m, std::int32_t state, std::int32_t token) {
  std::int32_t chain[longest_context];
  int passed = 0;
  for (;;) {
    const std::int64_t arc = find(m.arc_token, m.arc_begin[state], m.arc_begin[state + 1], token);
    if (arc >= 0) {
      Scored s{m.arc_log_p[arc], m.arc_next[arc]};
      while (passed > 0) s.log_p += m.backoff[chain[--passed]];
      return s;
    }
    chain[passed++] = state;
    state = m.suffix[state];
  }
}

// log_p [V] of every label but those that the empty context lacks: the blank, which keeps -inf.
inline void score_all(const NgramTables& m, std::int32_t state, double* log_p, std::int64_t V) {
  std::int32_t chain[longest_context];
  int n = 0;
  for (std::int32_t s = state; s > 0; s = m.suffix[s]) chain[n++] = s;
  for (std::int64_t v = 0; v < V; ++v) log_p[v] = -__builtin_inf();
  for (std::int64_t i = m.arc_begin[0]; i < m.arc_begin[1]; ++i) log_p[m.arc_token[i]] = m.arc_log_p[i];
  while (n > 0) {
    const std::int32_t s = chain[--n];
    const double backoff = m.backoff[s];
    for (std::int64_t v = 0; v < V; ++v) log_p[v] += backoff;
    for (std::int64_t i = m.arc_begin[s]; i < m.arc_begin[s + 1]; ++i) log_p[m.arc_token[i]] = m.arc_log_p[i];
  }
}

constexpr std::int32_t misspelled = -1;  // a node outside the tree of spellings

inline std::int32_t spelled(const NgramTables& m, std::int32_t word, std::int32_t label) {
  if (word == misspelled) return misspelled;
  const std::int64_t at = find(m.spell_label, m.spell_begin[word], m.spell_begin[word + 1], label);
  return at < 0 ? misspelled : m.spell_next[at];
}

// log p(the word that ends here | state)
inline Scored score_word(const NgramTables& m, std::int32_t state, std::int32_t word) {
  const std::int32_t token = word == misspelled ? -1 : m.spell_token[word];
  if (token >= 0) return score(m, state, token);
  if (m.unknown < 0) return {m.unknown_log_p, 0};
  Scored s = score(m, state, m.unknown);
  s.log_p += m.unknown_log_p;
  return s;
}

}  // namespace

}  // namespace pyasr::cpu::PYASR_ISA
