// The products of cg with a matrix in memory. All write one sum per row of this block: f(row of the block, sum).
//
// rows_product   four rows at a time and a segment of the columns per warp: rows in shared memory, what of them does
//                not fit there, from memory, and those of M.
// half_product   reads one triangle, n^2/2 entries instead of n^2. A block takes panels of four rows; a thread owns
//                columns, whose sums it keeps in y, and each entry is used twice: y_i += a_ij v_j and y_j += a_ij v_i.
//                The blocks' y lie side by side in memory and are added in their order. Panels of short and long rows
//                come in pairs, so that blocks have equal work; every second product goes through them backwards and
//                finds in L2 what the last one read last.
#pragma once
#include "cuda/cg.hpp"
#include "cuda/launch.cuh"

namespace pyasr::cuda {

// Four neighbouring entries belong to one thread, whatever their alignment.
template <class T>
struct alignas(16) CgFour {
  T x[4];
};
template <class T, bool Aligned>
__device__ CgFour<T> load_four(const T* p, int left) {
  if (Aligned && left >= 4) return *reinterpret_cast<const CgFour<T>*>(p);
  CgFour<T> v{};
#pragma unroll
  for (int k = 0; k < 4; ++k)
    if (k < left) v.x[k] = p[k];
  return v;
}

// Lane l gets the sum over the warp of s[l / 8].
template <class V>
__device__ V sum_of_four(const V* s) {
  const bool high = threadIdx.x & 16, odd = threadIdx.x & 8;
  const V a = (high ? s[2] : s[0]) + dev::shuffle_xor(high ? s[0] : s[2], 16);
  const V b = (high ? s[3] : s[1]) + dev::shuffle_xor(high ? s[1] : s[3], 16);
  V c = (odd ? b : a) + dev::shuffle_xor(odd ? a : b, 8);
#pragma unroll
  for (int d = 4; d > 0; d /= 2) c += dev::shuffle_xor(c, d);
  return c;
}

// The share of a warp in rows [count] of `stride` entries, of which n count, times v [n], zero up to a multiple of 4;
// returns how many partial sums there are per row of part.
template <class T, bool Aligned, class V>
__device__ int rows_by_warps(const T* rows, std::size_t stride, int count, int n, const V* v, V* part) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32, groups = (count + 3) / 4, spare = groups ? warps / groups : 1;
  const int longest = (n + 127) / 128, split = spare < 1 ? 1 : spare < longest ? spare : longest;
#pragma unroll 1
  for (int unit = warp; unit < groups * split; unit += warps) {
    const int first = unit / split * 4, segment = unit % split;
    const T* row[4];
#pragma unroll
    for (int k = 0; k < 4; ++k)
      row[k] = rows + static_cast<std::size_t>(first + k < count ? first + k : first) * stride;
    V sum[4] = {};
#pragma unroll 2
    for (int c = 4 * (lane + 32 * segment); c < n; c += 128 * split) {
      const CgFour<V> x = load_four<V, true>(v + c, 4);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        const CgFour<T> a = load_four<T, Aligned>(row[k] + c, n - c);
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[k] += static_cast<V>(a.x[j]) * x.x[j];
      }
    }
    const V total = sum_of_four(sum);
    if (lane % 8 == 0) part[(first + lane / 8) * split + segment] = total;
  }
  return split;
}

// f(i, sum) for the rows of the block: `kept` of them in shared memory, the rest in global memory, which all warps read
// first, side by side.
template <class T, bool Aligned, class V, class F>
__device__ void rows_product(const T* rows, int kept, const T* rest, std::size_t stride, int count, int n, const V* v,
                             V* part, F f) {
  if (kept > count) kept = count;
  const int more = count - kept, split = more ? rows_by_warps<T, Aligned>(rest, stride, more, n, v, part) : 0;
  V* const part_kept = part + (more + 3) / 4 * 4 * split;
  const int split_kept = rows_by_warps<T, Aligned>(rows, stride, kept, n, v, part_kept);
  PYASR_SYNC_BLOCK(1511);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += static_cast<int>(blockDim.x)) {
    const bool here = i < kept;
    const V* const from = here ? part_kept + i * split_kept : part + (i - kept) * split;
    V total = 0;
    for (int k = 0; k < (here ? split_kept : split); ++k) total += from[k];
    f(i, total);
  }
}

// One triangle of a matrix in memory.
template <class T>
struct CgTriangle {
  const T* A;
  int n;
  CgStored stored;
  bool aligned;

  __device__ const T* row(int i) const {  // [c] is entry c, where it is stored
    const auto k = static_cast<std::size_t>(i), size = static_cast<std::size_t>(n);
    return stored == CgStored::packed ? A + k * size - k * (k + 1) / 2 : A + k * size;
  }
  __device__ T entry(int i, int j) const {
    const bool swap = stored == CgStored::lower ? j > i : stored != CgStored::full && j < i;
    return swap ? row(j)[i] : row(i)[j];
  }
};

// Where a warp is among its panels, and the columns of a panel.
struct CgCursor {
  int slot, chunk, row, from, to;  // row < 0: no such panel

  __device__ void open(int which, int panels, int blocks, int n, bool lower, bool backwards) {
    slot = which;
    const int all = (n + 3) / 4, at = backwards ? panels - 1 - which : which;
    const int pair = static_cast<int>(blockIdx.x) % blocks + at / 2 * blocks, other = all - 1 - pair;
    const int panel = at % 2 ? other : pair;
    const bool exists = which < panels && 2 * pair <= all - 1 && (at % 2 == 0 || other != pair);
    row = exists ? 4 * panel : -4;
    from = exists && !lower ? row : 0;
    to = !exists ? 0 : lower ? row + 4 : n;
    chunk = from / (4 * static_cast<int>(blockDim.x));
  }
  __device__ bool last() const { return (chunk + 1) * 4 * static_cast<int>(blockDim.x) >= to; }
  // Every second chunk the other way round: threads have equal shares of columns that begin anywhere.
  __device__ int column() const {
    const int t = static_cast<int>(threadIdx.x), width = static_cast<int>(blockDim.x);
    return 4 * (chunk * width + (chunk % 2 ? width - 1 - t : t));
  }
};

