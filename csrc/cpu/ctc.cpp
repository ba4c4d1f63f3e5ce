// CTC by alpha, then beta fused with posteriors and gradient, one utterance per work item.
//
// Probabilities. A cell of the lattice is m * 2^e: a float mantissa and an exponent of its own, an integer held in a
// float. One scale per row is not enough: the cells that carry the path lie hundreds of binary orders below the row's
// largest, in float32 and, with sharp logits, in float64. Adding such numbers takes no exp and no log, and every cell
// keeps its relative accuracy. Mantissas are brought back to [1, 2) every 8 frames: meanwhile they stay within 2^-5 and
// 2^17.
//
// Lattice. Blanks and labels lie in arrays of their own: with n labels, blank u in [0, n] and label u in [0, n) are
//   blank_t(u) = y_t(blank) (blank(u) + label(u-1))
//   label_t(u) = y_t(l_u)   (label(u) + blank(u) + [l_u != l_{u-1}] label(u-1))         both from t - 1
// so a register holds cells of one kind and a step loads one shifted neighbor. Only registers that a path can have
// reached, and that can still reach the end, are worked on.
//
// Cost per frame (float32): V * (8 bytes, 20 flops) for the softmax, and about 100 operations for each register of
// label cells in both directions. alpha and the emissions are kept: 24 bytes per label and frame, from the second-level
// cache.
// Measured, T=500 B=32 U=50, one Zen 5 core: V=32 2.4 ms (torch 2.13 with its log_softmax 66), V=5000 39 ms (998).
#include "pyasr/ctc.hpp"

#include "cpu/scaled.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// Finite logits beyond it count as it: its exponent is still finite.
template <class T>
constexpr T largest_logit = sizeof(T) == 4 ? static_cast<T>(2.3e38) : static_cast<T>(1.2e308);
constexpr int normalize_every = 8, shift_every = 64;

template <class T>
PYASR_INLINE Vec<T> clamped(Vec<T> x) {
  constexpr T limit = largest_logit<T>;
  x = x < -limit ? splat<T>(-limit) : x;
  return x > limit ? splat<T>(limit) : x;
}

// What is kept of a frame: `registers` records of six registers each.
enum Record { blank_m, blank_e, label_m, label_e, emission_m, emission_e, record_size };

// What one worker needs for one utterance; carved from its part of the workspace. A row has one register of zero cells
// in front ([-1] is read) and one behind.
template <class T>
struct Scratch {
  std::int64_t registers;  // that hold n + 1 cells
  T* row[4];               // the running row of cells, by Record
  T* skip;                 // 0 where label(u-1) leads to label(u), else no_exponent
  T* logits;               // of the labels; entry n is the blank's, -inf behind it
  T* occupancy;            // of the labels
  T* records;              // [frames, registers, record_size, lanes]
  double* shift;           // [frames] to add to the exponents of alpha

  T* frame(std::int64_t t) const { return records + t * registers * record_size * lanes<T>; }
};

template <class T>
std::int64_t registers_for(std::int64_t labels) {
  return labels / lanes<T> + 1;
}

template <class T>
std::size_t worker_bytes(std::int64_t frames, std::int64_t labels) {
  const auto registers = static_cast<std::size_t>(registers_for<T>(labels));
  const auto f = static_cast<std::size_t>(frames);
  return (7 * (registers + 2) + f * registers * record_size) * register_bytes + (f * sizeof(double) + 63) / 64 * 64;
}

// The workspace is laid out for the longest utterance; this one's registers lie close together.
template <class T>
Scratch<T> carve(char* workspace, std::int64_t frames, std::int64_t labels) {
  Scratch<T> s{};
  s.registers = registers_for<T>(labels);
  T* p = reinterpret_cast<T*>(workspace);
  auto take_row = [&] {
    T* at = p + lanes<T>;
    p += (s.registers + 2) * lanes<T>;
    return at;
  };
  for (T*& row : s.row) row = take_row();
  s.skip = take_row();
  s.logits = take_row();
  s.occupancy = take_row();
  s.records = p;
  s.shift = reinterpret_cast<double*>(s.frame(frames));
  return s;
}

// Every cell zero, but for one blank, which is one.
template <class T>
void start_row(const Scratch<T>& s, std::int64_t u) {
  for (std::int64_t i = -lanes<T>; i < (s.registers + 1) * lanes<T>; i += lanes<T>)
    for (int k = 0; k < 4; ++k) store(s.row[k] + i, k % 2 ? splat(no_exponent<T>) : Vec<T>{});
  s.row[blank_m][u] = 1;
  s.row[blank_e][u] = 0;
}

