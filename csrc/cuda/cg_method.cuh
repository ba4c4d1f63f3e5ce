// The method of cg, between the products that it asks for: what csrc/cpu/cg.cpp does, with the vector work spread over
// threads and every decision taken by one thread from sums that all blocks form in the same order. It is written once
// over Vectors, which say which entries a thread works on and how sums are formed:
//
//   begin(), end(), step()    the entries that a thread adds up; decide(sums, then) forms their sum, and one thread of
//                             every block runs then(total), which alone may change the scalars; decide_rarely too
//   own_begin(), own_end()    the entries of x and its like that a thread owns; decide_own(sums, then) forms the sum
//                             over all blocks, and what they have written to x and its like is seen by all afterwards
//   meet()                    waits for all blocks
//
// What an iteration does is compiled into every kernel, what happens between runs once for all kernels on the same
// Vectors, which therefore lie, with the options, in shared memory.
#pragma once
#include "cuda/cg_sums.cuh"

namespace pyasr::cuda {

template <class T, class Vectors>
PYASR_CALLED __device__ void between_runs(const Vectors& vectors);
template <class T, class Vectors>
PYASR_CALLED __device__ void look_back(const Vectors& vectors);

template <class T, class Vectors>
struct CgMethod {
  const Vectors& vectors;  // shared; the phases copy it, so that what a loop needs of it stays in registers
  const CgOptions& o;      // shared
  CgScalars* s;            // shared

  __device__ explicit CgMethod(const Vectors& in) : vectors(in), o(in.o), s(in.s) {}

  // What is needed next; call it again when that is there. All threads come, and get the same answer.
  __device__ CgNeeds next() {
    for (;;) {
      switch (s->phase) {
        case CgPhase::preconditioned:
          direction();
          break;
        case CgPhase::multiplied:
          advance();
          break;
        case CgPhase::over:
          return CgNeeds::done;
        default:
          between_runs<T>(vectors);
      }
      if (s->phase == CgPhase::multiplied) step();
      if (s->needs != CgNeeds::nothing) return s->needs;
    }
  }
  // A phase outside of the iterations.
  __device__ void rare() {
    switch (s->phase) {
      case CgPhase::starting:
        return start();
      case CgPhase::first:
        return first_residual();
      case CgPhase::iterating:
        return start_run();
      case CgPhase::ending:
        return end_run();
      case CgPhase::verifying:
        return verify();
      default:
        return refine();
    }
  }
  // Martens' rule, after an iteration.
  __device__ void look() {
    const Vectors v = vectors;
    const double unit = s->unit;
    CgSums m{};
    for (int i = v.own_begin(); i < v.own_end(); i += v.step())
      m.a += v.x[i] * (unit * static_cast<double>(v.r[i]) + v.b(i));
    v.decide_own(m, [&](const CgSums& t) {
      s->stopped = s->stopped || martens_stops(vectors, s->iterations, -0.5 * t.a);
      go_on();
    });
  }

 private:
  // One thread of a block: the scalars.
  __device__ void finish(long long info) {
    s->info = info;
    s->phase = CgPhase::over;
    s->needs = CgNeeds::done;
  }
  __device__ void end(long long info) {
    s->info = info;
    s->phase = CgPhase::ending;
    s->needs = CgNeeds::nothing;
  }
  __device__ void ask(CgPhase phase, CgNeeds needs) {
    s->phase = phase;
    s->needs = needs;
  }
  // A run on the correction A d = b - A x, in units of about its length.
  __device__ void begin_run() {
    const int e = ilogb(s->length) + 1;
    s->unit = ldexp(1.0, e < 1023 ? e : 1023);
    const double wanted = s->share * s->tolerance / s->unit, floor = 4 * rounding<T>() * s->length / s->unit;
    s->target = wanted > floor ? wanted * wanted : floor * floor;
    ask(CgPhase::iterating, CgNeeds::nothing);
  }
  __device__ void go_on() {
    if (s->iterations >= o.maxiter || s->stopped) return end(0);
    if (vectors.preconditioned || o.flexible)
      return ask(CgPhase::preconditioned, vectors.preconditioned ? CgNeeds::precondition : CgNeeds::nothing);
    direct(s->rr, 0);
  }
  __device__ void direct(double rz, double across) {
    const double before = s->rz;
    s->rz = rz;
    if (!(rz > 0 && finite(rz))) return end(finite(rz) ? cg_indefinite_m : cg_not_finite);
    s->beta = (rz - across) / before;
    if (vectors.preconditioned) {
      s->length_in_m = rz + s->beta * s->beta * s->length_in_m;  // r is orthogonal to the p before
      s->with_p *= s->beta;
    }
    ask(CgPhase::multiplied, CgNeeds::product);
  }

