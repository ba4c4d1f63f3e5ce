// clip_sgd in one cooperative launch: sum the squares of grad, meet the whole grid once, update. The norm never leaves
// the device. Bytes per parameter: 16 without momentum, 24 with it (float32); where grad fits into L2, 12 and 20 from
// memory, because every block updates its slots in the reverse of the order in which it read them. 8 flops per
// parameter. Not yet measured on a GPU.
#include "cuda/clip_sgd.hpp"
#include "cuda/launch.cuh"

namespace pyasr::cuda {
namespace {

constexpr int threads = clip_sgd_threads;

// Four neighbouring entries belong to one thread, whatever their alignment: the same bits either way.
template <class T>
struct alignas(16) Four {
  T x[4];
};

template <class T, bool Aligned>
__device__ Four<T> load(const T* p, std::size_t count) {
  if (Aligned && count >= 4) return *reinterpret_cast<const Four<T>*>(p);
  Four<T> v{};
  for (int k = 0; k < 4; ++k)
    if (static_cast<std::size_t>(k) < count) v.x[k] = p[k];
  return v;
}
template <class T, bool Aligned>
__device__ void store(T* p, std::size_t count, const Four<T>& v) {
  if (Aligned && count >= 4) {
    *reinterpret_cast<Four<T>*>(p) = v;
    return;
  }
  for (int k = 0; k < 4; ++k)
    if (static_cast<std::size_t>(k) < count) p[k] = v.x[k];
}

// The sum over the block by a fixed tree, known to every thread.
__device__ double block_sum(double s, double* part /* shared [threads] */) {
  part[threadIdx.x] = s;
  PYASR_SYNC_BLOCK(101);
  for (int half = threads / 2; half > 0; half /= 2) {
    if (static_cast<int>(threadIdx.x) < half) part[threadIdx.x] += part[threadIdx.x + half];
    PYASR_SYNC_BLOCK(102);
  }
  const double total = part[0];
  PYASR_SYNC_BLOCK(103);  // part may be written again
  return total;
}

// slots[i] = the sum of (unit * grad)^2 over slot i, in float64: squares of float32 neither over- nor underflow there.
template <class T, bool Aligned>
__device__ void fill_slots(const ClipSgdArgs<T>& a, const ClipSgdPlan& plan, double unit, double* slots, double* part) {
  for (int slot = static_cast<int>(blockIdx.x); slot < plan.slots; slot += static_cast<int>(gridDim.x)) {
    const std::size_t begin = slot * plan.slot_size;
    const std::size_t end = begin + plan.slot_size < a.n ? begin + plan.slot_size : a.n;
    double s = 0;
#pragma unroll 4
    for (std::size_t i = begin + 4 * threadIdx.x; i < end; i += clip_sgd_tile) {
      const Four<T> g = load<T, Aligned>(a.grad + i, end - i);
      for (int k = 0; k < 4; ++k) s += (unit * g.x[k]) * (unit * g.x[k]);
    }
    s = block_sum(s, part);
    if (threadIdx.x == 0) slots[slot] = s;
  }
}

// Every block adds the slots in the same order, so all of them decide alike.
__device__ double sum_slots(const double* slots, int count, double* part) {
  double s = 0;
  for (int i = static_cast<int>(threadIdx.x); i < count; i += threads) s += slots[i];
  return block_sum(s, part);
}

__device__ bool finite(double x) { return x - x == 0; }

template <class T, bool Aligned>
__device__ void update_slots(const ClipSgdArgs<T>& a, const ClipSgdPlan& plan, double scale) {
  const ClipSgdOptions& o = a.options;
  const double both = scale * o.grad_scale;
  const bool tiny = both != 0 && fabs(both) < (sizeof(T) == 4 ? 0x1p-126 : 0x1p-1022);  // T would hold few of its bits
  const T clip_scale = static_cast<T>(both), lr = static_cast<T>(o.lr);
  const T momentum = static_cast<T>(o.momentum), damp = static_cast<T>(1 - o.dampening);
  const T decay = static_cast<T>(o.decoupled ? 0 : o.weight_decay), limit = static_cast<T>(o.limit);
  const T keep = static_cast<T>(o.decoupled ? 1 - o.lr * o.weight_decay : 1);
  const int mine = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
  if (mine >= plan.slots) return;
  for (int slot = mine + (plan.slots - 1 - mine) / step * step; slot >= 0; slot -= step) {
    const std::size_t begin = slot * plan.slot_size;
    const std::size_t end = begin + plan.slot_size < a.n ? begin + plan.slot_size : a.n;
    for (std::size_t i = begin + 4 * threadIdx.x; i < end; i += clip_sgd_tile) {
      const std::size_t count = end - i;
      Four<T> p = load<T, Aligned>(a.value + i, count), m{};
      const Four<T> grad = load<T, Aligned>(a.grad + i, count);
      if (a.buffer && !o.first) m = load<T, Aligned>(a.buffer + i, count);
      for (int k = 0; k < 4; ++k) {
        T g = tiny ? static_cast<T>(both * grad.x[k]) : grad.x[k] * clip_scale;
        if (o.clip == Clip::value) {
          g = g > limit ? limit : g;  // NaN stays
          g = g < -limit ? -limit : g;
        }
        g += decay * p.x[k];
        if (a.buffer) {
          m.x[k] = o.first ? g : momentum * m.x[k] + damp * g;
          g = o.nesterov ? g + momentum * m.x[k] : m.x[k];
        }
        p.x[k] = keep * p.x[k] - lr * g;
      }
      store<T, Aligned>(a.value + i, count, p);
      if (a.buffer) store<T, Aligned>(a.buffer + i, count, m);
    }
  }
}

template <class T, bool Aligned>
__global__ void __launch_bounds__(threads)
    clip_sgd_kernel(ClipSgdArgs<T> a, ClipSgdPlan plan, double* slots /* [2, most_slots] */, ClipSgdReport* report) {
  PYASR_SHARED(double, part, threads);
  const ClipSgdOptions& o = a.options;
  fill_slots<T, Aligned>(a, plan, 1.0, slots, part);
  PYASR_SYNC_GRID(104);
  double total = sum_slots(slots, plan.slots, part), unit = 1;
  if (sizeof(T) == 8 && a.n && (!finite(total) || total < static_cast<double>(a.n) * 1e-280)) {
    // Powers of two that bring every float64 norm into range, of subnormal entries too; the whole grid takes this way
    // or none of it does.
    unit = finite(total) ? 0x1p600 : 0x1p-512;
    fill_slots<T, Aligned>(a, plan, unit, slots + clip_sgd_most_slots, part);
    PYASR_SYNC_GRID(105);
    total = sum_slots(slots + clip_sgd_most_slots, plan.slots, part);
  }
  const double norm = sqrt(total) / unit * fabs(o.grad_scale);
  const bool skipped = !finite(norm) && o.nonfinite != NonFinite::propagate;
  double scale = 1;
  if (o.clip == Clip::norm && !skipped) {
    const double c = o.limit / (norm + o.eps);
    if (c < 1) scale = c;
    if (!(norm == norm)) scale = norm;
  }
  if (blockIdx.x == 0 && threadIdx.x == 0) *report = {norm, scale, skipped ? 1.0 : 0.0};
  if (!skipped) update_slots<T, Aligned>(a, plan, scale);
}

template <class T>
bool aligned(const ClipSgdArgs<T>& a) {
  const auto bits = reinterpret_cast<std::size_t>(a.value) | reinterpret_cast<std::size_t>(a.grad) |
                    reinterpret_cast<std::size_t>(a.buffer);
  return bits % 16 == 0;
}

}  // namespace

template <class T>
cudaError_t clip_sgd(const ClipSgdArgs<T>& args, void* workspace, ClipSgdReport* report, cudaStream_t stream) {
  const auto kernel = aligned(args) ? clip_sgd_kernel<T, true> : clip_sgd_kernel<T, false>;
  int resident = 0;
  if (const cudaError_t e = resident_blocks(kernel, threads, 0, &resident)) return e;
  const ClipSgdPlan plan = plan_clip_sgd(args.n, resident);
  return launch_grid(kernel, plan.blocks, threads, 0, stream, args, plan, static_cast<double*>(workspace), report);
}

template cudaError_t clip_sgd(const ClipSgdArgs<float>&, void*, ClipSgdReport*, cudaStream_t);
template cudaError_t clip_sgd(const ClipSgdArgs<double>&, void*, ClipSgdReport*, cudaStream_t);

}  // namespace pyasr::cuda