template <class T>
PYASR_INLINE Scaled<T> cells(const Scratch<T>& s, Record m, std::int64_t at) {
  return {load(s.row[m] + at), load(s.row[m + 1] + at)};
}
template <class T>
PYASR_INLINE Scaled<T> kept(const T* record, Record m) {
  return {load(record + m * lanes<T>), load(record + (m + 1) * lanes<T>)};
}
template <class T>
PYASR_INLINE Scaled<T> masked(Scaled<T> a, const Scratch<T>& s, std::int64_t at) {
  return {a.m, a.e + load(s.skip + at)};
}
// The registers of a frame that hold a cell on some path.
struct Range {
  std::int64_t begin, end;
};
template <class T>
Range reachable(const Scratch<T>& s, std::int64_t t, std::int64_t frames, std::int64_t n) {
  const std::int64_t first = n - frames + t, end = t / lanes<T> + 1;
  return {first > 0 ? first / lanes<T> : 0, end < s.registers ? end : s.registers};
}

// alpha of the next frame from the running row, last register first, so that it can be updated in place.
template <class T, bool Normalize>
void alpha_step(const Scratch<T>& s, T* frame, Scaled<T> blank, Range range) {
  for (std::int64_t r = range.end - 1; r >= range.begin; --r) {
    const std::int64_t at = r * lanes<T>;
    T* record = frame + at * record_size;
    const Scaled<T> b = cells(s, blank_m, at), l = cells(s, label_m, at), before = cells(s, label_m, at - 1);
    Scaled<T> next_b = Sum<T>::times(Sum<T>::plus(b, before), blank);
    Scaled<T> next_l = Sum<T>::times(Sum<T>::plus(l, b, masked(before, s, at)), kept(record, emission_m));
    if constexpr (Normalize) {
      next_b = normalized(next_b);
      next_l = normalized(next_l);
    }
    const Vec<T> out[] = {next_b.m, next_b.e, next_l.m, next_l.e};
    for (int k = 0; k < 4; ++k) {
      store(s.row[k] + at, out[k]);
      store(record + k * lanes<T>, out[k]);
    }
  }
}

template <class T>
struct Occupancy {
  T blank, all;
};

// beta of this frame from the running row (beta times emission of the frame behind), the occupancies alpha * beta /
// 2^total, and the row for the frame before.
template <class T, bool Normalize>
Occupancy<T> beta_step(const Scratch<T>& s, const T* frame, Scaled<T> blank, T total, Range range) {
  Vec<T> sum_blank{}, sum_label{};
  for (std::int64_t r = range.begin; r < range.end; ++r) {
    const std::int64_t at = r * lanes<T>;
    const T* record = frame + at * record_size;
    const Scaled<T> b = cells(s, blank_m, at), l = cells(s, label_m, at);
    const Scaled<T> beta_b = Sum<T>::plus(b, l);
    const Scaled<T> beta_l = Sum<T>::plus(l, cells(s, blank_m, at + 1), masked(cells(s, label_m, at + 1), s, at + 1));

    const Scaled<T> both_b = Sum<T>::times(kept(record, blank_m), beta_b),
                    both_l = Sum<T>::times(kept(record, label_m), beta_l);
    const Vec<T> occupancy = both_l.m * pow2<T>(both_l.e - total);
    store(s.occupancy + at, occupancy);
    sum_label += occupancy;
    sum_blank += both_b.m * pow2<T>(both_b.e - total);

    Scaled<T> next_b = Sum<T>::times(beta_b, blank), next_l = Sum<T>::times(beta_l, kept(record, emission_m));
    if constexpr (Normalize) {
      next_b = normalized(next_b);
      next_l = normalized(next_l);
    }
    store(s.row[blank_m] + at, next_b.m);
    store(s.row[blank_e] + at, next_b.e);
    store(s.row[label_m] + at, next_l.m);
    store(s.row[label_e] + at, next_l.e);
  }
  const T of_blank = sum_lanes<T>(sum_blank);
  return {of_blank, of_blank + sum_lanes<T>(sum_label)};
}

