// An update in two streaming passes: read grad; then read grad, value and states and write value and states. The second
// pass begins at the end, where grad is still in cache. One pass where nothing depends on the norm, or where its square
// is known. Adaptive clipping reads value in the first pass too, max_change all that its steps depend on.
//
// Norms are exact to rounding at any scale: float32 lanes are emptied into float64 every 16 rounds, and a sum that
// over- or underflows is formed again in float64. Blocks are cut and summed in a fixed order: the same bits for any
// thread count.
#pragma once
#include "cpu/update_norms.hpp"
#include "pyasr/update.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr std::size_t block = 16384;  // entries per work item; 64 kB of float32
// The second pass takes groups of blocks last to first, for the part of grad that is still in cache, and the blocks of
// a group first to last, for the hardware's prefetching. Measured at 40 M entries, float32, 1 thread: tried: every
// block last to first, 0.91x; software prefetch 0.5, 1 or 2 kB ahead, 0.93x to 1.0x
constexpr long group = 32;

// What a block of one piece is updated by. `rule` is up to the rule.
template <class T>
struct Steps {
  T scale, limit, lr, keep, shrink, decay, l1, rule[6];
};

template <class T>
using BlockFn = void (*)(T* value, const T* grad, T* const* state, std::size_t n, const Steps<T>& steps);

template <class V>
PYASR_INLINE V vsqrt(V v) {
  for (unsigned i = 0; i < sizeof(V) / sizeof(v[0]); ++i) {
    if constexpr (sizeof(v[0]) == 4)
      v[i] = __builtin_sqrtf(v[i]);
    else
      v[i] = __builtin_sqrt(v[i]);
  }
  return v;
}

// One block by a rule with `Rule::states` states, of which Rule::template step(g, states, steps) gives the direction.
template <class T, class Rule>
void update_block(T* value, const T* grad, T* const* state, std::size_t n, const Steps<T>& given) {
  constexpr int L = lanes<T>, K = Rule::states, U = K > 1 ? 2 : 4;
  const Steps<T> s = given;  // its own copy: stores into value cannot change it
  T* states[K + 1];
  for (int k = 0; k < K; ++k) states[k] = state[Rule::place[k]];
  const auto entries = [&](Vec<T>& p, Vec<T> g, Vec<T>* v) __attribute__((always_inline)) {
    g = g * s.scale;
    g = g > s.limit ? Vec<T>{} + s.limit : g;
    g = g < -s.limit ? Vec<T>{} - s.limit : g;
    g = g + s.decay * p;
    if constexpr (Rule::l1) g += p > 0 ? Vec<T>{} + s.l1 : p < 0 ? Vec<T>{} - s.l1 : Vec<T>{};
    // not (keep - shrink) * p: rounded once, that would be off the same way in every step
    p = s.keep * p - (s.shrink * p + s.lr * Rule::template step<Vec<T>>(g, v, s.rule));
  };
  std::size_t i = 0;
  for (; i + U * L <= n; i += U * L) {
    if constexpr (K > 1)  // four streams and more: 8 % at 4 M and 3 % at 40 M entries; with one state it gains nothing
      for (int u = 0; u < U; ++u) {
        const std::size_t ahead = i + static_cast<std::size_t>(u * L) + 512;
        __builtin_prefetch(grad + ahead);
        __builtin_prefetch(value + ahead);
        for (int k = 0; k < K; ++k) __builtin_prefetch(states[k] + ahead);
      }
#pragma GCC unroll 4
    for (int u = 0; u < U; ++u) {
      const std::size_t at = i + static_cast<std::size_t>(u * L);
      Vec<T> p = load(value + at), v[K + 1];
      for (int k = 0; k < K; ++k) v[k] = load(states[k] + at);
      entries(p, load(grad + at), v);
      store(value + at, p);
      for (int k = 0; k < K; ++k) store(states[k] + at, v[k]);
    }
  }
  for (; i < n; i += L) {
    const int part = n - i < static_cast<std::size_t>(L) ? static_cast<int>(n - i) : L;
    Vec<T> p = load_part(value + i, part), v[K + 1];
    for (int k = 0; k < K; ++k) v[k] = load_part(states[k] + i, part);
    entries(p, load_part(grad + i, part), v);
    store_part(value + i, p, part);
    for (int k = 0; k < K; ++k) store_part(states[k] + i, v[k], part);
  }
}

template <class T>
std::size_t blocks_of(const UpdatePiece<T>& p) {
  return (p.n + block - 1) / block;
}

