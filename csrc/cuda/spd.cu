// spd: Cholesky by panels of 32 columns, right-looking. A system has a block of its own, in shared memory where it fits
// (n <= 224 in float32 on an H200), or all blocks of a cooperative grid, with a copy in memory.
//
//   1  warp 0 factorizes the panel's 32 x 32 diagonal block, a row per lane, in registers; of a grid every block does
//   2  a thread per row below it: l = a / L', then all meet
//   3  tiles of 32 x 32 behind it: a_ij -= l_i . l_j, then all meet
//
// b is the last row. L' x = y then goes backwards over the panels, by one block. n^3/3 flops; on chip A is read once,
// from memory n/64 times. Two meetings per panel. Not yet measured on a GPU; predicted on an H200: a batch of
// n = 64 takes per system 64 KB of shared-memory traffic for its products, about 0.7 us of a multiprocessor, and two
// panels of about 2 us latency, hidden by the other 15 blocks there.
#include "cuda/launch.cuh"
#include "cuda/spd.hpp"

namespace pyasr::cuda {
namespace {

constexpr int N = spd_panel;

template <class T, bool OnChip>
__device__ T get(const T* p) {  // what another block may have written
  return OnChip ? *p : dev::load_cg(p);
}

// Both are a row per thread in registers, unrolled altogether: one copy for all kernels.

// Warp 0 makes of the panel's diagonal block its factor, and of `inverse` that of its diagonal; 0, or the order of the
// first minor of the block that is not positive and finite.
template <class T>
PYASR_CALLED __device__ int factorize(T* factor /* shared [N, N + 1] */, T* inverse /* shared [N] */) {
  const int thread = static_cast<int>(threadIdx.x);
  T row[N];
  int bad = 0;
#pragma unroll
  for (int j = 0; j < N; ++j) row[j] = factor[thread * (N + 1) + j];
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const T pivot = dev::shuffle(row[j], j);
    if (!bad && !(pivot > 0 && pivot - pivot == 0)) bad = j + 1;
    const T root = sqrt(pivot), scale = 1 / root, l = thread == j ? root : row[j] * scale;
    row[j] = thread < j ? T{0} : l;
    if (thread == j) inverse[j] = scale;
#pragma unroll
    for (int m = j + 1; m < N; ++m) row[m] -= l * dev::shuffle(l, m);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) factor[thread * (N + 1) + j] = row[j];
  return bad;
}

// l = a / L' for one row of the panel.
template <class T, bool OnChip>
PYASR_CALLED __device__ void solve_row(T* row, const T* factor, const T* inverse) {
  T l[N];
#pragma unroll
  for (int j = 0; j < N; ++j) l[j] = get<T, OnChip>(row + j);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    l[j] *= inverse[j];
#pragma unroll
    for (int m = j + 1; m < N; ++m) l[m] -= l[j] * factor[m * (N + 1) + j];
  }
#pragma unroll
  for (int j = 0; j < N; ++j) row[j] = l[j];
}

template <class T, bool OnChip>
struct Cholesky {
  const SpdPlan& plan;
  T* w;        // [padded + 1, stride] the copy; the last row is b, then y, then x
  T* factor;   // shared [N, N + 1] of the diagonal block
  T* inverse;  // shared [N] of its diagonal
  T* tail;     // shared [N] of x
  T* tiles;    // shared [2, N, N + 1], where the copy is in memory
  int* minor;  // shared
  int thread, block;

  __device__ T* at(int i, int j) const {
    return w + static_cast<std::size_t>(i) * static_cast<std::size_t>(plan.stride) + j;
  }
  __device__ void meet() const {
    if (plan.blocks > 1)
      PYASR_SYNC_GRID(1601);
    else
      PYASR_SYNC_BLOCK(1602);
  }

  __device__ void copy(const T* A, const T* b, int n) const {
    const auto size = static_cast<std::size_t>(n);
    for (int i = block; i <= plan.padded; i += plan.blocks)
      for (int j = thread; j < plan.padded; j += static_cast<int>(blockDim.x)) {
        T v = i == j ? T{1} : T{0};
        if (j < n && i < n) v = j <= i ? A[static_cast<std::size_t>(i) * size + static_cast<std::size_t>(j)] : T{0};
        if (i == plan.padded) v = j < n ? b[j] : T{0};
        *at(i, j) = v;
      }
    if (thread == 0) *minor = 0;
    meet();
  }

