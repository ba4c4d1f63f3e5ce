// The tiles of gemm.hpp, once for all kernels that use them.
#include "cpu/gemm.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T, class W, int M, int NV, bool Slivers>
void tile(long K, const T* a,  // [M,K] rows lda apart, or one sliver [K][Tile::rows]
          long lda,
          const W* b,  // [K][NV*lanes]
          T* c, const long* row, bool add) {
  constexpr int L = lanes<T>;
  Vec<T> s[M][NV] = {};
  for (long k = 0; k < K; ++k) {
    Vec<T> v[NV];
    load_row(b + k * NV * L, v);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec<T> x = splat(Slivers ? a[k * Tile<T>::rows + m] : a[m * lda + k]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) s[m][j] += x * v[j];
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    T* to = c + row[m];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) store(to + j * L, add ? load(to + j * L) + s[m][j] : s[m][j]);
  }
}

// One list of tiles per number of vectors.
template <class T, class W, bool Slivers, int NV>
constexpr void fill(TileFn<T, W> (&f)[Tile<T>::rows]) {
  f[0] = tile<T, W, 1, NV, Slivers>;
  f[1] = tile<T, W, 2, NV, Slivers>;
  f[2] = tile<T, W, 3, NV, Slivers>;
  f[3] = tile<T, W, 4, NV, Slivers>;
  if constexpr (Tile<T>::rows == 6) {
    f[4] = tile<T, W, 5, NV, Slivers>;
    f[5] = tile<T, W, 6, NV, Slivers>;
  }
}
template <class T, class W, bool Slivers>
constexpr void fill_all(TileFn<T, W> (&f)[Tile<T>::vectors][Tile<T>::rows]) {
  fill<T, W, Slivers, 1>(f[0]);
  fill<T, W, Slivers, 2>(f[1]);
  if constexpr (Tile<T>::vectors == 4) {
    fill<T, W, Slivers, 3>(f[2]);
    fill<T, W, Slivers, 4>(f[3]);
  }
}
template <class T, class W>
constexpr Tiles<T, W> all_tiles() {
  Tiles<T, W> t{};
  fill_all<T, W, false>(t.rows);
  fill_all<T, W, true>(t.slivers);
  return t;
}

}  // namespace

constexpr Tiles<float, float> tiles_f32 = all_tiles<float, float>();
constexpr Tiles<double, double> tiles_f64 = all_tiles<double, double>();
constexpr Tiles<float, Bfloat16> tiles_bf16 = all_tiles<float, Bfloat16>();

}  // namespace pyasr::cpu::PYASR_ISA
