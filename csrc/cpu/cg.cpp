// cg: the method, from product to product. An iteration reads one triangle of A (2 n^2 bytes in
// float32; SciPy's gemv 4 n^2), then p and q for p.q (8 n), updates x and r (32 n) and p (12 n). Inner products and
// steps are float64.
#include "pyasr/cg.hpp"

#include "cpu/cg_products.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

enum Phase : int {
  starting,
  first_residual,
  iterating,
  preconditioned,
  multiplied,
  verifying,
  falling_back,
  refining,
  over
};

// at = x as it will be returned; false when that is not finite.
template <class T>
bool round_x(CgState<T>& s) {
  for (std::size_t i = 0; i < s.n; ++i)
    s.at[i] = s.returns_rounded ? static_cast<double>(static_cast<float>(s.x[i])) : s.x[i];
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

// res = b - (A + damping I) at, of b - A at.
template <class T>
void damp_residual(const CgState<T>& s) {
  if (s.damping != 0)
    for (std::size_t i = 0; i < s.n; ++i) s.res[i] -= s.damping * s.at[i];
}

// Entries of the ring of energies.
template <class T>
long long energies(const CgState<T>& s) {
  if (!s.martens) return 0;
  if (s.maxiter >= 10 * longest_look_back) return longest_look_back + 1;
  return s.maxiter <= 100 ? 11 : (s.maxiter + 9) / 10 + 1;
}

// Martens (2010): the energy fell, relative to what it is, by less than martens_eps per iteration over the last tenth.
template <class T>
bool martens_stops(CgState<T>& s, double energy) {
  const long long room = energies(s), i = s.iterations;
  const long long wanted = i <= 100 ? 10 : (i - 1) / 10 + 1,
                  k = wanted < longest_look_back ? wanted : longest_look_back;
  s.energy[i % room] = energy;
  if (i <= k || !(energy < 0)) return false;
  return (energy - s.energy[(i - k) % room]) / energy <
         (s.scale_by_k ? static_cast<double>(k) * s.martens_eps : s.martens_eps);
}

// Starts a run on the correction A d = res, |res| = length, in units of about that length.
template <class T>
CgNeeds start_run(CgState<T>& s, const Runtime& runtime) {
  s.unit = power_of_two(exponent(s.length) + 1);
  const double scale = 1 / s.unit;
  for (std::size_t i = 0; i < s.n; ++i) {
    s.r[i] = static_cast<T>(s.res[i] * scale);
    s.p[i] = 0;
    if (s.flexible) s.before[i] = 0;
  }
  s.rr = dot(s.r, s.r, s.n, parts(s), runtime);
  s.rz = 1;
  s.length_in_m = s.with_p = s.way_in_m = s.lift = 0;
  s.low_rr = s.rr;
  copy(s.low_x, s.x, s.n);
  const double wanted = s.share * s.tolerance * scale, floor = 4 * epsilon_of(T{}) * s.length * scale;
  s.target = wanted > floor ? wanted * wanted : floor * floor;
  s.stopped = s.rr <= s.target;
  s.phase = iterating;
  return next(s, runtime);
}

// The run is over: asks for the residual of the x that would be returned, where it is to be verified.
template <class T>
CgNeeds verify(CgState<T>& s, long long info) {
  s.info = info;
  if (info == cg_breakdown) copy(s.x, s.low_x, s.n);  // the last steps before a breakdown are huge and lead away
  if (!round_x(s)) return finish(s, cg_not_finite);
  if (info == cg_not_finite) {
    copy(s.best, s.at, s.n);
    return finish(s, info);
  }
  if (s.martens || !s.verify) {
    copy(s.best, s.at, s.n);
    const double tolerance = s.tolerance / s.unit;
    return finish(s, info ? info : (s.martens ? s.stopped : s.rr <= tolerance * tolerance) ? 0 : s.iterations);
  }
  s.phase = verifying;
  return CgNeeds::residual;
}

// at.A at, of b and res = b - A at, is above the rounding of A: in the measure of M, the run's way.
template <class T>
bool curvature_is_resolved(const CgState<T>& s) {
  const double reach = norm(s.at, s.n), unit = reach > 0 ? reach : 1;
  double along = 0;
  for (std::size_t i = 0; i < s.n; ++i) along += s.at[i] / unit * (s.b[i] - s.res[i]);
  const double rounding = 4 * epsilon_of(T{});
  return along > rounding * s.operator_norm * reach ||
         (s.preconditioned && s.lift > rounding * s.steepest * s.way_in_m);
}

template <class T>
CgNeeds verified(CgState<T>& s, const Runtime& runtime) {
  s.started = s.length;
  damp_residual(s);
  s.length = norm(s.res, s.n);
  if (!finite(s.length)) return finish(s, cg_not_finite);
  if (s.length <= s.tolerance) {
    copy(s.best, s.at, s.n);
    return finish(s, 0);
  }
  const bool closer = s.length < s.best_length;
  const double energy = -0.5 * dot(s.at, s.res, s.b, s.n, parts(s), runtime);
  if (s.info != 0 || s.iterations >= s.maxiter) {
    // The residual may grow while the error shrinks, so the energy says which x is better. Where A is not positive
    // definite it falls without bound: it is not asked where that was seen, below the rounding of A, and where more
    // than the first residual is left after n iterations, which in exact arithmetic are the solution.
    const bool resolved = curvature_is_resolved(s), early = s.iterations < static_cast<long long>(s.n);
    if (!s.info && resolved && energy < s.best_energy && (early || s.length <= s.first_length)) {
      copy(s.best, s.at, s.n);
      return finish(s, s.iterations);
    }
    if (closer) {
      copy(s.best, s.at, s.n);
      s.best_length = s.length;
    }
    if (s.low_rr < s.rr && s.info != cg_breakdown) {  // a smaller residual lies on the way
      if (!s.info && !resolved) s.info = cg_breakdown;
      copy(s.x, s.low_x, s.n);
      s.phase = falling_back;
      if (round_x(s)) return CgNeeds::residual;
    }
    return finish(s, s.info ? s.info : s.iterations);
  }
  if (closer) {
    copy(s.best, s.at, s.n);
    s.best_length = s.length;
    s.best_energy = energy;
  }
  if (s.A && s.returns_rounded) {
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
      if (!finite(size) || (s.guessed && !round_x(s))) return finish(s, cg_not_finite);
      if (size == 0) return finish(s, 0);
      s.tolerance = s.martens ? 0 : s.rtol * size > s.atol ? s.rtol * size : s.atol;
      copy(s.best, s.x, s.n);
      copy(s.at, s.x, s.n);
      s.phase = first_residual;
      if (s.guessed) return CgNeeds::residual;
      copy(s.res, s.b, s.n);
      [[fallthrough]];
    }
    case first_residual:
      damp_residual(s);
      s.length = s.first_length = s.best_length = norm(s.res, s.n);
      if (!finite(s.length)) return finish(s, cg_not_finite);
      if (s.length <= s.tolerance) return finish(s, 0);
      s.best_energy = -0.5 * dot(s.x, s.res, s.b, s.n, parts(s), runtime);
      s.share = s.verify ? 0.9 : 1;
      if (s.martens) s.energy[0] = s.best_energy;
      return start_run(s, runtime);
    case iterating:
      if (s.iterations >= s.maxiter || s.stopped) return verify(s, 0);
      s.phase = preconditioned;
      if (s.preconditioned) return CgNeeds::precondition;
      [[fallthrough]];
    case preconditioned: {
      const double before = s.rz;
      s.rz = s.preconditioned ? dot(s.r, s.z, s.n, parts(s), runtime) : s.rr;
      if (!(s.rz > 0 && finite(s.rz))) return verify(s, finite(s.rz) ? cg_indefinite_m : cg_not_finite);
      double across = 0;  // M r times the residual before, 0 for an M that stays the same
      if (s.flexible) {
        across = dot(s.z, s.before, s.n, parts(s), runtime);
        __builtin_memcpy(s.before, s.r, s.n * sizeof(T));
      }
      const double beta = (s.rz - across) / before;
      s.length_in_m = s.rz + beta * beta * s.length_in_m;  // r is orthogonal to the p before
      s.with_p *= beta;
      direct(s, beta, runtime);
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
      // Where M takes scales out of A, what is small beside |A| need not be rounding: M is the measure.
      if (c.pq / s.length_in_m > s.steepest) s.steepest = c.pq / s.length_in_m;
      const double scaled = rounding * s.steepest * s.length_in_m;
      if (c.pq <= (s.preconditioned && scaled < noise ? scaled : noise))
        return verify(s, c.pq < -noise ? cg_negative_curvature : cg_breakdown);
      const double alpha = s.rz / c.pq;
      double energy = 0;
      s.rr = s.martens ? advance<T, true>(s, alpha * s.unit, alpha, energy, runtime)
                       : advance<T, false>(s, alpha * s.unit, alpha, energy, runtime);
      s.way_in_m += alpha * (2 * s.with_p + alpha * s.length_in_m);
      s.with_p += alpha * s.length_in_m;
      s.lift += alpha * s.rz;
      ++s.iterations;
      if (!finite(s.rr)) return verify(s, cg_not_finite);
      if (s.rr < s.low_rr) {
        s.low_rr = s.rr;
        copy(s.low_x, s.x, s.n);
      }
      s.stopped = s.rr <= s.target || (s.martens && martens_stops(s, energy));
      s.phase = iterating;
      return CgNeeds::nothing;
    }
    case verifying:
      return verified(s, runtime);
    case falling_back:
      damp_residual(s);
      if (norm(s.res, s.n) < s.best_length) copy(s.best, s.at, s.n);
      return finish(s, s.info ? s.info : s.iterations);
    case refining:
      damp_residual(s);
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

constexpr std::size_t lines(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

template <class T>
std::size_t workspace_bytes(const CgState<T>& s) noexcept {
  return 6 * lines(s.n * sizeof(double)) + (s.flexible ? 5 : 4) * lines(s.n * sizeof(T)) +
         lines(static_cast<std::size_t>(energies(s)) * sizeof(double)) + lines(blocks(s.n) * 3 * sizeof(double)) +
         (s.A ? slab_bytes<T>(s.n) : 0) + 64;
}

template <class T>
void lay_out(CgState<T>& s, void* workspace) noexcept {
  auto* next_free = static_cast<char*>(workspace);
  auto take = [&](std::size_t bytes) {
    void* p = next_free;
    next_free += lines(bytes);
    return p;
  };
  double** const wide[] = {&s.b, &s.x, &s.best, &s.res, &s.at, &s.low_x};
  for (double** v : wide) *v = static_cast<double*>(take(s.n * sizeof(double)));
  T** const narrow[] = {&s.r, &s.p, &s.q, &s.z};
  for (T** v : narrow) *v = static_cast<T*>(take(s.n * sizeof(T)));
  s.before = s.flexible ? static_cast<T*>(take(s.n * sizeof(T))) : nullptr;
  s.energy = static_cast<double*>(take(static_cast<std::size_t>(energies(s)) * sizeof(double)));
  s.scratch = next_free;
  if (!s.preconditioned) s.z = s.r;
  for (std::size_t i = 0; i < s.n; ++i) s.x[i] = s.best[i] = 0;
  s.symmetric = s.stored != CgStored::full;
}

template <class T>
void solve(CgState<T>& s, const Runtime& runtime) noexcept {
  // Small systems are asked now and then whether to stop: reading the clock would be a tenth of an iteration.
  const unsigned between = s.n <= 128 ? 32 : 1;
  for (unsigned steps = 0; steps % between || !runtime.stop(runtime.self); ++steps) {
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
