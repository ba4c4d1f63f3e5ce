// What forward, backward and jvp of the recurrent families share: the order of the work and the layout of what is
// saved.
//
// Sequences are ranked by falling length. Step s holds the sequences longer than s, which are the ranks [0, rows(s)),
// so the work is the sum of the lengths. Row begin[s] + r of every saved array belongs to step s and rank r; a
// direction that runs backward takes frame length-1-s at step s and shares the table.
//
// Units are padded to whole registers (Hp, and Rp for what is handed to the next step). The gates of a unit block of
// `lanes` units lie together, [unit block][gates][lanes], so that one panel of the recurrent product holds all gates of
// its units. Padded units have zero weights, and nothing ever reads their results.
//
// A Cell says, as constants: `gates`, the register blocks of a unit; `input_gate` and `state_gate`, which rows of w_ih
// and w_hh lead to each (-1: none; the bias leads to all); `own_cell`, whether it has a c; `carries`, whether a part of
// the gradient goes past the gates (its c_before, c and dc are those of h where it has no c); `options`.
#pragma once
#include "cpu/recurrent_weights.hpp"
#include "math/recurrent_cell.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct VectorMath {
  template <class V>
  PYASR_INLINE V sigmoid(V x) {
    return vsigmoid(x);
  }
  PYASR_INLINE Vf forget(Vf x) { return x < -88.f ? Vf{} : vsigmoid(x); }
  PYASR_INLINE Vd forget(Vd x) { return vsigmoid(x); }
  template <class V>
  PYASR_INLINE V tanh(V x) {
    return vtanh(x);
  }
};

template <class T>
struct Direction {
  T* h_init;  // [B,Rp] by rank
  T* c_init;  // [B,Hp] by rank; with own_cell
  T* gates;   // [frames,Gp] behind the nonlinearities
  T* h;       // [frames,Rp]; the RNN's gates are its h
  T* c;       // [frames,Hp]; with own_cell
  T* m;       // [frames,Hp] what the projection takes; LSTM with one only
};

template <class T, class Cell, class W = T>
struct Saved {
  static constexpr int G = Cell::gates;
  long T_, B, D, H, R, Hp, Rp, Gp, frames;
  int S;
  bool reverse, frozen;
  std::int32_t* length;  // [B]
  std::int32_t* order;   // [B] rank -> sequence
  long* begin;           // [T+1]
  Packed<T, Cell, W> weights;
  Direction<T> direction[2];
  std::size_t bytes;

  // packed: those of a frozen shape
  Saved(const RecurrentShape& shape, void* block, const void* packed = nullptr)
      : T_(shape.T),
        B(shape.B),
        D(shape.D),
        H(shape.H),
        R(shape.R),
        Hp(round_up(H, lanes<T>)),
        Rp(round_up(R, lanes<T>)),
        Gp(G * Hp),
        frames(shape.frames),
        S(shape.S),
        reverse(shape.reverse),
        frozen(shape.frozen) {
    Pieces p{static_cast<char*>(block)};
    length = p.take<std::int32_t>(B);
    order = p.take<std::int32_t>(B);
    begin = p.take<long>(T_ + 1);
    if (shape.frozen) {
      Pieces own{static_cast<char*>(const_cast<void*>(packed))};
      weights = Packed<T, Cell, W>(shape, own);
    } else {
      weights = Packed<T, Cell, W>(shape, p);
    }
    const long kept = frozen ? 2 * B : frames;  // rows of states; the gates of inference are scratch
    for (int d = 0; d < S; ++d) {
      Direction<T>& k = direction[d];
      k.h_init = p.take<T>(B * Rp);
      k.c_init = Cell::own_cell ? p.take<T>(B * Hp) : k.h_init;
      k.gates = p.take<T>(frozen ? 0 : frames * Gp);
      k.h = Cell::carries || frozen ? p.take<T>(kept * Rp) : k.gates;
      k.c = Cell::own_cell ? p.take<T>(kept * Hp) : k.h;
      k.m = shape.projected ? p.take<T>(kept * Hp) : k.h;
    }
    bytes = p.used;
  }

  long rows(long step) const { return begin[step + 1] - begin[step]; }
  bool backward(int d) const { return reverse || d == 1; }
  // Which row of [T*B] rank r reads and writes at a step.
  long frame(int d, long step, long r) const {
    const long b = order[r];
    return (backward(d) ? length[b] - 1 - step : step) * B + b;
  }
  // The row of a state behind a step; inference keeps those of two steps.
  long state_row(long step, long r) const { return frozen ? step % 2 * B + r : begin[step] + r; }
  // The row of a state array before a step: that of the step before, or the initial one. `width` is Rp or Hp.
  const T* before(const T* array, const T* init, long width, long step, long r) const {
    return step ? array + state_row(step - 1, r) * width : init + r * width;
  }
  const T* h_before(int d, long step, long r) const { return before(direction[d].h, direction[d].h_init, Rp, step, r); }
  const T* c_before(int d, long step, long r) const { return before(direction[d].c, direction[d].c_init, Hp, step, r); }

