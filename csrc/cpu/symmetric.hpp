// Products with a symmetric matrix in memory, from its upper triangle; symmetric_lower.hpp has the lower one.
// Everything has internal linkage.
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

// v with zeros in the lanes whose column, base + lane, is below `first`.
template <class T>
PYASR_INLINE Vec<T> only_from(Vec<T> v, long base, long first) {
  using I = typename VecOf<T>::integer;
  I lane;
  for (int l = 0; l < lanes<T>; ++l) lane[l] = l;
  return lane >= I{} + static_cast<decltype(lane[0] + 0)>(first - base) ? v : Vec<T>{};
}

// Lane l of the result is lane (l + by) mod lanes of v.
template <class T>
PYASR_INLINE Vec<T> rotate(Vec<T> v, long by) {
#if defined(__clang__)
  T twice[2 * lanes<T>];
  store(twice, v);
  store(twice + lanes<T>, v);
  return load(twice + by);
#else
  typename VecOf<T>::integer from;  // one permutation; through memory it costs a stalled load per row
  for (int l = 0; l < lanes<T>; ++l) from[l] = l;
  return __builtin_shuffle(v, from + static_cast<decltype(from[0] + 0)>(by));
#endif
}

// Row i of an upper triangle such that element j is column j: of a full matrix, or packed by rows, each from its
// diagonal on, n (n + 1) / 2 numbers.
template <class T, bool Packed>
PYASR_INLINE const T* upper_row(const T* A, long i, long n) {
  return Packed ? A + (i * n - i * (i + 1) / 2) : A + i * n;
}

// G rows from row i, columns i.. of the upper triangle: y[j] += sum_r a[r][j] x[i+r] for j > i+r, and the rows' own
// sums. Vectors begin at the columns k * lanes - shift, so that the loads from A are aligned. The bits do not depend on
// shift: the columns of one remainder mod lanes are added in order in one lane, and the lanes are put in order before
// they are summed.
template <class T, int G, bool Packed>
PYASR_INLINE void row_group_product(const T* A,  // [n,n], or packed
                                    const T* x,  // [n]
                                    T* y,        // [n]
                                    long i, long n, long shift) {
  constexpr long L = lanes<T>;
  const T* a[G];
  Vec<T> sum[G], xi[G];
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) {
    a[r] = upper_row<T, Packed>(A, i + r, n);
    sum[r] = Vec<T>{};
    xi[r] = splat(x[i + r]);
  }
  // Columns base.. that are at or behind `from`, and right of the diagonal.
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
  if (i + shift < L) shift = 0;  // a vector would begin in front of A
  long j = (i + shift) / L * L - shift;
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
  if (shift)
#pragma GCC unroll 8
    for (int r = 0; r < G; ++r) sum[r] = rotate<T>(sum[r], shift);
  if (j < n) masked(n - L, j);
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) y[i + r] += sum_lanes<T>(sum[r]) + a[r][i + r] * x[i + r];
}

// Rows [begin, end) of the upper triangle into y[begin..n), which is cleared first; y[..begin) is left in an undefined
// state. n >= lanes.
template <class T, bool Packed>
void strip_product(const T* A, const T* x, T* y, long begin, long end, long n, long shift) {
  __builtin_memset(y + begin, 0, static_cast<std::size_t>(n - begin) * sizeof(T));
  long i = begin;
  for (; i + row_group <= end; i += row_group) row_group_product<T, row_group, Packed>(A, x, y, i, n, shift);
  for (; i < end; ++i) row_group_product<T, 1, Packed>(A, x, y, i, n, shift);
}

// A slab, and the copy of x, begins at an offset of `shift`, so that its vectors are aligned as those of A.
template <class T>
constexpr long slab_stride(long n) {
  return (n + 2 * lanes<T> - 1) / lanes<T> * lanes<T>;
}
template <class T>
std::size_t slab_bytes(std::size_t n) {
  return static_cast<std::size_t>((strips(static_cast<long>(n)) + 1) * slab_stride<T>(static_cast<long>(n))) *
         sizeof(T);
}

