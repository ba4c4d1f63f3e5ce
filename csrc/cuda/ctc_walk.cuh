// What the blocks of the lattice share: memory, the map from a direction's own order to frames and labels, the
// recurrence of one slot.
//
// Both directions are the same recurrence, over frames and labels in order or from their ends:
//   blank'(u) = blank(u) + label(u-1)
//   label'(u) = label(u) + blank(u) + [l_u != l_{u-1}] label(u-1),   then each times its emission in this frame
// With the primed values of both, before the emission, the occupancy of a state is forward' * backward' * emission. So
// both can run at the same time up to the middle, where each keeps its primed values; from there on each finds those of
// the other, and has half of the occupancies to write. The latency is that of T steps, not 2 T.
#pragma once
#include "cuda/ctc.hpp"
#include "cuda/ctc_cell.cuh"

namespace pyasr::cuda {
namespace {

enum Fate : std::int32_t { learns, impossible, lost };

template <class T>
struct CtcSpace {
  Cell<T>* emissions;
  Cell<T>* kept;
  Cell<T>* rows;
  double* shifts;
  double* log_norms;
  double* log_z;
  std::int32_t* links;
  std::int32_t* fates;

  CtcSpace(const CtcPlan& plan, void* workspace) {
    char* p = static_cast<char*>(workspace);
    emissions = reinterpret_cast<Cell<T>*>(p + plan.emissions);
    kept = reinterpret_cast<Cell<T>*>(p + plan.kept);
    rows = reinterpret_cast<Cell<T>*>(p + plan.rows);
    shifts = reinterpret_cast<double*>(p + plan.shifts);
    log_norms = reinterpret_cast<double*>(p + plan.log_norms);
    log_z = reinterpret_cast<double*>(p + plan.log_z);
    links = reinterpret_cast<std::int32_t*>(p + plan.links);
    fates = reinterpret_cast<std::int32_t*>(p + plan.fates);
  }
};

__device__ inline std::int64_t within(std::int32_t length, std::int64_t most) {
  return length < 0 ? 0 : length > most ? most : length;
}

constexpr double ln2 = 0.693147180559945309417;

// The maximum and the sum over a block, known to every thread. part: shared [32].
template <bool OneWarp, class T>
__device__ T block_max(T v, T* part) {
  v = warp_reduce(v, Larger());
  if (OneWarp) return v;
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  PYASR_SYNC_BLOCK(901);
  for (int k = 0; k < static_cast<int>(blockDim.x) / 32; ++k) v = Larger()(v, part[k]);
  return v;
}
template <bool OneWarp>
__device__ double block_sum(double v, double* part) {
  v = warp_reduce(v, Plus());
  if (OneWarp) return v;
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  PYASR_SYNC_BLOCK(902);
  v = 0;
  for (int k = 0; k < static_cast<int>(blockDim.x) / 32; ++k) v += part[k];
  return v;
}

template <class T>
struct alignas(16) Slot {
  Cell<T> blank, label;
};

template <class T>
__device__ Slot<T> entered(const Slot<T>& row, Cell<T> before, bool skips) {
  const Cell<T> jump{before.m, skips ? before.e : -infinity<T>};
  return {Sum<T>::plus(row.blank, before), Sum<T>::plus(row.label, row.blank, jump)};
}
template <class T>
__device__ Slot<T> times(const Slot<T>& a, const Slot<T>& b) {
  return {Sum<T>::times(a.blank, b.blank), Sum<T>::times(a.label, b.label)};
}
template <class T>
__device__ T exponent_of(const Slot<T>& s) {
  return Larger()(s.blank.e, s.label.e);
}
// What lies above is rounding of exponents that have no units left.
template <class T>
__device__ T scaled(Cell<T> c, T scale) {
  const T d = c.e - scale;
  return c.m * power_of_two(d > T(64) ? T(64) : d);
}

// One utterance in one direction, whose own step i and slot u are a frame and a label.
template <class T>
struct Walk {
  const std::int64_t b, frames, n;  // n labels
  const bool backward;
  const std::int64_t slots, table;
  const std::int32_t* const labels;  // [n]
  const Cell<T>* const emissions;    // [frames, slots]
  Cell<T>* const kept;               // [frames, slots, 2]
  Cell<T>* const row;                // [2, 2, slots]
  double* const shift;               // [table] of this direction: by how much the exponents have been lowered
  const double* const other_shift;   // [table]