// Subtracts the largest exponent of the running row from all; returns it. Exponents stay small integers at any length.
template <class T>
double shift_row(const Scratch<T>& s, Range range) {
  Vec<T> most = splat(no_exponent<T>);
  for (std::int64_t at = range.begin * lanes<T>; at < range.end * lanes<T>; at += lanes<T>)
    most = vmax(vmax(load(s.row[blank_e] + at), load(s.row[label_e] + at)), most);
  const T largest = max_lanes<T>(most);
  if (!(largest > T(-1e7))) return 0;  // all cells are zero, or logits so large that exponents have no units left
  for (std::int64_t at = range.begin * lanes<T>; at < range.end * lanes<T>; at += lanes<T>)
    for (int k = blank_e; k <= label_e; k += 2) store(s.row[k] + at, load(s.row[k] + at) - largest);
  return static_cast<double>(largest);
}

template <class T>
PYASR_INLINE Scaled<T> blank_emission(const T* frame, std::int64_t n) {
  const T* record = frame + n / lanes<T> * lanes<T> * record_size + n % lanes<T>;
  return {splat(record[emission_m * lanes<T>]), splat(record[emission_e * lanes<T>])};
}

template <class T>
class Utterance {
 public:
  Utterance(const CtcArgs<T>& args, std::int64_t b, char* workspace, const Runtime& runtime_)
      : a(args),
        runtime(runtime_),
        b(b),
        frames(a.lengths[b]),
        n(a.label_lengths[b]),
        labels(a.labels + b * a.U),
        s(carve<T>(workspace, frames, n)) {}

  void run() {
    fill(frames, a.frames, 0);
    if (a.mass)
      for (std::int64_t t = 0; t < a.frames; ++t) a.mass[t * a.B + b] = 1;
    const bool possible = prepare();
    if (!forward(possible)) {
      const T nan = static_cast<T>(__builtin_nan(""));
      finish(nan, nan);
      return;
    }
    if (possible && mantissa > 0 && backward()) {
      a.loss[b] = static_cast<T>(log_z - __builtin_log(mantissa) - exponent * ln2);
      return;
    }
    finish(a.zero_infinity ? 0 : static_cast<T>(__builtin_inf()), 0);
  }

 private:
  // Asked for every frame; answers often enough for rows of any width.
  bool stopped(std::int64_t t) const { return (t % 16 == 0 || a.V > 4096) && runtime.stop(runtime.self); }
  const T* logits(std::int64_t t) const { return a.logits + (t * a.B + b) * a.V; }
  T* gradient(std::int64_t t) const { return a.dlogits + (t * a.B + b) * a.V; }

  void fill(std::int64_t begin, std::int64_t end, T value) const {
    for (std::int64_t t = begin; t < end && !stopped(t); ++t) fill_row<T>(gradient(t), value, a.V);
  }

  void finish(T loss, T value) const {
    a.loss[b] = loss;
    fill(0, frames, value);
  }

  // Whether there are frames enough for the labels.
  bool prepare() const {
    std::int64_t needed = n;
    for (std::int64_t u = -lanes<T>; u < (s.registers + 1) * lanes<T>; ++u) {
      const bool skips = u > 0 && u < n && labels[u] != labels[u - 1];
      s.skip[u] = skips ? 0 : no_exponent<T>;
      s.logits[u] = no_exponent<T>;
      needed += u > 0 && u < n && !skips;
    }
    start_row(s, 0);
    return needed <= frames;
  }

  // The emissions of a frame, by the power of two of its largest logit too small. That logit's own emission is
  // returned.
  T emit(const T* x, T* frame, T max) const {
    for (std::int64_t u = 0; u < n; ++u) s.logits[u] = x[labels[u]];
    s.logits[n] = x[a.blank];
    // Beyond 2^14 (float32) exp_scaled loses more than the difference to the largest logit does.
    constexpr T large = sizeof(T) == 4 ? T(0x1p14) : T(0x1p30);
    const T origin = max > large || max < -large ? max : T(0);
    const Scaled<T> top = exp_scaled<T>(splat(max - origin));
    for (std::int64_t r = 0; r < s.registers; ++r) {
      const Vec<T> z = load(s.logits + r * lanes<T>);
      const Scaled<T> y = exp_scaled<T>(clamped<T>(z - origin));
      T* record = frame + r * lanes<T> * record_size;
      store(record + emission_m * lanes<T>, y.m);
      store(record + emission_e * lanes<T>, z == no_exponent<T> ? z : y.e - top.e);  // of -inf: zero
    }
    return top.m[0];
  }

