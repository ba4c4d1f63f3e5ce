// An update in one cooperative launch: each block forms the norms of its slots of grad, the grid meets once, each block
// updates its slots. The norm never leaves the device. A rule is a struct with `states`, some of which a call may leave
// out (null), and step(g, states), the direction. What it can do without is decided at run time: the kernel waits for
// memory, and template arguments would make 32 kernels of 12.
//
// grad_scale, sum_squares and the count of updates may lie on the device, so that a step is queued without a look at
// it. Every block reads the count and one raises it, so the grid meets in between, also where the norm is known.
//
// A list of arrays is a table of slots that number their array. The addresses come from memory, once for 1024 entries,
// and take registers in the place of constants: a kernel of its own, with fewer blocks per processor, which knows short
// rows too. 4 M parameters in rows of 64 are 62 rounds of 2 x 132 blocks of 8 such rows, not 125 of 4 x 132 single
// ones.
//
// Bytes per parameter (float32): twice the gradient, and the value and each state read and written: 16 for clip_sgd, 24
// with momentum, 32 for adam. Where the slots of all blocks fit into shared memory (H200: 132 processors of 227 kB, 7 M
// entries) the gradient stays there between the two passes, 4 bytes less; where they do not, it is read again from the
// end, the part that L2 has seen last. Where the sum of squares is given there is one pass, 4 bytes less too, and no
// barrier but that of the count.
//
// Not yet measured on a GPU. Predictions for an H200, 4.3 TB/s copied and 5 us for launch and barrier: 4 M parameters,
// clip and SGD, 48 MB: 11 + 5 = 16 us. 100 M, 1.6 GB: 372 us, 1.3 % of which is not copying.
#pragma once
#include "cuda/update_norms.cuh"

namespace pyasr::cuda {
namespace {

// What the kernel knows of its launch.
struct UpdateLaunch {
  UpdateTable table;
  bool sums;          // the norms are not known
  bool meet;          // the grid can meet: where there are sums, or may be, or a count
  bool keep;          // the gradient of a block fits into its shared memory
  int bundle, items;  // short rows of a bundle; bundles and other slots
};

// What the entries of a slot are updated by.
template <class T>
struct Steps {
  T scale, limit, lr, shrink, decay, l1, threshold, share;
  double exact;  // a scale that T would hold with few bits, or not at all; else 0
};

// Where the entries are: in vectors that begin, as all slots, at multiples of 16 bytes, in any, or in a list of arrays.
enum class Layout { aligned, any, list };

template <class T, class Rule, Layout Where>
struct Updater {
  const UpdateVectors<T>& a;
  const UpdateNumbers& o;
  Rule rule;
  const UpdateLaunch& launch;
  double* norms;  // [2, slots], and with short rows [items]
  UpdateReport* report;
  Four<T>* kept;  // shared [rounds, slot_size / 4]
  double* least;  // shared [update_warps]
  Joiner all;

  static constexpr double largest = sizeof(T) == 4 ? double{FLT_MAX} : DBL_MAX;

  // Read again at each use: it would take registers that a rule needs.
  __device__ double grad_scale() const { return o.grad_scale ? *o.grad_scale : o.options.grad_scale; }
  __device__ T done() const { return *a.count < 0 ? 0 : *a.count; }  // NaN stays
  __device__ const UpdateArrays<T>& arrays_of(const UpdateSlot& slot) const {
    return Where == Layout::list ? a.list[slot.array] : a;
  }
  // Whether four entries of the slot may be taken together.
  __device__ bool aligned(const UpdateSlot& slot) const {
    return Where == Layout::aligned || (Where == Layout::list && arrays_of(slot).aligned && slot.begin % 4 == 0);
  }
  __device__ UpdateSlot slot_at(int i) const {
    const UpdateTable& t = launch.table;
    if (t.slots) return t.slots[i];
    const std::size_t begin = static_cast<std::size_t>(i) * t.slot_size, left = a.n - begin;
    const int length = static_cast<int>(left < t.slot_size ? left : t.slot_size);
    return {static_cast<std::int64_t>(begin), length, 0, t.count, 0, 1, 1, 1 / sqrt(static_cast<double>(a.n))};
  }
  // Where this block keeps the gradient of the slot, or null.
  __device__ Four<T>* kept_of(int slot) const {
    const std::size_t round = static_cast<unsigned>(slot) / gridDim.x;
    return launch.keep && (Where != Layout::list || slot < launch.table.whole)
               ? kept + round * (launch.table.slot_size / 4)
               : nullptr;
  }

