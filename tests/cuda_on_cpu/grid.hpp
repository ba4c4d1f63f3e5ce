// The grid: who runs, who waits at which barrier, and what makes it an error. One fiber per thread of the grid; a fiber
// gives way only where it waits, so what the order of fibers decides is exactly what a missing barrier leaves open.
#pragma once
#include <cstdint>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "cuda_runtime_api.h"
#include "fiber.hpp"

namespace emulation {

enum class Wait : unsigned char { no, warp, block, grid, counter, done };
struct Block;
struct Warp;

struct Fiber {
  Context context;
  Block* block;
  Warp* warp;
  Index thread;
  unsigned lane;
  Wait wait = Wait::no;
  int id = 0;                         // of the barrier that it waits at
  const unsigned* counter = nullptr;  // what it polls
  unsigned target = 0;
  unsigned turn = 0;  // which of the slots its next warp operation uses
  // What a warp operation offers to the other lanes. Two, because a lane may be one operation ahead of those that
  // have still to read.
  alignas(16) unsigned char slot[2][16];
};

struct Warp {
  Block* block;
  Fiber* fibers;
  unsigned size = 0;   // lanes; the last warp of a block may have less than 32
  unsigned ready = 0;  // mask
  unsigned waiting = 0, done = 0, priority = 0;
  int id = 0;
};

struct Free {
  void operator()(char* p) const { std::free(p); }
};
using Memory = std::unique_ptr<char, Free>;

// Shared memory begins as NaN, and ends where it ends: AddressSanitizer sees the byte behind it.
inline Memory poisoned(std::size_t bytes) {
  void* p = nullptr;
  if (posix_memalign(&p, 128, bytes ? bytes : 1) != 0) throw std::bad_alloc();
  std::memset(p, 0xff, bytes);
  return Memory(static_cast<char*>(p));
}

struct Block {
  Index index;
  Warp* warps;
  std::size_t warp_count, size;
  std::size_t waiting = 0, done = 0;
  int id = 0;
  unsigned priority = 0;
  std::map<const void*, Memory> shared;  // by the place that declares it
  Memory dynamic;
  std::size_t bytes;  // of shared memory, both kinds
};

inline Fiber* current = nullptr;
inline Index grid_size, block_size;

class Grid {
 public:
  // Runs blocks [begin, begin + count) of the grid, all of them resident.
  Grid(std::size_t begin, std::size_t count, std::size_t dynamic_bytes, bool cooperative)
      : cooperative_(cooperative), random_(seed), threads_(block_size.count()) {
    const std::size_t each = (threads_ + 31) / 32;
    fibers_ = std::make_unique<Fiber[]>(count * threads_);
    warps_.resize(count * each);
    blocks_.resize(count);
    stacks().prepare(count * threads_);
    for (std::size_t b = 0; b < count; ++b) {
      Block& block = blocks_[b];
      block.index = grid_size.at(begin + b);
      block.warps = &warps_[b * each];
      block.warp_count = each;
      block.size = threads_;
      block.priority = draw();
      block.dynamic = poisoned(dynamic_bytes);
      block.bytes = dynamic_bytes;
      for (std::size_t t = 0; t < threads_; ++t) {
        Fiber& f = fibers_[b * threads_ + t];
        Warp& w = block.warps[t / 32];
        f.block = &block;
        f.warp = &w;
        f.thread = block_size.at(t);
        f.lane = static_cast<unsigned>(t % 32);
        if (t % 32 == 0) w = {.block = &block, .fibers = &f, .priority = draw()};
        w.ready |= 1u << w.size++;
        stacks().start(f.context, b * threads_ + t, start);
      }
    }
  }