  // Softmax, emissions and alpha of every frame; false when a softmax is NaN, and when the call was stopped.
  bool forward(bool possible) {
    double product = 1, shift = 0;  // the sums' logarithms are taken together
    for (std::int64_t t = 0; t < frames; ++t) {
      if (stopped(t)) return false;
      const T* x = logits(t);
      T* y = gradient(t);
      const RowSum<T> sum = exp_row(x, y, a.V);
      if (!(sum.sum == sum.sum)) return false;
      if (!possible) continue;
      scale_row<T>(y, T(1) / sum.sum, a.V);
      T* frame = s.frame(t);
      product *= static_cast<double>(sum.sum) * static_cast<double>(emit(x, frame, sum.max));
      if (product > 1e280 || product < 1e-280) {
        log_z += __builtin_log(product);
        product = 1;
      }
      const Range range = reachable(s, t, frames, n);
      const Scaled<T> blank = blank_emission<T>(frame, n);
      if (t % normalize_every == normalize_every - 1)
        alpha_step<T, true>(s, frame, blank, range);
      else
        alpha_step<T, false>(s, frame, blank, range);
      s.shift[t] = shift;
      if (t % shift_every == shift_every - 1) shift += shift_row(s, range);
    }
    log_z += __builtin_log(product);
    const double e_blank = s.row[blank_e][n], e_label = s.row[label_e][n - 1];
    const double most = e_blank > e_label ? e_blank : e_label;
    if (most > -__builtin_inf()) {
      mantissa = static_cast<double>(s.row[blank_m][n]) * __builtin_exp2(e_blank - most) +
                 static_cast<double>(s.row[label_m][n - 1]) * __builtin_exp2(e_label - most);
      exponent = most + shift;
    }
    return true;
  }

  // Beta and the posteriors of every frame, subtracted from the softmax; false when some frame has none.
  bool backward() const {
    start_row(s, n);
    double shift = 0;
    for (std::int64_t t = frames - 1; t >= 0; --t) {
      if (stopped(t)) return false;
      const T* frame = s.frame(t);
      const Range range = reachable(s, t, frames, n);
      const Scaled<T> blank = blank_emission<T>(frame, n);
      const T total = static_cast<T>(exponent - s.shift[t] - shift);
      const std::int64_t step = frames - 1 - t;
      const Occupancy<T> mass = step % normalize_every == normalize_every - 1
                                    ? beta_step<T, true>(s, frame, blank, total, range)
                                    : beta_step<T, false>(s, frame, blank, total, range);
      if (step % shift_every == shift_every - 1) shift += shift_row(s, range);
      if (!(mass.all > 0)) return false;
      if (a.mass) a.mass[t * a.B + b] = static_cast<double>(mass.all) / mantissa;
      const T share = T(1) / mass.all;
      T* g = gradient(t);
      const std::int64_t end = range.end * lanes<T> < n ? range.end * lanes<T> : n;
      for (std::int64_t u = range.begin * lanes<T>; u < end; ++u) g[labels[u]] -= s.occupancy[u] * share;
      g[a.blank] -= mass.blank * share;
    }
    return true;
  }

  const CtcArgs<T>& a;
  const Runtime& runtime;
  const std::int64_t b, frames, n;  // n labels
  const std::int32_t* labels;       // [n]
  const Scratch<T> s;
  double log_z = 0;                   // what divides the emissions of all frames to make them a softmax
  double mantissa = 0, exponent = 0;  // p = mantissa * 2^exponent / exp(log_z)
};

std::size_t workspace_bytes(std::int64_t frames, std::int64_t labels, std::size_t entry, int threads) noexcept {
  return static_cast<std::size_t>(threads) *
         (entry == sizeof(float) ? worker_bytes<float>(frames, labels) : worker_bytes<double>(frames, labels));
}

template <class T>
void run(const CtcArgs<T>& a, void* workspace, const Runtime& runtime) noexcept {
  std::int64_t frames = 0, labels = 0;
  for (std::int64_t b = 0; b < a.B; ++b) {
    frames = a.lengths[b] > frames ? a.lengths[b] : frames;
    labels = a.label_lengths[b] > labels ? a.label_lengths[b] : labels;
  }
  const std::size_t bytes = worker_bytes<T>(frames, labels);
  parallel_for(runtime, static_cast<long>(a.B), [&](long b, int worker) {
    Utterance<T>(a, b, static_cast<char*>(workspace) + static_cast<std::size_t>(worker) * bytes, runtime).run();
  });
}

}  // namespace

extern const Ctc ctc;
const Ctc ctc = {workspace_bytes, run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
