// ctc_align in two launches. rows: the whole grid, a warp or a block per frame, finds its largest logit and its norm
// and gathers the emissions. lattice: a block per utterance, Viterbi in float64 with a thread per slot, then back along
// the ways, 64 frames at a time: the block brings the 64 slots that they can touch into shared memory, one thread
// walks, all write.
//
// Bytes per frame (float32): 4 V for rows, and 8 + 8 + 1 + 1 for each label. Of the lattice the latency counts: 0.06 us
// per frame forward (as ctc.cu says), and back 64 reads of shared memory (0.02 us each) with one trip to L2 (1 us) per
// 64 frames. Predicted on an H200 for T=500 B=32 U=50 V=32: 500 * (0.06 + 0.04) us and two launches, 55 us. Not yet
// measured on a GPU.
#include "cuda/align.hpp"
#include "cuda/softmax_row.cuh"
#include "math/semiring.hpp"

namespace pyasr::cuda {
namespace {

constexpr double nothing = -infinity<double>;
constexpr int portion = 64;  // frames of one step back

struct AlignSpace {
  double* emissions;
  double* log_norms;
  double* rows;
  unsigned char* ways;

  AlignSpace(const AlignPlan& plan, void* workspace) {
    char* p = static_cast<char*>(workspace);
    emissions = reinterpret_cast<double*>(p + plan.emissions);
    log_norms = reinterpret_cast<double*>(p + plan.log_norms);
    rows = reinterpret_cast<double*>(p + plan.rows);
    ways = reinterpret_cast<unsigned char*>(p + plan.ways);
  }
};

__device__ inline std::int64_t within(std::int32_t length, std::int64_t most) {
  return length < 0 ? 0 : length > most ? most : length;
}

template <class T, int Group, int Width>
__global__ void __launch_bounds__(row_threads, row_blocks<T>) align_rows(AlignArgs<T> a, AlignSpace s, bool aligned) {
  PYASR_SHARED(T, maxima, row_threads / 32);
  PYASR_SHARED(T, sums, row_threads / 32);
  const std::int64_t at = own_row<Group>();
  if (at >= a.frames * a.B) return;
  const std::int64_t t = at / a.B, b = at % a.B;
  if (t >= within(a.lengths[b], a.frames)) return;
  const T* x = a.logits + at * a.V;
  Row<T, Group, Width> row(x, a.V, aligned);
  row.reduce(maxima, sums);
  const int rank = static_cast<int>(threadIdx.x) % Group;
  if (rank == 0) s.log_norms[b * a.frames + t] = log(static_cast<double>(row.sum));
  const std::int64_t slots = a.U + 1, n = within(a.label_lengths[b], a.U);
  double* emissions = s.emissions + (b * a.frames + t) * slots;
  for (std::int64_t k = rank; k <= n; k += Group) {
    const std::int64_t symbol = k == 0 ? a.blank : a.labels[b * a.U + k - 1];
    const bool good = symbol >= 0 && symbol < a.V;
    emissions[k] = good ? static_cast<double>(x[symbol]) - static_cast<double>(row.max) : nothing;
  }
}

// What leads to a cell: the first of the largest.
struct Best {
  double value;
  int way;
};
struct Ways {
  PYASR_MATH static int way(long k) { return static_cast<int>(k); }
};
using Max = math::MaxProduct<Ways, Best>;

struct Slot {
  double blank, label;
};

// The row of one slot after a frame; the way of both in a byte.
__device__ inline Slot entered(const Slot& row, double before, bool skips, const Slot& emission, unsigned char* way) {
  const Best blank = Max::meet({row.blank, 0}, {before, 0}, 1);
  const Best step = Max::meet({row.label, 0}, {row.blank, 0}, 1);
  const Best label = Max::meet(step, {skips ? before : nothing, 0}, 2);
  *way = static_cast<unsigned char>(blank.way + 2 * label.way);
  return {blank.value + emission.blank, label.value + emission.label};
}

struct Utterance {
  std::int64_t frames, n, slots;
  const std::int32_t* labels;  // [n]
  const double* emissions;     // [frames, slots]
  unsigned char* ways;         // [frames, slots]
  double* row;                 // [2, 2, slots]

