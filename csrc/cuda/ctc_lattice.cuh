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

// Reads what the thread of a slot needs of one frame after the other.
template <class T>
struct Needed {
  Slot<T> emission, other;
};
template <class T, bool Second>
class Reader {
 public:
  __device__ Reader(const Walk<T>& w, std::int64_t begin, std::int64_t end, int u)
      : blank_(w.emissions + w.frame(begin) * w.slots),
        other_(w.others_place(begin, u)),
        label_(1 + w.label(u)),
        step_(w.backward ? -w.slots : w.slots),
        left_(static_cast<int>(end - begin)),
        has_blank_(u <= w.n),
        has_label_(u < w.n) {}

  // Where a thread has no label or blank, `next` keeps its zeros.
  __device__ void read(Needed<T>& next) {
    if (--left_ < 0) return;
    next.emission.blank = blank_[0];
    if (has_label_) next.emission.label = blank_[label_];
    if (Second && has_blank_) next.other.blank = other_[0];
    if (Second && has_label_) next.other.label = other_[-1];
    blank_ += step_;
    other_ += 2 * step_;
  }

 private:
  const Cell<T>* blank_;  // of the frame's emissions
  const Cell<T>* other_;
  const std::int64_t label_, step_;
  int left_;
  const bool has_blank_, has_label_;
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
  const std::int64_t begin = Second ? w.half() : 0, end = Second ? w.frames : w.half();
  if (w.frames == 0 && Second && w.backward && u == 0) finish(a, s, w.b, w.n == 0 ? 1.0 : 0.0, 0.0);
  if (Second && begin == end) return;

  const bool has_blank = u <= w.n, has_label = u < w.n;
  const Slot<T> zeros{zero_cell<T>(), zero_cell<T>()};
  Needed<T> next[ahead<T>];
  Reader<T, Second> reader(w, begin, end, u);
#pragma unroll
  for (int j = 0; j < ahead<T>; ++j) {
    next[j] = {zeros, zeros};
    reader.read(next[j]);
  }
  Cell<T>* place = Second ? w.others_place(begin, u) : w.own_place(begin, u);
  const std::int64_t step = 2 * (w.backward ? -w.slots : w.slots);
  const int count = static_cast<int>(end - begin);
  const bool skips = w.skips(u);
  Slot<T> row = w.first(u);
  Exchange<T, OneWarp> exchange(edge);
  double shift = 0, origin = 0;  // exponents are lowered by shift; of an occupancy, by origin besides
  T scale = 0;
  if (Second) {
    if (has_blank) row = {w.row[u], w.row[w.slots + u]};
    shift = w.shift[w.table - 1];
    const Slot<T> both = times(times(entered(row, exchange(row.label), skips), next[0].other), next[0].emission);
    const T largest = block_max<OneWarp>(exponent_of(both), maxima);
    origin = static_cast<double>(largest) + shift + w.others_shift(begin);
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

  // The other direction changed its shift where its own steps have passed 64, 128, …
  int change = static_cast<int>((w.frames - 1 - begin) % ctc_shift_every) + 1;
  for (int i = 0; i < count; i += ahead<T>) {
#pragma unroll
    for (int j = 0; j < ahead<T>; ++j)
      if (i + j < count) {
        const Needed<T> now = next[j];
        reader.read(next[j]);
        row = entered(row, exchange(row.label), skips);
        if (Second) {
          if (i + j == change) {
            scale = static_cast<T>(origin - shift - w.others_shift(begin + change));
            change += static_cast<int>(ctc_shift_every);
          }
          row = times(row, now.emission);
          const Slot<T> both = times(row, now.other);
          if (has_blank) place[0] = {scaled(both.blank, scale), T(0)};
          if (has_label) place[-1] = {scaled(both.label, scale), T(0)};
        } else {
          if (has_blank) *reinterpret_cast<Slot<T>*>(place) = row;
          row = times(row, now.emission);
        }
        place += step;
      }
    row = {normalized(row.blank), normalized(row.label)};
    const int done = i + ahead<T>;
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
    if (has_blank) {
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
  __device__ Slot<T> others(std::int64_t i, std::int64_t u) const {
    const Cell<T>* place = w.others_place(i, u);
    return {place[0], u < w.n ? place[-1] : zero_cell<T>()};
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
    auto both = [&](std::int64_t u) { return times(times(row.enter(u), row.others(begin, u)), w.emission(begin, u)); };
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
    if (Second && (w.frames - i) % ctc_shift_every == 0) scale = static_cast<T>(origin - shift - w.others_shift(i));
    T largest = -infinity<T>;
    for (std::int64_t u = tid; u <= w.n; u += wide_threads<T>) {
      const Slot<T> emission = w.emission(i, u);
      Slot<T> here = row.enter(u);
      if (!Second) *reinterpret_cast<Slot<T>*>(w.own_place(i, u)) = here;
      here = times(here, emission);
      if (i % 8 == 7) here = {normalized(here.blank), normalized(here.label)};
      largest = Larger()(largest, exponent_of(here));
      row.write(u, here);
      if (Second) {
        const Slot<T> both = times(here, row.others(i, u));
        Cell<T>* place = w.others_place(i, u);
        place[0] = {scaled(both.blank, scale), T(0)};
        if (u < w.n) place[-1] = {scaled(both.label, scale), T(0)};
      }
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
