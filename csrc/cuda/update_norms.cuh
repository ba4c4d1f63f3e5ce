// Norms for update.cuh: of a slot, by one block, and of many slots, from their norms. Sums are float64 in a fixed
// order, and a sum of float64 squares that over- or underflows is formed again in units of 2^600 or 2^-512, which serve
// subnormal entries too.
#pragma once
#include <cfloat>

#include "cuda/launch.cuh"
#include "cuda/update.hpp"

namespace pyasr::cuda {
namespace {

// Four neighbouring entries belong to one thread, whatever their alignment: the same bits either way.
template <class T>
struct alignas(16) Four {
  T x[4];
};

template <class T>
__device__ __forceinline__ Four<T> load(const T* p, int count, bool aligned) {
  if (aligned && count >= 4) return *reinterpret_cast<const Four<T>*>(p);
  Four<T> v{};
  for (int k = 0; k < 4; ++k)
    if (k < count) v.x[k] = p[k];
  return v;
}
template <class T>
__device__ __forceinline__ void store(T* p, int count, const Four<T>& v, bool aligned) {
  if (aligned && count >= 4) {
    *reinterpret_cast<Four<T>*>(p) = v;
    return;
  }
  for (int k = 0; k < 4; ++k)
    if (k < count) p[k] = v.x[k];
}

__device__ inline bool finite(double x) { return x - x == 0; }
__device__ inline double above(double limit, double norm) { return limit < norm ? limit / norm : 1; }

enum class Join { sum, most };  // `most` passes over NaN

// Joined over the lanes of a warp, known to each.
template <Join How>
__device__ double join_warp(double x) {
  for (int lane = 16; lane > 0; lane /= 2) {
    const double y = dev::shuffle_xor(x, lane);
    x = How == Join::most ? fmax(x, y) : x + y;
  }
  return x;
}

// Joined over the block, or in each warp of its own, known to every thread. Two sets of parts take turns, so one
// barrier is enough.
struct Joiner {
  double* part;  // shared [2, update_warps]
  int turn = 0;
  int width = update_threads;  // or 32

  __device__ int rank() const { return static_cast<int>(threadIdx.x) % width; }

  template <Join How>
  __device__ double join(double x) {
    x = join_warp<How>(x);
    if (width == 32) return x;
    turn ^= update_warps;
    if (threadIdx.x % 32 == 0) part[turn + static_cast<int>(threadIdx.x) / 32] = x;
    PYASR_SYNC_BLOCK(1701);
    x = part[turn];
    for (int w = 1; w < update_warps; ++w) x = How == Join::most ? fmax(x, part[turn + w]) : x + part[turn + w];
    return x;
  }
  // What one thread computes: float64 is slow where a processor has few units for it.
  template <class Make>
  __device__ double once(const Make& make) {
    return join<Join::sum>(threadIdx.x == 0 ? make() : 0);
  }
};

// The norm of `length` entries, four of which `each(at, count)` gives from `at` on, 0 beyond count. A thread has Ahead
// loads of them under way.
template <class T, int Ahead, class Each>
__device__ double norm_of_entries(Joiner& all, int length, const Each& each) {
  const int tile = 4 * all.width;
  double unit = 1;
  for (;;) {
    double s[4] = {};
    const auto add = [&](const Four<T>& g) {
      for (int k = 0; k < 4; ++k) {
        const double x = unit * static_cast<double>(g.x[k]);
        s[k] += x * x;
      }
    };
    int at = 4 * all.rank();
#pragma unroll Ahead
    for (int full = length / tile; full > 0; --full, at += tile) add(each(at, 4));
    if (at < length) add(each(at, length - at));
    const double total = all.join<Join::sum>((s[0] + s[1]) + (s[2] + s[3]));
    // Squares of float32 neither over- nor underflow in float64.
    if (sizeof(T) == 4 || unit != 1 || (finite(total) && total >= length * 1e-280)) return sqrt(total) / unit;
    unit = finite(total) ? 0x1p600 : 0x1p-512;
  }
}

// The norm of all that the slots [first, end) have norms of, by the threads of a block or, without one, of a warp.
__device__ inline double norm_of_norms(const double* norms, int first, int end, Joiner* all) {
  if (all && all->width == 32) return dev::load_cg(norms + first);  // a short row is one slot
  const int step = all ? update_threads : 32, from = first + static_cast<int>(threadIdx.x) % step;
  double largest = 0, total = 0;
  for (int i = from; i < end; i += step) largest = fmax(largest, dev::load_cg(norms + i));
  largest = all ? all->join<Join::most>(largest) : join_warp<Join::most>(largest);
  const double unit = largest > 0x1p500 ? 0x1p-512 : largest < 0x1p-500 ? 0x1p600 : 1;
  for (int i = from; i < end; i += step) {
    const double x = unit * dev::load_cg(norms + i);
    total += x * x;
  }
  return sqrt(all ? all->join<Join::sum>(total) : join_warp<Join::sum>(total)) / unit;
}

// The lesser of two factors; NaN is less than all.
__device__ inline double lesser(double x, double y) { return x != x || x < y ? x : y; }

// *scale = the least of the factors that any thread brings. The order does not matter.
__device__ inline void lower(double* scale, double factor) {
  auto* const bits = reinterpret_cast<unsigned long long*>(scale);
  unsigned long long seen = dev::atomic_add(bits, 0ull);
  for (;;) {
    const double now = __longlong_as_double(static_cast<long long>(seen));
    if (now != now || factor >= now) return;
    const auto wanted = static_cast<unsigned long long>(__double_as_longlong(factor));
    const unsigned long long before = dev::atomic_cas(bits, seen, wanted);
    if (before == seen) return;
    seen = before;
  }
}

}  // namespace
}  // namespace pyasr::cuda
