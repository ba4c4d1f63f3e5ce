// Cholesky for small systems, `lanes` of them at once: a register holds the same entry of as many matrices. The same
// code with registers of 128 bits solves a few, with the same bits, and factors the diagonal blocks of large ones.
// (Plain numbers in their place would not do: the compiler turns their sums into products and additions apart.)
// Internal linkage.
//
// A factor lies in rows of quads: the four rows from 4 I on have 4 (I + 1) entries each, behind those of the quads
// before. n is rounded up to quads; rows behind n are those of the identity.
#pragma once
#include "cpu/transpose.hpp"
#include "pyasr/spd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long quad = 4;
constexpr long quads(long n) { return (n + quad - 1) / quad; }
constexpr long quad_begin(long I) { return quad * quad / 2 * I * (I + 1); }
constexpr long row_begin(long i) { return quad_begin(i / quad) + i % quad * quad * (i / quad + 1); }

template <class T>
struct NarrowOf;
template <>
struct NarrowOf<float> {
  typedef float type __attribute__((vector_size(16)));
};
template <>
struct NarrowOf<double> {
  typedef double type __attribute__((vector_size(16)));
};
template <class T>
using Narrow = typename NarrowOf<T>::type;
template <class T>
constexpr int narrow_lanes = 16 / static_cast<int>(sizeof(T));

template <class V>
PYASR_INLINE V root(V x) {
  constexpr int L = static_cast<int>(sizeof(x) / sizeof(x[0]));
  for (int l = 0; l < L; ++l)
    if constexpr (sizeof(x[0]) == 4)
      x[l] = __builtin_sqrtf(x[l]);
    else
      x[l] = __builtin_sqrt(x[l]);
  return x;
}

// s -= rows times other', R rows of entries [0, K); a register is loaded for every two multiply-adds.
template <int R, class V>
PYASR_INLINE void subtract_products(V (*s)[quad], const V* rows, long stride, const V* other, long other_stride,
                                    long K) {
  for (long k = 0; k < K; ++k) {
    V b[quad];
#pragma GCC unroll 4
    for (int c = 0; c < quad; ++c) b[c] = other[c * other_stride + k];
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) {
      const V a = rows[r * stride + k];
#pragma GCC unroll 4
      for (int c = 0; c < quad; ++c) s[r][c] -= a * b[c];
    }
  }
}

// L L' = A in the place of A. The pivots a_jj - sum l_jk^2 and 1 / l_jj are kept; where a pivot is not positive, what
// follows has no meaning.
template <class V>
void factor(V* L, V* inverse, V* pivot, long Q) {
  constexpr int R = register_count == 32 ? 4 : 2;  // rows whose sums stay in registers
  for (long I = 0; I < Q; ++I) {
    V* const rows = L + quad_begin(I);
    const long stride = quad * (I + 1);
    for (long J = 0; J < I; ++J) {
      const V* const other = L + quad_begin(J);
      const long other_stride = quad * (J + 1), at = quad * J;
      for (int first = 0; first < quad; first += R) {
        V s[R][quad];
        V* const own = rows + first * stride;
#pragma GCC unroll 4
        for (int r = 0; r < R; ++r)
#pragma GCC unroll 4
          for (int c = 0; c < quad; ++c) s[r][c] = own[r * stride + at + c];
        subtract_products<R>(s, own, stride, other, other_stride, at);
#pragma GCC unroll 4
        for (int c = 0; c < quad; ++c) {
#pragma GCC unroll 4
          for (int d = 0; d < c; ++d) {
            const V l = other[c * other_stride + at + d];
#pragma GCC unroll 4
            for (int r = 0; r < R; ++r) s[r][c] -= s[r][d] * l;
          }
#pragma GCC unroll 4
          for (int r = 0; r < R; ++r) own[r * stride + at + c] = s[r][c] *= inverse[at + c];
        }
      }
    }
    const long at = quad * I;
    V s[quad][quad];
    for (int r = 0; r < quad; ++r)
      for (int c = 0; c < quad; ++c) s[r][c] = rows[r * stride + at + c];
    for (int first = 0; first < quad; first += R)
      subtract_products<R>(s + first, rows + first * stride, stride, rows, stride, at);
#pragma GCC unroll 4
    for (int c = 0; c < quad; ++c) {
#pragma GCC unroll 4
      for (int d = 0; d < c; ++d)
#pragma GCC unroll 4
        for (int r = c; r < quad; ++r) s[r][c] -= s[r][d] * s[c][d];
      pivot[at + c] = s[c][c];
      const V length = root(s[c][c]);
      inverse[at + c] = 1 / length;
      rows[c * stride + at + c] = length;
      for (int r = c + 1; r < quad; ++r) rows[r * stride + at + c] = s[r][c] *= inverse[at + c];
    }
  }
}

