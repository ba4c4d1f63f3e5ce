// cg with a matrix in memory, all of it in one launch: the method, its products and every decision, no number of which
// leaves the device. A system has a block of its own, or all blocks of a cooperative grid.
//
// Every block of a grid holds the whole r and p, and updates them alike from the whole A p, which the blocks write each
// for its rows. So inner products are sums inside a block, and the grid meets once per iteration where A is on chip:
// q = A p [meet] p.q, r -= alpha q, r.r, p = r + beta p. The other rung, Chronopoulos and Gear's recurrence for p.A p,
// would save one sum of a block and would need products to confirm a curvature that has lost its digits; here it is
// exact.
//
// Bytes of an iteration: on chip, A from shared memory (n^2/blocks entries per block) and 2 n entries through L2, and
// the rows that do not fit there from L2. Otherwise n^2/2 entries from memory, blocks n entries of partial sums to L2
// and back, and a second meeting. 2 n^2 flops each. Not yet measured on a GPU. Predicted on an H200 (132 blocks, 4.3
// TB/s): n = 1024, 32 KB of A per block, 3.2 us (meeting 1.4, A p through L2 0.7, product 0.4, two sums 0.7); n = 8192,
// 134 MB, 31 us to read and 5 us beside it; less by what is still in L2 from the last iteration.
#include "cuda/cg.hpp"
#include "cuda/cg_method.cuh"
#include "cuda/cg_products.cuh"
#include "cuda/cg_step.cuh"
#include "cuda/launch.cuh"

namespace pyasr::cuda {
namespace {

// r and p are this block's own copies; x and its like lie in memory, each entry written by the block that owns its row.
template <class T>
struct Replicated {
  T *p, *r, *q, *before;              // [n], padded to a multiple of 4 with zeros
  double *x, *low, *best, *res, *at;  // [n]
  T* fresh;                           // [2,n] A p, of this iteration and the last
  T* z_;                              // [n] M r, or null
  double *slots, *energies;           // [2,blocks,3]; [room]
  const void *b_, *x0;                // of this system
  CgSums* sums;                       // shared [warps]
  CgScalars* s;                       // shared
  CgOptions o;
  int n, blocks, room, own, own_count;
  bool b_is_double, x0_is_double, guessed, preconditioned, rounds, refines, limited;

  __device__ int begin() const { return static_cast<int>(threadIdx.x); }
  __device__ int end() const { return n; }
  __device__ int step() const { return static_cast<int>(blockDim.x); }
  __device__ int own_begin() const { return own + static_cast<int>(threadIdx.x); }
  __device__ int own_end() const { return own + own_count; }
  __device__ bool first() const { return blocks == 1 || blockIdx.x == 0; }

