// The scalars of cg, and the sums and decisions that change them: one thread of every block decides, from the same
// sums.
#pragma once
#include "cuda/cg.hpp"
#include "cuda/launch.cuh"

namespace pyasr::cuda {

enum class CgPhase : int { starting, first, iterating, preconditioned, multiplied, ending, verifying, refining, over };

// Every block has its own copy, the same in all.
struct CgScalars {
  double tolerance, length, started, unit, target, rr, rz, low_rr, share, operator_norm;
  double first_length, best_length, best_energy, energy, reach;
  double length_in_m, steepest, with_p, way_in_m, lift;  // as in CgState; 0 where there is no M
  double beta, alpha, scale;
  long long info, iterations;
  CgPhase phase;
  CgNeeds needs;
  int verifications;
  int turn;  // of the two sets of slots
  bool stopped, lower, take, bad, symmetric;
  bool closing, falls_back;  // the last x is judged; the residual is wanted of the x with the smallest one of the run
};
static_assert(sizeof(CgScalars) <= cg_scalar_bytes);

struct CgSums {
  double a, b, top;
};
__device__ inline CgSums plus(const CgSums& u, const CgSums& v) {
  return {u.a + v.a, u.b + v.b, v.top > u.top ? v.top : u.top};
}

__device__ inline bool finite(double x) { return x - x == 0; }
template <class T>
__device__ constexpr double rounding() {
  return sizeof(T) == 4 ? 0x1p-23 : 0x1p-52;
}

// The sum over the block by a fixed tree, which its first thread has.
__device__ inline CgSums sum_of_block(CgSums m, CgSums* part /* shared [warps] */) {
  const int lane = static_cast<int>(threadIdx.x) % 32, warp = static_cast<int>(threadIdx.x) / 32;
  const int warps = static_cast<int>(blockDim.x) / 32;
#pragma unroll
  for (int d = 16; d > 0; d /= 2)
    m = plus(m, {dev::shuffle_xor(m.a, d), dev::shuffle_xor(m.b, d), dev::shuffle_xor(m.top, d)});
  if (lane == 0) part[warp] = m;
  PYASR_SYNC_BLOCK(1501);
  if (warp == 0) {
    m = lane < warps ? part[lane] : CgSums{};  // at most 16
#pragma unroll
    for (int d = 8; d > 0; d /= 2)
      m = plus(m, {dev::shuffle_xor(m.a, d), dev::shuffle_xor(m.b, d), dev::shuffle_xor(m.top, d)});
  }
  return m;
}
PYASR_CALLED __device__ inline CgSums called_sum_of_block(CgSums m, CgSums* part) { return sum_of_block(m, part); }

// One thread runs then(sum over the block), and all see what it did. In an iteration the sum is inlined.
template <bool Inlined, class Then>
__device__ void decide_in_block(const CgSums& m, CgSums* part, Then then) {
  const CgSums sum = Inlined ? sum_of_block(m, part) : called_sum_of_block(m, part);
  if (threadIdx.x == 0) then(sum);
  PYASR_SYNC_BLOCK(1502);
}

// The same over all blocks of the grid, by slots [2,blocks,3] in memory; meet() waits for all blocks.
template <class Meet, class Then>
__device__ void decide_in_grid(const CgSums& mine, CgSums* part, CgScalars* s, double* slots, int blocks, Meet meet,
                               Then then) {
  decide_in_block<false>(mine, part, [&](const CgSums& t) {
    s->turn ^= 1;
    double* const slot = slots + 3 * (s->turn * blocks + static_cast<int>(blockIdx.x));
    dev::store_cg(slot, t.a);
    dev::store_cg(slot + 1, t.b);
    dev::store_cg(slot + 2, t.top);
  });
  meet();
  CgSums m{};
  for (int k = static_cast<int>(threadIdx.x); k < blocks; k += static_cast<int>(blockDim.x)) {
    const double* const slot = slots + 3 * (s->turn * blocks + k);
    m = plus(m, {dev::load_cg(slot), dev::load_cg(slot + 1), dev::load_cg(slot + 2)});
  }
  decide_in_block<false>(m, part, then);
}

// One thread: the energy fell by less than martens_eps of what it is, per iteration over the last tenth.
template <class Vectors>
__device__ bool martens_stops(const Vectors& v, long long i, double energy) {
  const long long room = v.room, wanted = i <= 100 ? 10 : (i - 1) / 10 + 1;
  const long long k = wanted < longest_look_back ? wanted : longest_look_back;
  if (v.first()) dev::store_cg(v.energies + i % room, energy);
  if (i <= k || !(energy < 0)) return false;
  const double ago = dev::load_cg(v.energies + (i - k) % room);
  return (energy - ago) / energy < (v.o.scale_by_k ? static_cast<double>(k) * v.o.martens_eps : v.o.martens_eps);
}

}  // namespace pyasr::cuda
