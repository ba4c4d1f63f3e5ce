// The two launches over the lattice: a block per utterance and direction, up to the middle and on from there.
#pragma once
#include "cuda/ctc_walk.cuh"

namespace pyasr::cuda {
namespace {

// A thread per slot, its cells in registers. What a frame needs is on its way while `ahead` frames before it are worked
// on: at 100 cycles each, that is the latency of the memory. The only thing that threads exchange is a label's cell,
// by a shuffle where one warp has all slots, else through shared memory with one barrier per frame.
template <class T>
constexpr int ahead = sizeof(T) == 4 ? 8 : 4;
template <class T>
constexpr int narrow_threads = ctc_most_threads(sizeof(T));
template <class T>
constexpr int wide_threads = ctc_wide_threads(sizeof(T));

template <class T, bool OneWarp>
struct Exchange {
  Cell<T>* edge;  // shared [2, narrow_threads<T> + 1], whose first cells are zero
  int turn;

  __device__ explicit Exchange(Cell<T>* edge_) : edge(edge_), turn(0) {
    if (!OneWarp && threadIdx.x < 2) edge[threadIdx.x * (narrow_threads<T> + 1)] = zero_cell<T>();
  }
  // The cell of the thread before.
  __device__ Cell<T> operator()(Cell<T> mine) {
    if (OneWarp) {
      const Cell<T> c{dev::shuffle_up(mine.m, 1), dev::shuffle_up(mine.e, 1)};
      return threadIdx.x ? c : zero_cell<T>();
    }
    Cell<T>* row = edge + turn * (narrow_threads<T> + 1);
    turn ^= 1;
    row[threadIdx.x + 1] = mine;
    PYASR_SYNC_BLOCK(903);
    return row[threadIdx.x];
  }
};

template <class T, bool Second>
struct Ahead {
  Slot<T> emission, other;
  __device__ void fetch(const Walk<T>& w, std::int64_t i, std::int64_t u) {
    if (i >= w.frames) return;
    emission = w.emission(i, u);
    if (Second) other = w.others(i, u);
  }
};

template <class T, bool Second, bool OneWarp>
__global__ void __launch_bounds__(OneWarp ? 32 : narrow_threads<T>) ctc_narrow(CtcArgs<T> a, CtcSpace<T> s) {
  PYASR_SHARED(Cell<T>, edge, OneWarp ? 2 : 2 * (narrow_threads<T> + 1));
  PYASR_SHARED(T, maxima, 32);
  PYASR_SHARED(double, sums, 32);
  if (!Second && blockIdx.y == 2) {
    prepare<T, OneWarp>(a, s, sums);
    return;
  }
  const Walk<T> w(a, s);
  const int u = static_cast<int>(threadIdx.x);
  std::int64_t i = Second ? w.half() : 0;
  const std::int64_t end = Second ? w.frames : w.half();
  if (w.frames == 0 && Second && w.backward && u == 0) finish(a, s, w.b, w.n == 0 ? 1.0 : 0.0, 0.0);
  if (Second && i == end) return;

  Ahead<T, Second> next[ahead<T>];
#pragma unroll
  for (int j = 0; j < ahead<T>; ++j) next[j].fetch(w, i + j, u);
  const bool skips = w.skips(u);
  Slot<T> row = w.first(u);
  Exchange<T, OneWarp> exchange(edge);
  double shift = 0, origin = 0;  // exponents are lowered by shift; of an occupancy, by origin besides
  T scale = 0;
  if (Second) {
    if (u <= w.n) row = {w.row[u], w.row[w.slots + u]};
    shift = w.shift[w.table - 1];
    const Slot<T> both = times(times(entered(row, exchange(row.label), skips), next[0].other), next[0].emission);
    const T largest = block_max<OneWarp>(exponent_of(both), maxima);
    origin = static_cast<double>(largest) + shift + w.others_shift(i);
    scale = largest;
    if (w.backward) {
      const double mass =
          static_cast<double>(scaled(both.blank, largest)) + static_cast<double>(scaled(both.label, largest));
      const double sum = block_sum<OneWarp>(mass, sums);
      if (u == 0) finish(a, s, w.b, sum, origin);
    }
  } else if (u == 0) {
    w.shift[0] = 0;
  }

  for (; i < end; i += ahead<T>) {
#pragma unroll
    for (int j = 0; j < ahead<T>; ++j)
      if (i + j < end) {
        const Slot<T> emission = next[j].emission, other = next[j].other;
        next[j].fetch(w, i + j + ahead<T>, u);
        row = entered(row, exchange(row.label), skips);
        if (Second) {
          if (w.others_shift_changes(i + j)) scale = static_cast<T>(origin - shift - w.others_shift(i + j));
          const Slot<T> now = times(row, emission);
          w.occupy(i + j, u, times(now, other), scale);
          row = now;
        } else {
          w.keep(i + j, u, row);
          row = times(row, emission);
        }
      }
    row = {normalized(row.blank), normalized(row.label)};
    const std::int64_t done = i + ahead<T> - (Second ? w.half() : 0);
    if (done % ctc_shift_every == 0) {
      const T by = shift_of(block_max<OneWarp>(exponent_of(row), maxima));
      row.blank.e -= by;
      row.label.e -= by;
      shift += static_cast<double>(by);
      if (Second)
        scale = static_cast<T>(static_cast<double>(scale) - static_cast<double>(by));
      else if (u == 0)
        w.shift[done / ctc_shift_every] = shift;
    }
  }
  if (!Second) {
    if (u <= w.n) {
      w.row[u] = row.blank;
      w.row[w.slots + u] = row.label;
    }
    if (u == 0) w.shift[w.table - 1] = shift;
  }
}

// More slots than threads: the row lies in memory, twice, and a thread has every wide_threads-th slot of it.
template <class T>
struct MemoryRow {
  const Walk<T>& w;
  int turn = 0;
  T pending = 0;  // to subtract from the exponents of the row that is read

