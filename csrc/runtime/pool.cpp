#include "runtime/pool.hpp"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

namespace pyasr::runtime {
namespace {

constexpr long long check_every_ns = 50'000'000;

long long now_ns() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return t.tv_sec * 1'000'000'000LL + t.tv_nsec;
}

void relax() noexcept {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

struct Job {
  void (*body)(void*, long, int) noexcept;
  void* arg;
  long n;
  int workers;  // how many pool threads may join, the caller not counted
  Call& call;
  std::atomic<long> next{0};
};

thread_local bool inside = false;  // this thread is running a work item

bool stop(void* self) noexcept {
  auto& call = *static_cast<Call*>(self);
  if (call.stopped.load(std::memory_order_relaxed)) return true;
  if (!call.interrupted || !pthread_equal(call.caller, pthread_self())) return false;
  const long long now = now_ns();
  if (call.next_check == 0) call.next_check = now + check_every_ns;
  if (now < call.next_check) return false;
  call.next_check = now + check_every_ns;
  if (!call.interrupted(call.context)) return false;
  call.stopped.store(true, std::memory_order_relaxed);
  return true;
}

void drain(Job& job, int worker) {
  inside = true;
  while (!stop(&job.call)) {
    const long i = job.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= job.n) break;
    job.body(job.arg, i, worker);
  }
  inside = false;
}

class Pool {
 public:
  // Runs the job on the caller and up to job.workers threads; false when another caller has the pool or there are no
  // threads to be had.
  bool run(Job& job);

 private:
  // One thread waits here for its turn. Only the threads that a job wants are woken.
  struct alignas(64) Slot {
    std::atomic<unsigned> turn{0};
  };

  void grow(int n);
  void loop(Slot& slot, int worker);
  void wait(Call& call);

  std::vector<std::unique_ptr<Slot>> slots_;
  std::mutex busy_;
  std::atomic<Job*> job_{nullptr};
  alignas(64) std::atomic<int> left_{0};  // threads that have not finished the job
  std::mutex done_mutex_;
  std::condition_variable done_;
};

void Pool::loop(Slot& slot, int worker) {
  for (unsigned seen = 0;; ++seen) {
    for (int spin = 0; spin < 2000 && slot.turn.load(std::memory_order_acquire) == seen; ++spin) relax();
    slot.turn.wait(seen, std::memory_order_acquire);
    drain(*job_.load(std::memory_order_acquire), worker);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) {
      // The caller looks at left_ under this mutex: it either sees zero or is told.
      const std::lock_guard lock(done_mutex_);
      done_.notify_one();
    }
  }
}

void Pool::grow(int n) {
  try {
    while (static_cast<int>(slots_.size()) < n) {
      slots_.reserve(slots_.size() + 1);
      auto slot = std::make_unique<Slot>();
      const int worker = static_cast<int>(slots_.size()) + 1;
      std::thread([this, &at = *slot, worker] { loop(at, worker); }).detach();
      slots_.push_back(std::move(slot));
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: go on with those there are. Results do not depend on their number.
  } catch (const std::bad_alloc&) {
    // The same.
  }
}

// Until the threads are done. Their items may be long ones that the caller has none of, so it keeps asking for Ctrl-C.
void Pool::wait(Call& call) {
  for (int spin = 0; spin < 2000; ++spin) {
    if (left_.load(std::memory_order_acquire) == 0) return;
    relax();
  }
  std::unique_lock lock(done_mutex_);
  while (left_.load(std::memory_order_acquire) != 0) {
    if (!call.interrupted || call.stopped.load(std::memory_order_relaxed)) {
      done_.wait(lock);
      continue;
    }
    done_.wait_for(lock, std::chrono::nanoseconds(check_every_ns));
    lock.unlock();
    stop(&call);
    lock.lock();
  }
}

bool Pool::run(Job& job) {
  const std::unique_lock lock(busy_, std::try_to_lock);
  if (!lock) return false;
  grow(job.workers);
  const int workers = job.workers < static_cast<int>(slots_.size()) ? job.workers : static_cast<int>(slots_.size());
  if (workers == 0) return false;
  left_.store(workers, std::memory_order_relaxed);
  job_.store(&job, std::memory_order_release);
  for (int i = 0; i < workers; ++i) {
    Slot& slot = *slots_[static_cast<std::size_t>(i)];
    slot.turn.fetch_add(1, std::memory_order_release);
    slot.turn.notify_one();
  }
  drain(job, 0);
  wait(job.call);
  return true;
}

std::atomic<Pool*> the_pool{nullptr};

// Null when memory ran out.
Pool* pool() {
  static std::once_flag once;
  std::call_once(once, [] {
    // The child of a fork has none of the threads: it leaks the dead pool and builds its own at its first parallel
    // call.
    pthread_atfork(nullptr, nullptr, [] {
      the_pool.store(nullptr);
      inside = false;
    });
  });
  Pool* p = the_pool.load(std::memory_order_acquire);
  if (p) return p;
  auto* fresh = new (std::nothrow) Pool;
  if (the_pool.compare_exchange_strong(p, fresh)) return fresh;
  delete fresh;
  return p;
}

void run(void* self, int threads, long n, void (*body)(void*, long, int) noexcept, void* arg) noexcept {
  auto& call = *static_cast<Call*>(self);
  if (threads > 1 && n > 1 && !inside) {
    Job job{body, arg, n, (threads < n ? threads : static_cast<int>(n)) - 1, call};
    Pool* const p = pool();
    if (p && p->run(job)) return;
  }
  for (long i = 0; i < n && !stop(&call); ++i) body(arg, i, 0);
}

}  // namespace

int default_threads() noexcept {
  if (const char* text = std::getenv("PYASR_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (end != text && !*end && n > 0 && n <= 1024) return static_cast<int>(n);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);  // at most CPU_SETSIZE = 1024
  const unsigned n = std::thread::hardware_concurrency();
  return n == 0 ? 1 : n < 1024 ? static_cast<int>(n) : 1024;
}

Runtime runtime(Call& call, int threads) noexcept { return {threads < 1 ? 1 : threads, &call, run, stop}; }

}  // namespace pyasr::runtime
