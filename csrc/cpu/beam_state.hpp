// What a beam search keeps, its workspace, and the arithmetic of its cells.
#pragma once
#include "cpu/beam_select.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr double nothing = -__builtin_inf();
constexpr std::int64_t block = 32;  // symbols that are looked at together
constexpr std::int32_t no_node = -1;
constexpr double rounder = 6291456;  // 1.5 * 2^22: adding and subtracting it rounds to 2^-30

PYASR_INLINE Vd rounded(Vd x) { return (x + rounder) - rounder; }
PYASR_INLINE double rounded(double x) { return (x + rounder) - rounder; }

// log(e^a + e^b); log1p by 2 atanh(x / (x + 2)), whose argument is at most 1/3.
PYASR_INLINE Vd log_add(Vd a, Vd b) {
  const Vd high = vmax(a, b), x = exp_negative<double>((a > b ? b : a) - high);
  const Vd s = x / (x + 2.), z = s * s;
  Vd p = z * (1. / 35) + 1. / 33;
  p = p * z + 1. / 31;
  p = p * z + 1. / 29;
  p = p * z + 1. / 27;
  p = p * z + 1. / 25;
  p = p * z + 1. / 23;
  p = p * z + 1. / 21;
  p = p * z + 1. / 19;
  p = p * z + 1. / 17;
  p = p * z + 1. / 15;
  p = p * z + 1. / 13;
  p = p * z + 1. / 11;
  p = p * z + 1. / 9;
  p = p * z + 1. / 7;
  p = p * z + 1. / 5;
  p = p * z + 1. / 3;
  const Vd sum = high + (s + s) * (p * z + 1.);
  return high == nothing ? high : sum;
}

struct Node {
  double weight, lm_log_p;  // of all its tokens
  std::int32_t parent, label;
  std::int32_t slot;         // in the beam, or -1
  std::int32_t state, word;  // of an n-gram
};

// One number per slot.
struct Slots {
  double *blank, *label, *total;  // log probabilities of the paths that end in a blank, in the label; of both
  std::int32_t *node, *row;
};

struct Search {
  std::int64_t V, padded, width, capacity, most_nodes;
  std::uint32_t hash_mask;
  double *y, *extension, *exps, *keys;  // [padded] log softmax; where a label may begin; scratch
  Slots now, next;
  double *own, *from, *stay_blank, *stay_label, *stay_total, *stay_key;
  double *lm_log_p, *weight, *most_weight;   // [width,padded] of the tokens; [width] the largest weight
  std::int32_t *row_used, *child, *sibling;  // whether a row is taken; slots whose parent is a slot, as lists
  std::int32_t *wanted, *table;              // labels to ask a hook for; nodes by parent and label
  Candidate* candidates;
  Node* nodes;

  std::int64_t slots, count, node_count;
  double shift;  // what all log probabilities are less
  bool lost;     // a hook failed
};

// The workspace of one worker, laid out by adding up; base null: only its size.
std::size_t carve(Search& s, char* base, std::int64_t frames, std::int64_t V, std::int64_t width, bool model) {
  std::size_t at = 0;
  auto take = [&]<class... T>(std::int64_t n, T*&... p) {
    auto one = [&]<class U>(U*& q) {
      q = reinterpret_cast<U*>(base + at);
      at += (static_cast<std::size_t>(n) * sizeof(U) + 63) / 64 * 64;
    };
    (one(p), ...);
  };
  s.V = V;
  s.width = width;
  s.padded = (V + block - 1) / block * block;
  s.capacity = 2 * width + 2 * block;
  s.most_nodes = frames * width + 1;
  std::int64_t hashed = 16;
  while (hashed < 2 * s.most_nodes) hashed *= 2;
  s.hash_mask = static_cast<std::uint32_t>(hashed - 1);
  const std::int64_t slots = (width + 7) / 8 * 8;
  take(s.padded, s.y, s.extension, s.exps, s.keys);
  take(slots, s.now.blank, s.now.label, s.now.total, s.now.node, s.now.row);
  take(slots, s.next.blank, s.next.label, s.next.total, s.next.node, s.next.row);
  take(slots, s.own, s.from, s.stay_blank, s.stay_label, s.stay_total, s.stay_key);
  take(model ? width * s.padded : 0, s.lm_log_p, s.weight);
  take(slots, s.most_weight, s.row_used, s.child, s.sibling);
  take(V, s.wanted);
  take(s.capacity, s.candidates);
  take(s.most_nodes, s.nodes);
  take(hashed, s.table);
  return at;
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
