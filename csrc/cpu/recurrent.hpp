// What forward, backward and jvp of the recurrent families share: the order of the work, the layout of what is saved,
// and the packing of weights.
//
// Sequences are ranked by falling length. Step s holds the sequences longer than s, which are the ranks [0, rows(s)),
// so the work is the sum of the lengths. Row begin[s] + r of every saved array belongs to step s and rank r; a
// direction that runs backward takes frame length-1-s at step s and shares the table.
//
// Units are padded to whole registers (Hp). The gates of a unit block of `lanes` units lie together, [unit
// block][G][lanes], so that one panel of the recurrent product holds all gates of its units. Padded units have zero
// weights, and nothing ever reads their results.
#pragma once
#include "cpu/gemm.hpp"
#include "math/recurrent_cell.hpp"
#include "pyasr/lstm.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

struct VectorMath {
  template <class V>
  PYASR_INLINE V sigmoid(V x) {
    return vsigmoid(x);
  }
  template <class V>
  PYASR_INLINE V tanh(V x) {
    return vtanh(x);
  }
};

// Hands out 64-byte aligned pieces of a block; over null it only counts.
struct Pieces {
  char* base;
  std::size_t used = 0;
  template <class T>
  T* take(long n) {
    char* p = base ? base + used : nullptr;
    used += static_cast<std::size_t>(round_up(n * static_cast<long>(sizeof(T)), 64));
    return reinterpret_cast<T*>(p);
  }
};

template <class T>
struct Direction {
  T* w_ih;       // panels of [D+1,Gp]: input weights and, as their last row, the bias
  T* w_hh;       // panels of [H,Gp]
  T* w_ih_back;  // panels of [Gp,D]
  T* w_hh_back;  // panels of [Gp,H]
  T* h_init;     // [B,Hp] by rank
  T* c_init;     // [B,Hp] by rank; LSTM only
  T* gates;      // [frames,Gp] behind the nonlinearities
  T* h;          // [frames,Hp]; the RNN's gates are its h
  T* c;          // [frames,Hp]; LSTM only
};

template <class T, class Cell>
struct Saved {
  static constexpr int G = Cell::gates;
  long T_, B, D, H, Hp, Gp, frames;
  int S;
  bool reverse;
  std::int32_t* length;  // [B]
  std::int32_t* order;   // [B] rank -> sequence
  long* begin;           // [T+1]
  Direction<T> direction[2];
  std::size_t bytes;

  Saved(const RecurrentShape& shape, void* block)
      : T_(shape.T),
        B(shape.B),
        D(shape.D),
        H(shape.H),
        Hp(round_up(H, lanes<T>)),
        Gp(G * Hp),
        frames(shape.frames),
        S(shape.S),
        reverse(shape.reverse) {
    Pieces p{static_cast<char*>(block)};
    length = p.take<std::int32_t>(B);
    order = p.take<std::int32_t>(B);
    begin = p.take<long>(T_ + 1);
    for (int d = 0; d < S; ++d) {
      Direction<T>& k = direction[d];
      k.w_ih = p.take<T>(panels_size<T>(D + 1, Gp));
      k.w_hh = p.take<T>(panels_size<T>(H, Gp));
      k.w_ih_back = p.take<T>(panels_size<T>(Gp, D));
      k.w_hh_back = p.take<T>(panels_size<T>(Gp, H));
      k.h_init = p.take<T>(B * Hp);
      k.c_init = G == 4 ? p.take<T>(B * Hp) : nullptr;
      k.gates = p.take<T>(frames * Gp);
      k.h = G == 4 ? p.take<T>(frames * Hp) : k.gates;
      k.c = G == 4 ? p.take<T>(frames * Hp) : nullptr;
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
  // The row of a state array before a step: that of the step before, or the initial one.
  const T* before(const T* array, const T* init, long step, long r) const {
    return step ? array + (begin[step - 1] + r) * Hp : init + r * Hp;
  }

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

// Where column `col` of the interleaved gates comes from: gate q of unit u.
template <class T, int G>
struct Column {
  long q, u;
  explicit Column(long col) : q(col / lanes<T> % G), u(col / (G * lanes<T>)*lanes<T> + col % lanes<T>) {}
};

// K rows of the panel at column `col`: to[k][j] = w[row of column col + j][k]. w is [G*H,K].
template <class T, int G>
void pack_forward(T* to, long col, long width, const T* w, long K, long H) {
  for (long v = 0; v < width; v += lanes<T>) {
    const Column<T, G> at(col + v);
    const T* from = w + (at.q * H + at.u) * K;
    const long n = least(lanes<T>, H - at.u);  // may be negative in padding
    for (long k = 0; k < K; ++k)
      for (long j = 0; j < lanes<T>; ++j) to[k * width + v + j] = j < n ? from[j * K + k] : T(0);
  }
}

// The panel at column n of w with its rows interleaved: to[k][j] = w[row of column k][n + j]. w is [G*H,N].
template <class T, int G>
void pack_backward(T* to, long n, long width, const T* w, long N, long H, long Gp) {
  const long whole = least(width, N - n);
  for (long k = 0; k < Gp; ++k) {
    const Column<T, G> at(k);
    const T* from = w + (at.q * H + at.u) * N + n;
    const long have = at.u < H ? whole : 0;
    for (long j = 0; j < have; ++j) to[k * width + j] = from[j];
    for (long j = have; j < width; ++j) to[k * width + j] = T(0);
  }
}

// [B,H] by sequence to [B,Hp] by rank and back; null is zeros.
template <class T, class K>
void by_rank(const K& k, const T* from, T* to) {
  for (long r = 0; r < k.B; ++r)
    for (long u = 0; u < k.Hp; ++u) to[r * k.Hp + u] = from && u < k.H ? from[k.order[r] * k.H + u] : T(0);
}
template <class T, class K>
void by_sequence(const K& k, const T* from, T* to) {
  for (long r = 0; r < k.B; ++r)
    __builtin_memcpy(to + k.order[r] * k.H, from + r * k.Hp, static_cast<std::size_t>(k.H) * sizeof(T));
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

// Columns that hold whole cells and whole panels.
template <class T, int G>
constexpr long group_columns = G * lanes<T> > Tile<T>::columns ? G * lanes<T> : Tile<T>::columns;

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