// A sum per block, another for max_change, the piece of the block, per piece its norm, its factor and its change, per
// row its factor and its norm, or per group of norms their sum.
template <class T>
std::size_t workspace_bytes(const UpdateArgs<T>& a) noexcept {
  std::size_t blocks = 0, rows = 0;
  for (std::size_t i = 0; i < a.count; ++i) {
    blocks += blocks_of(a.pieces[i]);
    rows += a.pieces[i].rows;
  }
  const std::size_t more = a.options.clip == Clip::adaptive ? 2 * rows : a.options.clip == Clip::norm ? 2 * a.count : 0;
  return (3 * blocks + 3 * a.count + more) * sizeof(double);
}

template <class T>
struct Updater {
  const UpdateArgs<T>& a;
  const UpdateOptions& o = a.options;
  BlockFn<T> fn;
  const double* rule;  // [6]
  const Runtime& runtime;
  long blocks = 0;
  std::size_t* owner;  // the piece of a block
  double *part, *change_part, *norm, *factor, *change, *row_factor, *row_norm;
  Joined* groups;

  Updater(const UpdateArgs<T>& args, BlockFn<T> function, const double* numbers, void* workspace, const Runtime& rt)
      : a(args), fn(function), rule(numbers), runtime(rt) {
    std::size_t rows = 0;
    for (std::size_t i = 0; i < a.count; ++i) {
      a.pieces[i].first = static_cast<std::size_t>(blocks);
      a.pieces[i].first_row = rows;
      blocks += static_cast<long>(blocks_of(a.pieces[i]));
      rows += a.pieces[i].rows;
    }
    part = static_cast<double*>(workspace);
    change_part = part + blocks;
    owner = reinterpret_cast<std::size_t*>(change_part + blocks);
    for (std::size_t i = 0, b = 0; i < a.count; ++i)
      for (const std::size_t end = b + blocks_of(a.pieces[i]); b < end; ++b) owner[b] = i;
    norm = change_part + 2 * blocks;
    factor = norm + a.count;
    change = factor + a.count;
    row_factor = change + a.count;
    row_norm = row_factor + rows;
    groups = reinterpret_cast<Joined*>(row_factor);  // no way of clipping needs both
    for (std::size_t i = 0; i < a.count; ++i) factor[i] = change[i] = 1;
  }

  struct Place {
    std::size_t piece, at, n;  // n entries from `at` on
  };
  Place place(long b) const {
    const std::size_t i = owner[b];
    const UpdatePiece<T>& p = a.pieces[i];
    const std::size_t at = (static_cast<std::size_t>(b) - p.first) * block, left = p.n - at;
    return {i, at, left < block ? left : block};
  }

  // The norm of every piece from sums of squares per block, of which `again(block, unit)` gives scaled ones.
  template <class Again>
  void norms_of_pieces(double* sums, double* out, double times, const Again& again) {
    for (std::size_t i = 0; i < a.count; ++i) {
      const UpdatePiece<T>& p = a.pieces[i];
      const long count = static_cast<long>(blocks_of(p)), first = static_cast<long>(p.first);
      double total = sum_tree(sums + first, count), unit = 1;
      if (lossy<T>(total, p.n)) {
        unit = unit_for<T>(total);
        parallel_for(runtime, count, [&](long b, int) { sums[first + b] = again(first + b, unit); });
        total = sum_tree(sums + first, count);
      }
      out[i] = __builtin_sqrt(total) / unit * times;
    }
  }
  void norms_of_grads() {
    norms_of_pieces(part, norm, __builtin_fabs(o.grad_scale), [&](long b, double unit) {
      const Place w = place(b);
      return sum_squares_scaled(a.pieces[w.piece].grad + w.at, w.n, unit);
    });
  }
  double sum_squares_of(long b) const {
    const Place w = place(b);
    return sum_squares_block(a.pieces[w.piece].grad + w.at, w.n);
  }

  // Whether an entry of grad_scale * grad is beyond T: its norm may be so without that.
  bool overflows(double of_norm) const {
    if (!(of_norm > (sizeof(T) == 4 ? __FLT_MAX__ : __DBL_MAX__) / 2)) return false;
    T largest = 0;
    for (std::size_t i = 0; i < a.count; ++i)
      for (std::size_t k = 0; k < a.pieces[i].n; ++k) {
        const T x = a.pieces[i].grad[k], size = x < 0 ? -x : x;
        largest = size > largest ? size : largest;
      }
    return !finite(static_cast<double>(largest * static_cast<T>(o.grad_scale)));
  }