  // All threads.
  __device__ double residual(const Vectors& v, int i) { return v.residual(i) - o.damping * v.at_entry(i); }
  __device__ void step() {  // p = z + beta p
    const Vectors v = vectors;
    const double beta = s->beta;
#pragma unroll 4
    for (int i = v.begin(); i < v.end(); i += v.step())
      v.p[i] = static_cast<T>(v.z(i) + beta * static_cast<double>(v.p[i]));
  }
  __device__ bool round_x() {  // at = x as it is returned; whether that is finite
    const Vectors v = vectors;
    bool bad = false;
    for (int i = v.own_begin(); i < v.own_end(); i += v.step()) {
      v.at[i] = v.rounds ? static_cast<double>(static_cast<float>(v.x[i])) : v.x[i];
      bad = bad || !finite(v.at[i]);
    }
    return bad;
  }
  __device__ void copy(double* to, const double* from) {
    const Vectors v = vectors;
    for (int i = v.own_begin(); i < v.own_end(); i += v.step()) to[i] = from[i];
  }
  // then(|e|, sum of products) for load(i, &e, &product): the norm neither over- nor underflows.
  template <class Load, class Then>
  __device__ void norm(Load load, Then then) {
    const Vectors v = vectors;
    double scale = 1;
    do {
      CgSums m{};
      for (int i = v.begin(); i < v.end(); i += v.step()) {
        double e = 0, product = 0;
        load(i, e, product);
        m.a += scale * e * (scale * e);
        m.b += product;
      }
      v.decide_rarely(m, [&](const CgSums& t) {
        s->scale = scale != 1 || (finite(t.a) && !(t.a < v.n * 1e-280)) ? 1 : finite(t.a) ? 0x1p512 : 0x1p-512;
        if (s->scale == 1) then(sqrt(t.a) / scale, t.b);
      });
      scale = s->scale;
    } while (scale != 1);
  }
  template <class Then>
  __device__ void measure(Then then) {  // |b - A at| and at.(b - A at + b)
    const Vectors v = vectors;
    norm(
        [&](int i, double& e, double& product) {
          e = residual(v, i);
          product = v.at_entry(i) * (e + v.b(i));
        },
        then);
  }

  __device__ void start() {
    const Vectors v = vectors;
    bool bad = false;
    for (int i = v.own_begin(); i < v.own_end(); i += v.step()) {
      const double x = v.guess(i);
      bad = bad || !finite(v.rounds ? static_cast<double>(static_cast<float>(x)) : x);
      v.x[i] = v.at[i] = x;  // the first residual is that of the guess itself
      v.best[i] = 0;
      v.res[i] = v.b(i);
    }
    v.decide_own({bad ? 1.0 : 0.0, 0, 0}, [&](const CgSums& t) { s->bad = t.a != 0; });
    norm([&](int i, double& e, double&) { e = v.b(i); },
         [&](double size, double) {
           if (!finite(size) || s->bad) return finish(cg_not_finite);
           if (size == 0) return finish(0);
           s->tolerance = o.martens ? 0 : o.rtol * size > o.atol ? o.rtol * size : o.atol;
           ask(CgPhase::first, v.guessed ? CgNeeds::residual : CgNeeds::nothing);
         });
    if (s->phase != CgPhase::over) copy(v.best, v.x);
  }

  __device__ void first_residual() {
    measure([&](double length, double product) {
      s->length = s->first_length = s->best_length = length;
      if (!finite(length)) return finish(cg_not_finite);
      if (length <= s->tolerance) return finish(0);
      s->best_energy = -0.5 * product;
      s->share = o.verify ? 0.9 : 1;
      if (o.martens && vectors.first()) dev::store_cg(vectors.energies, s->best_energy);
      begin_run();
    });
  }

