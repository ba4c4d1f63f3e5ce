// cg: the state of the method, its vector work and its products. An iteration reads one triangle of A (2 n^2 bytes in
// float32; SciPy's gemv 4 n^2), then p and q for p.q (8 n), updates x and r (32 n) and p (12 n). Inner products and
// steps are float64.
#include "pyasr/cg.hpp"

#include "cpu/symmetric.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

enum Phase : int { starting, first_residual, iterating, preconditioned, multiplied, verifying, refining, over };

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

// p.q, p.p and max |q|
template <class T>
Curvature<T> curvature(const CgState<T>& s, const Runtime& runtime) {
  double* part = parts(s);
  over_blocks(s.n, runtime, [&](long k, long begin, long end) {
    constexpr long L = lanes<double>;
    Vec<double> pq[2] = {}, pp[2] = {}, largest[2] = {};
    long i = begin;
    for (; i + 2 * L <= end; i += 2 * L)
#pragma GCC unroll 2
      for (int u = 0; u < 2; ++u) {
        const Vec<double> p = load_wide(s.p + i + u * L), q = load_wide(s.q + i + u * L);
        pq[u] += p * q;
        pp[u] += p * p;
        largest[u] = vmax(vabs(q), largest[u]);
      }
    double tail[3] = {};
    for (; i < end; ++i) {
      const double p = static_cast<double>(s.p[i]), q = static_cast<double>(s.q[i]);
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

// x += x_step p, r -= r_step q; returns r.r
template <class T>
double advance(const CgState<T>& s, double x_step, double r_step, const Runtime& runtime) {
  double* part = parts(s);
  over_blocks(s.n, runtime, [&](long k, long begin, long end) {
    constexpr long L = lanes<double>;
    Vec<double> rr[2] = {};
    long i = begin;
    for (; i + 2 * L <= end; i += 2 * L)
#pragma GCC unroll 2
      for (int u = 0; u < 2; ++u) {
        const long at = i + u * L;
        store(s.x + at, load(s.x + at) + x_step * load_wide(s.p + at));
        store_narrow(s.r + at, load_wide(s.r + at) - r_step * load_wide(s.q + at));
        const Vec<double> r = load_wide(s.r + at);
        rr[u] += r * r;
      }
    double tail = 0;
    for (; i < end; ++i) {
      s.x[i] += x_step * static_cast<double>(s.p[i]);
      s.r[i] = static_cast<T>(static_cast<double>(s.r[i]) - r_step * static_cast<double>(s.q[i]));
      tail += static_cast<double>(s.r[i]) * static_cast<double>(s.r[i]);
    }
    part[k] = sum_lanes<double>(rr[0] + rr[1]) + tail;
  });
  return sum(part, blocks(s.n), 1);
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

// at = x as it will be returned; false when that is not finite.
template <class T>
bool round_x(CgState<T>& s) {
  const bool rounds = sizeof(T) == 4 && (s.returns_rounded || !s.A);
  for (std::size_t i = 0; i < s.n; ++i) s.at[i] = rounds ? static_cast<double>(static_cast<T>(s.x[i])) : s.x[i];
  return finite(largest_of(s.at, s.n));
}

template <class T>
CgNeeds finish(CgState<T>& s, long long info) {
  s.info = info;
  s.phase = over;
  return CgNeeds::done;
}

template <class T>
CgNeeds next(CgState<T>& s, const Runtime& runtime) noexcept;

// Starts a run on the correction A d = res, |res| = length, in units of about that length.
template <class T>
CgNeeds start_run(CgState<T>& s, const Runtime& runtime) {
  s.unit = power_of_two(exponent(s.length) + 1);
  const double scale = 1 / s.unit;
  for (std::size_t i = 0; i < s.n; ++i) {
    s.r[i] = static_cast<T>(s.res[i] * scale);
    s.p[i] = 0;
  }
  s.rr = dot(s.r, s.r, s.n, parts(s), runtime);
  s.rz = 1;
  s.low_rr = s.rr;
  copy(s.low_x, s.x, s.n);
  const double wanted = s.share * s.tolerance * scale, floor = 4 * epsilon_of(T{}) * s.length * scale;
  s.target = wanted > floor ? wanted * wanted : floor * floor;
  s.phase = iterating;
  return next(s, runtime);
}

// The run is over: asks for the residual of the x that would be returned.
template <class T>
CgNeeds verify(CgState<T>& s, long long info) {
  s.info = info;
  if (info == cg_breakdown) copy(s.x, s.low_x, s.n);  // the last steps before a breakdown are huge and lead away
  if (!round_x(s)) return finish(s, cg_not_finite);
  if (info == cg_not_finite) {
    copy(s.best, s.at, s.n);
    return finish(s, info);
  }
  s.phase = verifying;
  return CgNeeds::residual;
}

template <class T>
CgNeeds verified(CgState<T>& s, const Runtime& runtime) {
  s.started = s.length;
  s.length = norm(s.res, s.n);
  if (!finite(s.length)) return finish(s, cg_not_finite);
  if (s.length <= s.tolerance) {
    copy(s.best, s.at, s.n);
    return finish(s, 0);
  }
  const bool closer = s.length < s.best_length;
  const double energy = -0.5 * dot(s.at, s.res, s.b, s.n, parts(s), runtime);
  if (s.info != 0 || s.iterations >= s.maxiter) {
    // The residual may grow while the error shrinks: only an x that is worse by both is given up.
    if (closer || (energy < s.best_energy && s.info != cg_breakdown)) copy(s.best, s.at, s.n);
    return finish(s, s.info ? s.info : s.iterations);
  }
  if (closer) {
    copy(s.best, s.at, s.n);
    s.best_length = s.length;
    s.best_energy = energy;
  }
  if (sizeof(T) == 4 && s.A && s.returns_rounded) {
    copy(s.at, s.x, s.n);
    s.phase = refining;
    return CgNeeds::residual;
  }
  copy(s.x, s.at, s.n);
  if (!(s.length <= 0.5 * s.started)) return finish(s, s.iterations);  // as close as this precision comes
  s.share = 0.5;
  return start_run(s, runtime);
}

// Everything between two products. Returns to the caller whenever something is needed that it must supply.
template <class T>
CgNeeds next(CgState<T>& s, const Runtime& runtime) noexcept {
  switch (static_cast<Phase>(s.phase)) {
    case starting: {
      const double size = norm(s.b, s.n);
      if (!finite(size) || (s.guessed && !finite(norm(s.x, s.n)))) return finish(s, cg_not_finite);
      if (size == 0) return finish(s, 0);
      s.tolerance = s.rtol * size > s.atol ? s.rtol * size : s.atol;
      copy(s.best, s.x, s.n);
      copy(s.at, s.x, s.n);
      s.phase = first_residual;
      if (s.guessed) return CgNeeds::residual;
      for (std::size_t i = 0; i < s.n; ++i) s.res[i] = static_cast<double>(s.b[i]);
      [[fallthrough]];
    }
    case first_residual:
      s.length = s.best_length = norm(s.res, s.n);
      if (!finite(s.length)) return finish(s, cg_not_finite);
      if (s.length <= s.tolerance) return finish(s, 0);
      s.best_energy = -0.5 * dot(s.x, s.res, s.b, s.n, parts(s), runtime);
      s.share = 0.9;
      return start_run(s, runtime);
    case iterating:
      if (s.iterations >= s.maxiter || s.rr <= s.target) return verify(s, 0);
      s.phase = preconditioned;
      if (s.preconditioned) return CgNeeds::precondition;
      [[fallthrough]];
    case preconditioned: {
      const double before = s.rz;
      s.rz = s.preconditioned ? dot(s.r, s.z, s.n, parts(s), runtime) : s.rr;
      if (!(s.rz > 0 && finite(s.rz))) return verify(s, finite(s.rz) ? cg_indefinite_m : cg_not_finite);
      direct(s, s.rz / before, runtime);
      s.phase = multiplied;
      return CgNeeds::product;
    }
    case multiplied: {
      if (s.unsymmetric) return finish(s, 0);
      const Curvature<T> c = curvature(s, runtime);
      if (!finite(c.pq)) return verify(s, cg_not_finite);
      const double length = __builtin_sqrt(c.pp), rounding = 4 * epsilon_of(T{});
      if (c.largest > s.operator_norm * length) s.operator_norm = c.largest / length;
      const double noise = rounding * s.operator_norm * c.pp;
      if (c.pq <= noise) return verify(s, c.pq < -noise ? cg_negative_curvature : cg_breakdown);
      s.rr = advance(s, s.rz / c.pq * s.unit, s.rz / c.pq, runtime);
      ++s.iterations;
      if (!finite(s.rr)) return verify(s, cg_not_finite);
      if (s.rr < s.low_rr) {
        s.low_rr = s.rr;
        copy(s.low_x, s.x, s.n);
      }
      s.phase = iterating;
      return CgNeeds::nothing;
    }
    case verifying:
      return verified(s, runtime);
    case refining:
      s.length = norm(s.res, s.n);
      // Where x itself is good enough, it is its rounding that keeps the residual up.
      if (s.length <= 0.5 * s.tolerance || !(s.length <= 0.5 * s.started)) return finish(s, s.iterations);
      s.share = 0.5;
      return start_run(s, runtime);
    case over:
      break;
  }
  return CgNeeds::done;
}

template <class T>
std::size_t workspace_bytes(std::size_t n, bool dense) noexcept {
  const std::size_t wide = (n * sizeof(double) + 63) / 64 * 64, narrow = (n * sizeof(T) + 63) / 64 * 64;
  return 5 * wide + 4 * narrow + (blocks(n) * 3 * sizeof(double) + 63) / 64 * 64 + (dense ? slab_bytes<T>(n) : 0) + 64;
}

template <class T>
void lay_out(CgState<T>& s, void* workspace) noexcept {
  auto* next_free = static_cast<char*>(workspace);
  auto take = [&](std::size_t bytes) {
    void* p = next_free;
    next_free += (bytes + 63) / 64 * 64;
    return p;
  };
  double** const wide[] = {&s.x, &s.best, &s.res, &s.at, &s.low_x};
  for (double** v : wide) *v = static_cast<double*>(take(s.n * sizeof(double)));
  T** const narrow[] = {&s.r, &s.p, &s.q, &s.z};
  for (T** v : narrow) *v = static_cast<T*>(take(s.n * sizeof(T)));
  s.scratch = next_free;
  if (!s.preconditioned) s.z = s.r;
  for (std::size_t i = 0; i < s.n; ++i) s.x[i] = s.best[i] = 0;
}

// The rows' own products must agree with those of the upper triangle, up to rounding and to that of whatever formed A.
template <class T>
void test_symmetry(CgState<T>& s, const Runtime& runtime) {
  s.symmetric = true;
  double *difference = s.res, *absolute = s.at;  // both free during a run
  wide_product<T, T, true>(s.A, s.p, static_cast<long>(s.n), runtime, [&](long i, double sum, double a) {
    difference[i] = sum - static_cast<double>(s.q[i]);
    absolute[i] = a;
  });
  const double n = static_cast<double>(s.n);
  s.unsymmetric = norm(difference, s.n) > 16 * __builtin_sqrt(n) * epsilon_of(T{}) * norm(absolute, s.n);
}

template <class T>
void product(CgState<T>& s, const Runtime& runtime) noexcept {
  symmetric_product(s.A, s.p, s.q, static_cast<long>(s.n), slabs(s), runtime);
  if (!s.symmetric) test_symmetry(s, runtime);
}

template <class T>
void residual(CgState<T>& s, const Runtime& runtime) noexcept {
  wide_product<T, double>(s.A, s.at, static_cast<long>(s.n), runtime,
                          [&](long i, double sum, double) { s.res[i] = static_cast<double>(s.b[i]) - sum; });
}

template <class T>
void precondition(CgState<T>& s, const Runtime& runtime) noexcept {
  wide_product<T, T>(s.M, s.r, static_cast<long>(s.n), runtime,
                     [&](long i, double sum, double) { s.z[i] = static_cast<T>(sum); });
}

template <class T>
void solve(CgState<T>& s, const Runtime& runtime) noexcept {
  while (!runtime.stop(runtime.self)) {
    switch (next(s, runtime)) {
      case CgNeeds::product:
        product(s, runtime);
        break;
      case CgNeeds::residual:
        residual(s, runtime);
        break;
      case CgNeeds::precondition:
        precondition(s, runtime);
        break;
      case CgNeeds::nothing:
        break;
      case CgNeeds::done:
        return;
    }
  }
}

template <class T>
constexpr CgOf<T> column = {workspace_bytes<T>, lay_out<T>,      next<T>, product<T>,
                            residual<T>,        precondition<T>, solve<T>};

}  // namespace

extern const Cg cg;
const Cg cg = {column<float>, column<double>};

}  // namespace pyasr::cpu::PYASR_ISA
