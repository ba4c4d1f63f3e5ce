// clip_sgd in two streaming passes: read grad; then read grad, value[, buffer] and write value[, buffer].
// Bytes per parameter: 16 without momentum, 24 with it (float32); the second pass begins at the end, where grad is
// still in cache. One pass where the norm decides nothing. torch's clip_grad_norm_ + fused SGD moves 24 and 32.
//
// The sum of squares is exact to rounding at any scale: float32 lanes are emptied into float64 every 128 vectors, and a
// total that over- or underflows is formed again in float64. Blocks are summed by a fixed tree: the same bits for any
// thread count.
#include "pyasr/clip_sgd.hpp"

#include "cpu/simd.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

constexpr std::size_t block = 16384;  // entries per work item; 64 kB of float32
// The second pass takes groups of blocks last to first, for the part of grad that is still in cache, and the blocks of
// a group first to last, for the hardware's prefetching. Measured at 40 M entries, float32, 1 thread: tried: every
// block last to first, 0.91x; software prefetch 0.5, 1 or 2 kB ahead, 0.93x to 1.0x
constexpr long group = 32;

template <class T>
double sum_squares_block(const T* g, std::size_t n) {
  constexpr int L = lanes<T>;
  constexpr int U = 8;
  double total = 0;
  std::size_t i = 0;
  while (i + U * L <= n) {
    Vec<T> s[U] = {};
    for (int rounds = 0; rounds < 16 && i + U * L <= n; ++rounds, i += U * L)
#pragma GCC unroll 8
      for (int u = 0; u < U; ++u) {
        const Vec<T> x = load(g + i + u * L);
        s[u] += x * x;
      }
    for (int half = U / 2; half > 0; half /= 2)
      for (int u = 0; u < half; ++u) s[u] += s[u + half];
    total += static_cast<double>(sum_lanes<T>(s[0]));
  }
  for (; i < n; ++i) total += static_cast<double>(g[i]) * static_cast<double>(g[i]);
  return total;
}

// Slow and safe: entries are scaled by a power of two before they are squared.
template <class T>
double sum_squares_scaled(const T* g, std::size_t n, double factor) {
  double total = 0;
  for (std::size_t i = 0; i < n; ++i) {
    const double x = factor * static_cast<double>(g[i]);
    total += x * x;
  }
  return total;
}

double sum_tree(const double* part, long n) {
  if (n <= 0) return 0;
  if (n == 1) return part[0];
  const long half = n / 2;
  return sum_tree(part, half) + sum_tree(part + half, n - half);
}

template <class T>
struct Steps {
  T clip_scale, lr, momentum, damp, decay, limit, keep;
};

// One block of the second pass. Flags are template arguments: each form is one loop without branches.
template <class T, bool Momentum, bool Nesterov, bool First, bool Value, class V>
PYASR_INLINE void update_entries(V& p, V g, V& m, const Steps<T>& s) {
  g = g * s.clip_scale;
  if constexpr (Value) {
    g = g > s.limit ? V{} + s.limit : g;
    g = g < -s.limit ? V{} - s.limit : g;
  }
  g = g + s.decay * p;
  if constexpr (Momentum) {
    if constexpr (First)
      m = g;
    else
      m = s.momentum * m + s.damp * g;
    if constexpr (Nesterov)
      g = g + s.momentum * m;
    else
      g = m;
  }
  p = s.keep * p - s.lr * g;
}

template <class T, bool Momentum, bool Nesterov, bool First, bool Value>
void update_block(T* p, const T* g, T* m, std::size_t n, const Steps<T>& s) {
  constexpr int L = lanes<T>;
  std::size_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L)
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) {
      const std::size_t at = i + u * L;
      Vec<T> pv = load(p + at), mv{};
      if constexpr (Momentum && !First) mv = load(m + at);
      update_entries<T, Momentum, Nesterov, First, Value>(pv, load(g + at), mv, s);
      store(p + at, pv);
      if constexpr (Momentum) store(m + at, mv);
    }
  for (; i < n; i += L) {
    const int part = n - i < static_cast<std::size_t>(L) ? static_cast<int>(n - i) : L;
    Vec<T> pv = load_part(p + i, part), mv{};
    if constexpr (Momentum && !First) mv = load_part(m + i, part);
    update_entries<T, Momentum, Nesterov, First, Value>(pv, load_part(g + i, part), mv, s);
    store_part(p + i, pv, part);
    if constexpr (Momentum) store_part(m + i, mv, part);
  }
}