  __device__ void start_run() {
    const Vectors v = vectors;
    const double unit = s->unit;
    CgSums m{};
    for (int i = v.begin(); i < v.end(); i += v.step()) {
      const T r = static_cast<T>(residual(v, i) / unit);
      v.r[i] = r;
      v.p[i] = 0;
      if (o.flexible) v.before[i] = 0;
      m.a += static_cast<double>(r) * static_cast<double>(r);
    }
    copy(v.low, v.x);
    v.decide_rarely(m, [&](const CgSums& t) {
      s->rr = s->low_rr = t.a;
      s->rz = 1;
      s->length_in_m = s->with_p = s->way_in_m = s->lift = 0;
      s->stopped = s->rr <= s->target;
      go_on();
    });
  }

  // z = M r is there: the next direction.
  __device__ void direction() {
    const Vectors v = vectors;
    CgSums m{};
    for (int i = v.begin(); i < v.end(); i += v.step()) {
      const double z = v.z(i);
      m.a += static_cast<double>(v.r[i]) * z;
      if (o.flexible) {
        m.b += z * static_cast<double>(v.before[i]);
        v.before[i] = v.r[i];
      }
    }
    v.decide(m, [&](const CgSums& t) { direct(t.a, t.b); });
  }

  // q = A p is there.
  __device__ void advance() {
    const Vectors v = vectors;
    const auto* const fresh = v.now();
    const double damping = o.damping;
    CgSums m{};
#pragma unroll 4
    for (int i = v.begin(); i < v.end(); i += v.step()) {
      const double p = static_cast<double>(v.p[i]);
      const double q = static_cast<double>(v.keep(i, static_cast<T>(v.product(fresh, i) + damping * p)));
      m.a += p * q;
      m.b += p * p;
      m.top = fabs(q) > m.top ? fabs(q) : m.top;
    }
    v.decide(m, [&](const CgSums& t) {
      const double pq = t.a, pp = t.b, length = sqrt(pp);
      if (!finite(pq)) return end(cg_not_finite);
      if (t.top > s->operator_norm * length) s->operator_norm = t.top / length;
      const double noise = 4 * rounding<T>() * s->operator_norm * pp;
      double least = noise;
      // Where M takes scales out of A, what is small beside |A| need not be rounding: M is the measure.
      if (v.preconditioned) {
        if (pq > s->steepest * s->length_in_m) s->steepest = pq / s->length_in_m;
        const double scaled = 4 * rounding<T>() * s->steepest * s->length_in_m;
        least = scaled < noise ? scaled : noise;
      }
      if (pq <= least) return end(pq < -noise ? cg_negative_curvature : cg_breakdown);
      s->alpha = s->rz / pq;
      if (!v.preconditioned) return;
      s->way_in_m += s->alpha * (2 * s->with_p + s->alpha * s->length_in_m);
      s->with_p += s->alpha * s->length_in_m;
      s->lift += s->alpha * s->rz;
    });
    if (s->phase == CgPhase::ending) return;
    const double alpha = s->alpha, step = alpha * s->unit;
    m = {};
#pragma unroll 4
    for (int i = v.begin(); i < v.end(); i += v.step()) {
      const T r = static_cast<T>(static_cast<double>(v.r[i]) - alpha * static_cast<double>(v.kept(fresh, i)));
      v.r[i] = r;
      m.a += static_cast<double>(r) * static_cast<double>(r);
    }
    for (int i = v.own_begin(); i < v.own_end(); i += v.step()) v.x[i] += step * static_cast<double>(v.p[i]);
    v.decide(m, [&](const CgSums& t) {
      s->rr = t.a;
      ++s->iterations;
      s->lower = t.a < s->low_rr;
      s->stopped = t.a <= s->target;
      if (!finite(t.a)) return end(cg_not_finite);
      if (s->lower) s->low_rr = t.a;
      if (!o.martens) go_on();
    });
    if (s->lower) copy(v.low, v.x);
    if (o.martens && s->phase != CgPhase::ending) look_back<T>(vectors);
  }

