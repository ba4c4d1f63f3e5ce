// Rows are worked on while they lie in the first cache: read once for the maximum, once for exp and sum, scaled in
// place. Memory traffic per entry: read 4, write 4 bytes (float32), plus 4 for the lines that are allocated by writing;
// about 20 flops. At a core's 10 GB/s both bounds are near each other.
#include "pyasr/softmax.hpp"

#include "cpu/softmax_row.hpp"

namespace pyasr::cpu::PYASR_ISA {
namespace {

template <class T>
void one_row(const T* x, std::int32_t label, T* loss, T* y, std::int64_t V) {
  if (label < 0) {
    *loss = 0;
    fill_row<T>(y, 0, V);
    return;
  }
  const RowSum<T> r = exp_row(x, y, V);
  scale_row<T>(y, T(1) / r.sum, V);
  y[label] -= 1;
  *loss = static_cast<T>(__builtin_log(static_cast<double>(r.sum)) -
                         (static_cast<double>(x[label]) - static_cast<double>(r.max)));
}

template <class T>
void run(const SoftmaxArgs<T>& a, const Runtime& runtime) noexcept {
  const std::int64_t rows = a.V < 16384 ? 16384 / (a.V + 1) + 1 : 1;  // of one work item
  parallel_for(runtime, static_cast<long>((a.N + rows - 1) / rows), [&](long item, int) {
    const std::int64_t begin = item * rows, end = begin + rows < a.N ? begin + rows : a.N;
    for (std::int64_t n = begin; n < end; ++n)
      one_row(a.logits + n * a.V, a.labels[n], a.loss + n, a.dlogits + n * a.V, a.V);
  });
}

}  // namespace

extern const Softmax softmax;
const Softmax softmax = {run<float>, run<double>};

}  // namespace pyasr::cpu::PYASR_ISA
