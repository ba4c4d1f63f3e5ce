// What a kernel gets from its caller besides data: workers and a way to ask whether to go on. Plain function pointers,
// so that no shared template enters an object that is compiled for one instruction set.
#pragma once

namespace pyasr {

struct Runtime {
  int threads;  // workers that may run at once, the caller included; >= 1
  void* self;   // handed back to both functions
  // Runs body(arg, i, worker) for every i in [0, n), worker in [0, threads). Which worker takes which i is not fixed,
  // so results may depend on i alone. Nested calls run on the calling worker.
  void (*run)(void* self, int threads, long n, void (*body)(void* arg, long i, int worker) noexcept,
              void* arg) noexcept;
  // True once the user has asked to stop (Ctrl-C). Cheap; may be asked anywhere in a kernel, by any of its workers. A
  // kernel that sees true returns as soon as its memory is in order; its results are then discarded, and so is all work
  // that it hands to run. Work items of more than a few milliseconds ask, so that a call ends within 200 ms.
  bool (*stop)(void* self) noexcept;
};

}  // namespace pyasr
