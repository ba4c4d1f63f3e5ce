#include "runtime/arena.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <mutex>

namespace pyasr::runtime {
namespace {

constexpr std::size_t least_kept = std::size_t{256} << 20;
constexpr std::size_t most_kept = std::size_t{1} << 30;
constexpr std::size_t huge = std::size_t{2} << 20;
constexpr int classes = 4 * 44;  // four sizes per power of two, from 4 kB

// In front of every block, inside its own 64 bytes.
struct Header {
  std::size_t bytes;  // usable bytes behind the header
  int size_class;
  Header* next;
};
static_assert(sizeof(Header) <= 64);

// An eighth of the physical memory. The saved state of one LSTM layer (T 500, B 32, H 512) takes 200 MB; with a limit
// below it every step would pay for fresh pages (measured: 350 ms beside 190 ms of arithmetic).
std::size_t kept_limit() {
  const long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
  const std::size_t eighth =
      pages > 0 && size > 0 ? static_cast<std::size_t>(pages) * static_cast<std::size_t>(size) / 8 : 0;
  return eighth < least_kept ? least_kept : eighth > most_kept ? most_kept : eighth;
}

struct Arena {
  std::mutex mutex;
  Header* free[classes] = {};
  std::size_t kept = 0;
  std::size_t limit = kept_limit();
};
// Never destroyed: arrays may outlive static destruction. A forked child inherits it in a usable state only when no
// other thread held the mutex, so lease() and release() try the lock and otherwise go to the system.
Arena& arena() {
  static auto* a = new Arena;
  return *a;
}

// The smallest class of at least `bytes`: sizes 4096 * 2^e * {1, 1.25, 1.5, 1.75}.
int class_of(std::size_t bytes, std::size_t* rounded) {
  std::size_t base = 4096;
  int e = 0;
  while (base * 2 < bytes && e < 43) {
    base *= 2;
    ++e;
  }
  for (int q = 0; q < 4; ++q)
    if (base + base / 4 * q >= bytes) {
      *rounded = base + base / 4 * q;
      return 4 * e + q;
    }
  *rounded = base * 2;
  return 4 * (e + 1);
}

}  // namespace

void* lease(std::size_t bytes) noexcept {
  if (bytes > (std::size_t{1} << 46)) return nullptr;
  std::size_t rounded = 0;
  const int c = class_of(bytes, &rounded);
  Arena& a = arena();
  {
    std::unique_lock lock(a.mutex, std::try_to_lock);
    if (lock && a.free[c]) {
      Header* h = a.free[c];
      a.free[c] = h->next;
      a.kept -= h->bytes;
      return reinterpret_cast<char*>(h) + 64;
    }
  }
  const std::size_t total = rounded + 64;
  void* raw = std::aligned_alloc(
      rounded >= huge ? huge : 64,
      (total + (rounded >= huge ? huge : 64) - 1) / (rounded >= huge ? huge : 64) * (rounded >= huge ? huge : 64));
  if (!raw) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (rounded >= huge) madvise(raw, total, MADV_HUGEPAGE);  // advice: its failure changes nothing but speed
#endif
  auto* h = static_cast<Header*>(raw);
  h->bytes = rounded;
  h->size_class = c;
  return static_cast<char*>(raw) + 64;
}

void release(void* block) noexcept {
  if (!block) return;
  auto* h = reinterpret_cast<Header*>(static_cast<char*>(block) - 64);
  Arena& a = arena();
  {
    std::unique_lock lock(a.mutex, std::try_to_lock);
    if (lock && a.kept + h->bytes <= a.limit) {
      a.kept += h->bytes;
      h->next = a.free[h->size_class];
      a.free[h->size_class] = h;
      return;
    }
  }
  std::free(h);
}

}  // namespace pyasr::runtime
