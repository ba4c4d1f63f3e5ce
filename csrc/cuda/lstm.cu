// The LSTM: three passes over time (lstm_sweep.cuh, lstm_cells.cuh), and the sums over all frames behind backward.
//
// A persistent pass is one cooperative launch. Per frame a block reads the state of its group, [rows,H] (backward
// [rows,4H]), from L2, multiplies it by the weights in its shared memory, and meets the blocks of its group once. H
// 512, B 32, two directions, float32, 132 processors: 1.0 MFLOP of 134 per block and frame are 4096 cycles of fused
// multiply-adds at 128 per cycle, 32 KB of state from L2, 1.4 MB of gates, states and y from and to memory in all. Not
// yet measured on a GPU; docs/cuda.md has what follows from these numbers.
#include "cuda/launch.cuh"
#include "cuda/lstm.hpp"
#include "cuda/lstm_cells.cuh"
#include "cuda/lstm_sweep.cuh"

namespace pyasr::cuda {
namespace {

// The states before the first frame: what the caller gave, or zeros.
template <class T>
struct Beginning {
  const T *h_from, *c_from;  // [S,B,H] or null
  T *h, *c;                  // c of direction s: c + s * c_apart, and c_backwards further in one that runs backwards
  long c_apart, c_backwards;
  T* slots;       // of h behind its mask, or null
  const T* mask;  // [S,B,H] or null
  long row;       // of slots
};
template <class T>
__global__ void __launch_bounds__(lstm_threads) begin_states(Beginning<T> a, LstmShape shape) {
  const long s = blockIdx.z, first = s * shape.batch * shape.units;
  const bool backwards = shape.reverse || s == 1;
  T* const c = a.c + s * a.c_apart + backwards * a.c_backwards;
  for (long b = blockIdx.x; b < shape.batch; b += gridDim.x)
    for (long u = threadIdx.x; u < shape.units; u += lstm_threads) {
      const long i = first + b * shape.units + u;
      const T h = a.h_from ? a.h_from[i] : T{0};
      a.h[i] = h;
      c[i - first] = a.c_from ? a.c_from[i] : T{0};
      if (!a.slots) continue;
      const long before = (s * (shape.frames + 1) + backwards * shape.frames) * shape.batch + b;
      a.slots[before * a.row + u] = a.mask ? a.mask[i] * h : h;
    }
}

unsigned blocks_for(std::size_t n) {
  const std::size_t blocks = (n + lstm_threads - 1) / lstm_threads;
  return static_cast<unsigned>(blocks < 1 ? 1 : blocks > 4096 ? 4096 : blocks);
}

template <class T>
cudaError_t begin(const Beginning<T>& states, const LstmShape& shape, cudaStream_t stream) {
  const dim3 grid(static_cast<unsigned>(shape.batch < 4096 ? shape.batch : 4096), 1, shape.directions);
  return launch(begin_states<T>, grid, lstm_threads, 0, stream, states, shape);
}

template <class Pass, int Batch>
cudaError_t run_persistent(const Pass& pass, const LstmPlan& plan, const LstmProduct& product, void* workspace,
                           long steps, cudaStream_t stream, bool* fits) {
  using T = typename Pass::Number;
  const auto kernel = sweep<Pass, Batch, true>;
  const LstmShape& shape = pass.model.shape;
  int resident = 0;
  if (const cudaError_t e = resident_blocks(kernel, lstm_threads, plan.shared_bytes, &resident)) return e;
  *fits = plan.blocks(shape.directions) <= resident;
  if (!*fits) return cudaSuccess;
  auto* counters = static_cast<unsigned*>(workspace);
  const std::size_t used = static_cast<std::size_t>(plan.groups) * shape.directions * lstm_counter_stride;
  if (const cudaError_t e = cudaMemsetAsync(counters, 0, used * sizeof(unsigned), stream)) return e;
  const dim3 grid(plan.unit_blocks, plan.groups, shape.directions);
  return launch_grid(kernel, grid, lstm_threads, plan.shared_bytes, stream, pass, plan, product,
                     static_cast<const Sixteen<T>*>(nullptr), counters, 0L, steps);
}

// The whole pass: in one launch, or a launch per frame.
template <class Pass>
cudaError_t run(const Pass& pass, long steps, void* workspace, cudaStream_t stream) {
  using T = typename Pass::Number;
  constexpr int most = sizeof(T) == 4 ? 8 : 4;
  const LstmShape& shape = pass.model.shape;
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  const LstmProduct product = lstm_product(shape.units, Pass::backward, sizeof(T));
  LstmPlan plan = plan_lstm(device, shape, Pass::backward, sizeof(T));
  if (plan.persistent) {
    bool fits = false;
    const auto persistent = plan.batch == 4 ? run_persistent<Pass, 4> : run_persistent<Pass, most>;
    if (const cudaError_t e = persistent(pass, plan, product, workspace, steps, stream, &fits)) return e;
    if (fits) return cudaSuccess;
    plan = plan_lstm({}, shape, Pass::backward, sizeof(T));  // the device holds fewer than its properties promise
  }
  auto* packed = reinterpret_cast<Sixteen<T>*>(static_cast<unsigned char*>(workspace) + lstm_counter_bytes);
  const dim3 grid(plan.unit_blocks, plan.groups, shape.directions);
  const std::size_t each = lstm_weight_bytes(product, Pass::backward, plan.units) / 16;
  const dim3 packing(blocks_for(each) < 64 ? blocks_for(each) : 64, plan.unit_blocks, shape.directions);
  if (const cudaError_t e =
          launch(pack_weights<Pass>, packing, lstm_threads, 0, stream, pass, product, plan.units, packed))
    return e;
  for (long k = 0; k < steps; ++k)
    if (const cudaError_t e = launch(sweep<Pass, most, false>, grid, lstm_threads, plan.shared_bytes, stream, pass,
                                     plan, product, packed, static_cast<unsigned*>(nullptr), k, k + 1))
      return e;
  return cudaSuccess;
}

// [chunk][s][7][H]: the sums over lstm_sum_rows rows of dgates, and of what the peepholes get. Bytes: dgates once, and
// with peepholes three quarters of the gates and c. A thread has one unit and every eighth row.
template <class T>
__global__ void __launch_bounds__(lstm_threads) sum_rows(LstmSumsArgs<T> a) {
  PYASR_SHARED(T, part, 7 * lstm_threads);
  const LstmShape& n = a.model.shape;
  const long H = n.units, rows = n.frames * n.batch, u = long{blockIdx.y} * 32 + threadIdx.x % 32;
  const long first = long{blockIdx.x} * lstm_sum_rows, s = blockIdx.z;
  const bool backwards = n.reverse || s == 1;
  T sum[7] = {};
  for (long r = first + threadIdx.x / 32; r < first + lstm_sum_rows && r < rows && u < H; r += lstm_warps) {
    const T* d = a.dgates + ((s * rows + r) * 4) * H + u;
    const T di = d[0], df = d[H], d_o = d[3 * H];
    sum[0] += di;
    sum[1] += df;
    sum[2] += d[2 * H];
    sum[3] += d_o;
    const long t = r / n.batch, b = r % n.batch;
    if (a.dpeephole && t < a.model.lengths[b]) {
      const T* g = a.model.gates + ((s * rows + r) * 4) * H + u;
      const T c = a.model.c[((s * (n.frames + 1) + t + backwards) * n.batch + b) * H + u];
      sum[4] += di * c;
      sum[5] += df * c;
      sum[6] += d_o * math::within(g[H] * c + g[0] * g[2 * H], a.model.cell_clip);
    }
  }
  for (int j = 0; j < 7; ++j) part[j * lstm_threads + threadIdx.x] = sum[j];
  PYASR_SYNC_BLOCK(510);
  if (threadIdx.x >= 7 * 32) return;
  const int j = static_cast<int>(threadIdx.x) / 32;
  T all = 0;
  for (int w = 0; w < lstm_warps; ++w) all += part[j * lstm_threads + w * 32 + threadIdx.x % 32];
  if (u < H) a.partial[((blockIdx.x * long{n.directions} + s) * 7 + j) * H + u] = all;
}

template <class T>
__global__ void __launch_bounds__(lstm_threads) sum_chunks(LstmSumsArgs<T> a, long chunks) {
  const long H = a.model.shape.units, each = a.model.shape.directions * 7 * H;
  for (long i = static_cast<long>(blockIdx.x) * lstm_threads + threadIdx.x; i < each;
       i += long{gridDim.x} * lstm_threads) {
    const long s = i / (7 * H), j = i / H % 7, u = i % H;
    if (j >= 4 && !a.dpeephole) continue;
    T sum = 0;
#pragma unroll 4
    for (long k = 0; k < chunks; ++k) sum += a.partial[k * each + i];
    T& target = j < 4 ? a.dbias[(s * 4 + j) * H + u] : a.dpeephole[(s * 3 + j - 4) * H + u];
    target += sum;
  }
}

template <class T>
__global__ void __launch_bounds__(lstm_threads)
    clean_rows(const T* x, const std::int32_t* lengths, long batch, long rows, long width, T* out) {
  const long warps = long{gridDim.x} * lstm_warps;
  for (long r = long{blockIdx.x} * lstm_warps + threadIdx.x / 32; r < rows; r += warps) {
    const bool there = r / batch < lengths[r % batch];
    for (long i = threadIdx.x % 32; i < width; i += 32) out[r * width + i] = there ? x[r * width + i] : T{0};
  }
}

template <class T>
__global__ void __launch_bounds__(lstm_threads)
    add_vectors(T* target, const T* addend, std::size_t n, T* target2, const T* addend2, std::size_t n2) {
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * lstm_threads + threadIdx.x; i < n + n2;
       i += static_cast<std::size_t>(gridDim.x) * lstm_threads)
    if (i < n)
      target[i] += addend[i];
    else
      target2[i - n] += addend2[i - n];
}

}  // namespace

