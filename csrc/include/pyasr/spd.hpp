// spd: A x = b by Cholesky's factorization A = L L', for one symmetric positive definite system or many.
//
//   l_jj = sqrt(a_jj - sum_k<j l_jk^2)   l_ij = (a_ij - sum_k<j l_ik l_jk) / l_jj   L y = b   L' x = y
//
// A system's bits depend neither on the batch that it stands in nor on the number of threads. pyasr/ops/spd.py says the
// same in Python, and when conjugate gradients are tried first.
#pragma once
#include <cstddef>
#include <cstdint>

#include "pyasr/runtime.hpp"

namespace pyasr {

// From this size on, where the caller leaves the choice, conjugate gradients are tried first, for an n-th of so many
// iterations: about half the time of the factorization.
constexpr std::int64_t spd_iterates_from = 2048;
constexpr std::int64_t spd_size_per_iteration = 64;

template <class T>
struct SpdArgs {
  const T* A;           // [B,n,n], of which the lower triangles are read
  const T* b;           // [B,n]
  T* x;                 // [B,n] out; undefined where minor is not 0. May not overlap A or b
  std::int64_t* minor;  // [B] out: 0, or the order of the first leading minor that is not positive, or not finite
  std::size_t B, n;
};

template <class T>
struct SpdOf {
  // Bytes of workspace, 64-byte aligned, for B systems on so many threads.
  std::size_t (*workspace_bytes)(std::size_t B, std::size_t n, int threads) noexcept;
  void (*solve)(const SpdArgs<T>& args, void* workspace, const Runtime& runtime) noexcept;
};

struct Spd {
  SpdOf<float> f32;
  SpdOf<double> f64;
};

}  // namespace pyasr