  // Throws std::runtime_error, with words, where the kernel breaks a rule or can not go on.
  void run(void (*body)(void*), void* argument) {
    struct Here {  // the fibers find their grid
      explicit Here(Grid* g) { now = g; }
      ~Here() { now = nullptr, current = nullptr; }
    } here(this);
    body_ = body;
    argument_ = argument;
    while (done_ < blocks_.size() * threads_) {
      const bool any = schedule == Schedule::fair    ? all_warps()
                       : schedule == Schedule::block ? best_block()
                                                     : best_warp();
      if (!poll() && !any) fail("nothing can go on: " + who_waits());
      if (switches_ > most_switches) fail("it does not end");
    }
    for (std::size_t i = 0; i < blocks_.size() * threads_; ++i)
      if (Stacks::overrun(fibers_[i].context)) fail("a thread overran its stack");
  }

  inline static Grid* now = nullptr;

  // What a fiber calls. Each gives way until the others have come too.
  void at_block(int id) {
    Block& b = *current->block;
    if (b.done) stop("a thread left while others of its block wait at " + std::to_string(id));
    if (b.waiting && b.id != id)
      stop("threads of a block wait at different barriers, " + std::to_string(b.id) + " and " + std::to_string(id));
    b.id = id;
    current->wait = Wait::block;
    if (++b.waiting == b.size) {
      b.waiting = 0;
      for (std::size_t w = 0; w < b.warp_count; ++w) wake(b.warps[w], Wait::block);
    }
    give_way(id);
  }
  void at_warp(int id) {
    Warp& w = *current->warp;
    if (w.done) stop("a thread left while others of its warp wait at " + site(id));
    if (w.waiting && w.id != id) stop("threads of a warp wait at different places, " + site(w.id) + " and " + site(id));
    w.id = id;
    current->wait = Wait::warp;
    if (++w.waiting == w.size) {
      w.waiting = 0;
      wake(w, Wait::warp);
    }
    give_way(id);
  }
  void at_grid(int id) {
    if (!cooperative_) stop("barrier " + std::to_string(id) + " of the grid in a launch that is not cooperative");
    if (done_) stop("a thread left while others of the grid wait at " + std::to_string(id));
    if (waiting_ && id_ != id)
      stop("threads of the grid wait at different barriers, " + std::to_string(id_) + " and " + std::to_string(id));
    id_ = id;
    current->wait = Wait::grid;
    if (++waiting_ == blocks_.size() * threads_) {
      waiting_ = 0;
      for (Warp& w : warps_) wake(w, Wait::grid);
    }
    give_way(id);
  }
  void at_counter(int id, const unsigned* counter, unsigned target) {
    if (!cooperative_) stop("group barrier " + std::to_string(id) + " in a launch that is not cooperative");
    if (*counter >= target) return;
    current->wait = Wait::counter;
    current->counter = counter;
    current->target = target;
    polling_.push_back(current);
    give_way(id);
  }
  [[noreturn]] void stop(const std::string& problem) {
    problem_ = problem + " (thread " + current->thread.text() + " of block " + current->block->index.text() + ")";
    leave(current->context, true);
    std::abort();
  }

 private:
  static Stacks& stacks() {
    static Stacks all;
    return all;
  }
  static void start() {
    begin_fiber();
    now->body_(now->argument_);
    now->finish();
  }
  [[noreturn]] void finish() {
    Fiber& f = *current;
    if (f.block->waiting) stop("a thread left while others of its block wait at " + std::to_string(f.block->id));
    if (f.warp->waiting) stop("a thread left while others of its warp wait at " + site(f.warp->id));
    if (waiting_) stop("a thread left while others of the grid wait at " + std::to_string(id_));
    f.wait = Wait::done;
    f.warp->ready &= ~(1u << f.lane);
    ++f.warp->done, ++f.block->done, ++done_;
    leave(f.context, true);
    std::abort();
  }
  void give_way(int id) {
    Fiber& f = *current;
    f.id = id;
    if (f.wait != Wait::no) f.warp->ready &= ~(1u << f.lane);
    leave(f.context, false);
  }
  void wake(Warp& w, Wait which) {
    for (unsigned k = 0; k < w.size; ++k)
      if (w.fibers[k].wait == which) {
        w.fibers[k].wait = Wait::no;
        w.ready |= 1u << k;
      }
  }