  // All but the scale, which apply() takes.
  Steps<T> steps_of(std::size_t piece) const {
    const UpdatePiece<T>& p = a.pieces[piece];
    Steps<T> s{};
    s.limit = static_cast<T>(p.limit);
    s.lr = static_cast<T>(p.lr * change[piece]);
    s.keep = 1;
    s.shrink = static_cast<T>(o.decoupled ? p.lr * p.decay * change[piece] : 0);
    s.decay = static_cast<T>(o.decoupled ? 0 : p.decay);
    s.l1 = static_cast<T>(o.proximal ? 0 : p.l1);
    for (int i = 0; i < 6; ++i) s.rule[i] = static_cast<T>(rule[i]);
    return s;
  }

  // The rule on n entries. A scale that T holds with few bits, or not at all, is applied in float64, to a copy.
  void apply(T* value, const T* grad, T* const* state, std::size_t n, Steps<T>& s, double scale) const {
    constexpr double normal = sizeof(T) == 4 ? __FLT_MIN__ : __DBL_MIN__;
    s.scale = static_cast<T>(scale);
    if (!(scale != 0 && __builtin_fabs(scale) < normal)) return fn(value, grad, state, n, s);
    constexpr std::size_t some = 512;
    T scaled[some], *states[update_states];
    s.scale = 1;
    for (std::size_t i = 0; i < n; i += some) {
      const std::size_t now = n - i < some ? n - i : some;
      for (std::size_t j = 0; j < now; ++j) scaled[j] = static_cast<T>(scale * static_cast<double>(grad[i + j]));
      for (int k = 0; k < update_states; ++k) states[k] = state[k] ? state[k] + i : nullptr;
      fn(value + i, scaled, states, now, s);
    }
  }

  // The sum of squares of the steps of a block, lr apart: it is taken from zero with a rate of -1, beside the arrays.
  double change_of(long b, double unit) const {
    constexpr std::size_t some = 512;
    T scratch[1 + update_states][some];
    const Place w = place(b);
    const UpdatePiece<T>& p = a.pieces[w.piece];
    Steps<T> s = steps_of(w.piece);
    s.keep = 0;
    s.lr = -1;
    s.shrink = static_cast<T>(o.decoupled ? -p.decay : 0);
    double total = 0;
    for (std::size_t i = 0; i < w.n; i += some) {
      const std::size_t n = w.n - i < some ? w.n - i : some, at = w.at + i;
      T* states[update_states];
      for (int k = 0; k < update_states; ++k) {
        states[k] = scratch[1 + k];
        if (p.state[k])
          for (std::size_t j = 0; j < n; ++j) states[k][j] = p.state[k][at + j];
      }
      for (std::size_t j = 0; j < n; ++j) scratch[0][j] = p.value[at + j];
      apply(scratch[0], p.grad + at, states, n, s, o.grad_scale);
      total += sum_squares_scaled(scratch[0], n, unit);
    }
    return total;
  }

  // Norms of rows: of the gradient, and the factor that brings it down to that of the weights. Returns the least.
  double clip_rows() {
    constexpr double least = 1e-3;
    double scale = 1;
    for (std::size_t i = 0; i < a.count; ++i) {
      const UpdatePiece<T>& p = a.pieces[i];
      parallel_for(runtime, static_cast<long>(p.rows), [&](long r, int) {
        const std::size_t at = static_cast<std::size_t>(r) * p.columns, k = p.first_row + static_cast<std::size_t>(r);
        const double weights = norm_of_row(p.value + at, p.columns);
        row_norm[k] = norm_of_row(p.grad + at, p.columns) * __builtin_fabs(o.grad_scale);
        row_factor[k] = above(o.limit * (weights < least ? least : weights), row_norm[k]);
      });
      norm[i] = norm_of_norms(row_norm + p.first_row, p.rows);
      for (std::size_t r = 0; r < p.rows; ++r) lower(scale, row_factor[p.first_row + r]);
    }
    return scale;
  }

  double clip_norms(double total) {
    double scale = 1;
    for (std::size_t i = 0; i < a.count; ++i) groups[i] = {0, 0};
    if (!o.known) join_norms(norm, a.count, groups, [&](std::size_t i) { return a.pieces[i].group; });
    for (std::size_t i = 0; i < a.count; ++i) {
      const double n = o.known ? total : groups[a.pieces[i].group].norm();
      // eps = 0: a norm at or below the limit is left alone, bit for bit; so is a zero gradient.
      factor[i] = n != n ? n : above(o.limit, n + o.eps);
      lower(scale, factor[i]);
    }
    return scale;
  }

