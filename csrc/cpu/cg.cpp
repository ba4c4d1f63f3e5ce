// cg: the state of the method, its vector work and its products. An iteration reads one triangle of A (2 n^2 bytes in
// float32; SciPy's gemv 4 n^2), then p and q for p.q (8 n), updates x and r (32 n) and p (12 n). Inner products and
// steps are float64.
#include "pyasr/cg.hpp"

#include "cpu/cg_vectors.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

enum Phase : int { starting, first_residual, iterating, preconditioned, multiplied, verifying, refining, over };

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