  __device__ void meet() const {  // a block alone: what a thread wrote to x and its like, it alone reads
    if (blocks > 1) PYASR_SYNC_GRID(1521);
  }
  template <class Then>
  __device__ void decide(const CgSums& m, Then then) const {
    decide_in_block<true>(m, sums, then);
  }
  template <class Then>
  __device__ void decide_rarely(const CgSums& m, Then then) const {
    decide_in_block<false>(m, sums, then);
  }
  template <class Then>
  __device__ void decide_own(const CgSums& mine, Then then) const {
    if (blocks > 1)
      decide_in_grid(mine, sums, s, slots, blocks, [&] { meet(); }, then);
    else
      decide_rarely(mine, then);
  }
  __device__ static double load(const void* of, bool is_double, int i) {
    return is_double ? static_cast<const double*>(of)[i] : static_cast<double>(static_cast<const float*>(of)[i]);
  }
  __device__ T* now() const { return fresh + (s->iterations % 2 ? n : 0); }
  __device__ double b(int i) const { return load(b_, b_is_double, i); }
  __device__ double guess(int i) const { return guessed ? load(x0, x0_is_double, i) : 0; }
  __device__ double residual(int i) const { return dev::load_cg(res + i); }
  __device__ double at_entry(int i) const { return dev::load_cg(at + i); }
  __device__ double z(int i) const { return static_cast<double>(preconditioned ? dev::load_cg(z_ + i) : r[i]); }
  __device__ double product(const T* from, int i) const { return static_cast<double>(dev::load_cg(from + i)); }
  __device__ T keep(int i, T value) const { return q[i] = value; }
  __device__ T kept(const T*, int i) const { return q[i]; }
};

// Where a system and its parts lie, in shared memory: one thread writes it, and nobody's registers hold it.
template <class T>
struct Layout {
  Replicated<T> v;
  CgPlan plan;
  CgTriangle<T> A;
  const T* M;
  T* rows;        // shared [rows of the block that it keeps, n padded]
  T* rest;        // global [the others, n padded]
  double* part;   // of the products
  double* wide;   // global, this block's copy of at
  double* slabs;  // global, for every block
  CgReport* report;
  void* x;
};

template <class T>
__device__ void lay_out(Layout<T>& to, const CgArgs<T>& a, const CgPlan& plan, int system, unsigned char* shared,
                        unsigned char* workspace) {
  const auto n = static_cast<std::size_t>(a.n), k = static_cast<std::size_t>(system);
  const auto block = static_cast<std::size_t>(plan.blocks > 1 ? blockIdx.x : 0),
             blocks = static_cast<std::size_t>(plan.blocks);
  auto take = [](unsigned char*& from, std::size_t bytes) {
    unsigned char* const p = from;
    from += bytes;
    return p;
  };
  auto wide = [&](std::size_t count) { return reinterpret_cast<double*>(take(workspace, count * plan.wide)); };
  to.plan = plan;
  auto& v = to.v;
  v.o = a.options;
  v.x = wide(1);
  v.low = wide(1);
  v.best = wide(1);
  v.res = wide(1);
  v.at = wide(1);
  v.fresh = reinterpret_cast<T*>(take(workspace, 2 * plan.narrow));
  v.z_ = reinterpret_cast<T*>(take(workspace, plan.narrow));
  v.slots = reinterpret_cast<double*>(take(workspace, plan.slots));
  v.energies = reinterpret_cast<double*>(take(workspace, plan.history));
  to.wide = wide(blocks) + block * (plan.wide / sizeof(double));
  to.slabs = wide(plan.resident ? 0 : blocks);
  to.rest = reinterpret_cast<T*>(take(workspace, blocks * plan.rest) + block * plan.rest);
  v.s = reinterpret_cast<CgScalars*>(take(shared, cg_scalar_bytes));
  v.sums = reinterpret_cast<CgSums*>(take(shared, plan.sums));
  unsigned char* own = plan.on_chip ? shared : workspace + block * (plan.parts + plan.vectors);
  to.part = reinterpret_cast<double*>(take(own, plan.parts));
  v.r = reinterpret_cast<T*>(take(own, plan.narrow));
  v.p = reinterpret_cast<T*>(take(own, plan.narrow));
  v.q = reinterpret_cast<T*>(take(own, plan.narrow));
  v.before = a.options.flexible ? reinterpret_cast<T*>(take(own, plan.narrow)) : nullptr;
  to.rows = reinterpret_cast<T*>(own);

  const CgStored stored = a.options.stored;
  to.A = {a.A + k * (stored == CgStored::packed ? n * (n + 1) / 2 : n * n), a.n, stored, false};
  to.A.aligned =
      stored != CgStored::packed && n % (16 / sizeof(T)) == 0 && reinterpret_cast<std::size_t>(to.A.A) % 16 == 0;
  to.M = a.M ? a.M + k * n * n : nullptr;
  auto in = [&](const void* of, bool is_double) {
    return static_cast<const unsigned char*>(of) + k * n * (is_double ? 8 : 4);
  };
  v.b_is_double = a.b_is_double;
  v.x0_is_double = a.x0_is_double;
  v.b_ = in(a.b, a.b_is_double);
  v.x0 = in(a.x0, a.x0_is_double);
  v.guessed = a.x0 != nullptr;
  v.preconditioned = a.M != nullptr;
  v.rounds = v.refines = sizeof(T) == 4 && !a.b_is_double;
  v.limited = false;
  v.n = a.n;
  v.blocks = plan.blocks;
  v.room = plan.energies;
  v.own = static_cast<int>(block) * plan.rows;
  v.own_count = (v.own + plan.rows < a.n ? v.own + plan.rows : a.n) - v.own;
  to.report = a.report + k;
  to.x = static_cast<unsigned char*>(a.x) + k * n * (v.rounds ? 4 : 8);
  *v.s = {};
  v.s->symmetric = stored != CgStored::full;
}

// y = A of, by the rows of this block: f(row of the block, sum).
template <class T, class V, bool Resident, class F>
__device__ void product(const Layout<T>& at, const CgPlan& plan, const V* of, V* y, F f) {
  const Replicated<T>& v = at.v;
  V* const part = reinterpret_cast<V*>(at.part);
  if constexpr (Resident)
    rows_product<T, true>(at.rows, plan.kept, at.rest, static_cast<std::size_t>(plan.padded), v.own_count, plan.padded,
                          of, part, f);
  else
    half_product<T, V>(
        at.A, plan, v.s->iterations % 2 != 0, of, y, part, reinterpret_cast<V*>(at.slabs), plan.wide / sizeof(V),
        [&] { v.meet(); }, f);
}

// What is done once per system, or between runs.

template <class T>
PYASR_CALLED __device__ void fill(const Layout<T>& at) {
  const Replicated<T> v = at.v;
  const int padded = at.plan.padded;
  for (int i = v.begin(); i < padded; i += v.step()) {
    at.wide[i] = 0;
    if (i >= v.n) v.p[i] = v.r[i] = 0;
  }
  if (!at.plan.resident) return;
  const CgTriangle<T> A = at.A;
  for (int i = 0; i < v.own_count; ++i) {
    const int kept = at.plan.kept, k = i < kept ? i : i - kept;
    T* const row = (i < kept ? at.rows : at.rest) + static_cast<std::size_t>(k) * static_cast<std::size_t>(padded);
    for (int j = v.begin(); j < padded; j += v.step()) row[j] = j < v.n ? A.entry(v.own + i, j) : T{};
  }
}

template <class T>
PYASR_CALLED __device__ void finish(const Layout<T>& at) {
  const Replicated<T> v = at.v;
  for (int i = v.own_begin(); i < v.own_end(); i += v.step()) {
    if (v.rounds)
      static_cast<float*>(at.x)[i] = static_cast<float>(v.best[i]);
    else
      static_cast<double*>(at.x)[i] = v.best[i];
  }
  if (v.first() && threadIdx.x == 0) *at.report = {v.s->info, v.s->iterations};
}

template <class T, bool Resident>
PYASR_CALLED __device__ void form_residual(const Layout<T>& at) {
  const Replicated<T> v = at.v;
  double* const wide = at.wide;
  for (int i = v.begin(); i < v.n; i += v.step()) wide[i] = v.at_entry(i);
  PYASR_SYNC_BLOCK(1525);
  const auto block = static_cast<std::size_t>(v.blocks > 1 ? blockIdx.x : 0);
  product<T, double, Resident>(at, at.plan, wide, at.slabs + block * (at.plan.wide / sizeof(double)),
                               [&](int i, double sum) { v.res[v.own + i] = v.b(v.own + i) - sum; });
  v.meet();
}

// A p and A'p agree up to the rounding of whatever formed A, relative to |A| |p|; a warp per row, once. Squares of what
// the largest row is divided by neither over- nor underflow.
template <class T>
PYASR_CALLED __device__ void test_symmetry(const Layout<T>& at) {
  const Replicated<T> v = at.v;
  const CgTriangle<T> A = at.A;
  CgSums m{};  // res and at are free during a run
  for (int i = v.own + v.begin() / 32; i < v.own_end(); i += v.step() / 32) {
    double difference = 0, size = 0;
#pragma unroll 2
    for (int j = v.begin() % 32; j < v.n; j += 32) {
      const double a = static_cast<double>(A.row(i)[j]), p = static_cast<double>(v.p[j]);
      difference += (a - static_cast<double>(A.row(j)[i])) * p;
      size += fabs(a * p);
    }
    for (int d = 16; d > 0; d /= 2) {
      difference += dev::shuffle_xor(difference, d);
      size += dev::shuffle_xor(size, d);
    }
    if (v.begin() % 32 == 0) {
      v.res[i] = difference;
      v.at[i] = size;
    }
    m.top = size > m.top ? size : m.top;
  }
  v.decide_own(m, [&](const CgSums& t) { v.s->scale = t.top > 0 ? t.top : 1; });
  const double largest = v.s->scale;
  m = {};
  for (int i = v.own_begin(); i < v.own_end(); i += v.step()) {
    const double difference = v.residual(i) / largest, size = v.at_entry(i) / largest;
    m = plus(m, {difference * difference, size * size, 0});
  }
  v.decide_own(m, [&](const CgSums& t) {
    v.s->symmetric = true;
    // Inverses, the least symmetric, differ by 2.6e-5 at condition 1e4 in float32, 3e-12 at 1e6 in float64.
    if (!(sqrt(t.a) > (sizeof(T) == 4 ? 5e-5 : 1.5e-8) * sqrt(t.b))) return;
    v.s->info = cg_asymmetric;
    v.s->phase = CgPhase::over;
  });
}

// The whole solution of one system.
template <class T, bool Resident>
struct Dense {
  const CgPlan& plan;
  const Layout<T>& at;  // shared