  __device__ void set_scale(Steps<T>& s, double scale) const {
    constexpr double normal = sizeof(T) == 4 ? double{FLT_MIN} : DBL_MIN;
    s.scale = static_cast<T>(scale);
    s.exact = scale != 0 && fabs(scale) < normal ? scale : 0;
  }
  __device__ Steps<T> steps_of(const UpdateSlot& slot, double factor, double change) const {
    const UpdateOptions& p = o.options;
    const double lr = o.lr * slot.lr * change, decay = o.weight_decay * slot.decay, l1 = o.l1 * slot.decay;
    Steps<T> s;
    set_scale(s, factor * grad_scale());
    s.limit = static_cast<T>(p.clip != Clip::value ? HUGE_VAL : o.root ? slot.root : p.limit);
    s.lr = static_cast<T>(lr);
    s.shrink = static_cast<T>(p.decoupled ? lr * decay : 0);
    s.decay = static_cast<T>(p.decoupled ? 0 : decay);
    s.l1 = static_cast<T>(p.proximal ? 0 : l1);
    s.threshold = static_cast<T>(p.proximal ? fabs(lr) * l1 : 0);
    s.share = static_cast<T>(1 - p.average_decay);
    return s;
  }
  __device__ T direction(const Steps<T>& s, T g, T p, T* state) const {
    g = s.exact != 0 ? static_cast<T>(s.exact * static_cast<double>(g)) : g * s.scale;
    g = g > s.limit ? s.limit : g;  // NaN stays
    g = g < -s.limit ? -s.limit : g;
    g += s.decay * p;
    if (s.l1 != 0) g += p > 0 ? s.l1 : p < 0 ? -s.l1 : T{};
    return rule.step(g, state);
  }

  __device__ double norm_of_grad(const UpdateSlot& slot, Four<T>* keep) {
    const T* const grad = arrays_of(slot).grad + slot.begin;
    const bool wide = aligned(slot);
    const double norm = norm_of_entries<T, 4>(all, slot.length, [&](int at, int count) {
      const Four<T> g = load(grad + at, count, wide);
      if (keep) keep[at / 4] = g;  // which this thread reads again, and no other
      return g;
    });
    if (o.options.nonfinite == NonFinite::propagate || !(norm * fabs(grad_scale()) > largest / 2)) return norm;
    double beyond = 0;  // whether an entry of grad_scale * grad is beyond T: its norm may be so without that
    const T scale = static_cast<T>(grad_scale());
    for (int i = all.rank(); i < slot.length; i += all.width)
      if (!finite(grad[i] * scale)) beyond = 1;
    return all.template join<Join::most>(beyond) != 0 ? HUGE_VAL : norm;
  }
  __device__ double norm_of_value(const UpdateSlot& slot) {
    const T* const value = arrays_of(slot).value + slot.begin;
    const bool wide = aligned(slot);
    return norm_of_entries<T, 1>(all, slot.length, [&](int at, int count) { return load(value + at, count, wide); });
  }
  // Of the step, lr apart.
  __device__ double norm_of_step(const UpdateSlot& slot) {
    const Steps<T> s = steps_of(slot, 1, 1);
    const UpdateArrays<T>& from = arrays_of(slot);
    const bool wide = aligned(slot);
    const T shrink = static_cast<T>(o.options.decoupled ? o.weight_decay * slot.decay : 0);
    return norm_of_entries<T, 1>(all, slot.length, [&](int at, int count) {
      Four<T> step{}, v[Rule::states] = {};
      const Four<T> p = load(from.value + slot.begin + at, count, wide);
      const Four<T> g = load(from.grad + slot.begin + at, count, wide);
      for (int i = 0; i < Rule::states; ++i)
        if (a.state[i]) v[i] = load(from.state[i] + slot.begin + at, count, wide);
      for (int k = 0; k < 4; ++k) {
        T state[Rule::states];
        for (int i = 0; i < Rule::states; ++i) state[i] = v[i].x[k];
        if (k < count) step.x[k] = shrink * p.x[k] + direction(s, g.x[k], p.x[k], state);
      }
      return step;
    });
  }

  // The slots of an item: one of all threads, or short rows, one of every warp.
  struct Item {
    bool rows;
    int first, end;   // slots
    int begin, step;  // of these, those of this thread
  };
  __device__ Item take(int item) {
    const int whole = launch.table.whole;
    if (item < whole) return {false, item, item + 1, item, 1};
    const int first = whole + (item - whole) * launch.bundle, left = launch.table.count - first;
    return {true, first, first + (left < launch.bundle ? left : launch.bundle),
            first + static_cast<int>(threadIdx.x) / 32, update_warps};
  }

