// The thread pool behind Runtime, and the arena that outputs and saved states are leased from. Ordinary objects:
// kernels see only plain function pointers.
#pragma once
#include <pthread.h>

#include <atomic>

#include "pyasr/runtime.hpp"

namespace pyasr::runtime {

// Workers by default: PYASR_NUM_THREADS when it is a positive number, else the CPUs this process may use.
int default_threads() noexcept;

// What `self` of a Runtime points to: one kernel call, by the thread that made it. `interrupted` is asked at most every
// 50 ms and only on that thread; once it has said yes, work items that have not begun are dropped.
struct Call {
  bool (*interrupted)(void* context) noexcept = nullptr;
  void* context = nullptr;
  std::atomic<bool> stopped{false};
  long long next_check = 0;
  const pthread_t caller = pthread_self();
};

// A Runtime over the process-wide pool. The pool starts at the first call that wants more than one worker, grows to the
// largest number asked for (a call wakes only as many as it wants), and is started afresh in a forked child. Nested
// calls, and calls made while another thread has the pool, run on the calling thread.
Runtime runtime(Call& call, int threads) noexcept;

}  // namespace pyasr::runtime
