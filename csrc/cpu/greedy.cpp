// Each logit is read once for the row's maximum, and up to the best symbol once more, from the first cache.
#include "pyasr/greedy.hpp"

#include "cpu/softmax_row.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

// The first of the largest of x [n]; the first NaN where there is one.
template <class T>
std::int64_t best_of(const T* x, std::int64_t n) {
  constexpr int L = lanes<T>;
  T max = x[0];
  bool lost = false;
  std::int64_t i = 0;
  if (n >= L) {
    Vec<T> most = load(x);
    VecInt<T> bad = most != most;
    for (i = L; i + L <= n; i += L) {
      const Vec<T> v = load(x + i);
      most = vmax(v, most);
      bad |= v != v;
    }
    max = max_lanes<T>(most);
    for (int l = 0; l < L; ++l) lost |= bad[l] != 0;
  }
  for (; i < n; ++i) {
    lost |= x[i] != x[i];
    max = x[i] > max ? x[i] : max;
  }
  if (lost) {
    for (i = 0; x[i] == x[i];) ++i;
    return i;
  }
  for (i = 0; x[i] != max;) ++i;
  return i;
}

template <class T>
void greedy_one(const GreedyArgs<T>& a, std::int64_t b, const Runtime& runtime) {
  std::int32_t* const out = a.labels + b * a.frames;
  std::int64_t count = 0, last = -1;
  for (std::int64_t t = 0; t < a.lengths[b]; ++t) {
    if (t % 256 == 0 && runtime.stop(runtime.self)) return;
    const std::int64_t best = best_of(a.logits + (t * a.B + b) * a.V, a.V);
    if (best != last && best != a.blank) out[count++] = static_cast<std::int32_t>(best);
    last = best;
  }
  a.counts[b] = static_cast<std::int32_t>(count);
  for (; count < a.frames; ++count) out[count] = -1;
}

template <class T>
void run(const GreedyArgs<T>& a, const Runtime& runtime) noexcept {
  parallel_for(runtime, static_cast<long>(a.B), [&](long b, int) { greedy_one(a, b, runtime); });
}

}  // namespace

extern const Greedy greedy;
const Greedy greedy = {run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
