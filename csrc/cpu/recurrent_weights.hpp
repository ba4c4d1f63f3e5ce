// Weights as panels: packed by forward, or once for inference, where they may be stored as bfloat16.
#pragma once
#include "cpu/gemm.hpp"
#include "cpu/transpose.hpp"
#include "pyasr/lstm.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

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

// W is T, or Bfloat16 with a T of float.
template <class T, class Cell, class W>
struct Packed {
  struct {
    W* w_ih;      // panels of [D+1,Gp]: input weights and, as their last row, the bias
    W* w_hh;      // panels of [R,Gp]
    W* w_hr;      // panels of [H,R]; with a projection
    T* peephole;  // [3,Hp]; with peepholes, else null
  } direction[2] = {};

  Packed() = default;
  Packed(const RecurrentShape& shape, Pieces& p) {
    const long Hp = round_up(shape.H, lanes<T>), Gp = Cell::gates * Hp;
    for (int d = 0; d < shape.S; ++d) {
      direction[d].w_ih = p.take<W>(panels_size<T>(shape.D + 1, Gp));
      direction[d].w_hh = p.take<W>(panels_size<T>(shape.R, Gp));
      direction[d].w_hr = shape.projected ? p.take<W>(panels_size<T>(shape.H, shape.R)) : nullptr;
      direction[d].peephole = shape.peephole ? p.take<T>(3 * Hp) : nullptr;
    }
  }
};

// Rows of weights that lead to each block of gates; -1: none.
struct One {
  static constexpr int gates = 1, rows = 1;
  static constexpr int row(long) { return 0; }
};
template <class Cell>
struct Input {
  static constexpr int gates = Cell::gates, rows = Cell::weight_rows;
  static constexpr int row(long q) { return Cell::input_gate[q]; }
};
template <class Cell>
struct State {
  static constexpr int gates = Cell::gates, rows = Cell::weight_rows;
  static constexpr int row(long q) { return Cell::state_gate[q]; }
};
template <class Cell>
struct Bias {
  static constexpr int gates = Cell::gates, rows = Cell::gates;
  static constexpr int row(long q) { return static_cast<int>(q); }
};

// Where column `col` of the interleaved gates comes from: block q of unit u.
template <class T, int G>
struct Column {
  long q, u;
  explicit Column(long col) : q(col / lanes<T> % G), u(col / (G * lanes<T>)*lanes<T> + col % lanes<T>) {}
};

// Row i of the square becomes column i.
PYASR_INLINE void turn(Vf (&square)[lanes<float>]) { transpose(square); }
PYASR_INLINE void turn(Vd (&square)[lanes<double>]) {
  for (int i = 0; i < lanes<double>; ++i)
    for (int j = 0; j < i; ++j) {
      const double keep = square[i][j];
      square[i][j] = square[j][i];
      square[j][i] = keep;
    }
}

// K rows of the panel at column `col`: to[k][j] = factor * w[row of column col + j][k]. w is [Map::rows*H,K].
template <class T, class Map, class W>
void pack_columns(W* to, long col, long width, const T* w, long K, long H, T factor = 1) {
  constexpr long L = lanes<T>;
  for (long v = 0; v < width; v += L) {
    const Column<T, Map::gates> at(col + v);
    const long row = Map::row(at.q);
    const long n = row < 0 ? 0 : least(L, H - at.u);  // may be negative in padding
    const T* from = n > 0 ? w + (row * H + at.u) * K : w;
    long k = 0;
    if (n == L)
      for (; k + L <= K; k += L) {
        Vec<T> square[L];
        for (long j = 0; j < L; ++j) square[j] = load(from + j * K + k) * factor;
        turn(square);
        for (long j = 0; j < L; ++j) store_row(to + (k + j) * width, v / L, width / L, square[j]);
      }
    for (; k < K; ++k) {
      Vec<T> column{};
      for (long j = 0; j < n; ++j) column[j] = from[j * K + k] * factor;
      store_row(to + k * width, v / L, width / L, column);
    }
  }
}

// The panel at column n of the transposed [K,N] of a matrix [N,K] that lies in panels of its own, whose first N of
// `inner` rows it is: to[k][j] = from[n + j][k]. K is a multiple of lanes.
template <class T>
void pack_transposed(T* to, long n, long width, const T* from, long N, long inner, long K) {
  constexpr long L = lanes<T>;
  for (long c = 0; c < K; c += Tile<T>::columns) {
    const long some = panel_width<T>(c, K);
    for (long v = 0; v < width; v += L)
      for (long k = 0; k < some; k += L) {
        Vec<T> square[L];
        for (long j = 0; j < L; ++j)
          square[j] = n + v + j < N ? load(from + c * inner + (n + v + j) * some + k) : Vec<T>{};
        turn(square);
        for (long i = 0; i < L; ++i) store(to + (c + k + i) * width + v, square[i]);
      }
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