  [[noreturn]] void fail(const std::string& problem) { throw std::runtime_error(problem); }
  unsigned draw() { return static_cast<unsigned>(random_()); }

  // Every ready lane once, up to where it waits.
  void run_warp(Warp& w) {
    const unsigned ready = w.ready;
    for (unsigned k = 0; k < w.size; ++k) {
      const unsigned lane = seed % 2 ? w.size - 1 - k : k;
      if (!(ready >> lane & 1)) continue;
      current = &w.fibers[lane];
      ++switches_;
      enter(current->context);
      if (!problem_.empty()) fail(problem_);
    }
  }
  bool run_warps(Warp* warps, std::size_t count) {
    bool any = false;
    for (std::size_t k = 0; k < count; ++k) {
      Warp& w = warps[seed % 2 ? count - 1 - k : k];
      if (!w.ready) continue;
      any = true;
      run_warp(w);
    }
    return any;
  }
  bool all_warps() {  // from some warp on, all around
    const std::size_t first = seed > 1 ? random_() % warps_.size() : 0;
    const bool behind = run_warps(&warps_[first], warps_.size() - first);
    return run_warps(warps_.data(), first) || behind;
  }
  bool best_block() {
    Block* best = nullptr;
    for (Block& b : blocks_) {
      if (best && best->priority >= b.priority) continue;
      for (std::size_t w = 0; w < b.warp_count; ++w)
        if (b.warps[w].ready) {
          best = &b;
          break;
        }
    }
    if (random_() % 64 == 0) blocks_[random_() % blocks_.size()].priority = draw();
    return best && run_warps(best->warps, best->warp_count);
  }
  bool best_warp() {
    Warp* best = nullptr;
    for (Warp& w : warps_)
      if (w.ready && (!best || w.priority > best->priority)) best = &w;
    if (random_() % 64 == 0) warps_[random_() % warps_.size()].priority = draw();
    if (best) run_warp(*best);
    return best;
  }
  // Wakes those whose counter has come far enough.
  bool poll() {
    bool any = false;
    for (std::size_t i = 0; i < polling_.size();) {
      Fiber& f = *polling_[i];
      if (*f.counter < f.target) {
        ++i;
        continue;
      }
      f.wait = Wait::no;
      f.warp->ready |= 1u << f.lane;
      polling_[i] = polling_.back();
      polling_.pop_back();
      any = true;
    }
    return any;
  }

  static std::string site(int id) {  // warp operations have a line instead of an id
    return id < 0 ? "the warp operation of line " + std::to_string(-id) : std::to_string(id);
  }
  std::string who_waits() const {
    std::map<std::string, int> counts;
    for (std::size_t i = 0; i < blocks_.size() * threads_; ++i) {
      const Fiber& f = fibers_[i];
      switch (f.wait) {
        case Wait::warp:
          ++counts["at warp barrier " + site(f.id)];
          break;
        case Wait::block:
          ++counts["at block barrier " + std::to_string(f.id)];
          break;
        case Wait::grid:
          ++counts["at grid barrier " + std::to_string(f.id)];
          break;
        case Wait::counter:
          ++counts["at group barrier " + std::to_string(f.id) + " for a counter of " + std::to_string(*f.counter) +
                   " to reach " + std::to_string(f.target)];
          break;
        default:
          break;
      }
    }
    std::string text;
    for (const auto& [where, count] : counts)
      text += (text.empty() ? "" : ", ") + std::to_string(count) + " threads wait " + where;
    return text;
  }

  static constexpr std::uint64_t most_switches = 200'000'000;
  bool cooperative_;
  std::mt19937 random_;
  std::size_t threads_, done_ = 0, waiting_ = 0;
  std::uint64_t switches_ = 0;
  int id_ = 0;
  std::unique_ptr<Fiber[]> fibers_;
  std::vector<Warp> warps_;
  std::vector<Block> blocks_;
  std::vector<Fiber*> polling_;
  std::string problem_;
  void (*body_)(void*) = nullptr;
  void* argument_ = nullptr;
};

}  // namespace emulation