  // The run is over: asks for the residual of the x that would be returned, where it is to be verified.
  __device__ void end_run() {
    const Vectors v = vectors;
    v.meet();  // at may still be read
    // The last steps before a breakdown are huge and lead away.
    if (s->info == cg_breakdown || s->falls_back) copy(v.x, v.low);
    v.decide_own({round_x() ? 1.0 : 0.0, 0, 0}, [&](const CgSums& t) {
      const double tolerance = s->tolerance / s->unit;
      s->take = false;
      if (t.a != 0) return finish(!s->falls_back ? cg_not_finite : s->info ? s->info : s->iterations);
      s->take = s->info == cg_not_finite || o.martens || !o.verify;
      if (s->info == cg_not_finite) return finish(cg_not_finite);
      if (!s->take) return ask(CgPhase::verifying, CgNeeds::residual);
      const bool done = o.martens ? s->stopped : s->rr <= tolerance * tolerance;
      finish(s->info ? s->info : done ? 0 : s->iterations);
    });
    if (s->take) copy(v.best, v.at);
  }

  __device__ void verify() {
    const Vectors v = vectors;
    measure([&](double length, double product) {
      s->take = s->falls_back && length < s->best_length;
      if (s->falls_back) return finish(s->info ? s->info : s->iterations);
      s->started = s->length;
      s->length = length;
      if (!finite(length)) return finish(cg_not_finite);
      s->take = length <= s->tolerance;
      if (s->take) return finish(0);
      s->take = length < s->best_length;
      s->energy = -0.5 * product;
      s->closing = s->info != 0 || s->iterations >= o.maxiter;
      if (s->closing) return;
      if (s->take) {
        s->best_length = length;
        s->best_energy = s->energy;
      }
      if (v.refines) return ask(CgPhase::refining, CgNeeds::residual);
      restart();
    });
    if (s->closing) close();
    if (s->take) copy(v.best, v.at);
    if (s->phase == CgPhase::iterating) copy(v.x, v.at);
    if (s->phase == CgPhase::refining) {
      v.meet();
      copy(v.at, v.x);
      v.decide_own({}, [](const CgSums&) {});
    }
  }
  // The residual may grow while the error shrinks, so the energy says which x is better. Where A is not positive
  // definite it falls without bound: it is not asked where that was seen, below the rounding of A (in the measure of M,
  // of the run's way), and where more than the first residual is left after n iterations, which in exact arithmetic are
  // the solution.
  __device__ void close() {
    const Vectors v = vectors;
    norm([&](int i, double& e, double&) { e = v.at_entry(i); }, [&](double reach, double) { s->reach = reach; });
    const double unit = s->reach > 0 ? s->reach : 1;
    CgSums m{};
    for (int i = v.begin(); i < v.end(); i += v.step()) m.a += v.at_entry(i) / unit * (v.b(i) - residual(v, i));
    v.decide_rarely(m, [&](const CgSums& t) {
      s->closing = false;
      const bool resolved = t.a > 4 * rounding<T>() * s->operator_norm * s->reach ||
                            s->lift > 4 * rounding<T>() * s->steepest * s->way_in_m;
      const bool early = s->iterations < v.n || s->length <= s->first_length;
      if (!s->info && resolved && s->energy < s->best_energy && early) {
        s->take = true;
        return finish(s->iterations);
      }
      if (s->take) s->best_length = s->length;
      s->falls_back = s->low_rr < s->rr && s->info != cg_breakdown;  // a smaller residual lies on the way
      if (!s->falls_back) return finish(s->info ? s->info : s->iterations);
      end(!s->info && !resolved ? cg_breakdown : s->info);
    });
  }
  // One thread: goes on from here unless this is as close as the precision comes.
  __device__ void restart() {
    if (!(s->length <= 0.5 * s->started) || (vectors.limited && ++s->verifications >= cg_most_restarts))
      return finish(s->iterations);
    s->share = 0.5;
    begin_run();
  }
  __device__ void refine() {
    measure([&](double length, double) {
      s->length = length;
      // Where x itself is good enough, it is its rounding that keeps the residual up.
      if (length <= 0.5 * s->tolerance) return finish(s->iterations);
      restart();
    });
  }
};

template <class T, class Vectors>
PYASR_CALLED __device__ void between_runs(const Vectors& vectors) {
  CgMethod<T, Vectors>(vectors).rare();
}
template <class T, class Vectors>
PYASR_CALLED __device__ void look_back(const Vectors& vectors) {
  CgMethod<T, Vectors>(vectors).look();
}

}  // namespace pyasr::cuda
