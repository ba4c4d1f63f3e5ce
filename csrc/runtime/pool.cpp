#include "runtime/pool.hpp"

#include <pthread.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <cstdlib>
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
  std::atomic<long> next{0};
  std::atomic<bool> stopped{false};
};

thread_local bool inside = false;  // this thread is running a work item

class Pool {
 public:
  // Runs the job on the caller and up to `workers` threads; false when another caller has the pool.
  bool run(Job& job, Call& call);

 private:
  void grow(int n);
  void loop(int index, unsigned seen);
  void drain(Job& job, int worker, Call* call);

  std::vector<std::thread> threads_;
  std::mutex busy_;
  std::atomic<unsigned> generation_{0};
  std::atomic<Job*> job_{nullptr};
  std::atomic<int> left_{0};
};

bool stop(void* self) noexcept {
  auto& call = *static_cast<Call*>(self);
  if (call.stopped || !call.interrupted) return call.stopped;
  const long long now = now_ns();
  if (call.next_check == 0) call.next_check = now + check_every_ns;
  if (now < call.next_check) return false;
  call.next_check = now + check_every_ns;
  call.stopped = call.interrupted(call.context);
  return call.stopped;
}

void Pool::drain(Job& job, int worker, Call* call) {
  inside = true;
  while (!job.stopped.load(std::memory_order_relaxed)) {
    const long i = job.next.fetch_add(1, std::memory_order_relaxed);
    if (i >= job.n) break;
    job.body(job.arg, i, worker);
    if (call && stop(call)) job.stopped.store(true, std::memory_order_relaxed);
  }
  inside = false;
}

void Pool::loop(int index, unsigned seen) {
  for (;;) {
    for (int spin = 0; spin < 2000 && generation_.load(std::memory_order_acquire) == seen; ++spin) relax();
    generation_.wait(seen, std::memory_order_acquire);
    seen = generation_.load(std::memory_order_acquire);
    Job& job = *job_.load(std::memory_order_acquire);
    if (index <= job.workers) drain(job, index, nullptr);
    if (left_.fetch_sub(1, std::memory_order_acq_rel) == 1) left_.notify_one();
  }
}

void Pool::grow(int n) {
  try {
    while (static_cast<int>(threads_.size()) < n) {
      const int index = static_cast<int>(threads_.size()) + 1;
      const unsigned seen = generation_.load();
      threads_.emplace_back([this, index, seen] { loop(index, seen); });
    }
  } catch (const std::system_error&) {
    // The system gives no more threads: go on with those there are. Results do not depend on their number.
  }
}

bool Pool::run(Job& job, Call& call) {
  std::unique_lock lock(busy_, std::try_to_lock);
  if (!lock) return false;
  grow(job.workers);
  left_.store(static_cast<int>(threads_.size()), std::memory_order_relaxed);
  job_.store(&job, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_release);
  generation_.notify_all();
  drain(job, 0, &call);
  for (int left; (left = left_.load(std::memory_order_acquire)) != 0;) {
    for (int spin = 0; spin < 2000 && left_.load(std::memory_order_acquire) == left; ++spin) relax();
    if (left_.load(std::memory_order_acquire) == left) left_.wait(left, std::memory_order_acquire);
  }
  return true;
}

std::atomic<Pool*> the_pool{nullptr};

Pool& pool() {
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
  if (!p) {
    auto* fresh = new Pool;
    if (the_pool.compare_exchange_strong(p, fresh))
      p = fresh;
    else
      delete fresh;
  }
  return *p;
}

void run(void* self, int threads, long n, void (*body)(void*, long, int) noexcept, void* arg) noexcept {
  auto& call = *static_cast<Call*>(self);
  if (threads > 1 && n > 1 && !inside) {
    Job job{body, arg, n, (threads < n ? threads : static_cast<int>(n)) - 1};
    if (pool().run(job, call)) return;
  }
  const bool nested = inside;
  for (long i = 0; i < n; ++i) {
    body(arg, i, 0);
    if (!nested && stop(&call)) return;
  }
}

}  // namespace

int default_threads() noexcept {
  if (const char* text = std::getenv("PYASR_NUM_THREADS")) {
    char* end = nullptr;
    const long n = std::strtol(text, &end, 10);
    if (end != text && !*end && n > 0 && n <= 1024) return static_cast<int>(n);
  }
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  const unsigned n = std::thread::hardware_concurrency();
  return n ? static_cast<int>(n) : 1;
}

Runtime runtime(Call& call, int threads) noexcept { return {threads < 1 ? 1 : threads, &call, run, stop}; }

}  // namespace pyasr::runtime
