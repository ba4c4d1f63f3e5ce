// pyasr_selfcheck: every family in every instruction set of this build that the machine runs, against plain scalar
// loops. For machines without Python, and for emulators: cmake -DPYASR_SELFCHECK=ON. Exits 1 when one is off.
#include "cpu/selfcheck.hpp"

#include <cstdio>

#include "runtime/pool.hpp"

namespace {

using namespace pyasr;

struct Check {
  const char* name;
  double (*run)(const cpu::Table&, const Runtime&, bool in_double);
  bool in_double;
  double tolerance;
};

const Check checks[] = {
    {"clip_sgd float32", selfcheck::clip_sgd, false, 1e-6},
    {"clip_sgd float64", selfcheck::clip_sgd, true, 1e-12},  // the plain sum of 100003 squares is that far off itself
    {"adam float32", selfcheck::adam, false, 1e-6},
    {"adam float64", selfcheck::adam, true, 1e-13},
    {"rmsprop float32", selfcheck::rmsprop, false, 1e-6},
    {"rmsprop float64", selfcheck::rmsprop, true, 1e-13},
    {"softmax float32", selfcheck::softmax, false, 1e-6},
    {"softmax float64", selfcheck::softmax, true, 1e-14},
    {"dropout float32", selfcheck::dropout, false, 1e-7},
    {"dropout float64", selfcheck::dropout, true, 1e-15},
    {"ctc float32", selfcheck::ctc, false, 5e-6},
    {"ctc float64", selfcheck::ctc, true, 1e-7},  // central differences
    {"decode float32", selfcheck::decode, false, 2e-6},
    {"decode float64", selfcheck::decode, true, 1e-12},
    {"hmm float32", selfcheck::hmm, false, 2e-6},
    {"hmm float64", selfcheck::hmm, true, 1e-12},
    {"cg float32", selfcheck::cg, false, 1e-6},
    {"cg float64", selfcheck::cg, true, 1e-6},  // both are asked for that residual
    {"spd float32", selfcheck::spd, false, 1e-6},
    {"spd float64", selfcheck::spd, true, 1e-15},
    {"lstm float32", selfcheck::lstm, false, 5e-6},
    {"lstm float64", selfcheck::lstm, true, 1e-7},  // central differences
    {"gru float32", selfcheck::gru, false, 5e-6},
    {"gru float64", selfcheck::gru, true, 1e-7},
    {"rnn float32", selfcheck::rnn, false, 5e-6},
    {"rnn float64", selfcheck::rnn, true, 1e-7},
    {"mfcc float32", selfcheck::mfcc, false, 2e-5},
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
        const double error = check.run(*built[i].table, runtime::runtime(call, threads), check.in_double);
        const bool good = error <= check.tolerance;
        failed += !good;
        std::printf("%-4s %-20s %d threads: off by %.1e %s\n", built[i].table->isa, check.name, threads, error,
                    good ? "ok" : "FAILED");
      }
  }
  std::printf("%d failed\n", failed);
  return failed ? 1 : 0;
}