  __device__ double fill_norm(int i) {
    const UpdateSlot slot = slot_at(i);
    const double norm = norm_of_grad(slot, kept_of(i));
    double second = 0;
    if (o.options.clip == Clip::adaptive) second = norm_of_value(slot);
    if (o.options.clip == Clip::max_change) second = norm_of_step(slot);
    if (all.rank() == 0) {
      dev::store_cg(norms + i, norm);
      dev::store_cg(norms + launch.table.count + i, second);
    }
    return norm;
  }
  __device__ void fill_norms() {
    const int step = static_cast<int>(gridDim.x);
    if constexpr (Where != Layout::list) {
      for (int i = static_cast<int>(blockIdx.x); i < launch.table.count; i += step) fill_norm(i);
    } else {
      for (int at = static_cast<int>(blockIdx.x); at < launch.items; at += step) {
        const Item item = take(at);
        double norm = 0;
        all.width = item.rows ? 32 : update_threads;
        for (int i = item.begin; i < item.end; i += item.step) norm = fill_norm(i);
        all.width = update_threads;
        if (!launch.bundle) continue;
        if (item.rows) {
          PYASR_SYNC_BLOCK(1703);
          norm = norm_of_norms(norms, item.first, item.end, &all);
        }
        if (threadIdx.x == 0) dev::store_cg(norms + 2 * launch.table.count + at, norm);
      }
    }
  }
  __device__ double norm_of_all() {
    return norm_of_norms(Where == Layout::list && launch.bundle ? norms + 2 * launch.table.count : norms, 0,
                         launch.items, &all);
  }

  __device__ double change_of(const UpdateSlot& slot, Joiner* joiner) const {
    const double* const changes = norms + launch.table.count;
    return norm_of_norms(changes, slot.first, slot.end, joiner) * fabs(o.lr * slot.lr);
  }
  // The factor of max_change that all steps have in common. A warp takes a segment at a time.
  __device__ double common_change() {
    double total = 0;
    int turn = 0;
    for (int i = 0, end; i < launch.table.count; i = end, ++turn) {
      const UpdateSlot slot = slot_at(i);
      end = slot.end;
      if (turn % update_warps != static_cast<int>(threadIdx.x) / 32) continue;
      const double change = change_of(slot, nullptr), left = above(o.options.limit, change) * change;
      total += left * left;
    }
    return above(o.options.total, sqrt(all.template join<Join::sum>(threadIdx.x % 32 ? 0 : total)));
  }

  __device__ double clip_factor(double norm) const {
    // eps = 0: a norm at or below the limit is left alone, bit for bit; so is a zero gradient.
    return norm != norm ? norm : above(o.options.limit, norm + o.options.eps);
  }
  // The factor of the slots that are clipped together with this one: of the gradient or, for max_change, of the step.
  __device__ double factor_of(const UpdateSlot& slot, double total, double common) {
    const UpdateOptions& p = o.options;
    const int slots = launch.table.count;
    const double unit = fabs(grad_scale());
    if (p.clip == Clip::norm) {
      const bool one = p.known || slot.end - slot.first == slots;
      return clip_factor(one ? total : norm_of_norms(norms, slot.first, slot.end, &all) * unit);
    }
    if (p.clip == Clip::adaptive) {
      const double weights = norm_of_norms(norms + slots, slot.first, slot.end, &all);
      const double row = norm_of_norms(norms, slot.first, slot.end, &all) * unit;
      return above(p.limit * (weights < 1e-3 ? 1e-3 : weights), row);
    }
    if (p.clip == Clip::max_change) return above(p.limit, change_of(slot, &all)) * common;
    return 1;
  }