  double clip_changes() {
    for (std::size_t i = 0; i < a.count; ++i) change[i] *= __builtin_fabs(a.pieces[i].lr);
    double scale = 1;
    for (std::size_t i = 0; i < a.count; ++i) {  // factor, 1 so far, holds the clipped change for a moment
      const double c = above(o.limit, change[i]);
      factor[i] = c * change[i];
      change[i] = c;
    }
    const double all = above(o.total, norm_of_norms(factor, a.count));
    for (std::size_t i = 0; i < a.count; ++i) {
      factor[i] = 1;
      change[i] *= all;
      lower(scale, change[i]);
    }
    return scale;
  }

  void update_block_of(long b) const {
    const Place w = place(b);
    const UpdatePiece<T>& p = a.pieces[w.piece];
    Steps<T> s = steps_of(w.piece);
    T* const value = p.value + w.at;
    const auto run = [&](std::size_t from, std::size_t n, double scale) {
      T* states[update_states];
      for (int k = 0; k < update_states; ++k) states[k] = p.state[k] ? p.state[k] + from : nullptr;
      apply(p.value + from, p.grad + from, states, n, s, scale);
    };
    if (o.clip == Clip::adaptive) {
      const double* const factors = row_factor + p.first_row;
      for (std::size_t from = w.at, end = w.at + w.n; from < end;) {
        const std::size_t row = from / p.columns, stop = (row + 1) * p.columns, to = stop < end ? stop : end;
        run(from, to - from, factors[row] * o.grad_scale);
        from = to;
      }
    } else {
      run(w.at, w.n, factor[w.piece] * o.grad_scale);
    }
    if (o.proximal) shrink(value, w.n, static_cast<T>(__builtin_fabs(p.lr) * change[w.piece] * p.l1));
    if (p.average) follow(p.average + w.at, value, w.n, static_cast<T>(1 - o.average_decay));
  }

  // The soft threshold; NaN stays.
  static void shrink(T* p, std::size_t n, T threshold) {
    for (std::size_t i = 0; i < n; ++i)
      p[i] = p[i] > threshold ? p[i] - threshold : p[i] < -threshold ? p[i] + threshold : p[i] - p[i];
  }
  static void follow(T* average, const T* p, std::size_t n, T share) {
    for (std::size_t i = 0; i < n; ++i) average[i] += share * (p[i] - average[i]);
  }

  UpdateResult run() {
    const bool changes = o.clip == Clip::max_change, rows = o.clip == Clip::adaptive;
    // Nothing waits for the norm: each block forms its sum just before it is updated, while it is in cache.
    const bool one_pass =
        !o.known && o.nonfinite == NonFinite::propagate && (o.clip == Clip::none || o.clip == Clip::value);
    UpdateResult result{0, 1, false};
    double scale = 1;
    if (rows) {
      scale = clip_rows();
    } else if (!one_pass && (!o.known || changes)) {
      parallel_for(runtime, blocks, [&](long b, int) {
        if (!o.known) part[b] = sum_squares_of(b);
        if (changes) change_part[b] = change_of(b, 1);
      });
      if (!o.known) norms_of_grads();
      if (changes) norms_of_pieces(change_part, change, 1, [&](long b, double unit) { return change_of(b, unit); });
    }
    if (!one_pass) {
      result.norm =
          o.known ? __builtin_sqrt(o.sum_squares) * __builtin_fabs(o.grad_scale) : norm_of_norms(norm, a.count);
      if (o.nonfinite != NonFinite::propagate && overflows(result.norm)) result.norm = __builtin_inf();
      if (!finite(result.norm) && o.nonfinite != NonFinite::propagate) {
        result.skipped = true;
        return result;
      }
    }
    if (o.clip == Clip::norm) scale = clip_norms(result.norm);
    if (changes) scale = clip_changes();
    result.scale = scale;
    parallel_for(runtime, blocks, [&](long i, int) {
      const long first = blocks - (i / group + 1) * group;
      const long b = (first > 0 ? first : 0) + i % group;
      if (one_pass) part[b] = sum_squares_of(b);
      update_block_of(b);
    });
    if (one_pass) {
      norms_of_grads();
      result.norm = norm_of_norms(norm, a.count);
    }
    return result;
  }
};

template <class T>
UpdateResult run_update(const UpdateArgs<T>& a, BlockFn<T> fn, const double* rule, void* workspace,
                        const Runtime& runtime) {
  return Updater<T>(a, fn, rule, workspace, runtime).run();
}

}  // namespace
}  // namespace pyasr::cpu::PYASR_ISA