  __device__ void solve() {
    fill(at);
    CgMethod<T, Replicated<T>> method(at.v);
    for (;;) {
      switch (method.next()) {
        case CgNeeds::product:
          multiply();
          break;
        case CgNeeds::residual:
          form_residual<T, Resident>(at);
          break;
        case CgNeeds::precondition:
          precondition();
          break;
        default:
          return finish(at);
      }
    }
  }

 private:
  __device__ void multiply() {
    T* const to = at.v.now() + at.v.own;  // the last product may still be read, from the other half
    PYASR_SYNC_BLOCK(1524);               // p is there
    product<T, T, Resident>(at, plan, at.v.p, at.v.q, [&](int i, T sum) { dev::store_cg(to + i, sum); });
    at.v.meet();
    if (!at.v.s->symmetric) test_symmetry(at);
  }
  __device__ void precondition() {
    const Replicated<T> v = at.v;
    const auto n = static_cast<std::size_t>(v.n);
    auto f = [&](int i, T sum) { dev::store_cg(v.z_ + v.own + i, sum); };
    const T* const rows = at.M + static_cast<std::size_t>(v.own) * n;
    rows_product<T, false>(rows, v.own_count, rows, n, v.own_count, v.n, v.r, reinterpret_cast<T*>(at.part), f);
    v.meet();
  }
};

// The systems from `first` on, each block its own; a grid solves one.
template <class T, bool Resident>
__global__ void __launch_bounds__(sizeof(T) == 8 ? 256
                                  : Resident     ? 512
                                                 : 384,
                                  1) cg_kernel(CgArgs<T> a, CgPlan plan, unsigned char* workspace, int first) {
  PYASR_DYNAMIC_SHARED(unsigned char, shared);
  auto& layout = *reinterpret_cast<Layout<T>*>(shared);
  static_assert(sizeof(layout) <= cg_layout_bytes);
  const bool alone = plan.blocks == 1;
  const int groups = alone ? static_cast<int>(gridDim.x) : a.systems, group = alone ? static_cast<int>(blockIdx.x) : 0;
  for (int k = first + group; k < a.systems; k += groups) {
    unsigned char* const own = workspace + static_cast<std::size_t>(group) * plan.workspace_bytes;
    if (threadIdx.x == 0) lay_out(layout, a, plan, k, shared + cg_layout_bytes, own);
    PYASR_SYNC_BLOCK(1523);
    Dense<T, Resident>{plan, layout}.solve();
    PYASR_SYNC_BLOCK(1522);  // the layout and the scalars may be written again
  }
}

template <class T>
auto kernel_of(const CgPlan& p) {
  return p.resident ? cg_kernel<T, true> : cg_kernel<T, false>;
}

}  // namespace

template <class T>
cudaError_t cg_plan(int n, int systems, const CgOptions& options, CgPlan* plan, int* groups) {
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  // Another process may hold a part of the device: then fewer blocks run at once than it has multiprocessors.
  for (int blocks = device.processors;;) {
    *plan = plan_cg(n, sizeof(T), options, systems, blocks, device.shared_per_block);
    int resident = 0;
    if (const cudaError_t e = resident_blocks(kernel_of<T>(*plan), plan->threads, plan->shared_bytes, &resident))
      return e;
    if (plan->blocks == 1) {
      *groups = systems < resident ? systems : resident;
      return resident ? cudaSuccess : cudaErrorLaunchOutOfResources;
    }
    *groups = 1;
    if (plan->blocks <= resident) return cudaSuccess;
    if (resident < 1) return cudaErrorLaunchOutOfResources;
    blocks = resident < blocks ? resident : blocks - 1;
  }
}

template <class T>
cudaError_t cg(const CgArgs<T>& args, void* workspace, cudaStream_t stream) {
  CgPlan plan;
  int groups = 0;
  if (const cudaError_t e = cg_plan<T>(args.n, args.systems, args.options, &plan, &groups)) return e;
  const auto kernel = kernel_of<T>(plan);
  const auto space = static_cast<unsigned char*>(workspace);
  if (plan.blocks == 1) return launch(kernel, groups, plan.threads, plan.shared_bytes, stream, args, plan, space, 0);
  for (int k = 0; k < args.systems; ++k)
    if (const cudaError_t e =
            launch_grid(kernel, plan.blocks, plan.threads, plan.shared_bytes, stream, args, plan, space, k))
      return e;
  return cudaSuccess;
}

template <class T>
cudaError_t cg_step_plan(int n, const CgOptions& options, CgStepPlan* plan) {
  int resident = 0;
  if (const cudaError_t e = resident_blocks(cg_step_kernel<T>, cg_step_threads, 0, &resident)) return e;
  *plan = plan_cg_step(n, sizeof(T), options, resident);
  return cudaSuccess;
}

template <class T>
cudaError_t cg_step(const CgStepArgs<T>& args, void* workspace, cudaStream_t stream) {
  CgStepPlan plan;
  if (const cudaError_t e = cg_step_plan<T>(args.n, args.options, &plan)) return e;
  return launch_grid(cg_step_kernel<T>, plan.blocks, cg_step_threads, 0, stream, args, plan,
                     static_cast<unsigned char*>(workspace));
}

template cudaError_t cg_step_plan<float>(int, const CgOptions&, CgStepPlan*);
template cudaError_t cg_step_plan<double>(int, const CgOptions&, CgStepPlan*);
template cudaError_t cg_step(const CgStepArgs<float>&, void*, cudaStream_t);
template cudaError_t cg_step(const CgStepArgs<double>&, void*, cudaStream_t);
template cudaError_t cg_plan<float>(int, int, const CgOptions&, CgPlan*, int*);
template cudaError_t cg_plan<double>(int, int, const CgOptions&, CgPlan*, int*);
template cudaError_t cg(const CgArgs<float>&, void*, cudaStream_t);
template cudaError_t cg(const CgArgs<double>&, void*, cudaStream_t);

}  // namespace pyasr::cuda
