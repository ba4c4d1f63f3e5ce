// Products with a symmetric matrix in memory. Everything has internal linkage.
//
// symmetric_product reads one triangle: 2 n^2 bytes in float32 where a general product reads 4 n^2, and so about half
// the time once the matrix is larger than a cache. The rows are cut into strips of equal area whose number depends on n
// alone; each strip adds into its own slab, and the slabs are summed in order: the same bits for any thread count.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr int most_strips = 32;

// Rows that are read together. y is loaded and stored once per group; more rows need 2 registers each.
constexpr int row_group = register_count == 32 ? 8 : 4;
constexpr long strip_unit = 16;  // strips begin at multiples of this

inline long strips(long n) {
  const long k = n / 192;
  return k < 1 ? 1 : k > most_strips ? most_strips : k;
}

// First row of strip k of K: the rows above hold k / K of the triangle.
inline long strip_begin(long k, long K, long n) {
  if (k == 0) return 0;
  if (k == K) return n;
  const double row = static_cast<double>(n) * (1 - __builtin_sqrt(1 - static_cast<double>(k) / static_cast<double>(K)));
  return static_cast<long>(row) / strip_unit * strip_unit;
}

template <class T>
PYASR_INLINE Vec<T> only_from(Vec<T> v, long base, long first) {
  for (int l = 0; l < lanes<T>; ++l) v[l] = base + l >= first ? v[l] : 0;
  return v;
}

// G rows from row i, columns i.. of the upper triangle: y[j] += sum_r a[r][j] x[i+r] for j > i+r, and the rows' own
// sums. The columns are cut at multiples of the register, whatever the address of A: the bits do not depend on it.
template <class T, int G>
PYASR_INLINE void row_group_product(const T* A,  // [n,n]
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
  // Entries of columns base.. that are at or behind `from`, and right of the diagonal.
  auto masked = [&](long base, long from) __attribute__((always_inline)) {
    const Vec<T> xj = load(x + base);
    Vec<T> yj = load(y + base);
#pragma GCC unroll 8
    for (int r = 0; r < G; ++r) {
      const Vec<T> v = only_from<T>(load(a[r] + base), base, from > i + r + 1 ? from : i + r + 1);
      sum[r] += v * xj;
      yj += v * xi[r];
    }
    store(y + base, yj);
  };
  long j = i / L * L;
  for (; j < i + G && j + L <= n; j += L) masked(j, j);
  for (; j + L <= n; j += L) {
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
  if (j < n) masked(n - L, j);
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) y[i + r] += sum_lanes<T>(sum[r]) + a[r][i + r] * x[i + r];
}

// Rows [begin, end) of the upper triangle into y[begin..n), which is cleared first; y[..begin) is left in an
// undefined state. n >= lanes.
template <class T>
void strip_product(const T* A, const T* x, T* y, long begin, long end, long n) {
  __builtin_memset(y + begin, 0, static_cast<std::size_t>(n - begin) * sizeof(T));
  long i = begin;
  for (; i + row_group <= end; i += row_group) row_group_product<T, row_group>(A, x, y, i, n);
  for (; i < end; ++i) row_group_product<T, 1>(A, x, y, i, n);
}

template <class T>
std::size_t slab_bytes(std::size_t n) {
  return static_cast<std::size_t>(strips(static_cast<long>(n))) * n * sizeof(T);
}

// y = A x for symmetric A, from its upper triangle. Bytes: 2 n^2 + 8 n * strips (float32); flops: 2 n^2.
template <class T>
void symmetric_product(const T* A,  // [n,n]
                       const T* x,  // [n]
                       T* y,        // [n]
                       long n,
                       T* slabs,  // [strips(n), n]
                       const Runtime& runtime) {
  if (n < lanes<T>) {
    for (long i = 0; i < n; ++i) {
      T s = 0;
      for (long j = 0; j < n; ++j) s += (j < i ? A[j * n + i] : A[i * n + j]) * x[j];
      y[i] = s;
    }
    return;
  }
  const long K = strips(n);
  if (K == 1) return strip_product(A, x, y, 0, n, n);
  parallel_for(runtime, K, [&](long k, int) {
    strip_product(A, x, slabs + k * n, strip_begin(k, K, n), strip_begin(k + 1, K, n), n);
  });
  for (long k = 0; k < K; ++k) {  // rows of strip k have contributions from strips 0..k
    const long begin = strip_begin(k, K, n), end = strip_begin(k + 1, K, n);
    long i = begin;
    for (; i + lanes<T> <= end; i += lanes<T>) {
      Vec<T> s = load(slabs + i);
      for (long m = 1; m <= k; ++m) s += load(slabs + m * n + i);
      store(y + i, s);
    }
    for (; i < end; ++i) {
      T s = slabs[i];
      for (long m = 1; m <= k; ++m) s += slabs[m * n + i];
      y[i] = s;
    }
  }
}

template <class T>
struct Half;  // as many T as a register has float64 lanes
template <>
struct Half<float> {
  typedef float type __attribute__((vector_size(register_bytes / 2), aligned(4), may_alias));
};
template <>
struct Half<double> {
  typedef double type __attribute__((vector_size(register_bytes), aligned(8), may_alias));
};

template <class T>
PYASR_INLINE Vec<double> load_wide(const T* p) {
  return __builtin_convertvector(*reinterpret_cast<const typename Half<T>::type*>(p), Vec<double>);
}
template <class T>
PYASR_INLINE void store_narrow(T* p, Vec<double> v) {
  *reinterpret_cast<typename Half<T>::type*>(p) = __builtin_convertvector(v, typename Half<T>::type);
}

// One row times x with float64 sums; the sum of absolute products too where Absolute.
template <class T, class X, bool Absolute>
PYASR_INLINE double row_product(const T* a, const X* x, long n, double* absolute) {
  constexpr long L = lanes<double>;
  Vec<double> s[4] = {}, t[4] = {};
  long j = 0;
  for (; j + 4 * L <= n; j += 4 * L)
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const Vec<double> v = load_wide(a + j + u * L) * load_wide(x + j + u * L);
      s[u] += v;
      if constexpr (Absolute) t[u] += vabs(v);
    }
  double tail = 0, tail_absolute = 0;
  for (; j < n; ++j) {
    const double v = static_cast<double>(a[j]) * static_cast<double>(x[j]);
    tail += v;
    tail_absolute += __builtin_fabs(v);
  }
  if constexpr (Absolute) *absolute = sum_lanes<double>((t[0] + t[1]) + (t[2] + t[3])) + tail_absolute;
  return sum_lanes<double>((s[0] + s[1]) + (s[2] + s[3])) + tail;
}

constexpr long wide_rows = 64;  // rows per work item

// body(i, sum_j A[i][j] x[j], sum_j |A[i][j] x[j]|) for every row, all of A, float64 sums. Bytes: 4 n^2 (float32).
template <class T, class X, bool Absolute = false, class Body>
PYASR_INLINE void wide_product(const T* A, const X* x, long n, const Runtime& runtime, const Body& body) {
  parallel_for(runtime, (n + wide_rows - 1) / wide_rows, [&](long item, int) {
    const long end = (item + 1) * wide_rows < n ? (item + 1) * wide_rows : n;
    for (long i = item * wide_rows; i < end; ++i) {
      double absolute = 0;
      const double sum = row_product<T, X, Absolute>(A + i * n, x, n, &absolute);
      body(i, sum, absolute);
    }
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