  __device__ Walk(const CtcArgs<T>& a, const CtcSpace<T>& s)
      : b(blockIdx.x),
        frames(within(a.lengths[b], a.frames)),
        n(within(a.label_lengths[b], a.U)),
        backward(blockIdx.y != 0),
        slots(a.U + 1),
        table(a.frames / ctc_shift_every + 4),
        labels(a.labels + b * a.U),
        emissions(s.emissions + b * a.frames * slots),
        kept(s.kept + b * a.frames * 2 * slots),
        row(s.rows + (2 * b + backward) * 4 * slots),
        shift(s.shifts + (2 * b + backward) * table),
        other_shift(s.shifts + (2 * b + !backward) * table) {}

  // Own steps before the middle.
  __device__ std::int64_t half() const { return backward ? frames / 2 : (frames + 1) / 2; }
  __device__ std::int64_t frame(std::int64_t i) const { return backward ? frames - 1 - i : i; }
  __device__ std::int64_t blank(std::int64_t u) const { return backward ? n - u : u; }
  __device__ std::int64_t label(std::int64_t u) const { return backward ? n - 1 - u : u; }

  __device__ bool skips(std::int64_t u) const {
    return u > 0 && u < n && labels[label(u)] != labels[label(u) + (backward ? 1 : -1)];
  }
  __device__ Slot<T> emission(std::int64_t i, std::int64_t u) const {
    const Cell<T>* e = emissions + frame(i) * slots;
    return {e[0], u < n ? e[1 + label(u)] : zero_cell<T>()};
  }
  // What is kept of a frame lies in the order of the direction that wrote it: blank and label of its slot u.
  __device__ Cell<T>* own_place(std::int64_t i, std::int64_t u) const { return kept + 2 * (frame(i) * slots + u); }
  // Where the other direction put the same states: the blank here, the label in front of it. The occupancies go there
  // too, which nobody but the thread of slot u reads or writes.
  __device__ Cell<T>* others_place(std::int64_t i, std::int64_t u) const { return own_place(i, n - u); }
  __device__ Slot<T> first(std::int64_t u) const {
    return {u == 0 ? Cell<T>{T(1), T(0)} : zero_cell<T>(), zero_cell<T>()};
  }
  // The shift of the other direction when it kept what this one finds in step i.
  __device__ double others_shift(std::int64_t i) const { return other_shift[(frames - 1 - i) / ctc_shift_every]; }
};

// Where exponents have no units left nothing is subtracted, nor from a row of zeros.
template <class T>
__device__ T shift_of(T largest) {
  return largest > T(-1e7) ? largest : T(0);
}

// p = sum * 2^exponent / exp(log_z), of which one thread makes the loss.
template <class T>
__device__ void finish(const CtcArgs<T>& a, const CtcSpace<T>& s, std::int64_t b, double sum, double exponent) {
  const double log_z = s.log_z[b];
  const bool is_lost = !(log_z == log_z), is_impossible = !(sum > 0);
  s.fates[b] = is_lost ? lost : is_impossible ? impossible : learns;
  if (is_lost)
    a.loss[b] = nan_of<T>();
  else if (is_impossible)
    a.loss[b] = a.zero_infinity ? T(0) : infinity<T>;
  else
    a.loss[b] = static_cast<T>(log_z - log(sum) - exponent * ln2);
}

// Of a block beside the two directions: the sum of the frames' log norms, NaN where anything of the utterance is bad,
// and the links of equal labels. A link is one more than the next place of the label, 0 without one, and of a label
// that came before its complement.
template <class T, bool OneWarp>
__device__ void prepare(const CtcArgs<T>& a, const CtcSpace<T>& s, double* part) {
  const std::int64_t b = blockIdx.x, tid = threadIdx.x, threads = blockDim.x;
  const std::int64_t frames = within(a.lengths[b], a.frames), n = within(a.label_lengths[b], a.U);
  const std::int32_t* labels = a.labels + b * a.U;
  bool bad = frames != a.lengths[b] || n != a.label_lengths[b];
  double sum = 0;
  for (std::int64_t t = tid; t < frames; t += threads) sum += s.log_norms[b * a.frames + t];
  for (std::int64_t u = tid; u < n; u += threads) {
    const std::int32_t label = labels[u];
    bad |= label < 0 || label >= a.V || label == a.blank;
    std::int64_t next = u + 1, before = u - 1;
    while (next < n && labels[next] != label) ++next;
    while (before >= 0 && labels[before] != label) --before;
    const auto link = static_cast<std::int32_t>(next < n ? next + 1 : 0);
    s.links[b * a.U + u] = before < 0 ? link : ~link;
  }
  if (bad) sum = nan_of<double>();
  sum = block_sum<OneWarp>(sum, part);
  if (tid == 0) s.log_z[b] = sum;
}

}  // namespace
}  // namespace pyasr::cuda
