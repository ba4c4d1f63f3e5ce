// symmetric.hpp from the lower triangle of a full matrix, and float64 residuals from one triangle. Internal linkage.
#pragma once
#include "cpu/symmetric.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// v with zeros in the lanes whose column, base + lane, lies outside [first, last).
template <class T>
PYASR_INLINE Vec<T> only_between(Vec<T> v, long base, long first, long last) {
  using I = typename VecOf<T>::integer;
  I lane;
  for (int l = 0; l < lanes<T>; ++l) lane[l] = l;
  using E = decltype(lane[0] + 0);
  const I below = lane < I{} + static_cast<E>(last - base), from = lane >= I{} + static_cast<E>(first - base);
  return (below & from) ? v : Vec<T>{};
}

// G rows from row i of the lower triangle: y[j] += sum_r a[r][j] x[i+r] for j < i+r, and the rows' own sums. n >=
// lanes. The vectors begin at column 0 wherever A lies, so the bits do not depend on that.
template <class T, int G>
PYASR_INLINE void lower_group_product(const T* A,  // [n,n]
                                      const T* x,  // [n]
                                      T* y,        // [n]
                                      long i, long n) {
  constexpr long L = lanes<T>;
  const T* a[G];
  Vec<T> sum[G], xi[G];
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) {
    a[r] = A + (i + r) * n;
    sum[r] = Vec<T>{};
    xi[r] = splat(x[i + r]);
  }
  long j = 0;
  for (; j + L <= i; j += L) {
    const Vec<T> xj = load(x + j);
    Vec<T> yj = load(y + j);
#pragma GCC unroll 8
    for (int r = 0; r < G; ++r) {
      const Vec<T> v = load(a[r] + j);
      sum[r] += v * xj;
      yj += v * xi[r];
    }
    store(y + j, yj);
  }
  for (; j < i + G - 1; j += L) {
    const long base = j + L <= n ? j : n - L;
    const Vec<T> xj = load(x + base);
    Vec<T> yj = load(y + base);
#pragma GCC unroll 8
    for (int r = 0; r < G; ++r) {
      const Vec<T> v = only_between<T>(load(a[r] + base), base, j, i + r);
      sum[r] += v * xj;
      yj += v * xi[r];
    }
    store(y + base, yj);
  }
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) y[i + r] += sum_lanes<T>(sum[r]) + a[r][i + r] * x[i + r];
}

// Rows [begin, end) of the lower triangle into y[..n), of which [0, end) is cleared first and the rest may be spoilt.
template <class T>
void lower_strip_product(const T* A, const T* x, T* y, long begin, long end, long n) {
  __builtin_memset(y, 0, static_cast<std::size_t>(end) * sizeof(T));
  long i = begin;
  for (; i + row_group <= end; i += row_group) lower_group_product<T, row_group>(A, x, y, i, n);
  for (; i < end; ++i) lower_group_product<T, 1>(A, x, y, i, n);
}

// y = A x for symmetric A, from its lower triangle; otherwise as symmetric_product.
template <class T>
void symmetric_product_lower(const T* A,  // [n,n]
                             const T* x,  // [n]
                             T* y,        // [n]
                             long n,
                             T* slabs,  // slab_bytes(n), aligned to the register
                             const Runtime& runtime) {
  constexpr long L = lanes<T>;
  if (n < L) {
    for (long i = 0; i < n; ++i) {
      T s = 0;
      for (long j = 0; j < n; ++j) s += A[j < i ? i * n + j : j * n + i] * x[j];
      y[i] = s;
    }
    return;
  }
  const long K = strips(n), stride = slab_stride<T>(n);
  if (K == 1) return lower_strip_product(A, x, y, 0, n, n);
  auto begin_of = [&](long k) { return n - strip_begin(K - k, K, n); };  // the rows above hold k / K of the triangle
  parallel_for(runtime, K,
               [&](long k, int) { lower_strip_product(A, x, slabs + k * stride, begin_of(k), begin_of(k + 1), n); });
  for (long k = 0; k < K; ++k) {  // rows of strip k have contributions from strips k..K-1
    const long begin = begin_of(k), end = begin_of(k + 1);
    long i = begin;
    for (; i + L <= end; i += L) {
      Vec<T> s = load(slabs + k * stride + i);
      for (long m = k + 1; m < K; ++m) s += load(slabs + m * stride + i);
      store(y + i, s);
    }
    for (; i < end; ++i) {
      T s = slabs[k * stride + i];
      for (long m = k + 1; m < K; ++m) s += slabs[m * stride + i];
      y[i] = s;
    }
  }
}

// res -= A at with float64 sums, from one triangle: row(i)[j] is its element of row i, column j, and the columns
// besides the diagonal are [first(i), last(i)). On the calling thread: it is asked for once or twice per solution.
template <class Row, class First, class Last>
void subtract_product(const Row& row, const First& first, const Last& last, const double* at, double* res, long n,
                      const Runtime& runtime) {
  constexpr long L = lanes<double>;
  for (long i = 0; i < n; ++i) {
    if (i % 64 == 0 && runtime.stop(runtime.self)) return;
    const auto* a = row(i);
    const double own = at[i];
    double tail = static_cast<double>(a[i]) * own;
    Vec<double> sum{};
    long j = first(i);
    for (; j + L <= last(i); j += L) {
      const Vec<double> v = load_wide(a + j);
      sum += v * load(at + j);
      store(res + j, load(res + j) - v * own);
    }
    for (; j < last(i); ++j) {
      tail += static_cast<double>(a[j]) * at[j];
      res[j] -= static_cast<double>(a[j]) * own;
    }
    res[i] -= sum_lanes<double>(sum) + tail;
  }
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
