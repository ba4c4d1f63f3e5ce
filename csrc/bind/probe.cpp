// _cpu._probe: the limits of the machine for benchmarks/probe.py. Private: not an op, and it may change.
#include "pyasr/probe.hpp"

#include <chrono>

#include "bind/array.hpp"

namespace pyasr::bind {
namespace {

using namespace py::literals;

// Seconds of one run over n float32 ("copy": two arrays of them, "update": three), or of n rounds of "fma" and the
// flops done.
py::tuple probe(py::handle kind, py::handle n, py::handle threads) {
  Door door("_probe");
  const int which = door.choice("kind", kind, {"fma", "copy", "read", "update"});
  const auto size = static_cast<std::size_t>(door.integer_in("n", n, 64, std::int64_t{1} << 40)) / 64 * 64;
  const int workers = door.threads(threads);
  const Probe& op = *kernels().probe;
  runtime::Lease a, b, c;
  if (which > 0) {
    a = new_scratch(size * sizeof(float));
    auto* p = static_cast<float*>(a.get());
    for (std::size_t i = 0; i < size; ++i) p[i] = 1;
  }
  const auto zeros = [&] {
    auto block = new_scratch(size * sizeof(float));
    auto* p = static_cast<float*>(block.get());
    for (std::size_t i = 0; i < size; ++i) p[i] = 0;
    return block;
  };
  if (which == 1 || which == 3) b = zeros();
  if (which == 3) c = zeros();
  double flops = 0, best = 1e30;
  run_released(workers, [&](const Runtime& runtime) {
    for (int repeat = 0; repeat < 7; ++repeat) {
      if (runtime.stop(runtime.self)) return;
      const auto start = std::chrono::steady_clock::now();
      if (which == 0) flops = op.fma(static_cast<long>(size), runtime);
      if (which == 1) op.copy(static_cast<float*>(b.get()), static_cast<const float*>(a.get()), size, runtime);
      if (which == 2) flops = op.read(static_cast<const float*>(a.get()), size, runtime);
      if (which == 3)
        flops = op.update(static_cast<const float*>(a.get()), static_cast<float*>(b.get()),
                          static_cast<float*>(c.get()), size, runtime);
      const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
      best = took.count() < best ? took.count() : best;
    }
  });
  return py::make_tuple(best, flops);
}

}  // namespace

void bind_probe(py::module_& m) { def(m, "_probe", &probe, {"kind"_a, "n"_a, "threads"_a = py::none()}); }

}  // namespace pyasr::bind
