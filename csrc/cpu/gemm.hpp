// Matrix products from registers: a tile of Tile<T>::rows x Tile<T>::vectors registers runs along the whole inner
// dimension. No BLAS, and no driver: a kernel packs what it has, calls the tile where its loop wants it, and finishes
// the result in its own memory.
//
//   C[M,N] (+)= A[M,K] B[K,N]
//   B  packed into panels of Tile<T>::columns columns, each [K][columns]; the last panel has only the vectors it needs
//      of T, or of Bfloat16 where T is float
//   A  either rows of memory, A[m*lda + k], or packed into slivers of Tile<T>::rows rows, each [K][rows]
//   C  rows anywhere: row m of a tile begins at c + row[m]
//
// Every element of C is one chain of multiply-adds over k in ascending order, whatever tile it falls into: a row's
// bits do not depend on how many rows stand beside it, nor on the number of threads.
//
// Arithmetic per k of a full AVX-512 float32 tile: 24 multiply-adds (12 cycles on two units) against 256 bytes of B
// from the second-level cache and 24 bytes of A from the first. AVX2: 12 against 64.
// tried: 8x3 and 12x2 tiles, equal within noise; one sliver height for all panels keeps A packed once. For a single
// row, which is bound by reading B: two and four panels at once, equal; software prefetch, slower.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T>
struct Tile {
#if defined(__x86_64__) && !defined(__FMA__)
  static constexpr int rows = 4;  // a product needs a register of its own
#else
  static constexpr int rows = 6;
#endif
  static constexpr int vectors = register_count == 32 ? 4 : 2;
  static constexpr int columns = vectors * lanes<T>;
};

constexpr long round_up(long n, long to) { return (n + to - 1) / to * to; }
constexpr long divide_up(long n, long by) { return (n + by - 1) / by; }
constexpr long least(long a, long b) { return a < b ? a : b; }

// Elements of a packed B [K,N]; the panel of column n (a multiple of columns) begins at n*K.
template <class T>
constexpr long panels_size(long K, long N) {
  return K * round_up(N, lanes<T>);
}
// Elements of a packed A [M,K]; the sliver of row m (a multiple of rows) begins at m*K.
template <class T>
constexpr long slivers_size(long M, long K) {
  return K * round_up(M, Tile<T>::rows);
}
// Columns of the panel that begins at column n of N.
template <class T>
constexpr long panel_width(long n, long N) {
  return least(Tile<T>::columns, round_up(N, lanes<T>) - n);
}

// K steps of one tile: M rows of A, lda apart or in one sliver, times NV vectors of columns; row m of C begins at
// c + row[m], and C may not overlap A or B.
template <class T, class W>
using TileFn = void (*)(long K, const T* a, long lda, const W* b, T* c, const long* row, bool add);

}  // namespace

// The tiles by vectors and rows, less one; compiled once, in gemm.cpp.
template <class T, class W>
struct Tiles {
  TileFn<T, W> rows[Tile<T>::vectors][Tile<T>::rows];
  TileFn<T, W> slivers[Tile<T>::vectors][Tile<T>::rows];
};
extern const Tiles<float, float> tiles_f32;
extern const Tiles<double, double> tiles_f64;
extern const Tiles<float, Bfloat16> tiles_bf16;

namespace {

template <class T, class W>
const Tiles<T, W>& tiles() {
  if constexpr (sizeof(T) == 8)
    return tiles_f64;
  else if constexpr (sizeof(W) == 2)
    return tiles_bf16;
  else
    return tiles_f32;
}

// The tile of m rows (1 to Tile::rows) and `width` columns (a multiple of lanes).
template <class T, class W, bool Slivers>
TileFn<T, W> tile_for(long m, long width) {
  const Tiles<T, W>& all = tiles<T, W>();
  return (Slivers ? all.slivers : all.rows)[width / lanes<T> - 1][m - 1];
}

// C[M,width] (+)= A[M,K] times one panel, A in rows lda apart, C in rows ldc apart. The rows are spread evenly over the
// fewest tiles (8 = 4 + 4): a tile of one or two rows is bound by reading the panel.
template <class T, class W>
void rows_times_panel(long M, long K, const T* a, long lda, const W* panel, long width, T* c, long ldc, bool add) {
  long row[Tile<T>::rows];
  for (int i = 0; i < Tile<T>::rows; ++i) row[i] = i * ldc;
  long m = 0;
  for (long left = divide_up(M, Tile<T>::rows); left > 0; --left) {
    const long n = divide_up(M - m, left);
    tile_for<T, W, false>(n, width)(K, a + m * lda, lda, panel, c + m * ldc, row, add);
    m += n;
  }
}

// C[M,width] (+)= A[M,K] times one panel, A in slivers; row m of C begins at c + row[m].
template <class T, class W>
void slivers_times_panel(long M, long K, const T* a, const W* panel, long width, T* c, const long* row, bool add) {
  for (long m = 0; m < M; m += Tile<T>::rows)
    tile_for<T, W, true>(least(Tile<T>::rows, M - m), width)(K, a + m * K, 0, panel, c, row + m, add);
}

// C[M,N] (+)= A[M,K] B[K,N], A in slivers, B in panels.
template <class T, class W>
void slivers_times_panels(long M, long K, long N, const T* a, const W* b, T* c, const long* row, bool add) {
  for (long n = 0; n < N; n += Tile<T>::columns)
    slivers_times_panel(M, K, a, b + n * K, panel_width<T>(n, N), c + n, row, add);
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