  // The panel's diagonal block, by all threads of this block; then warp 0 factorizes it.
  __device__ void factorize_diagonal(int k0) const {
    for (int e = thread; e < N * N; e += static_cast<int>(blockDim.x))
      factor[e / N * (N + 1) + e % N] = get<T, OnChip>(at(k0 + e / N, k0 + e % N));
    PYASR_SYNC_BLOCK(1609);
    if (thread < 32) {
      const int bad = factorize(factor, inverse);
      if (thread == 0 && bad) *minor = k0 + bad;
    }
    PYASR_SYNC_BLOCK(1607);
  }

  __device__ void solve_rows(int k0) const {
    const int all = plan.blocks * static_cast<int>(blockDim.x);
    for (int i = k0 + N + block * static_cast<int>(blockDim.x) + thread; i <= plan.padded; i += all)
      solve_row<T, OnChip>(at(i, k0), factor, inverse);
  }

  // For substitute(), when no block reads what lay there any more.
  __device__ void store_diagonal(int k0) const {
    if (block == 0)
      for (int e = thread; e < N * N; e += static_cast<int>(blockDim.x))
        *at(k0 + e / N, k0 + e % N) = factor[e / N * (N + 1) + e % N];
  }

  // Eight rows of a tile by a warp, a column per lane: w[i0 + k][j0 + lane] -= rows[k] . columns[lane].
  __device__ void subtract(const T* rows, const T* column, int stride, int i0, int j0, int count) const {
    T sum[8] = {};
#pragma unroll 4
    for (int m = 0; m < N; ++m) {
      const T c = column[m];
#pragma unroll
      for (int k = 0; k < 8; ++k)
        if (k < count) sum[k] += rows[k * stride + m] * c;
    }
#pragma unroll
    for (int k = 0; k < 8; ++k)
      if (k < count) {
        T* const to = at(i0 + k, j0 + thread % 32);
        *to = get<T, OnChip>(to) - sum[k];
      }
  }

  __device__ void update(int k0) const {
    const int warp = thread / 32, warps = static_cast<int>(blockDim.x) / 32, lane = thread % 32;
    const int panels = (plan.padded - k0) / N - 1, tiles_left = panels * (panels + 3) / 2;
    const int first = OnChip ? warp : block, step = OnChip ? warps : plan.blocks, parts = OnChip ? 4 : 1;
    for (int unit = first; unit < tiles_left * parts; unit += step) {
      int rest = unit / parts, column = 0;
      for (; rest >= panels + 1 - column; ++column) rest -= panels + 1 - column;
      const int i0 = k0 + N * (1 + column + rest), j0 = k0 + N * (1 + column);
      const int part = 8 * (OnChip ? unit % parts : warp), left = plan.padded + 1 - i0 - part;
      const int count = left < 8 ? left : 8;
      if constexpr (OnChip) {
        if (count > 0) subtract(at(i0 + part, k0), at(j0 + lane, k0), plan.stride, i0 + part, j0, count);
      } else {
        for (int e = thread; e < 2 * N * N; e += static_cast<int>(blockDim.x)) {
          const int r = e / N % N, i = (e < N * N ? i0 : j0) + r;
          tiles[e / N * (N + 1) + e % N] = i <= plan.padded ? get<T, OnChip>(at(i, k0 + e % N)) : T{0};
        }
        PYASR_SYNC_BLOCK(1603);
        if (count > 0) subtract(tiles + part * (N + 1), tiles + (N + lane) * (N + 1), N + 1, i0 + part, j0, count);
        PYASR_SYNC_BLOCK(1604);
      }
    }
  }

  // L' x = y from the last panel back, by one block.
  __device__ void substitute() const {
    for (int k0 = plan.padded - N; k0 >= 0; k0 -= N) {
      if (thread < 32) {
        T y = get<T, OnChip>(at(plan.padded, k0 + thread));
        for (int m = N - 1; m >= 0; --m) {
          const T l = get<T, OnChip>(at(k0 + m, k0 + thread)), x = dev::shuffle(y / l, m);  // of lane m: y_m / l_mm
          y = thread == m ? x : thread < m ? y - l * x : y;
        }
        tail[thread] = y;
        *at(plan.padded, k0 + thread) = y;
      }
      PYASR_SYNC_BLOCK(1605);
      for (int j = thread; j < k0; j += static_cast<int>(blockDim.x)) {
        T y = get<T, OnChip>(at(plan.padded, j));
#pragma unroll 8
        for (int m = 0; m < N; ++m) y -= get<T, OnChip>(at(k0 + m, j)) * tail[m];
        *at(plan.padded, j) = y;
      }
      PYASR_SYNC_BLOCK(1606);
    }
  }

