// cg without a matrix: one cooperative launch between two products. Every block owns a slice of all vectors, which lie
// in memory; sums go over the grid, which meets twice per iteration. Bytes of an iteration per entry of float32: A p
// twice and p three times 20, r 8, x 16, p and the vector to multiply 12, the best x so far 16: 72.
#pragma once
#include "cuda/cg.hpp"
#include "cuda/cg_method.cuh"
#include "cuda/launch.cuh"

namespace pyasr::cuda {

// What CgMethod works on: this block's slice of every vector.
template <class T>
struct Distributed {
  T *p, *r, *before;
  double *x, *low, *best, *res, *at;
  double *slots, *energies;
  const void *answer, *x0;
  const T* b_;
  CgSums* sums;  // shared
  CgScalars* s;  // shared
  CgOptions o;
  int blocks, room, n, own, own_count;
  bool answer_is_double, x0_is_double, guessed, preconditioned, rounds, refines, limited;

  __device__ int begin() const { return own + static_cast<int>(threadIdx.x); }
  __device__ int end() const { return own + own_count; }
  __device__ int step() const { return static_cast<int>(blockDim.x); }
  __device__ int own_begin() const { return begin(); }
  __device__ int own_end() const { return end(); }
  __device__ bool first() const { return blockIdx.x == 0; }

  __device__ void meet() const {}  // a thread reads only what it wrote
  template <class Then>
  __device__ void decide(const CgSums& m, Then then) const {
    decide_in_grid(m, sums, s, slots, blocks, [] { PYASR_SYNC_GRID(1531); }, then);
  }
  template <class Then>
  __device__ void decide_rarely(const CgSums& m, Then then) const {
    decide(m, then);
  }
  template <class Then>
  __device__ void decide_own(const CgSums& m, Then then) const {
    decide(m, then);
  }
  __device__ static double load(const void* of, bool is_double, int i) {
    return is_double ? static_cast<const double*>(of)[i] : static_cast<double>(static_cast<const float*>(of)[i]);
  }
  __device__ const void* now() const { return answer; }
  __device__ double b(int i) const { return static_cast<double>(b_[i]); }
  __device__ double guess(int i) const { return guessed ? load(x0, x0_is_double, i) : 0; }
  __device__ double residual(int i) const { return res[i]; }
  __device__ double at_entry(int i) const { return at[i]; }
  __device__ double z(int i) const { return static_cast<double>(r[i]); }
  __device__ double product(const void* from, int i) const {
    return static_cast<double>(static_cast<T>(load(from, answer_is_double, i)));
  }
  __device__ T keep(int, T value) const { return value; }
  __device__ T kept(const void* from, int i) const {
    return static_cast<T>(product(from, i) + o.damping * static_cast<double>(p[i]));
  }
};

// One thread says where everything lies.
template <class T>
__device__ void lay_out(Distributed<T>& v, const CgStepArgs<T>& a, const CgStepPlan& plan, unsigned char* workspace,
                        CgSums* sums, CgScalars* s) {
  auto take = [&, from = workspace + cg_scalar_bytes](std::size_t bytes) mutable {
    unsigned char* const p = from;
    from += bytes;
    return p;
  };
  v.x = reinterpret_cast<double*>(take(plan.wide));
  v.low = reinterpret_cast<double*>(take(plan.wide));
  v.best = reinterpret_cast<double*>(take(plan.wide));
  v.res = reinterpret_cast<double*>(take(plan.wide));
  v.at = reinterpret_cast<double*>(take(plan.wide));
  v.p = reinterpret_cast<T*>(take(plan.narrow));
  v.r = reinterpret_cast<T*>(take(plan.narrow));
  v.slots = reinterpret_cast<double*>(take(plan.slots));
  v.energies = reinterpret_cast<double*>(take(plan.history));
  v.before = reinterpret_cast<T*>(take(0));
  v.answer = a.answer;
  v.answer_is_double = a.answer_is_double;
  v.x0 = a.x0;
  v.x0_is_double = a.x0_is_double;
  v.guessed = a.x0 != nullptr;
  v.b_ = a.b;
  v.sums = sums;
  v.s = s;
  v.o = a.options;
  v.blocks = plan.blocks;
  v.room = plan.energies;
  v.n = a.n;
  v.own = static_cast<int>(blockIdx.x) * plan.rows;
  v.own_count = (v.own + plan.rows < a.n ? v.own + plan.rows : a.n) - v.own;
  v.preconditioned = v.refines = false;
  v.rounds = sizeof(T) == 4;
  v.limited = true;
}

template <class T>
__global__ void __launch_bounds__(cg_step_threads, 2)
    cg_step_kernel(CgStepArgs<T> a, CgStepPlan plan, unsigned char* workspace) {
  PYASR_SHARED(Distributed<T>, vectors, 1);
  PYASR_SHARED(CgScalars, s, 1);
  PYASR_SHARED(CgSums, sums, cg_step_threads / 32);
  auto* const kept = reinterpret_cast<CgScalars*>(workspace);
  if (threadIdx.x == 0) {
    lay_out(*vectors, a, plan, workspace, sums, s);
    *s = a.answer ? *kept : CgScalars{};
  }
  PYASR_SYNC_BLOCK(1532);
  if (s->phase == CgPhase::over) return;
  const Distributed<T> v = *vectors;
  if (s->needs == CgNeeds::residual && a.answer)
    for (int i = v.begin(); i < v.end(); i += v.step()) v.res[i] = v.b(i) - v.load(a.answer, a.answer_is_double, i);
  const CgNeeds needs = CgMethod<T, Distributed<T>>(*vectors).next();
  for (int i = v.begin(); i < v.end(); i += v.step()) {
    a.v[i] = needs == CgNeeds::product ? v.p[i] : static_cast<T>(v.at[i]);
    if (needs == CgNeeds::done) a.x[i] = static_cast<T>(v.best[i]);
  }
  if (v.first() && threadIdx.x == 0) {
    *kept = *s;
    *a.report = {needs == CgNeeds::done ? s->info : cg_under_way, s->iterations};
  }
}

}  // namespace pyasr::cuda