template <class T>
cudaError_t lstm_forward(const LstmForwardArgs<T>& a, void* workspace, cudaStream_t stream) {
  const LstmShape& n = a.model.shape;
  if (n.batch == 0) return cudaSuccess;
  const long each = n.batch * n.units;
  const bool none = n.frames == 0;  // then the states go straight through
  const Beginning<T> states{a.h0,
                            a.c0,
                            a.hn,
                            none ? a.cn : a.model.c,
                            (n.frames + 1) * each,
                            n.frames * each,
                            a.model.h,
                            a.model.state_mask,
                            a.model.h_row};
  if (const cudaError_t e = begin(states, n, stream)) return e;
  return none ? cudaSuccess : run(LstmForwardPass<T>{a.model, a}, n.frames, workspace, stream);
}

template <class T>
cudaError_t lstm_backward(const LstmBackwardArgs<T>& a, void* workspace, cudaStream_t stream) {
  const LstmShape& n = a.model.shape;
  if (n.batch == 0) return cudaSuccess;
  const Beginning<T> states{a.dhn, a.dcn, a.dh0, a.dc0, n.batch * n.units, 0, nullptr, nullptr, 0};
  if (const cudaError_t e = begin(states, n, stream)) return e;
  return n.frames == 0 ? cudaSuccess : run(LstmBackwardPass<T>{a.model, a}, n.frames + 1, workspace, stream);
}