  __device__ void update_entries(const Steps<T>& s, const UpdateSlot& slot, const Four<T>* keep, int at, int count) {
    const UpdateArrays<T>& in = arrays_of(slot);
    const std::int64_t i = slot.begin + at;
    const bool wide = aligned(slot);
    Four<T> v[Rule::states] = {};
    Four<T> p = load(in.value + i, count, wide);
    const Four<T> g = keep ? keep[at / 4] : load(in.grad + i, count, wide);
    for (int j = 0; j < Rule::states; ++j)
      if (a.state[j]) v[j] = load(in.state[j] + i, count, wide);
    for (int k = 0; k < 4; ++k) {
      T state[Rule::states];
      for (int j = 0; j < Rule::states; ++j) state[j] = v[j].x[k];
      const T d = direction(s, g.x[k], p.x[k], state);
      for (int j = 0; j < Rule::states; ++j) v[j].x[k] = state[j];
      // not (1 - shrink) * p: rounded once, that would be off the same way in every step
      T x = p.x[k] - (s.shrink * p.x[k] + s.lr * d);
      if (o.options.proximal)
        x = x > s.threshold ? x - s.threshold : x < -s.threshold ? x + s.threshold : x - x;  // NaN stays
      p.x[k] = x;
    }
    store(in.value + i, count, p, wide);
    for (int j = 0; j < Rule::states; ++j)
      if (a.state[j]) store(in.state[j] + i, count, v[j], wide);
    if (a.average) {
      Four<T> average = load(in.average + i, count, wide);
      for (int k = 0; k < 4; ++k) average.x[k] += s.share * (p.x[k] - average.x[k]);
      store(in.average + i, count, average, wide);
    }
  }
  // What is known of the slots that are updated one after the other.
  struct Known {
    double total, common, factor;
    int group;  // whose factor that is
  };
  __device__ void update_slot(int i, Known& known) {
    const bool changes = o.options.clip == Clip::max_change;
    const UpdateSlot slot = slot_at(i);
    if (slot.first != known.group) known.factor = factor_of(slot, known.total, known.common);
    known.group = slot.first;
    const double factor = known.factor;
    if (Where == Layout::list && all.width == 32) {
      if (all.rank() == 0) least[threadIdx.x / 32] = lesser(factor, least[threadIdx.x / 32]);
    } else if (i == slot.first && threadIdx.x == 0) {
      lower(&report->scale, factor);
    }
    const Steps<T> s = steps_of(slot, changes ? 1 : factor, changes ? factor : 1);
    const Four<T>* const keep = kept_of(i);
    const int tile = 4 * all.width;
    int at = slot.length / tile * tile + 4 * all.rank();
    if (at < slot.length) update_entries(s, slot, keep, at, slot.length - at);
#pragma unroll 1  // the blocks of a processor have 40 to 60 kB under way between them
    for (at -= tile; at >= 0; at -= tile) update_entries(s, slot, keep, at, 4);
  }
  // From the end of the last slot: what was read last is in cache.
  __device__ void update_slots(double total) {
    Known known{total, o.options.clip == Clip::max_change ? common_change() : 1, 1, -1};
    const int mine = static_cast<int>(blockIdx.x), step = static_cast<int>(gridDim.x);
    const int end = Where == Layout::list ? launch.items : launch.table.count;
    if (mine >= end) return;
    int at = mine + (end - 1 - mine) / step * step;
    if constexpr (Where != Layout::list) {
      for (; at >= 0; at -= step) update_slot(at, known);
    } else {
      const bool first = threadIdx.x % 32 == 0;
      if (first) least[threadIdx.x / 32] = 1;
      for (; at >= 0; at -= step) {
        const Item item = take(at);
        all.width = item.rows ? 32 : update_threads;
        for (int i = item.begin; i < item.end; i += item.step) update_slot(i, known);
      }
      if (first && least[threadIdx.x / 32] != 1) lower(&report->scale, least[threadIdx.x / 32]);
    }
  }

  __device__ void run() {
    const UpdateOptions& p = o.options;
    const bool speaker = blockIdx.x == 0 && threadIdx.x == 0;
    if (speaker) *report = {0, 1, 0};
    if (a.count) rule.begin(done(), all);
    const bool careful = p.nonfinite != NonFinite::propagate;
    double total = p.known ? sqrt(o.sum_squares ? *o.sum_squares : p.sum_squares) * fabs(grad_scale()) : 0;
    // Where the norm is known, the gradient is looked at beforehand by what else asks for it, and where an entry of
    // grad_scale * grad may be beyond T. All blocks decide alike.
    const bool beyond = launch.meet && careful && total > largest / 2, look = launch.sums || beyond;
    if (look) fill_norms();
    if (look || a.count) PYASR_SYNC_GRID(1702);
    if (!p.known || beyond) {
      const double formed = norm_of_all();
      total = !p.known ? formed * fabs(grad_scale()) : finite(formed) ? total : HUGE_VAL;
    }
    if (careful && finite(total) && fabs(grad_scale()) > largest) total = HUGE_VAL;
    const bool skipped = careful && !finite(total);
    if (speaker) {
      report->norm = total;
      report->skipped = skipped;
      if (a.count && !skipped) *a.count = done() + 1;
      if (!skipped && p.clip == Clip::norm && !launch.table.slots && a.n == 0) report->scale = clip_factor(total);
    }
    if (!skipped) update_slots(total);
  }
};

// Blocks of a processor: as many as nothing spills with.
template <class T, class Rule, Layout Where>
constexpr int update_resident = sizeof(T) == 8      ? 2
                                : Rule::states == 1 ? 4 - (Where == Layout::list)
                                                    : 3 - (Where != Layout::aligned);

template <class T, class Rule, Layout Where>
__global__ void __launch_bounds__(update_threads, (update_resident<T, Rule, Where>))
    update_kernel(UpdateVectors<T> a, UpdateNumbers o, Rule rule, UpdateLaunch launch, double* norms /* [2, slots] */,
                  UpdateReport* report) {
  PYASR_DYNAMIC_SHARED(Four<T>, kept);
  PYASR_SHARED(double, part, 2 * update_warps);
  PYASR_SHARED(double, least, update_warps);
  Updater<T, Rule, Where>{a, o, rule, launch, norms, report, kept, least, {part}}.run();
}

}  // namespace
}  // namespace pyasr::cuda
