// Norms that are exact to rounding at any scale: float32 lanes are emptied into float64 every 16 rounds, and a sum that
// over- or underflows is formed again in float64.
#pragma once
#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T>
double sum_squares_block(const T* g, std::size_t n) {
  constexpr int L = lanes<T>;
  constexpr int U = 8;
  double total = 0;
  std::size_t i = 0;
  while (i + U * L <= n) {
    Vec<T> s[U] = {};
    for (int rounds = 0; rounds < 16 && i + U * L <= n; ++rounds, i += U * L)
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const Vec<T> x = load(g + i + u * L);
        s[u] += x * x;
      }
    for (int half = U / 2; half > 0; half /= 2)
      for (int u = 0; u < half; ++u) s[u] += s[u + half];
    total += static_cast<double>(sum_lanes<T>(s[0]));
  }
  Vec<T> rest{};
  for (; i + L <= n; i += L) {
    const Vec<T> x = load(g + i);
    rest += x * x;
  }
  total += static_cast<double>(sum_lanes<T>(rest));
  for (; i < n; ++i) total += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return total;
}

// Slow and safe: entries are scaled by a power of two before they are squared.
template <class T>
double sum_squares_scaled(const T* g, std::size_t n, double factor) {
  constexpr int U = 8;
  double s[U] = {};
  std::size_t i = 0;
  for (; i + U <= n; i += U)
    for (int u = 0; u < U; ++u) {
      const double x = factor * static_cast<double>(g[i + static_cast<std::size_t>(u)]);
      s[u] += x * x;
    }
  for (int u = 1; u < U; ++u) s[0] += s[u];
  for (; i < n; ++i) {
    const double x = factor * static_cast<double>(g[i]);
    s[0] += x * x;
  }
  return s[0];
}

inline double sum_tree(const double* part, long n) {
  if (n <= 0) return 0;
  if (n == 1) return part[0];
  const long half = n / 2;
  return sum_tree(part, half) + sum_tree(part + half, n - half);
}

inline bool finite(double x) { return x - x == 0; }

// Whether a sum of n squares in T may have lost some of them.
template <class T>
bool lossy(double total, std::size_t n) {
  return n && (!finite(total) || total < static_cast<double>(n) * (sizeof(T) == 4 ? 1e-30 : 1e-280));
}
// 2^-512 and 2^600 bring every float64 norm into range, of subnormal entries too; float32 needs no scale in float64.
template <class T>
double unit_for(double total) {
  return sizeof(T) == 4 ? 1 : finite(total) ? 0x1p600 : 0x1p-512;
}

template <class T>
double norm_of_row(const T* x, std::size_t n) {
  double total = sum_squares_block(x, n), unit = 1;
  if (lossy<T>(total, n)) {
    unit = unit_for<T>(total);
    total = sum_squares_scaled(x, n, unit);
  }
  return __builtin_sqrt(total) / unit;
}

// Of norms: the largest, and the sum of squares in units of it. The norm of them all is exact where there is one.
struct Joined {
  double largest, total;
  double unit() const { return largest > 0 && finite(largest) ? largest : 1; }
  double norm() const { return unit() * __builtin_sqrt(total); }
};
// The n norms into groups, norm[i] into that of index group_of(i).
template <class GroupOf>
void join_norms(const double* norm, std::size_t n, Joined* groups, const GroupOf& group_of) {
  for (std::size_t i = 0; i < n; ++i)
    if (Joined& g = groups[group_of(i)]; norm[i] > g.largest) g.largest = norm[i];
  for (std::size_t i = 0; i < n; ++i) {
    Joined& g = groups[group_of(i)];
    g.total += (norm[i] / g.unit()) * (norm[i] / g.unit());
  }
}
inline double norm_of_norms(const double* norm, std::size_t n) {
  Joined all{};
  join_norms(norm, n, &all, [](std::size_t) { return 0; });
  return all.norm();
}

inline double above(double limit, double norm) { return limit < norm ? limit / norm : 1; }

// Keeps the least factor, and a NaN.
inline void lower(double& scale, double factor) {
  if (factor < scale || factor != factor) scale = factor;
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
