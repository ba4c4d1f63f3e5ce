// Runs a CUDA kernel on the CPU: one fiber per thread, the whole grid at once. A fiber gives way only at a barrier, so
// what the order of fibers decides is exactly what a missing barrier leaves open; `seed` picks the order: 0 threads
// upwards, 1 threads downwards, others random with random priorities of blocks, where one block may run far ahead of
// another.
//
// A barrier has an id. `skip` leaves one out, and the tests expect a wrong answer for each. Shared memory begins as
// NaN. Threads of a block that wait at different barriers, or leave while others wait, are an error, and so is a grid
// that can not go on. Not covered: memory order between threads that run truly at once, occupancy, speed.
#pragma once
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <type_traits>
#include <vector>

enum cudaError_t { cudaSuccess = 0, cudaErrorLaunchFailure = 719 };
using cudaStream_t = void*;

namespace emulation {

struct Index {
  unsigned x;
};
enum class State { ready, at_block, at_grid, done };
struct Block;
struct Fiber {
  ucontext_t context;
  Block* block;
  Index thread;
  State state = State::ready;
  int id = 0;  // of the barrier that it waits at
};
struct Block {
  Index index;
  std::vector<Fiber*> fibers;
  std::map<const void*, std::vector<char>> shared;
  unsigned priority = 0;
};

inline Fiber* current = nullptr;
inline ucontext_t scheduler;
inline Index grid_size;
inline void (*body)(void*) = nullptr;
inline void* body_arg = nullptr;
inline unsigned seed = 0;
inline int skip = 0, resident = 1;

inline void wait(State state, int id) {
  if (id == skip) return;
  current->state = state;
  current->id = id;
  swapcontext(&current->context, &scheduler);
}

inline void start() {
  body(body_arg);
  current->state = State::done;
  swapcontext(&current->context, &scheduler);
}

template <class T>
T* shared(const void* site, std::size_t count) {
  auto& bytes = current->block->shared[site];
  if (bytes.empty()) bytes.assign(count * sizeof(T), static_cast<char>(0xff));
  return reinterpret_cast<T*>(bytes.data());
}

// Lets every fiber of a barrier that is complete go on.
inline bool release(std::vector<Block>& blocks, std::size_t fibers) {
  bool any = false;
  std::size_t at_grid = 0;
  for (Block& b : blocks) {
    std::size_t at_block = 0, done = 0;
    int id = 0;
    for (const Fiber* f : b.fibers) {
      done += f->state == State::done;
      at_grid += f->state == State::at_grid;
      if (f->state != State::at_block) continue;
      if (at_block++ && f->id != id) throw std::runtime_error("threads of a block wait at different barriers");
      id = f->id;
    }
    if (at_block && done) throw std::runtime_error("a thread left while others of its block wait");
    if (at_block == b.fibers.size()) {
      for (Fiber* f : b.fibers) f->state = State::ready;
      any = true;
    }
  }
  if (at_grid == fibers) {
    for (Block& b : blocks)
      for (Fiber* f : b.fibers) f->state = State::ready;
    any = true;
  }
  return any;
}

inline void run(int count, int threads) {
  constexpr std::size_t stack = 32768;
  const auto n = static_cast<std::size_t>(count) * static_cast<std::size_t>(threads);
  std::vector<Block> blocks(static_cast<std::size_t>(count));
  std::vector<Fiber> fibers(n);
  const std::unique_ptr<char[]> stacks(new char[n * stack]);
  grid_size = {static_cast<unsigned>(count)};
  for (std::size_t i = 0; i < n; ++i) {
    Block& b = blocks[i / static_cast<std::size_t>(threads)];
    b.index = {static_cast<unsigned>(i / static_cast<std::size_t>(threads))};
    Fiber& f = fibers[i];
    f.block = &b;
    f.thread = {static_cast<unsigned>(i % static_cast<std::size_t>(threads))};
    b.fibers.push_back(&f);
    getcontext(&f.context);
    f.context.uc_stack.ss_sp = &stacks[i * stack];
    f.context.uc_stack.ss_size = stack;
    f.context.uc_link = nullptr;
    makecontext(&f.context, start, 0);
  }
  std::mt19937 random(seed);
  for (Block& b : blocks) b.priority = seed > 1 ? static_cast<unsigned>(random()) : 0;
  for (;;) {
    unsigned best = 0;
    bool ready = false, all_done = true;
    for (const Fiber& f : fibers) {
      all_done &= f.state == State::done;
      if (f.state != State::ready) continue;
      if (!ready || f.block->priority > best) best = f.block->priority;
      ready = true;
    }
    if (all_done) return;
    if (ready) {
      for (std::size_t k = 0; k < n; ++k) {
        Fiber& f = fibers[seed % 2 ? n - 1 - k : k];
        if (f.state != State::ready || f.block->priority != best) continue;
        current = &f;
        swapcontext(&scheduler, &f.context);
      }
      if (seed > 1 && random() % 64 == 0) blocks[random() % blocks.size()].priority = static_cast<unsigned>(random());
    }
    if (!release(blocks, n) && !ready) throw std::runtime_error("the grid can not go on");
  }
}

}  // namespace emulation

#define __global__
#define __device__
#define __launch_bounds__(n)
#define threadIdx (emulation::current->thread)
#define blockIdx (emulation::current->block->index)
#define gridDim (emulation::grid_size)
#define PYASR_SYNC_BLOCK(id) emulation::wait(emulation::State::at_block, id)
#define PYASR_SYNC_GRID(id) emulation::wait(emulation::State::at_grid, id)
#define PYASR_SHARED(type, name, count) \
  static const char name##_site = 0;    \
  type* name = emulation::shared<type>(&name##_site, static_cast<std::size_t>(count))

namespace pyasr::cuda {

using std::fabs;
using std::sqrt;

template <class... P>
cudaError_t resident_blocks(void (*)(P...), int, int* blocks) {
  *blocks = emulation::resident;
  return cudaSuccess;
}

template <class... P>
cudaError_t launch_grid(void (*kernel)(P...), int blocks, int threads, cudaStream_t, std::type_identity_t<P>... args) {
  auto call = [&] { kernel(args...); };
  emulation::body = [](void* arg) { (*static_cast<decltype(call)*>(arg))(); };
  emulation::body_arg = &call;
  try {
    emulation::run(blocks, threads);
  } catch (const std::runtime_error&) {
    return cudaErrorLaunchFailure;
  }
  return cudaSuccess;
}

}  // namespace pyasr::cuda
