// The vector passes of cg: float64 sums and steps over vectors of T, blocks that depend on n alone. Internal linkage.
#pragma once
#include "cpu/symmetric_lower.hpp"
#include "pyasr/cg.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr long block = 8192;  // entries per work item of a vector pass
constexpr double epsilon_of(float) { return 0x1p-23; }
constexpr double epsilon_of(double) { return 0x1p-52; }

bool finite(double x) { return x - x == 0; }

// 2^e for any e that gives a normal number.
double power_of_two(int e) {
  e = e < -1022 ? -1022 : e > 1023 ? 1023 : e;
  const std::uint64_t bits = static_cast<std::uint64_t>(e + 1023) << 52;
  double d;
  __builtin_memcpy(&d, &bits, sizeof d);
  return d;
}
int exponent(double x) {
  std::uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return static_cast<int>((bits >> 52) & 2047) - 1023;
}

// body(begin, end) over blocks of [0, n); vectors that fit into one are done here.
template <class Body>
PYASR_INLINE void over_blocks(std::size_t n, const Runtime& runtime, const Body& body) {
  const long N = static_cast<long>(n);
  if (N <= block) {
    body(0, 0, N);
  } else {
    parallel_for(runtime, (N + block - 1) / block,
                 [&](long k, int) { body(k, k * block, (k + 1) * block < N ? (k + 1) * block : N); });
  }
}

std::size_t blocks(std::size_t n) { return n <= block ? 1 : (n + block - 1) / block; }

// The partial results of the blocks are added in order.
double sum(const double* part, std::size_t count, int stride) {
  double s = 0;
  for (std::size_t k = 0; k < count; ++k) s += part[k * stride];
  return s;
}

template <class T>
double* parts(const CgState<T>& s) {
  return static_cast<double*>(s.scratch);
}
template <class T>
T* slabs(const CgState<T>& s) {
  return reinterpret_cast<T*>(static_cast<char*>(s.scratch) + (blocks(s.n) * 3 * sizeof(double) + 63) / 64 * 64);
}

template <class T>
struct Curvature {
  double pq, pp, largest;
};

// q += damping p; p.q, p.p and max |q|
template <class T>
Curvature<T> curvature(const CgState<T>& s, const Runtime& runtime) {
  double* part = parts(s);
  const double damping = s.damping;
  over_blocks(s.n, runtime, [&](long k, long begin, long end) {
    constexpr long L = lanes<double>;
    Vec<double> pq[2] = {}, pp[2] = {}, largest[2] = {};
    long i = begin;
    for (; i + 2 * L <= end; i += 2 * L)
#pragma GCC unroll 2
      for (int u = 0; u < 2; ++u) {
        if (damping != 0)
          store_narrow(s.q + i + u * L, load_wide(s.q + i + u * L) + damping * load_wide(s.p + i + u * L));
        const Vec<double> p = load_wide(s.p + i + u * L), q = load_wide(s.q + i + u * L);
        pq[u] += p * q;
        pp[u] += p * p;
        largest[u] = vmax(vabs(q), largest[u]);
      }
    double tail[3] = {};
    for (; i < end; ++i) {
      const double p = static_cast<double>(s.p[i]);
      if (damping != 0) s.q[i] = static_cast<T>(static_cast<double>(s.q[i]) + damping * p);
      const double q = static_cast<double>(s.q[i]);
      tail[0] += p * q;
      tail[1] += p * p;
      tail[2] = __builtin_fabs(q) > tail[2] ? __builtin_fabs(q) : tail[2];
    }
    const Vec<double> most = vmax(largest[0], largest[1]);
    for (int l = 0; l < L; ++l) tail[2] = most[l] > tail[2] ? most[l] : tail[2];
    part[3 * k] = sum_lanes<double>(pq[0] + pq[1]) + tail[0];
    part[3 * k + 1] = sum_lanes<double>(pp[0] + pp[1]) + tail[1];
    part[3 * k + 2] = tail[2];
  });
  Curvature<T> c{sum(part, blocks(s.n), 3), sum(part + 1, blocks(s.n), 3), 0};
  for (std::size_t k = 0; k < blocks(s.n); ++k) c.largest = part[3 * k + 2] > c.largest ? part[3 * k + 2] : c.largest;
  return c;
}