  // Ranks the sequences, longest first, equal ones in their order: a counting sort that leaves `begin` behind.
  void rank(const std::int32_t* lengths) {
    for (long s = 0; s <= T_; ++s) begin[s] = 0;
    for (long b = 0; b < B; ++b) {
      length[b] = lengths[b];
      ++begin[lengths[b]];
    }
    for (long s = T_ - 1; s >= 0; --s) begin[s] += begin[s + 1];  // sequences of at least s frames
    // Fills each group of equal lengths from its end, where the count above points to.
    for (long b = B - 1; b >= 0; --b) order[--begin[lengths[b]]] = static_cast<std::int32_t>(b);
    // begin[s] is now the number of sequences longer than s.
    long at = 0;
    for (long s = 0; s <= T_; ++s) {
      const long n = begin[s];
      begin[s] = at;
      at += n;
    }
  }
};

// Ranks [bound(p), bound(p+1)) are part p: parts of about equal sums of lengths, each one work item per direction.
// Nothing that is stored depends on them.
template <class K>
struct Parts {
  const K& k;
  long count;
  Parts(const K& saved, int threads) : k(saved), count(most(saved.S, saved.B, threads)) {}
  // At least four rows each: below that a step is bound by reading the weights.
  static long most(int S, long B, int threads) {
    const long n = least(threads / S, B / 4);
    return n > 1 ? n : 1;
  }
  long bound(long p) const {
    if (p == count) return k.B;
    long r = 0;
    for (long sum = 0; r < k.B && sum * count < p * k.frames; ++r) sum += k.length[k.order[r]];
    return p ? r : 0;
  }
};

// [B,n] by sequence to [B,padded] by rank and back; null is zeros.
template <class T, class K>
void by_rank(const K& k, const T* from, long n, T* to, long padded) {
  for (long r = 0; r < k.B; ++r)
    for (long u = 0; u < padded; ++u) to[r * padded + u] = from && u < n ? from[k.order[r] * n + u] : T(0);
}
template <class T, class K>
void by_sequence(const K& k, const T* from, long padded, T* to, long n) {
  for (long r = 0; r < k.B; ++r)
    __builtin_memcpy(to + k.order[r] * n, from + r * padded, static_cast<std::size_t>(n) * sizeof(T));
}

// Column i of slivers of A: K entries `Tile::rows` apart.
template <class T>
T* sliver_row(T* slivers, long i, long K) {
  return slivers + i / Tile<T>::rows * Tile<T>::rows * K + i % Tile<T>::rows;
}
template <class T>
T* spread(T* to, const T* from, long n) {
  for (long k = 0; k < n; ++k) to[k * Tile<T>::rows] = from[k];
  return to + n * Tile<T>::rows;
}

// The masks of one direction, at the rows they belong to. A step applies them to padded rows of registers.
template <class T>
struct Masks {
  const RecurrentMasks<T>& a;
  bool any() const { return a.state || a.keep_h || a.keep_c || a.cell_clip > 0; }

  template <class K>
  const T* state(const K& k, int d, long r) const {
    return a.state + (d * k.B + k.order[r]) * k.R;
  }
  template <class K>
  const T* keep_h(const K& k, int d, long step, long r) const {
    return a.keep_h + (k.frame(d, step, r) * k.S + d) * k.R;
  }
  template <class K>
  const T* keep_c(const K& k, int d, long step, long r) const {
    return a.keep_c ? a.keep_c + (k.frame(d, step, r) * k.S + d) * k.H : nullptr;
  }
  // to = state mask * from for ranks [r0, r0 + n), rows of Rp; from itself where there is no mask.
  template <class K>
  const T* masked(const K& k, int d, long r0, long n, const T* from, T* to) const {
    if (!a.state) return from;
    for (long i = 0; i < n; ++i)
      for (long u = 0; u < k.R; ++u) to[i * k.Rp + u] = from[i * k.Rp + u] * state(k, d, r0 + i)[u];
    return to;
  }
  // h = keep h_before + (1 - keep) h for ranks [r0, r0 + n) of a step, rows of Rp.
  template <class K>
  void mix(const K& k, int d, long step, long r0, long n, const T* before, T* h) const {
    if (!a.keep_h) return;
    for (long i = 0; i < n; ++i) {
      const T* keep = keep_h(k, d, step, r0 + i);
      for (long u = 0; u < k.R; ++u) h[i * k.Rp + u] = keep[u] * before[i * k.Rp + u] + (1 - keep[u]) * h[i * k.Rp + u];
    }
  }
};

// The options of the units [u, u + lanes) of one row; keep may be null, and `real` of its units are there.
template <class T>
PYASR_INLINE math::LstmOptions<Vec<T>> options_of(const T* peephole, long Hp, T clip, const T* keep, long u, int real) {
  math::LstmOptions<Vec<T>> o{};
  if (peephole) {
    o.p_i = load(peephole + u);
    o.p_f = load(peephole + Hp + u);
    o.p_o = load(peephole + 2 * Hp + u);
  }
  o.clip = splat(clip > 0 ? clip : static_cast<T>(__builtin_inf()));
  if (keep) o.keep_c = real == lanes<T> ? load(keep + u) : load_part(keep + u, real);
  return o;
}

// Columns that hold whole cells and whole panels.
template <class T, int G>
constexpr long group_columns = G * lanes<T> > Tile<T>::columns ? G * lanes<T> : Tile<T>::columns;

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