  __device__ void solve(const T* A, const T* b, int n, T* x, std::int64_t* order) const {
    copy(A, b, n);
    for (int k0 = 0; k0 < plan.padded; k0 += N) {
      factorize_diagonal(k0);
      if (*minor) break;
      solve_rows(k0);
      meet();
      store_diagonal(k0);
      update(k0);
      meet();
    }
    if (block != 0) return;
    const bool failed = *minor != 0;
    if (!failed) substitute();
    for (int j = thread; j < n; j += static_cast<int>(blockDim.x)) {
      const T v = get<T, OnChip>(at(plan.padded, j));
      x[j] = failed ? sqrt(T{-1}) : v;
    }
    if (thread == 0) *order = *minor;
  }
};

// The systems from `first` on, each block its own; a grid solves one.
template <class T, bool OnChip>
__global__ void __launch_bounds__(OnChip ? spd_most_threads : spd_memory_threads, OnChip           ? 1
                                                                                  : sizeof(T) == 8 ? 2
                                                                                                   : 4)
    spd_kernel(SpdArgs<T> a, SpdPlan plan, T* workspace, int first) {
  PYASR_DYNAMIC_SHARED(T, shared);
  PYASR_SHARED(int, minor, 1);
  const int systems = static_cast<int>(a.B), n = static_cast<int>(a.n);
  const bool alone = plan.blocks == 1;
  const int groups = alone ? static_cast<int>(gridDim.x) : systems, group = alone ? static_cast<int>(blockIdx.x) : 0;
  T* const rest = shared + N * (N + 1) + 2 * N;
  T* const w = OnChip ? rest : workspace + static_cast<std::size_t>(group) * (plan.workspace_bytes / sizeof(T));
  const Cholesky<T, OnChip> cholesky{plan,
                                     w,
                                     shared,
                                     shared + N * (N + 1),
                                     shared + N * (N + 1) + N,
                                     rest,
                                     minor,
                                     static_cast<int>(threadIdx.x),
                                     alone ? 0 : static_cast<int>(blockIdx.x)};
  for (int k = first + group; k < systems; k += groups) {
    const auto i = static_cast<std::size_t>(k);
    cholesky.solve(a.A + i * a.n * a.n, a.b + i * a.n, n, a.x + i * a.n, a.minor + i);
    if (!alone) return;
    PYASR_SYNC_BLOCK(1608);  // the copy may be written again
  }
}

template <class T>
auto kernel_of(const SpdPlan& p) {
  return p.on_chip ? spd_kernel<T, true> : spd_kernel<T, false>;
}

}  // namespace

template <class T>
cudaError_t spd_plan(int n, int systems, SpdPlan* plan, int* groups) {
  DeviceProperties device;
  if (const cudaError_t e = device_properties(&device)) return e;
  *plan = plan_spd(n, sizeof(T), systems, device.processors, device.shared_per_block - sizeof(int));
  int resident = 0;
  if (const cudaError_t e = resident_blocks(kernel_of<T>(*plan), plan->threads, plan->shared_bytes, &resident))
    return e;
  if (resident < 1) return cudaErrorLaunchOutOfResources;
  if (plan->blocks > resident) plan->blocks = resident;
  *groups = plan->blocks > 1 ? 1 : systems < resident ? systems : resident;
  return cudaSuccess;
}

template <class T>
cudaError_t spd_solve(const SpdArgs<T>& args, void* workspace, cudaStream_t stream) {
  SpdPlan plan;
  int groups = 0;
  const int systems = static_cast<int>(args.B);
  if (const cudaError_t e = spd_plan<T>(static_cast<int>(args.n), systems, &plan, &groups)) return e;
  const auto kernel = kernel_of<T>(plan);
  const auto space = static_cast<T*>(workspace);
  if (plan.blocks == 1) return launch(kernel, groups, plan.threads, plan.shared_bytes, stream, args, plan, space, 0);
  for (int k = 0; k < systems; ++k)
    if (const cudaError_t e =
            launch_grid(kernel, plan.blocks, plan.threads, plan.shared_bytes, stream, args, plan, space, k))
      return e;
  return cudaSuccess;
}

template cudaError_t spd_plan<float>(int, int, SpdPlan*, int*);
template cudaError_t spd_plan<double>(int, int, SpdPlan*, int*);
template cudaError_t spd_solve(const SpdArgs<float>&, void*, cudaStream_t);
template cudaError_t spd_solve(const SpdArgs<double>&, void*, cudaStream_t);

}  // namespace pyasr::cuda
