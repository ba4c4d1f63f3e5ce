// The LSTM on a CUDA device: the passes over time, and, as plain host code that needs no GPU, the shape of their
// launch.
//
// What is alike in all frames is one big product before or behind the pass (pyasr/ops/_cuda/lstm.py); a pass is what is
// left, a product per frame and the cell:
//
//   forward   gates += h w_hh^T     [B,H] x [H,4H]     then the cell
//   backward  dh = dgates w_hh      [B,4H] x [4H,H]    then the cell backwards
//   jvp       pre += dh w_hh^T      [B,H] x [H,4H]     then the tangents of the cell
//
// A state has T + 1 slots in the order of time. The slot before frame t is t, behind it t + 1; of a direction that runs
// backwards it is the other way round. Slots beyond a sequence hold the state in which it waits or ended.
#pragma once
#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

#include "cuda/device.hpp"

namespace pyasr::cuda {

struct LstmShape {
  long frames, batch, units;  // T, B, H
  int directions;             // S, 1 or 2; the second runs backwards
  bool reverse;               // S = 1 only: it runs backwards
};

// H', the entries from one row of h to the next. What stands behind H is not read.
constexpr long lstm_row(long units, std::size_t element) {
  const long vector = 16 / static_cast<long>(element);
  return (units + vector - 1) / vector * vector;
}

// What all passes read. Device memory, aligned to its type; w_hh, gates, h and c to 16 bytes.
template <class T>
struct LstmModel {
  LstmShape shape;
  const std::int32_t* lengths;  // [B] beyond [0,T] they count as the nearer end
  const T* w_hh;                // [S,4*H,H]
  const T* peephole;            // [S,3*H] or null, as the next three
  const T* state_mask;          // [S,B,H]
  const T* keep_h;              // [T,B,S*H]
  const T* keep_c;              // [T,B,S*H]
  T cell_clip;                  // infinity: none
  T* gates;                     // [S,T,B,4*H] i f g o; forward: in, x w_ih^T; out, behind the nonlinearities
  T* h;                         // [S,T+1,B,H'] slots behind the mask; rows are whole vectors of 16 bytes: lstm_row()
  T* c;                         // [S,T+1,B,H] slots
  long h_row;                   // H' = lstm_row()
};

template <class T>
struct LstmForwardArgs {
  LstmModel<T> model;  // writes gates, h and c
  const T* bias;       // [S,4*H]
  const T* h0;         // [S,B,H] or null: zeros
  const T* c0;
  T* y;   // [T,B,S*H]
  T* hn;  // [S,B,H] on the way the state itself, before the mask
  T* cn;
};

template <class T>
struct LstmBackwardArgs {
  LstmModel<T> model;  // only read
  const T* dy;         // [T,B,S*H] frames beyond a length are not read
  const T* dhn;        // [S,B,H] or null: zeros
  const T* dcn;
  T* dgates;  // [S,T,B,4*H] before the nonlinearities; zeros beyond a length
  T* dh0;     // [S,B,H]
  T* dc0;
};

template <class T>
struct LstmJvpArgs {
  LstmModel<T> model;  // only read
  const T* dbias;      // [S,4*H] or null: zeros, as the next three
  const T* dpeephole;  // [S,3*H]
  const T* dh0;        // [S,B,H]
  const T* dc0;        // [S,B,H]
  const T* pre;        // [S,T,B,4*H] tangents before the nonlinearities, but for bias, peephole and dh w_hh^T
  T* dh;               // [S,T+1,B,H] scratch: slots
  T* dy;               // [T,B,S*H]
  T* dhn;              // [S,B,H]
  T* dcn;
};

// The fixed-order sums over all frames, and the end of backward: what is added to the gradients of the caller.
template <class T>
struct LstmSumsArgs {
  LstmModel<T> model;
  const T* dgates;  // [S,T,B,4*H]
  T* partial;       // scratch, lstm_partial_sums() entries
  T* dbias;         // [S,4*H] added into
  T* dpeephole;     // [S,3*H] added into, or null
};

constexpr int lstm_threads = 256, lstm_warps = 8;
constexpr int lstm_chunk = 8;            // vectors of 16 bytes that a warp stages per row at a time
constexpr int lstm_most_groups = 256;    // in all directions together
constexpr int lstm_counter_stride = 32;  // a counter has a line of 128 bytes of its own
constexpr std::size_t lstm_counter_bytes = lstm_most_groups * lstm_counter_stride * sizeof(unsigned);

// A pass is a product of `inner` by 4 H (forward, jvp: inner = H) or by H (backward: inner = 4 H) numbers per row. The
// inner dimension is cut into 8 x splits slices by its size alone, so that plan and device do not change a bit.
struct LstmProduct {
  long inner;
  long row;    // entries from one row of the states to the next
  int slice;   // vectors of 16 bytes that a warp takes, a multiple of its slices
  int vector;  // entries of 16 bytes
  long padded() const { return long{slice} * lstm_warps * vector; }
};
inline LstmProduct lstm_product(long units, bool backward, std::size_t element) {
  const int vector = static_cast<int>(16 / element), splits = backward ? 4 : 1;
  const long inner = backward ? 4 * units : units, vectors = (inner + vector - 1) / vector;
  const long each = (vectors + lstm_warps - 1) / lstm_warps;
  return {inner, lstm_row(inner, element), static_cast<int>((each + splits - 1) / splits * splits), vector};
}

// How a pass is launched. A block has U units, all of whose weights it reads, and the rows of one group.
struct LstmPlan {
  bool persistent;  // one launch, weights in shared memory, groups of blocks meet after each frame; else one per frame
  int units;        // U of a block: 8, 16 or 32
  int batch;        // rows of the batch per thread: 4 or 8; a tile is batch * 32 / U rows
  int groups;       // into which the batch is cut, per direction
  int unit_blocks;  // blocks of a group
  long rows;        // of a group, a multiple of the tile
  std::size_t warp_bytes;  // of shared memory that a warp works in
  std::size_t shared_bytes;
  int tile() const { return batch * 32 / units; }
  long blocks(int directions) const { return long{groups} * unit_blocks * directions; }
};

inline std::size_t lstm_weight_bytes(const LstmProduct& p, bool backward, int units) {
  return static_cast<std::size_t>(p.padded()) * (backward ? units : 4 * units) * (16 / p.vector);
}
// What a warp has of shared memory: the rows that it stages, and in the same place its share of the sums.
inline std::size_t lstm_warp_bytes(int units, int batch, std::size_t element) {
  const std::size_t staged = static_cast<std::size_t>(batch * 32 / units) * (lstm_chunk + 1) * 16;
  const std::size_t sums = 4 * static_cast<std::size_t>(batch) * 32 * element;
  return staged > sums ? staged : sums;
}

// The cheapest plan whose blocks are all resident at once, one per processor; one launch per frame where there
// is none. The cost of a frame in cycles: per tile the multiply-adds of the block at 128 per cycle (float64: 64), or,
// where they are more, its reads of shared memory, of which 16 bytes for each lane take 4 cycles, and 2 where lanes
// read the same; the rows of the group at 32 bytes per cycle; 1500 cycles to meet. Assumed, not measured.
inline LstmPlan plan_lstm(const DeviceProperties& device, const LstmShape& shape, bool backward, std::size_t element) {
  const LstmProduct p = lstm_product(shape.units, backward, element);
  const int largest = element == 4 ? 8 : 4;
  const auto made = [&](int units, int batch, long groups) {
    LstmPlan plan{};
    plan.units = units;
    plan.batch = batch;
    const long tile = plan.tile(), tiles = shape.batch > tile ? (shape.batch + tile - 1) / tile : 1;
    plan.rows = (tiles + groups - 1) / groups * tile;
    plan.groups = static_cast<int>((shape.batch + plan.rows - 1) / plan.rows);
    plan.unit_blocks = static_cast<int>((shape.units + units - 1) / units);
    plan.warp_bytes = lstm_warp_bytes(units, batch, element);
    plan.shared_bytes = lstm_warps * plan.warp_bytes;
    return plan;
  };
  LstmPlan best{};
  double best_cost = 0;
  for (int units = 32; units >= 8; units /= 2)
    for (int batch = largest; batch >= 4; batch /= 2) {
      const std::size_t shared =
          lstm_warps * lstm_warp_bytes(units, batch, element) + lstm_weight_bytes(p, backward, units);
      if (!shape.batch || shared > device.shared_per_block || device.threads_per_processor < lstm_threads ||
          shared + 1024 > device.shared_per_processor)
        continue;  // the driver keeps 1 KB
      const long tile = batch * 32 / units, tiles = (shape.batch + tile - 1) / tile;
      for (long groups = 1; groups <= tiles && groups * shape.directions <= lstm_most_groups; ++groups) {
        LstmPlan plan = made(units, batch, groups);
        const long blocks = plan.blocks(shape.directions);
        if (plan.groups != groups) continue;
        if (blocks > device.processors) break;
        if (static_cast<double>(shape.frames + 1) * plan.unit_blocks > 2e9) break;  // what a counter holds
        const double inner = static_cast<double>(p.padded()) / (backward ? 4 : 1);
        const double fma = batch * inner * (element == 4 ? 1 : 2), reads = inner / p.vector * (16 + 2 * batch);
        const double own_rows = static_cast<double>(plan.rows) * p.padded() * element / 32;
        const double cost = static_cast<double>(plan.rows / tile) * (fma > reads ? fma : reads) + own_rows + 1500;
        if (best_cost == 0 || cost < best_cost) {
          best_cost = cost;
          plan.persistent = true;
          plan.shared_bytes = shared;
          best = plan;
        }
      }
    }
  if (best_cost > 0) return best;
  const long tile = largest * 32 / 16;
  return made(16, largest, shape.batch ? (shape.batch + tile - 1) / tile : 1);
}

// Entries of LstmSumsArgs::partial. Its rows depend on the sizes alone.
constexpr long lstm_sum_rows = 256;  // frames times sequences that one block sums
inline long lstm_partial_sums(const LstmShape& s) {
  return (s.frames * s.batch + lstm_sum_rows - 1) / lstm_sum_rows * s.directions * 7 * s.units;
}

// Bytes of workspace of a pass, aligned to 256: the counters, or the weights in the order in which blocks read them.
inline std::size_t lstm_workspace_bytes(const LstmShape& shape, bool backward, std::size_t element) {
  const LstmProduct p = lstm_product(shape.units, backward, element);
  const auto blocks = static_cast<std::size_t>((shape.units + 15) / 16) * shape.directions;
  return lstm_counter_bytes + blocks * lstm_weight_bytes(p, backward, 16);
}

// Each queues a pass on the stream and returns at once; the workspace is free again when the stream has passed it.
template <class T>
cudaError_t lstm_forward(const LstmForwardArgs<T>& args, void* workspace, cudaStream_t stream);
template <class T>
cudaError_t lstm_backward(const LstmBackwardArgs<T>& args, void* workspace, cudaStream_t stream);
template <class T>
cudaError_t lstm_jvp(const LstmJvpArgs<T>& args, void* workspace, cudaStream_t stream);

template <class T>
cudaError_t lstm_sums(const LstmSumsArgs<T>& args, cudaStream_t stream);
// out = x with zeros beyond each length; [T,B,D].
template <class T>
cudaError_t lstm_clean(const T* x, const std::int32_t* lengths, long frames, long batch, long width, T* out,
                       cudaStream_t stream);
// target[i] += addend[i], two vectors in one launch: the gradients of w_ih and w_hh.
template <class T>
cudaError_t lstm_add(T* target, const T* addend, std::size_t n, T* target2, const T* addend2, std::size_t n2,
                     cudaStream_t stream);

}  // namespace pyasr::cuda