template <class T>
using BlockFn = void (*)(T*, const T*, T*, std::size_t, const Steps<T>&);

template <class T>
BlockFn<T> choose(const ClipSgdArgs<T>& a) {
  const bool value = a.options.clip == Clip::value;
  if (!a.buffer)
    return value ? update_block<T, false, false, false, true> : update_block<T, false, false, false, false>;
  if (a.options.first)
    return a.options.nesterov
               ? (value ? update_block<T, true, true, true, true> : update_block<T, true, true, true, false>)
               : (value ? update_block<T, true, false, true, true> : update_block<T, true, false, true, false>);
  return a.options.nesterov
             ? (value ? update_block<T, true, true, false, true> : update_block<T, true, true, false, false>)
             : (value ? update_block<T, true, false, false, true> : update_block<T, true, false, false, false>);
}

std::size_t workspace_bytes(std::size_t n) noexcept { return ((n + block - 1) / block) * sizeof(double); }

bool finite(double x) { return x - x == 0; }

template <class T>
ClipSgdResult run(const ClipSgdArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  const ClipSgdOptions& o = a.options;
  const long blocks = static_cast<long>((a.n + block - 1) / block);
  auto* part = static_cast<double*>(workspace);
  auto length = [&](long b) { return b + 1 == blocks ? a.n - static_cast<std::size_t>(b) * block : block; };

  // pass 1
  parallel_for(runtime, blocks, [&](long b, int) { part[b] = sum_squares_block(a.grad + b * block, length(b)); });
  double total = sum_tree(part, blocks), unit = 1;
  if (a.n && (!finite(total) || total < static_cast<double>(a.n) * (sizeof(T) == 4 ? 1e-30 : 1e-280))) {
    // 2^-512 and 2^512 bring every float64 gradient norm into range; float32 needs no scale in float64.
    if (sizeof(T) == 8) unit = finite(total) ? 0x1p512 : 0x1p-512;
    parallel_for(runtime, blocks,
                 [&](long b, int) { part[b] = sum_squares_scaled(a.grad + b * block, length(b), unit); });
    total = sum_tree(part, blocks);
  }
  ClipSgdResult result{__builtin_sqrt(total) / unit * __builtin_fabs(o.grad_scale), 1.0, false};
  if (!finite(result.norm) && o.nonfinite != NonFinite::propagate) {
    result.skipped = true;
    return result;
  }
  if (o.clip == Clip::norm) {
    const double c = o.limit / (result.norm + o.eps);
    // eps = 0: a norm at or below the limit is left alone, bit for bit; so is a zero gradient.
    if (c < 1) result.scale = c;
    if (!(result.norm == result.norm)) result.scale = result.norm;
  }

  // pass 2, last group first
  Steps<T> s{};
  s.clip_scale = static_cast<T>(result.scale * o.grad_scale);
  s.lr = static_cast<T>(o.lr);
  s.momentum = static_cast<T>(o.momentum);
  s.damp = static_cast<T>(1 - o.dampening);
  s.decay = static_cast<T>(o.decoupled ? 0 : o.weight_decay);
  s.limit = static_cast<T>(o.limit);
  s.keep = static_cast<T>(o.decoupled ? 1 - o.lr * o.weight_decay : 1);
  const BlockFn<T> update = choose(a);
  parallel_for(runtime, blocks, [&](long i, int) {
    const long first = blocks - (i / group + 1) * group;
    const long b = (first > 0 ? first : 0) + i % group;
    const std::size_t at = static_cast<std::size_t>(b) * block;
    update(a.value + at, a.grad + at, a.buffer ? a.buffer + at : nullptr, length(b), s);
  });
  return result;
}

}  // namespace

extern const ClipSgd clip_sgd;
const ClipSgd clip_sgd = {workspace_bytes, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