template <class T, bool Aligned>
__device__ void load_panel(const CgTriangle<T>& A, const CgCursor& at, CgFour<T>* a) {
  const int c = at.column();
  const bool mine = c >= at.from && c < at.to;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    a[k] = {};
    if (mine && at.row + k < A.n) a[k] = load_four<T, Aligned>(A.row(at.row + k) + c, A.n - c);
    if (c == at.row) {
#pragma unroll
      for (int j = 0; j < 4; ++j)
        if (A.stored == CgStored::lower ? j > k : j < k) a[k].x[j] = 0;
    }
  }
}

// y = the block's share of A v, by columns; part [4 panels, warps] its share by rows.
template <class T, class V, bool Aligned>
__device__ void panels_product(const CgTriangle<T>& A, const CgPlan& plan, bool backwards, const V* v, V* y, V* part) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
  const bool lower = A.stored == CgStored::lower;
  CgCursor at, ahead;
  at.open(0, plan.panels, plan.blocks, A.n, lower, backwards);
  CgFour<T> a[4], next[4];
  V sum[4] = {};
  load_panel<T, Aligned>(A, at, a);
#pragma unroll 1
  while (at.slot < plan.panels) {
    ahead = at;
    if (at.last())
      ahead.open(at.slot + 1, plan.panels, plan.blocks, A.n, lower, backwards);
    else
      ++ahead.chunk;
    load_panel<T, Aligned>(A, ahead, next);  // under way while this one is used
    const int c = at.column();
    if (c >= at.from && c < at.to) {
      const CgFour<V> x = load_four<V, true>(v + c, 4);
      CgFour<V> z = load_four<V, true>(y + c, 4);
#pragma unroll
      for (int k = 0; k < 4; ++k) {
#pragma unroll
        for (int j = 0; j < 4; ++j) sum[k] += static_cast<V>(a[k].x[j]) * x.x[j];
        if (c == at.row) a[k].x[k] = 0;
        const V w = v[at.row + k];
#pragma unroll
        for (int j = 0; j < 4; ++j) z.x[j] += static_cast<V>(a[k].x[j]) * w;
      }
      *reinterpret_cast<CgFour<V>*>(y + c) = z;
    }
    if (at.last()) {
      const V total = sum_of_four(sum);
      if (lane % 8 == 0) part[(4 * at.slot + lane / 8) * warps + warp] = total;
#pragma unroll
      for (int k = 0; k < 4; ++k) sum[k] = 0;
    }
    at = ahead;
#pragma unroll
    for (int k = 0; k < 4; ++k) a[k] = next[k];
  }
}

// v [n] and y [n] of this block, padded to a multiple of 4, v with zeros; slabs [blocks, stride] in global memory, of
// which y may be this block's; `meet` waits for the blocks. f(i, sum) for the rows of this block.
template <class T, class V, class Meet, class F>
__device__ void half_product(const CgTriangle<T>& A, const CgPlan& plan, bool backwards, const V* v, V* y, V* part,
                             V* slabs, std::size_t stride, Meet meet, F f) {
  const int t = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), n = A.n;
  const int block = static_cast<int>(blockIdx.x) % plan.blocks, warps = threads / 32;
  CgCursor at{};
  for (at.chunk = 0; at.chunk * 4 * threads < plan.padded; ++at.chunk)
    if (const int c = at.column(); c < plan.padded) *reinterpret_cast<CgFour<V>*>(y + c) = {};
  // A verification is rare: it has no vector loads of its own.
  bool plain = true;
  if constexpr (sizeof(V) == sizeof(T))
    if (A.aligned) {
      panels_product<T, V, true>(A, plan, backwards, v, y, part);
      plain = false;
    }
  if (plain) panels_product<T, V, false>(A, plan, backwards, v, y, part);
  PYASR_SYNC_BLOCK(1512);
  for (int i = t; i < 4 * plan.panels; i += threads) {
    at.open(i / 4, plan.panels, plan.blocks, n, false, backwards);
    V total = 0;
    for (int k = 0; k < warps; ++k) total += part[i * warps + k];
    if (at.row >= 0 && at.row + i % 4 < n) y[at.row + i % 4] += total;
  }
  PYASR_SYNC_BLOCK(1513);
  V* const slab = slabs + static_cast<std::size_t>(block) * stride;
  if (slab != y)
    for (int i = t; i < n; i += threads) slab[i] = y[i];
  meet();
  const int begin = block * plan.rows, count = (begin + plan.rows < n ? begin + plan.rows : n) - begin;
  int width = 32;
  while (2 * width <= threads && width < count) width *= 2;
  const int parts = threads / width;
  for (int base = 0; base < count; base += width) {
    const int i = base + t % width;
    V sum = 0;
    if (i < count && t / width < parts) {
#pragma unroll 8
      for (int k = t / width; k < plan.blocks; k += parts)
        sum += dev::load_cg(slabs + static_cast<std::size_t>(k) * stride + begin + i);
    }
    part[t] = sum;
    PYASR_SYNC_BLOCK(1514);
    if (t < width && i < count) {
      for (int k = 1; k < parts; ++k) sum += part[k * width + t];
      f(i, sum);
    }
    // More than one round is one part per entry, which reads only its own.
  }
}

}  // namespace pyasr::cuda