template <class T>
cudaError_t lstm_jvp(const LstmJvpArgs<T>& a, void* workspace, cudaStream_t stream) {
  const LstmShape& n = a.model.shape;
  if (n.batch == 0) return cudaSuccess;
  const Beginning<T> states{a.dh0, a.dc0, a.dhn, a.dcn, n.batch * n.units, 0, a.dh, a.model.state_mask, a.model.h_row};
  if (const cudaError_t e = begin(states, n, stream)) return e;
  return n.frames == 0 ? cudaSuccess : run(LstmJvpPass<T>{a.model, a}, n.frames, workspace, stream);
}

template <class T>
cudaError_t lstm_sums(const LstmSumsArgs<T>& a, cudaStream_t stream) {
  const LstmShape& n = a.model.shape;
  const long chunks = (n.frames * n.batch + lstm_sum_rows - 1) / lstm_sum_rows;
  if (chunks == 0) return cudaSuccess;
  const dim3 grid(static_cast<unsigned>(chunks), static_cast<unsigned>((n.units + 31) / 32), n.directions);
  if (const cudaError_t e = launch(sum_rows<T>, grid, lstm_threads, 0, stream, a)) return e;
  return launch(sum_chunks<T>, blocks_for(static_cast<std::size_t>(n.directions * 7 * n.units)), lstm_threads, 0,
                stream, a, chunks);
}

template <class T>
cudaError_t lstm_clean(const T* x, const std::int32_t* lengths, long frames, long batch, long width, T* out,
                       cudaStream_t stream) {
  const long rows = frames * batch;
  if (rows == 0) return cudaSuccess;
  return launch(clean_rows<T>, blocks_for(static_cast<std::size_t>(rows) * 32), lstm_threads, 0, stream, x, lengths,
                batch, rows, width, out);
}

template <class T>
cudaError_t lstm_add(T* target, const T* addend, std::size_t n, T* target2, const T* addend2, std::size_t n2,
                     cudaStream_t stream) {
  return launch(add_vectors<T>, blocks_for(n + n2), lstm_threads, 0, stream, target, addend, n, target2, addend2, n2);
}

#define PYASR_LSTM(T)                                                                                 \
  template cudaError_t lstm_forward(const LstmForwardArgs<T>&, void*, cudaStream_t);                  \
  template cudaError_t lstm_backward(const LstmBackwardArgs<T>&, void*, cudaStream_t);                \
  template cudaError_t lstm_jvp(const LstmJvpArgs<T>&, void*, cudaStream_t);                          \
  template cudaError_t lstm_sums(const LstmSumsArgs<T>&, cudaStream_t);                               \
  template cudaError_t lstm_clean(const T*, const std::int32_t*, long, long, long, T*, cudaStream_t); \
  template cudaError_t lstm_add(T*, const T*, std::size_t, T*, const T*, std::size_t, cudaStream_t)
PYASR_LSTM(float);
PYASR_LSTM(double);

}  // namespace pyasr::cuda