// y = A x for symmetric A, from its upper triangle. Bytes: 2 n^2 + 8 n * strips (float32); flops: 2 n^2.
// tried: vectors from column 0 in an A that is not 64-byte aligned (NumPy's are not): 0.7x at n = 1024
template <class T, bool Packed>
void symmetric_product(const T* A,  // [n,n], or packed
                       const T* x,  // [n]
                       T* y,        // [n]
                       long n,
                       T* slabs,  // slab_bytes(n), aligned to the register
                       const Runtime& runtime) {
  constexpr long L = lanes<T>;
  if (n < L) {
    for (long i = 0; i < n; ++i) {
      T s = 0;
      for (long j = 0; j < n; ++j) s += upper_row<T, Packed>(A, j < i ? j : i, n)[j < i ? i : j] * x[j];
      y[i] = s;
    }
    return;
  }
  const long K = strips(n), stride = slab_stride<T>(n);
  // Rows whose length is a multiple of the register lie alike.
  const long shift = Packed || n % L ? 0 : static_cast<long>(reinterpret_cast<std::uintptr_t>(A) / sizeof(T)) % L;
  if (shift) {
    T* copy = slabs + K * stride + shift;
    __builtin_memcpy(copy, x, static_cast<std::size_t>(n) * sizeof(T));
    x = copy;
  }
  if (K == 1 && !shift) return strip_product<T, Packed>(A, x, y, 0, n, n, 0);
  if (K == 1)
    strip_product<T, Packed>(A, x, slabs + shift, 0, n, n, shift);
  else
    parallel_for(runtime, K, [&](long k, int) {
      strip_product<T, Packed>(A, x, slabs + k * stride + shift, strip_begin(k, K, n), strip_begin(k + 1, K, n), n,
                               shift);
    });
  for (long k = 0; k < K; ++k) {  // rows of strip k have contributions from strips 0..k
    const long begin = strip_begin(k, K, n), end = strip_begin(k + 1, K, n);
    const T* slab = slabs + shift;
    long i = begin;
    for (; i + L <= end; i += L) {
      Vec<T> s = load(slab + i);
      for (long m = 1; m <= k; ++m) s += load(slab + m * stride + i);
      store(y + i, s);
    }
    for (; i < end; ++i) {
      T s = slab[i];
      for (long m = 1; m <= k; ++m) s += slab[m * stride + i];
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

// G rows times x with float64 sums, and the sums of the absolute products where Absolute.
template <class T, class X, bool Absolute, int G>
PYASR_INLINE void rows_product(const T* a,  // [G,n]
                               const X* x,  // [n]
                               long n, double* sum, double* absolute) {
  constexpr long L = lanes<double>;
  Vec<double> s[G] = {}, t[G] = {};
  long j = 0;
  for (; j + L <= n; j += L) {
    const Vec<double> xj = load_wide(x + j);
#pragma GCC unroll 8
    for (int r = 0; r < G; ++r) {
      const Vec<double> v = load_wide(a + r * n + j) * xj;
      s[r] += v;
      if constexpr (Absolute) t[r] += vabs(v);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < G; ++r) {
    sum[r] = sum_lanes<double>(s[r]);
    if constexpr (Absolute) absolute[r] = sum_lanes<double>(t[r]);
    for (long k = j; k < n; ++k) {
      const double v = static_cast<double>(a[r * n + k]) * static_cast<double>(x[k]);
      sum[r] += v;
      if constexpr (Absolute) absolute[r] += __builtin_fabs(v);
    }
  }
}

constexpr long wide_rows = 64;  // rows per work item
constexpr int wide_group = 8;

// body(i, sum_j A[i][j] x[j], sum_j |A[i][j] x[j]|) for every row, all of A, float64 sums. Bytes: 4 n^2 (float32).
template <class T, class X, bool Absolute = false, class Body>
PYASR_INLINE void wide_product(const T* A, const X* x, long n, const Runtime& runtime, const Body& body) {
  parallel_for(runtime, (n + wide_rows - 1) / wide_rows, [&](long item, int) {
    const long end = (item + 1) * wide_rows < n ? (item + 1) * wide_rows : n;
    double sum[wide_group], absolute[wide_group] = {};
    long i = item * wide_rows;
    for (; i + wide_group <= end; i += wide_group) {
      rows_product<T, X, Absolute, wide_group>(A + i * n, x, n, sum, absolute);
      for (int r = 0; r < wide_group; ++r) body(i + r, sum[r], absolute[r]);
    }
    for (; i < end; ++i) {
      rows_product<T, X, Absolute, 1>(A + i * n, x, n, sum, absolute);
      body(i, sum[0], absolute[0]);
    }
  });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