  __device__ bool skips(std::int64_t u) const { return u > 0 && u < n && labels[u] != labels[u - 1]; }
  __device__ Slot emission(std::int64_t t, std::int64_t u) const {
    const double* e = emissions + t * slots;
    return {e[0], u < n ? e[1 + u] : nothing};
  }
};

// How wide the lattice is: its slots in one warp, in a block, or more.
enum Kind { one_warp, narrow, wide };

// Fills the ways, and `last` [2] with the blank behind all labels and the last label, before a barrier. A thread has
// one slot and knows the emissions of the next frames; labels pass to the next slot by a shuffle or through shared
// memory.
template <bool OneWarp>
__device__ void forward_in_registers(const Utterance& w, double* edge, double* last) {
  constexpr int ahead = 8, stride = align_most_threads + 1;
  const int u = static_cast<int>(threadIdx.x);
  const bool skips = w.skips(u);
  Slot row{u == 0 ? 0.0 : nothing, nothing}, next[ahead];
  if (!OneWarp && u < 2) edge[u * stride] = nothing;
#pragma unroll
  for (int j = 0; j < ahead; ++j)
    if (j < w.frames) next[j] = w.emission(j, u);
  for (std::int64_t t = 0; t < w.frames; t += ahead)
#pragma unroll
    for (int j = 0; j < ahead; ++j)
      if (t + j < w.frames) {
        const Slot emission = next[j];
        if (t + j + ahead < w.frames) next[j] = w.emission(t + j + ahead, u);
        double before;
        if (OneWarp) {
          before = dev::shuffle_up(row.label, 1);
          if (u == 0) before = nothing;
        } else {
          double* turn = edge + j % 2 * stride;
          turn[u + 1] = row.label;
          PYASR_SYNC_BLOCK(1001);
          before = turn[u];
        }
        unsigned char way;
        row = entered(row, before, skips, emission, &way);
        if (u <= w.n) w.ways[(t + j) * w.slots + u] = way;
      }
  if (u == w.n) last[0] = row.blank;
  if (u == w.n - 1) last[1] = row.label;
}

// A thread has every 1024th slot, and the row lies in memory, twice.
__device__ inline void forward_in_memory(const Utterance& w, double* last) {
  const std::int64_t tid = threadIdx.x;
  double* row = w.row;
  double* next = w.row + 2 * w.slots;
  for (std::int64_t u = tid; u <= w.n; u += align_wide_threads) {
    row[u] = u == 0 ? 0.0 : nothing;
    row[w.slots + u] = nothing;
  }
  for (std::int64_t t = 0; t < w.frames; ++t) {
    PYASR_SYNC_BLOCK(1002);
    for (std::int64_t u = tid; u <= w.n; u += align_wide_threads) {
      const Slot here{row[u], row[w.slots + u]};
      unsigned char way;
      const Slot s = entered(here, u ? row[w.slots + u - 1] : nothing, w.skips(u), w.emission(t, u), &way);
      w.ways[t * w.slots + u] = way;
      next[u] = s.blank;
      next[w.slots + u] = s.label;
      if (u == w.n) last[0] = s.blank;
      if (u == w.n - 1) last[1] = s.label;
    }
    double* const old = row;
    row = next;
    next = old;
  }
}

// Everything of the utterance alike.
template <class T>
__device__ void give_up(const AlignArgs<T>& a, std::int64_t frames, T score, T log_p) {
  const std::int64_t b = blockIdx.x;
  for (std::int64_t t = threadIdx.x; t < frames; t += blockDim.x) {
    a.positions[t * a.B + b] = -1;
    a.scores[t * a.B + b] = score;
  }
  if (threadIdx.x == 0) a.log_p[b] = log_p;
}

template <class T, Kind K>
__global__ void __launch_bounds__(K == one_warp ? 32
                                  : K == narrow ? align_most_threads
                                                : align_wide_threads,
                                  1) align_lattice(AlignArgs<T> a, AlignSpace s) {
  PYASR_SHARED(double, edge, K == narrow ? 2 * (align_most_threads + 1) : 1);
  PYASR_SHARED(double, last, 2);
  PYASR_SHARED(int, lost, 32);
  PYASR_SHARED(double, sums, 32);
  PYASR_SHARED(unsigned char, staged, portion* portion);
  PYASR_SHARED(int, path, portion + 1);  // states: 2u for the blank before label u, 2u + 1 for the label
  const std::int64_t b = blockIdx.x;
  const int tid = static_cast<int>(threadIdx.x), threads = static_cast<int>(blockDim.x), warps = threads / 32;
  const std::int64_t frames = within(a.lengths[b], a.frames), n = within(a.label_lengths[b], a.U), slots = a.U + 1;
  const Utterance w{frames,
                    n,
                    slots,
                    a.labels + b * a.U,
                    s.emissions + b * a.frames * slots,
                    s.ways + b * a.frames * slots,
                    K == wide ? s.rows + b * 4 * slots : nullptr};
  const double* log_norms = s.log_norms + b * a.frames;
  for (std::int64_t t = frames + tid; t < a.frames; t += threads) {
    a.positions[t * a.B + b] = -1;
    a.scores[t * a.B + b] = T(0);
  }
  bool bad = frames != a.lengths[b] || n != a.label_lengths[b];
  for (std::int64_t t = tid; t < frames; t += threads) bad |= !(log_norms[t] == log_norms[t]);
  for (std::int64_t u = tid; u < n; u += threads) {
    const std::int32_t label = w.labels[u];
    bad |= label < 0 || label >= a.V || label == a.blank;
  }
  bad = dev::any(bad);
  if (tid % 32 == 0) lost[tid / 32] = bad;
  if (tid == 0) {
    last[0] = n == 0 ? 0.0 : nothing;
    last[1] = nothing;
  }
  PYASR_SYNC_BLOCK(1003);
  for (int k = 0; k < warps; ++k) bad |= lost[k] != 0;
  if (bad) return give_up(a, frames, nan_of<T>(), nan_of<T>());
  if (frames == 0) return give_up<T>(a, 0, T(0), n == 0 ? T(0) : -infinity<T>);

  if constexpr (K == wide)
    forward_in_memory(w, last);
  else
    forward_in_registers<K == one_warp>(w, edge, last);
  PYASR_SYNC_BLOCK(1004);
  const bool at_label = last[1] > last[0];
  if (last[at_label] == nothing) return give_up<T>(a, frames, T(0), -infinity<T>);

  std::int64_t state = at_label ? 2 * n - 1 : 2 * n;
  double total = 0;
  for (std::int64_t end = frames; end > 0; end -= portion) {  // frames [end - portion, end), from the last
    const std::int64_t low = state / 2 - (portion - 1), count = end < portion ? end : portion;
    for (int k = tid; k < count * portion; k += threads) {
      const std::int64_t u = low + k % portion;
      if (u >= 0 && u <= n) staged[k] = w.ways[(end - 1 - k / portion) * slots + u];
    }
    PYASR_SYNC_BLOCK(1005);
    if (tid == 0) {
      int u = portion - 1, label = static_cast<int>(state % 2);  // of the staged slots
      const int least = low < 0 ? static_cast<int>(-low) : 0;
      for (int k = 0; k < count; ++k) {
        path[k] = 2 * u + label;
        const int way = staged[k * portion + u];
        if (label) {
          if (way / 2 == 1) label = 0;
          if (way / 2 == 2) --u;
        } else if (way % 2) {
          label = 1;
          --u;
        }
        u = u < least ? least : u;  // in bounds, whatever shared memory holds
      }
      path[portion] = 2 * u + label;
    }
    PYASR_SYNC_BLOCK(1006);
    for (int k = tid; k < count; k += threads) {
      const std::int64_t t = end - 1 - k, at = low + path[k] / 2, u = at < 0 ? 0 : at;
      const bool label = path[k] % 2 == 1;
      const double score = w.emissions[t * slots + (label ? 1 + u : 0)] - log_norms[t];
      a.positions[t * a.B + b] = label ? static_cast<std::int32_t>(u) : -1;
      a.scores[t * a.B + b] = static_cast<T>(score);
      total += score;
    }
    state = 2 * low + path[portion];
    state = state < 0 ? 0 : state;  // as above
  }
  total = warp_reduce(total, Plus());
  if (tid % 32 == 0) sums[tid / 32] = total;
  PYASR_SYNC_BLOCK(1007);
  if (tid == 0) {
    total = 0;
    for (int k = 0; k < warps; ++k) total += sums[k];
    a.log_p[b] = static_cast<T>(total);
  }
}

}  // namespace

template <class T>
cudaError_t ctc_align(const AlignArgs<T>& args, void* workspace, cudaStream_t stream) {
  if (args.B == 0) return cudaSuccess;
  const AlignPlan plan = plan_align(args.frames, args.B, args.U);
  const AlignSpace space(plan, workspace);
  if (args.frames) {
    const cudaError_t e = for_rows<T>(args.frames * args.B, args.V, [&](auto group, auto width, unsigned grid) {
      return launch(align_rows<T, group(), width()>, grid, row_threads, 0, stream, args, space,
                    aligned_rows(args.logits, args.logits));
    });
    if (e) return e;
  }
  const auto kernel = plan.wide            ? align_lattice<T, wide>
                      : plan.threads == 32 ? align_lattice<T, one_warp>
                                           : align_lattice<T, narrow>;
  return launch(kernel, static_cast<unsigned>(args.B), static_cast<unsigned>(plan.threads), 0, stream, args, space);
}

template cudaError_t ctc_align(const AlignArgs<float>&, void*, cudaStream_t);
template cudaError_t ctc_align(const AlignArgs<double>&, void*, cudaStream_t);

}  // namespace pyasr::cuda
