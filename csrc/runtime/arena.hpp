// Memory that is leased and returned: outputs, saved states and scratch of kernels. Fresh memory costs a page fault
// every 4 kB (a quarter of the time of a fast kernel); a returned block does not.
#pragma once
#include <cstddef>

namespace pyasr::runtime {

// At least `bytes` bytes, 64-byte aligned, contents undefined; null when the system has none. Blocks of 2 MB and more
// ask for huge pages.
void* lease(std::size_t bytes) noexcept;
// Gives a block back. The arena keeps returned blocks for the next lease, up to an eighth of the machine's memory and
// at most 1 GB; beyond that, and when the system has no more memory, those go first that were returned first.
void release(void* block) noexcept;

class Lease {
 public:
  Lease() = default;
  explicit Lease(std::size_t bytes) : block_(lease(bytes)) {}
  Lease(Lease&& other) noexcept : block_(other.block_) { other.block_ = nullptr; }
  Lease& operator=(Lease&& other) noexcept {
    if (this != &other) {
      release(block_);
      block_ = other.block_;
      other.block_ = nullptr;
    }
    return *this;
  }
  ~Lease() { release(block_); }
  void* get() const { return block_; }
  void* detach() {
    void* b = block_;
    block_ = nullptr;
    return b;
  }

 private:
  void* block_ = nullptr;
};

}  // namespace pyasr::runtime
