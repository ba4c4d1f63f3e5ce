// The skeleton of the three passes over time of lstm.hpp: which block has what, the product of a frame, who waits for
// whom. What is done with the sums is a Pass (lstm_cells.cuh).
//
// A block has U units and a group of rows of the batch. Every warp multiplies a slice of the inner dimension: a lane
// has 4 columns (the gates of a unit; backward, 4 units) by `Batch` rows in registers, so 16 bytes of weights per
// column and 16 of each row make 16 x Batch multiply-adds of float32. The slices are added through shared memory in a
// fixed order, and one thread per cell goes on with the sum. Weights lie in shared memory for the whole sequence, or,
// where that does not fit, in global memory in the same order, and a launch is one frame. The same bits either way.
#pragma once
#include "cuda/launch.cuh"
#include "cuda/lstm.hpp"

namespace pyasr::cuda {
namespace {

template <class T>
struct alignas(16) Sixteen {
  static constexpr int count = 16 / sizeof(T);
  T x[count];
};
__device__ inline Sixteen<float> load_sixteen(const float* p) {
  const float4 v = dev::load_cg(reinterpret_cast<const float4*>(p));
  return {{v.x, v.y, v.z, v.w}};
}
__device__ inline Sixteen<double> load_sixteen(const double* p) {
  const double2 v = dev::load_cg(reinterpret_cast<const double2*>(p));
  return {{v.x, v.y}};
}

// The weights of a block in the order of its reads: [vectors][4 columns][quads] of 16 bytes, zeros where there are
// none.
template <class Pass>
__device__ void fill_weights(const Pass& pass, const LstmProduct& product, int units, int s, long first_unit,
                             Sixteen<typename Pass::Number>* out, long begin, long step) {
  using T = typename Pass::Number;
  const int quads = Pass::backward ? units / 4 : units;
  const long all = long{product.slice} * lstm_warps * 4 * quads;
  for (long i = begin; i < all; i += step) {
    const long quad = i % quads, column = i / quads % 4, vector = i / quads / 4;
    const long unit = first_unit + (Pass::backward ? 4 * quad + column : quad);
    Sixteen<T> v{};
    for (int e = 0; e < Sixteen<T>::count; ++e) {
      const long k = vector * Sixteen<T>::count + e;
      if (k < product.inner && unit < pass.model.shape.units)
        v.x[e] = pass.weight(s, k, unit, static_cast<int>(column));
    }
    out[i] = v;
  }
}

template <class Pass>
__global__ void __launch_bounds__(lstm_threads)
    pack_weights(Pass pass, LstmProduct product, int units, Sixteen<typename Pass::Number>* out) {
  const int quads = Pass::backward ? units / 4 : units;
  const long block = static_cast<long>(blockIdx.z) * gridDim.y + blockIdx.y;
  fill_weights(pass, product, units, static_cast<int>(blockIdx.z), long{blockIdx.y} * units,
               out + block * product.slice * lstm_warps * 4 * quads,
               static_cast<long>(blockIdx.x) * lstm_threads + threadIdx.x, long{gridDim.x} * lstm_threads);
}

// Where a lane stands in the product of its warp, and a warp in that of its block.
template <class Pass, int Batch>
struct Place {
  static constexpr int splits = Pass::backward ? 4 : 1;
  int lane, warp, quads, quad, rows_apart, row, split;
  __device__ explicit Place(int units)
      : lane(static_cast<int>(threadIdx.x) % 32),
        warp(static_cast<int>(threadIdx.x) / 32),
        quads(Pass::backward ? units / 4 : units),
        quad(lane % (32 / splits) % quads),
        rows_apart(32 / units),
        row(lane % (32 / splits) / quads),
        split(lane / (32 / splits)) {}
};

// sums[column][i] += weights * rows, over the slice of this warp; the row is i * rows_apart + row of the tile.
template <class Pass, int Batch, class T>
__device__ void multiply(const Place<Pass, Batch>& at, const LstmProduct& product, const Sixteen<T>* weights,
                         const T* source,  // [rows,inner], product.row apart
                         int rows, Sixteen<T>* staged /* [tile][lstm_chunk + 1] */, T (&sums)[4][Batch]) {
  constexpr int splits = Place<Pass, Batch>::splits, count = Sixteen<T>::count, rows_at_once = 32 / lstm_chunk;
  const int first = at.warp * product.slice, row = at.lane / lstm_chunk, vector = at.lane % lstm_chunk;
  const int tile = Batch * at.rows_apart;
  const T* from = source + row * product.row + (first + vector) * count;
  Sixteen<T> next[Batch];
  const auto fetch = [&](int chunk) {
    const int beyond = static_cast<int>(product.inner) - (first + chunk + vector) * count;  // entries up to the end
#pragma unroll
    for (int i = 0; i < Batch; ++i) {
      next[i] = {};
      const int r = row + i * rows_at_once;
      if (r < tile && r < rows && chunk + vector < product.slice && beyond > 0)
        next[i] = load_sixteen(from + chunk * count + i * rows_at_once * product.row);
    }
    if (beyond > 0 && beyond < count) {
#pragma unroll
      for (int i = 0; i < Batch; ++i)
#pragma unroll
        for (int e = 1; e < count; ++e)
          if (e >= beyond) next[i].x[e] = 0;
    }
  };
  fetch(0);
#pragma unroll 1
  for (int chunk = 0; chunk < product.slice; chunk += lstm_chunk) {
#pragma unroll
    for (int i = 0; i < Batch; ++i)
      if (row + i * rows_at_once < tile) staged[(row + i * rows_at_once) * (lstm_chunk + 1) + vector] = next[i];
    PYASR_SYNC_WARP(501);
    if (chunk + lstm_chunk < product.slice) fetch(chunk + lstm_chunk);  // on its way while this one is multiplied
    const Sixteen<T>* own = weights + (first + chunk) * 4 * at.quads + at.quad;
    const Sixteen<T>* rows_of_lane = staged + at.row * (lstm_chunk + 1);
    const int left = product.slice - chunk < lstm_chunk ? product.slice - chunk : lstm_chunk;
#pragma unroll 1
    for (int v = at.split; v < left; v += splits) {
      Sixteen<T> w[4];
#pragma unroll
      for (int column = 0; column < 4; ++column) w[column] = own[(v * 4 + column) * at.quads];
#pragma unroll
      for (int i = 0; i < Batch; ++i) {
        const Sixteen<T> x = rows_of_lane[i * at.rows_apart * (lstm_chunk + 1) + v];
#pragma unroll
        for (int column = 0; column < 4; ++column)
#pragma unroll
          for (int e = 0; e < count; ++e) sums[column][i] += w[column].x[e] * x.x[e];
      }
    }
    PYASR_SYNC_WARP(502);  // the rows may be written over
  }
}

// A pass from frame `begin` of its order up to `end`. Grid: blocks of units, groups of the batch, directions.
template <class Pass, int Batch, bool Resident>
__global__ void __launch_bounds__(lstm_threads, 1)
    sweep(Pass pass, LstmPlan plan, LstmProduct product, const Sixteen<typename Pass::Number>* packed,
          unsigned* counters /* one per group, lstm_counter_stride apart */, long begin, long end) {
  using T = typename Pass::Number;
  constexpr int splits = Place<Pass, Batch>::splits;
  PYASR_DYNAMIC_SHARED(unsigned char, shared);
  const Place<Pass, Batch> at(plan.units);
  const LstmShape& shape = pass.model.shape;
  const int s = static_cast<int>(blockIdx.z);
  const long first_unit = long{blockIdx.x} * plan.units, first_row = blockIdx.y * plan.rows;
  const long last_row = first_row + plan.rows < shape.batch ? first_row + plan.rows : shape.batch;
  const std::size_t warp_bytes = plan.warp_bytes;
  unsigned* counter = counters + (static_cast<std::size_t>(s) * gridDim.y + blockIdx.y) * lstm_counter_stride;
  Sixteen<T>* const kept = reinterpret_cast<Sixteen<T>*>(shared + lstm_warps * warp_bytes);
  const Sixteen<T>* weights;
  if constexpr (Resident) {
    fill_weights(pass, product, plan.units, s, first_unit, kept, threadIdx.x, lstm_threads);
    PYASR_SYNC_BLOCK(503);
    weights = kept;
  } else {
    weights = packed + (long{s} * gridDim.x + blockIdx.x) * product.slice * lstm_warps * 4 * at.quads;
  }
  // The cell of this thread in a tile: neighbouring lanes have neighbouring units.
  const int strip = at.warp, cell_unit = at.lane % plan.units, cell_row = strip * at.rows_apart + at.lane / plan.units;
  const int tile = Batch * at.rows_apart;
  for (long k = begin; k < end; ++k)
    for (long row = first_row; row < last_row; row += tile) {
      const bool there = strip < Batch && row + cell_row < last_row && first_unit + cell_unit < shape.units;
      typename Pass::Cell cell;
      if (there) pass.load(cell, k, s, row + cell_row, first_unit + cell_unit);
      if (Resident && k > begin && row == first_row)
        PYASR_GROUP_WAIT(504, counter, static_cast<unsigned>(k - begin) * gridDim.x);
      T sum[Pass::backward ? 1 : 4] = {};
      if (const T* source = pass.source(k, s)) {
        T sums[4][Batch] = {};
        unsigned char* const own = shared + at.warp * warp_bytes;
        multiply<Pass, Batch>(at, product, weights, source + row * product.row, static_cast<int>(last_row - row),
                              reinterpret_cast<Sixteen<T>*>(own), sums);
      // Backward, columns are turned by 8, so that neither the writes nor the reads of a warp meet in a bank.
#pragma unroll
        for (int column = 0; column < 4; ++column)
#pragma unroll
          for (int i = 0; i < Batch; ++i)
            reinterpret_cast<T*>(own)[(column * Batch + i) * 32 + (at.lane + (splits > 1 ? 8 * column : 0)) % 32] =
                sums[column][i];
        PYASR_SYNC_BLOCK(505);
        if (there) {
          const int quad = cell_unit / 4, column = cell_unit % 4;
          const int place = at.lane / plan.units * at.quads + quad + 8 * column;  // backward
          for (int w = 0; w < lstm_warps; ++w) {
            const T* part = reinterpret_cast<const T*>(shared + w * warp_bytes);
            if constexpr (Pass::backward) {
#pragma unroll
              for (int split = 0; split < splits; ++split)
                sum[0] += part[(column * Batch + strip) * 32 + (place + 8 * split) % 32];
            } else {
#pragma unroll
              for (int gate = 0; gate < 4; ++gate) sum[gate] += part[(gate * Batch + strip) * 32 + at.lane];
            }
          }
        }
      }
      if (there) {
        pass.step(cell, sum);
        pass.publish(cell);
      }
      if (row + tile < last_row)
        PYASR_SYNC_BLOCK(506);  // the sums may be written over
      else if (Resident && k + 1 < end)
        PYASR_GROUP_ARRIVE(507, counter);
      if (there) pass.keep(cell);
    }
}

}  // namespace
}  // namespace pyasr::cuda