// L L' y = y.
template <class V>
void substitute(const V* L, const V* inverse, V* y, long Q) {
  for (long I = 0; I < Q; ++I) {
    const V* const rows = L + quad_begin(I);
    const long stride = quad * (I + 1), at = quad * I;
    V s[quad];
    for (int r = 0; r < quad; ++r) s[r] = y[at + r];
    for (long k = 0; k < at; ++k)
#pragma GCC unroll 4
      for (int r = 0; r < quad; ++r) s[r] -= rows[r * stride + k] * y[k];
    for (int r = 0; r < quad; ++r) {
      for (int d = 0; d < r; ++d) s[r] -= rows[r * stride + at + d] * s[d];
      y[at + r] = s[r] *= inverse[at + r];
    }
  }
  for (long I = Q - 1; I >= 0; --I) {
    const V* const rows = L + quad_begin(I);
    const long stride = quad * (I + 1), at = quad * I;
    V s[quad];
    for (int r = quad - 1; r >= 0; --r) {
      s[r] = y[at + r];
      for (int d = quad - 1; d > r; --d) s[r] -= rows[d * stride + at + r] * s[d];
      y[at + r] = s[r] *= inverse[at + r];
    }
    for (long k = 0; k < at; ++k) {
      V v = y[k];
#pragma GCC unroll 4
      for (int r = quad - 1; r >= 0; --r) v -= rows[r * stride + k] * s[r];
      y[k] = v;
    }
  }
}

template <class T>
bool is_pivot(T x) {
  return x > 0 && x - x == 0;
}

// Registers, or numbers, that a group of systems of n unknowns needs.
constexpr long group_size(long n) { return quad_begin(quads(n)) + 3 * quad * quads(n); }

// Entry (i, j <= i) of `count` matrices from A on into lanes of `to`.
template <class T, int L>
void gather(const T* A, long count, long n, T* to) {
  for (long i = 0; i < quad * quads(n); ++i) {
    T* const row = to + row_begin(i) * L;
    const long width = quad * (i / quad + 1);
    long j = 0;
    if constexpr (L == lanes<float> && sizeof(T) == 4) {
      if (count == L && i < n)
        for (; j + L <= n && j <= i; j += L) {
          Vf v[L];
#pragma GCC unroll 16
          for (int l = 0; l < L; ++l) v[l] = load(A + (l * n + i) * n + j);
          transpose(v);
          for (int l = 0; l < L && j + l < width; ++l) store(row + (j + l) * L, v[l]);
        }
    }
    for (; j < width; ++j)
      for (long l = 0; l < L; ++l) row[j * L + l] = l < count && i < n && j <= i ? A[(l * n + i) * n + j] : i == j;
  }
}

// Systems [first, first + count) of the batch, count <= L, with registers V of L numbers.
template <class T, class V, int L>
void solve_group(const SpdArgs<T>& a, long first, long count, V* work) {
  const long n = static_cast<long>(a.n), Q = quads(n);
  V *const factored = work, *const inverse = factored + quad_begin(Q), *const pivot = inverse + quad * Q,
           *const y = pivot + quad * Q;
  gather<T, L>(a.A + first * n * n, count, n, reinterpret_cast<T*>(factored));
  T* const lane = reinterpret_cast<T*>(y);
  for (long i = 0; i < quad * Q; ++i)
    for (long l = 0; l < L; ++l) lane[i * L + l] = l < count && i < n ? a.b[(first + l) * n + i] : 0;
  factor(factored, inverse, pivot, Q);
  substitute(factored, inverse, y, Q);
  const T* const pivots = reinterpret_cast<const T*>(pivot);
  for (long l = 0; l < count; ++l) {
    std::int64_t minor = 0;
    for (long j = 0; j < n && !minor; ++j)
      if (!is_pivot(pivots[j * L + l])) minor = j + 1;
    a.minor[first + l] = minor;
    for (long i = 0; i < n; ++i) a.x[(first + l) * n + i] = lane[i * L + l];
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
