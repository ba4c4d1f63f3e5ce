// pyasr_selfcheck: every family in every instruction set of this build that the machine runs, against plain scalar
// loops. For machines without Python, and for emulators: cmake -DPYASR_SELFCHECK=ON. Exits 1 when one is off.
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <vector>

#include "cpu/table.hpp"
#include "runtime/pool.hpp"

namespace {

using namespace pyasr;
using cpu::Table;

struct Memory {  // 64-byte aligned scratch
  explicit Memory(std::size_t bytes) : words(bytes / 8 + 9) {}
  void* get() { return reinterpret_cast<void*>((reinterpret_cast<std::uintptr_t>(words.data()) + 63) / 64 * 64); }
  std::vector<double> words;
};

// Numbers in [-1, 1), the same on every machine.
template <class T>
std::vector<T> random(std::size_t n, std::uint64_t seed) {
  std::vector<T> out(n);
  for (auto& x : out) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    x = static_cast<T>(static_cast<double>(seed >> 40) / (1 << 23) - 1);
  }
  return out;
}

// |got - want| / |want|; infinite when a number is missing.
template <class A, class B>
double off(const std::vector<A>& got, const std::vector<B>& want) {
  double difference = 0, norm = 1e-30;
  for (std::size_t i = 0; i < want.size(); ++i) {
    const double d = static_cast<double>(got[i]) - static_cast<double>(want[i]);
    if (!std::isfinite(d)) return std::numeric_limits<double>::infinity();
    difference += d * d;
    norm += static_cast<double>(want[i]) * static_cast<double>(want[i]);
  }
  return std::sqrt(difference / norm);
}

template <class T>
double clip_sgd(const Table& table, const Runtime& runtime) {
  double worst = 0;
  for (const std::size_t n : {0u, 1u, 67u, 16385u, 100003u}) {
    auto value = random<T>(n, 1), buffer = random<T>(n, 2);
    const auto grad = random<T>(n, 3);
    std::vector<double> want(value.begin(), value.end());
    double squares = 0;
    for (const T g : grad) squares += static_cast<double>(g) * static_cast<double>(g);
    const double norm = std::sqrt(squares), scale = norm > 0.5 ? 0.5 / norm : 1;
    for (std::size_t i = 0; i < n; ++i) {
      const double g = scale * grad[i] + 0.01 * want[i], m = 0.9 * buffer[i] + g;
      want[i] -= 0.1 * (g + 0.9 * m);
    }
    ClipSgdArgs<T> args{value.data(), grad.data(), buffer.data(), n, {}};
    args.options = {0.1, 0.9, 0, 0.01, 0.5, 0, 1, true, false, false, Clip::norm, NonFinite::skip};
    Memory scratch(table.clip_sgd->workspace_bytes(n));
    ClipSgdResult r{};
    if constexpr (sizeof(T) == 4)
      r = table.clip_sgd->f32(args, scratch.get(), runtime);
    else
      r = table.clip_sgd->f64(args, scratch.get(), runtime);
    worst = std::fmax(worst, std::fmax(off(value, want), std::fabs(r.norm - norm) / (norm + 1e-30)));
  }
  return worst;
}

struct Check {
  const char* name;
  double (*run)(const Table&, const Runtime&);
  double tolerance;
};

const Check checks[] = {
    {"clip_sgd float32", clip_sgd<float>, 1e-6},
    {"clip_sgd float64", clip_sgd<double>, 1e-12},  // the plain sum of 100003 squares is that far off itself
};

}  // namespace

int main() {
  int count = 0, failed = 0;
  const cpu::Built* built = cpu::built(&count);
  for (int i = 0; i < count; ++i) {
    if (!built[i].supported) {
      std::printf("%-4s not run: this CPU lacks it\n", built[i].table->isa);
      continue;
    }
    for (const Check& check : checks)
      for (const int threads : {1, 3}) {
        runtime::Call call;
        const double error = check.run(*built[i].table, runtime::runtime(call, threads));
        const bool good = error <= check.tolerance;
        failed += !good;
        std::printf("%-4s %-20s %d threads: off by %.1e %s\n", built[i].table->isa, check.name, threads, error,
                    good ? "ok" : "FAILED");
      }
  }
  std::printf("%d failed\n", failed);
  return failed ? 1 : 0;
}