  __device__ Cell<T> cell(bool label, std::int64_t u) const {
    Cell<T> c = w.row[(2 * turn + label) * w.slots + u];
    c.e -= pending;
    return c;
  }
  __device__ Slot<T> enter(std::int64_t u) const {
    return entered<T>({cell(false, u), cell(true, u)}, u ? cell(true, u - 1) : zero_cell<T>(), w.skips(u));
  }
  __device__ void write(std::int64_t u, const Slot<T>& s) {
    w.row[(2 * (turn ^ 1)) * w.slots + u] = s.blank;
    w.row[(2 * (turn ^ 1) + 1) * w.slots + u] = s.label;
  }
};

template <class T, bool Second>
__global__ void __launch_bounds__(wide_threads<T>, 1) ctc_wide(CtcArgs<T> a, CtcSpace<T> s) {
  PYASR_SHARED(T, maxima, 32);
  PYASR_SHARED(double, sums, 32);
  if (!Second && blockIdx.y == 2) {
    prepare<T, false>(a, s, sums);
    return;
  }
  const Walk<T> w(a, s);
  const std::int64_t tid = threadIdx.x, begin = Second ? w.half() : 0, end = Second ? w.frames : w.half();
  if (w.frames == 0 && Second && w.backward && tid == 0) finish(a, s, w.b, w.n == 0 ? 1.0 : 0.0, 0.0);
  if (Second && begin == end) return;
  MemoryRow<T> row{w};
  double shift = 0, origin = 0;
  T scale = 0;
  if (Second) {
    row.turn = static_cast<int>(begin % 2);
    row.pending = static_cast<T>(w.shift[w.table - 2]);
    shift = w.shift[w.table - 1];
    auto both = [&](std::int64_t u) { return times(times(row.enter(u), w.others(begin, u)), w.emission(begin, u)); };
    T largest = -infinity<T>;
    for (std::int64_t u = tid; u <= w.n; u += wide_threads<T>) largest = Larger()(largest, exponent_of(both(u)));
    largest = block_max<false>(largest, maxima);
    double sum = 0;
    for (std::int64_t u = tid; u <= w.n; u += wide_threads<T>) {
      const Slot<T> here = both(u);
      sum += static_cast<double>(scaled(here.blank, largest)) + static_cast<double>(scaled(here.label, largest));
    }
    sum = block_sum<false>(sum, sums);
    origin = static_cast<double>(largest) + shift + w.others_shift(begin);
    scale = largest;
    if (w.backward && tid == 0) finish(a, s, w.b, sum, origin);
  } else {
    row.turn = 1;
    for (std::int64_t u = tid; u <= w.n; u += wide_threads<T>) row.write(u, w.first(u));
    row.turn = 0;
    if (tid == 0) w.shift[0] = 0;
    PYASR_SYNC_BLOCK(904);
  }
  for (std::int64_t i = begin; i < end; ++i) {
    if (Second && w.others_shift_changes(i)) scale = static_cast<T>(origin - shift - w.others_shift(i));
    T largest = -infinity<T>;
    for (std::int64_t u = tid; u <= w.n; u += wide_threads<T>) {
      const Slot<T> emission = w.emission(i, u);
      Slot<T> here = row.enter(u);
      if (!Second) w.keep(i, u, here);
      here = times(here, emission);
      if (i % 8 == 7) here = {normalized(here.blank), normalized(here.label)};
      largest = Larger()(largest, exponent_of(here));
      row.write(u, here);
      if (Second) w.occupy(i, u, times(here, w.others(i, u)), scale);
    }
    PYASR_SYNC_BLOCK(905);
    row.turn ^= 1;
    row.pending = 0;
    const std::int64_t done = i + 1 - begin;
    if (done % ctc_shift_every == 0) {
      row.pending = shift_of(block_max<false>(largest, maxima));
      shift += static_cast<double>(row.pending);
      if (Second)
        scale = static_cast<T>(static_cast<double>(scale) - static_cast<double>(row.pending));
      else if (tid == 0)
        w.shift[done / ctc_shift_every] = shift;
    }
  }
  if (!Second && tid == 0) {
    w.shift[w.table - 2] = static_cast<double>(row.pending);
    w.shift[w.table - 1] = shift;
  }
}

}  // namespace
}  // namespace pyasr::cuda
