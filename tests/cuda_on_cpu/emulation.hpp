// The vocabulary of csrc/cuda/launch.cuh on the CPU: kernels of this project compile with a C++ compiler and run on
// fibers, all blocks of a cooperative launch at once (grid.hpp, fiber.hpp; cuda_runtime_api.h is the host's side).
//
// A barrier has an id. `skip` leaves one out, and the tests expect a wrong answer for each. Shared memory begins as
// NaN. Divergent barriers, a thread that leaves while others wait, and a grid that can not go on are errors with words;
// a sanitizer finds what lies out of bounds. Not covered: memory order between threads that run truly at once,
// occupancy, bank conflicts, speed.
#pragma once
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <type_traits>
#include <utility>

#include "cuda_runtime.h"
#include "grid.hpp"

#define __global__
#define __device__
#define __host__
#define __constant__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define PYASR_CALLED __attribute__((noinline))
#define threadIdx (::emulation::current->thread)
#define blockIdx (::emulation::current->block->index)
#define blockDim (::emulation::block_size)
#define gridDim (::emulation::grid_size)

#define PYASR_SYNC_BLOCK(id) ::emulation::sync(id, [](int i) { ::emulation::Grid::now->at_block(i); })
#define PYASR_SYNC_WARP(id) ::emulation::sync(id, [](int i) { ::emulation::Grid::now->at_warp(i); })
#define PYASR_SYNC_GRID(id) ::emulation::sync(id, [](int i) { ::emulation::Grid::now->at_grid(i); })
#define PYASR_GROUP_ARRIVE(id, counter) ::emulation::arrive(id, counter)
#define PYASR_GROUP_WAIT(id, counter, value) ::emulation::await(id, counter, value)
#define PYASR_SHARED(type, name, count) \
  static const char name##_site = 0;    \
  type* const name = ::emulation::shared<type>(&name##_site, static_cast<std::size_t>(count))
#define PYASR_DYNAMIC_SHARED(type, name) \
  type* const name = reinterpret_cast<type*>(::emulation::current->block->dynamic.get())

namespace emulation {

inline void sync(int id, void (*barrier)(int)) {
  if (id != skip) barrier(id);
}

// The block's barrier, then one thread counts the block. Left out, that thread counts before the others have come.
inline void arrive(int id, unsigned* counter) {
  sync(id, [](int i) { Grid::now->at_block(i); });
  if (current->lane == 0 && current->warp == current->block->warps) ++*counter;
}
// One thread polls, then the block's barrier. Left out, nobody waits for the other blocks.
inline void await(int id, const unsigned* counter, unsigned value) {
  if (id == skip) return;
  if (current->lane == 0 && current->warp == current->block->warps) Grid::now->at_counter(id, counter, value);
  Grid::now->at_block(id);
}

template <class T>
T* shared(const void* site, std::size_t count) {
  Block& block = *current->block;
  Memory& own = block.shared[site];
  if (!own) {
    own = poisoned(count * sizeof(T));
    block.bytes += count * sizeof(T);
    if (const auto most = static_cast<std::size_t>(devices[static_cast<std::size_t>(device)].shared_per_block);
        block.bytes > most)
      Grid::now->stop(std::to_string(block.bytes) + " bytes of shared memory, of which the device has " +
                      std::to_string(most));
  }
  return reinterpret_cast<T*>(own.get());
}

// Every lane of the warp offers a value; the result is the slot of each. All lanes have to come to the same line.
template <class T>
unsigned offer(T v, unsigned line) {
  static_assert(sizeof(T) <= sizeof(Fiber::slot[0]) && std::is_trivially_copyable_v<T>);
  const unsigned turn = current->turn++ % 2;
  std::memcpy(current->slot[turn], &v, sizeof(T));
  Grid::now->at_warp(-static_cast<int>(line));
  return turn;
}
template <class T>
T offered(unsigned lane, unsigned turn) {
  T v;
  const Warp& w = *current->warp;
  if (lane < w.size)
    std::memcpy(&v, w.fibers[lane].slot[turn], sizeof(T));
  else
    std::memset(&v, 0xff, sizeof(T));  // a lane that is not there
  return v;
}
// The value of the lane `source(mine, first, last)` of the segment of `width` lanes; beyond the segment one's own.
template <class T, class Source>
T shuffle(T v, int width, unsigned line, Source source) {
  const unsigned turn = offer(v, line);
  const int mine = static_cast<int>(current->lane), first = mine & ~(width - 1), last = first + width - 1;
  const int from = source(mine, first, last);
  return from < 0 ? v : offered<T>(static_cast<unsigned>(from), turn);
}

// Blocks that are not promised to run at the same time come in portions, so that memory stays small.
template <class... P>
cudaError_t run(void (*kernel)(P...), Index grid, Index block, std::size_t dynamic_bytes, bool cooperative, P... args) {
  static std::mutex one;
  const std::lock_guard<std::mutex> held(one);
  if (const int e = std::exchange(planted, 0)) return result(static_cast<cudaError_t>(e));
  const std::size_t blocks = grid.count(), threads = block.count();
  const Properties& p = devices[static_cast<std::size_t>(device)];
  if (!blocks || !threads || threads > 1024 || block.z > 64) return result(cudaErrorInvalidConfiguration);
  if (dynamic_bytes > static_cast<std::size_t>(p.shared_per_block)) return result(cudaErrorInvalidValue);
  auto call = [&] { kernel(args...); };
  grid_size = grid;
  block_size = block;
  const std::size_t portion = cooperative ? blocks : 1 + 1024 / threads;
  try {
    for (std::size_t done = 0; done < blocks; done += portion) {
      const std::size_t count = blocks - done < portion ? blocks - done : portion;
      const std::size_t begin = seed % 2 ? blocks - done - count : done;
      Grid(begin, count, dynamic_bytes, cooperative).run([](void* f) { (*static_cast<decltype(call)*>(f))(); }, &call);
    }
  } catch (const std::runtime_error& e) {
    problem = e.what();
    return result(cudaErrorUnknown);
  }
  return cudaSuccess;
}

}  // namespace emulation

namespace pyasr::cuda {

using std::abs, std::ceil, std::cos, std::exp, std::fabs, std::floor, std::fma, std::fmax, std::fmin, std::isfinite,
    std::isnan, std::log, std::log1p, std::pow, std::sin, std::sqrt, std::tanh;
template <class T>
  requires std::is_integral_v<T>
constexpr T min(T a, std::type_identity_t<T> b) {
  return b < a ? b : a;
}
template <class T>
  requires std::is_integral_v<T>
constexpr T max(T a, std::type_identity_t<T> b) {
  return a < b ? b : a;
}
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  __extension__ typedef unsigned __int128 Wide;
  return static_cast<unsigned long long>(static_cast<Wide>(x) * y >> 64);
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return std::bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return std::bit_cast<double>(x); }
inline float rsqrtf(float x) { return 1 / std::sqrt(x); }
inline double rsqrt(double x) { return 1 / std::sqrt(x); }

// What launch.cuh says of each.
namespace dev {

template <class T>
T shuffle(T v, int lane, int width = 32, unsigned line = __builtin_LINE()) {
  return emulation::shuffle(v, width, line, [&](int, int first, int) { return first + (lane & (width - 1)); });
}
template <class T>
T shuffle_up(T v, unsigned delta, int width = 32, unsigned line = __builtin_LINE()) {
  const int d = static_cast<int>(delta);
  return emulation::shuffle(v, width, line, [&](int mine, int first, int) { return mine - d < first ? -1 : mine - d; });
}
template <class T>
T shuffle_down(T v, unsigned delta, int width = 32, unsigned line = __builtin_LINE()) {
  const int d = static_cast<int>(delta);
  return emulation::shuffle(v, width, line, [&](int mine, int, int last) { return mine + d > last ? -1 : mine + d; });
}
template <class T>
T shuffle_xor(T v, int mask, int width = 32, unsigned line = __builtin_LINE()) {
  return emulation::shuffle(v, width, line,
                            [&](int mine, int, int last) { return (mine ^ mask) > last ? -1 : mine ^ mask; });
}
inline unsigned ballot(bool predicate, unsigned line = __builtin_LINE()) {
  const unsigned turn = emulation::offer(predicate, line);
  unsigned mask = 0;
  for (unsigned k = 0; k < emulation::current->warp->size; ++k)
    mask |= unsigned{emulation::offered<bool>(k, turn)} << k;
  return mask;
}
inline bool any(bool predicate, unsigned line = __builtin_LINE()) { return ballot(predicate, line) != 0; }
inline bool all(bool predicate, unsigned line = __builtin_LINE()) { return ballot(!predicate, line) == 0; }

template <class T>
T atomic_add(T* p, T v) {
  static_assert(std::is_integral_v<T>, "sums of floats would depend on the order");
  const T old = *p;
  *p = static_cast<T>(old + v);
  return old;
}
template <class T>
T atomic_max(T* p, T v) {
  static_assert(std::is_integral_v<T>);
  const T old = *p;
  if (v > old) *p = v;
  return old;
}
template <class T>
T atomic_exchange(T* p, T v) {
  return std::exchange(*p, v);
}
template <class T>
T atomic_cas(T* p, T expected, T v) {
  const T old = *p;
  if (old == expected) *p = v;
  return old;
}

template <class T>
T load_cg(const T* p) {
  return *p;
}
template <class T>
void store_cg(T* p, T v) {
  *p = v;
}

}  // namespace dev

template <class... P>
cudaError_t resident_blocks(void (*)(P...), int threads, std::size_t shared_bytes, int* blocks) {
  const emulation::Properties& p = emulation::devices[static_cast<std::size_t>(emulation::device)];
  int each = p.threads_per_processor / threads;
  if (shared_bytes) {
    const int fit = static_cast<int>(static_cast<std::size_t>(p.shared_per_processor) / shared_bytes);
    each = shared_bytes > static_cast<std::size_t>(p.shared_per_block) ? 0 : fit < each ? fit : each;
  }
  *blocks = emulation::resident && each ? emulation::resident : p.processors * each;
  return cudaSuccess;
}

template <class... P>
cudaError_t launch(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t,
                   std::type_identity_t<P>... args) {
  return emulation::run<P...>(kernel, grid, block, shared_bytes, false, args...);
}

template <class... P>
cudaError_t launch_grid(void (*kernel)(P...), dim3 grid, dim3 block, std::size_t shared_bytes, cudaStream_t,
                        std::type_identity_t<P>... args) {
  int most = 0;
  if (const cudaError_t e = resident_blocks(kernel, static_cast<int>(block.count()), shared_bytes, &most)) return e;
  if (grid.count() > static_cast<std::size_t>(most)) return emulation::result(cudaErrorCooperativeLaunchTooLarge);
  return emulation::run<P...>(kernel, grid, block, shared_bytes, true, args...);
}

}  // namespace pyasr::cuda