// x += x_step p, r -= r_step q; returns r.r. Where Energy, energy = x.A x / 2 - b.x = -x.(b + r) / 2, which needs no
// product.
template <class T, bool Energy>
double advance(const CgState<T>& s, double x_step, double r_step, double& energy, const Runtime& runtime) {
  const double unit = s.unit;
  double* part = parts(s);
  over_blocks(s.n, runtime, [&](long k, long begin, long end) {
    constexpr long L = lanes<double>;
    Vec<double> rr[2] = {}, xe[2] = {};
    long i = begin;
    for (; i + 2 * L <= end; i += 2 * L)
#pragma GCC unroll 2
      for (int u = 0; u < 2; ++u) {
        const long at = i + u * L;
        store(s.x + at, load(s.x + at) + x_step * load_wide(s.p + at));
        store_narrow(s.r + at, load_wide(s.r + at) - r_step * load_wide(s.q + at));
        const Vec<double> r = load_wide(s.r + at);
        rr[u] += r * r;
        if constexpr (Energy) xe[u] += load(s.x + at) * (load(s.b + at) + unit * r);
      }
    double tail = 0, energy_tail = 0;
    for (; i < end; ++i) {
      s.x[i] += x_step * static_cast<double>(s.p[i]);
      s.r[i] = static_cast<T>(static_cast<double>(s.r[i]) - r_step * static_cast<double>(s.q[i]));
      tail += static_cast<double>(s.r[i]) * static_cast<double>(s.r[i]);
      if constexpr (Energy) energy_tail += s.x[i] * (s.b[i] + unit * static_cast<double>(s.r[i]));
    }
    part[2 * k] = sum_lanes<double>(rr[0] + rr[1]) + tail;
    part[2 * k + 1] = sum_lanes<double>(xe[0] + xe[1]) + energy_tail;
  });
  energy = -0.5 * sum(part + 1, blocks(s.n), 2);
  return sum(part, blocks(s.n), 2);
}

// p = z + beta p
template <class T>
void direct(const CgState<T>& s, double beta, const Runtime& runtime) {
  over_blocks(s.n, runtime, [&](long, long begin, long end) {
    constexpr long L = lanes<double>;
    long i = begin;
    for (; i + L <= end; i += L) store_narrow(s.p + i, load_wide(s.z + i) + beta * load_wide(s.p + i));
    for (; i < end; ++i) s.p[i] = static_cast<T>(static_cast<double>(s.z[i]) + beta * static_cast<double>(s.p[i]));
  });
}

// u.v, or u.(v + w) with w, in float64
template <class U, class V, class W>
double dot(const U* u, const V* v, const W* w, std::size_t n, double* part, const Runtime& runtime) {
  over_blocks(n, runtime, [&](long k, long begin, long end) {
    constexpr long L = lanes<double>;
    Vec<double> s[2] = {};
    double tail = 0;
    long i = begin;
    for (; i + 2 * L <= end; i += 2 * L)
#pragma GCC unroll 2
      for (int m = 0; m < 2; ++m) {
        Vec<double> right = load_wide(v + i + m * L);
        if (w) right += load_wide(w + i + m * L);
        s[m] += load_wide(u + i + m * L) * right;
      }
    for (; i < end; ++i)
      tail += static_cast<double>(u[i]) * (static_cast<double>(v[i]) + (w ? static_cast<double>(w[i]) : 0));
    part[k] = sum_lanes<double>(s[0] + s[1]) + tail;
  });
  return sum(part, blocks(n), 1);
}
template <class T>
double dot(const T* u, const T* v, std::size_t n, double* part, const Runtime& runtime) {
  return dot(u, v, static_cast<const T*>(nullptr), n, part, runtime);
}

// max |v|, and NaN when an entry is not finite
template <class V>
double largest_of(const V* v, std::size_t n) {
  constexpr long L = lanes<double>;
  const long N = static_cast<long>(n);
  Vec<double> most{}, spoilt{};
  long i = 0;
  for (; i + L <= N; i += L) {
    const Vec<double> a = vabs(load_wide(v + i));
    most = vmax(a, most);
    spoilt += a - a;
  }
  double largest = 0, tail = sum_lanes<double>(spoilt);
  for (int l = 0; l < L; ++l) largest = most[l] > largest ? most[l] : largest;
  for (; i < N; ++i) {
    const double a = __builtin_fabs(static_cast<double>(v[i]));
    largest = a > largest ? a : largest;
    tail += a - a;
  }
  return largest + tail;
}

// |v| without over- or underflow; NaN when an entry is not finite.
template <class V>
double norm(const V* v, std::size_t n) {
  const double largest = largest_of(v, n);
  if (largest == 0 || !finite(largest)) return largest;
  constexpr long L = lanes<double>;
  const long N = static_cast<long>(n);
  const double unit = power_of_two(-exponent(largest));
  Vec<double> s{};
  double tail = 0;
  long i = 0;
  for (; i + L <= N; i += L) {
    const Vec<double> a = unit * load_wide(v + i);
    s += a * a;
  }
  for (; i < N; ++i) {
    const double a = unit * static_cast<double>(v[i]);
    tail += a * a;
  }
  return __builtin_sqrt(sum_lanes<double>(s) + tail) / unit;
}

void copy(double* to, const double* from, std::size_t n) { __builtin_memcpy(to, from, n * sizeof(double)); }

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
