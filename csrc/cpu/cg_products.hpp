// The products that cg asks for where it has the matrix: A p, the residual b - A x in float64, M r.
#pragma once
#include "cpu/cg_vectors.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// The rows' own products must agree with those of the upper triangle, up to the rounding of whatever formed A.
template <class T>
void test_symmetry(CgState<T>& s, const Runtime& runtime) {
  s.symmetric = true;
  double *difference = s.res, *absolute = s.at;  // both free during a run
  wide_product<T, T, true>(s.A, s.p, static_cast<long>(s.n), runtime, [&](long i, double sum, double a) {
    difference[i] = sum - static_cast<double>(s.q[i]);
    absolute[i] = a;
  });
  // What formed A: inverses, the least symmetric, differ by 2.6e-5 at condition 1e4 in float32, 3e-12 at 1e6 in
  // float64.
  s.unsymmetric = norm(difference, s.n) > (sizeof(T) == 4 ? 5e-5 : 1.5e-8) * norm(absolute, s.n);
}

// y = A^T x of a whole matrix whose rows are one or two registers: four sums of rows, without the slabs of triangles.
template <class T>
void small_product(const T* A, const T* x, T* y, long n) {
  constexpr long L = lanes<T>;
  Vec<T> left[4] = {}, right[4] = {};
  long j = 0;
  for (; j + 4 <= n; j += 4)
#pragma GCC unroll 4
    for (int c = 0; c < 4; ++c) {
      left[c] += x[j + c] * load(A + (j + c) * n);
      right[c] += x[j + c] * load(A + (j + c + 1) * n - L);
    }
  for (; j < n; ++j) {
    left[0] += x[j] * load(A + j * n);
    right[0] += x[j] * load(A + (j + 1) * n - L);
  }
  store(y, (left[0] + left[1]) + (left[2] + left[3]));
  store(y + n - L, (right[0] + right[1]) + (right[2] + right[3]));
}

template <class T>
void product(CgState<T>& s, const Runtime& runtime) noexcept {
  const long n = static_cast<long>(s.n);
  if (s.stored == CgStored::full && n >= lanes<T> && n <= 2 * lanes<T>)
    small_product(s.A, s.p, s.q, n);
  else if (s.stored == CgStored::lower)
    symmetric_product_lower(s.A, s.p, s.q, n, slabs(s), runtime);
  else if (s.stored == CgStored::packed)
    symmetric_product<T, true>(s.A, s.p, s.q, n, slabs(s), runtime);
  else
    symmetric_product<T, false>(s.A, s.p, s.q, n, slabs(s), runtime);
  if (!s.symmetric) test_symmetry(s, runtime);
}

template <class T>
void residual(CgState<T>& s, const Runtime& runtime) noexcept {
  const long n = static_cast<long>(s.n);
  if (s.stored != CgStored::full) {
    const T* A = s.A;
    auto all = [n](long) { return n; };
    copy(s.res, s.b, s.n);
    if (s.stored == CgStored::lower)
      subtract_product([A, n](long i) { return A + i * n; }, [](long) { return 0L; }, [](long i) { return i; }, s.at,
                       s.res, n, runtime);
    else if (s.stored == CgStored::upper)
      subtract_product([A, n](long i) { return upper_row<T, false>(A, i, n); }, [](long i) { return i + 1; }, all, s.at,
                       s.res, n, runtime);
    else
      subtract_product([A, n](long i) { return upper_row<T, true>(A, i, n); }, [](long i) { return i + 1; }, all, s.at,
                       s.res, n, runtime);
    return;
  }
  wide_product<T, double>(s.A, s.at, n, runtime, [&](long i, double sum, double) { s.res[i] = s.b[i] - sum; });
}

template <class T>
void precondition(CgState<T>& s, const Runtime& runtime) noexcept {
  wide_product<T, T>(s.M, s.r, static_cast<long>(s.n), runtime,
                     [&](long i, double sum, double) { s.z[i] = static_cast<T>(sum); });
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
