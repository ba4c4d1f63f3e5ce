// Stacks that take turns on one thread of the host. A switch saves the registers that a call keeps and swaps the stack
// pointer; there and back with all that schedules takes 55 ns on x86-64. Elsewhere it is swapcontext, ten times slower.
// AddressSanitizer is told of each switch.
#pragma once
#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace emulation {

#if defined(__SANITIZE_ADDRESS__)
constexpr std::size_t stack_bytes = 131072;  // red zones around every local
#else
constexpr std::size_t stack_bytes = 32768;  // of which a kernel touches a page or two
#endif

#if defined(__x86_64__)
[[gnu::naked, gnu::noinline]] inline void swap_stack(void** /* rdi: save here */, void* /* rsi: go on there */) {
  asm volatile(
      "push %rbx\n push %rbp\n push %r12\n push %r13\n push %r14\n push %r15\n"
      "mov %rsp, (%rdi)\n mov %rsi, %rsp\n"
      "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbp\n pop %rbx\n ret\n");
}
#endif

// One stack that is not running.
struct Context {
#if defined(__x86_64__)
  void* pointer = nullptr;
#else
  ucontext_t registers;
#endif
  char* stack = nullptr;
  void* fake_stack = nullptr;  // AddressSanitizer's
};

// The stack of the thread that called the launch, while a fiber runs.
inline Context host;
inline const void* host_stack = nullptr;
inline std::size_t host_stack_bytes = 0;

inline void swap(Context& from, Context& to) {
#if defined(__x86_64__)
  swap_stack(&from.pointer, to.pointer);
#else
  swapcontext(&from.registers, &to.registers);
#endif
}

// From the host into a fiber, until it leaves.
inline void enter(Context& fiber) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&host.fake_stack, fiber.stack, stack_bytes);
#endif
  swap(host, fiber);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(host.fake_stack, nullptr, nullptr);
#endif
}

// The first thing that a fiber does.
inline void begin_fiber() {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &host_stack, &host_stack_bytes);
#endif
}

// From a fiber back to the host, for a while or for good.
inline void leave(Context& fiber, bool for_good) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(for_good ? nullptr : &fiber.fake_stack, host_stack, host_stack_bytes);
#else
  static_cast<void>(for_good);
#endif
  swap(fiber, host);
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(fiber.fake_stack, &host_stack, &host_stack_bytes);
#endif
}

// Stacks that are kept from launch to launch. The lowest bytes of each are a mark, to see whether it was too small.
class Stacks {
 public:
  ~Stacks() {
    if (memory_) munmap(memory_, count_ * stack_bytes);
  }
  // `count` stacks, each ready to call `entry`, which may not return.
  void prepare(std::size_t count) {
    if (count > count_) {
      if (memory_) munmap(memory_, count_ * stack_bytes);
      memory_ = nullptr;
      void* p = mmap(nullptr, count * stack_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                     -1, 0);
      if (p == MAP_FAILED) throw std::bad_alloc();
      memory_ = static_cast<char*>(p);
      count_ = count;
    }
#if defined(__SANITIZE_ADDRESS__)
    // A launch that failed left its frames behind.
    __asan_unpoison_memory_region(memory_, count_ * stack_bytes);
#endif
  }
  void start(Context& fiber, std::size_t i, void (*entry)()) {
    fiber.stack = memory_ + i * stack_bytes;
    fiber.fake_stack = nullptr;
    std::memset(fiber.stack, mark, mark_bytes);
#if defined(__x86_64__)
    // swap_stack pops six registers and returns to `entry`, with the stack as a call leaves it.
    auto* top = reinterpret_cast<void**>(fiber.stack + stack_bytes - 64);
    for (int k = 0; k < 8; ++k) top[k] = nullptr;
    top[6] = reinterpret_cast<void*>(entry);
    fiber.pointer = top;
#else
    getcontext(&fiber.registers);
    fiber.registers.uc_stack.ss_sp = fiber.stack;
    fiber.registers.uc_stack.ss_size = stack_bytes;
    fiber.registers.uc_link = nullptr;
    makecontext(&fiber.registers, entry, 0);
#endif
  }
  static bool overrun(const Context& fiber) {
    for (std::size_t k = 0; k < mark_bytes; ++k)
      if (fiber.stack[k] != mark) return true;
    return false;
  }

 private:
  static constexpr char mark = 0x5a;
  static constexpr std::size_t mark_bytes = 64;
  char* memory_ = nullptr;
  std::size_t count_ = 0;
};

}  // namespace emulation
