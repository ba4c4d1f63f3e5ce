// Picks a table once. Compiled without instruction-set flags: it runs before the CPU is known.
#include <cstdlib>
#include <cstring>
#include <string>

#include "cpu/table.hpp"

namespace pyasr::cpu {

#define PYASR_DECLARE(isa)  \
  namespace isa {           \
  extern const Table table; \
  }
#ifdef PYASR_HAVE_v4
PYASR_DECLARE(v4)
#endif
#ifdef PYASR_HAVE_v3
PYASR_DECLARE(v3)
#endif
#ifdef PYASR_HAVE_v2
PYASR_DECLARE(v2)
#endif
#ifdef PYASR_HAVE_neon
PYASR_DECLARE(neon)
#endif

const Built* built(int* count) noexcept {
  static const Built all[] = {
#ifdef PYASR_HAVE_v4
      {&v4::table, __builtin_cpu_supports("x86-64-v4") != 0},
#endif
#ifdef PYASR_HAVE_v3
      {&v3::table, __builtin_cpu_supports("x86-64-v3") != 0},
#endif
#ifdef PYASR_HAVE_v2
      {&v2::table, __builtin_cpu_supports("x86-64-v2") != 0},
#endif
#ifdef PYASR_HAVE_neon
      {&neon::table, true},
#endif
  };
  *count = static_cast<int>(sizeof all / sizeof all[0]);
  return all;
}

namespace {

struct Choice {
  const Table* table = nullptr;
  std::string error;

  Choice() {
    int count = 0;
    const Built* all = built(&count);
    const char* forced = std::getenv("PYASR_ISA");
    std::string names;
    for (int i = 0; i < count; ++i) {
      names += (i ? ", " : "") + std::string(all[i].table->isa);
      const bool wanted = !forced || !*forced || !std::strcmp(forced, all[i].table->isa);
      if (!wanted || table) continue;
      if (all[i].supported)
        table = all[i].table;
      else if (forced && *forced)
        error = std::string("PYASR_ISA=") + forced + ": this CPU lacks that instruction set";
    }
    if (!table && error.empty())
      error = forced && *forced ? std::string("PYASR_ISA=") + forced + " is not in this build, which has " + names
                                : "this CPU has none of the instruction sets of this build: " + names;
  }
};

const Choice& choice() {
  static const Choice c;
  return c;
}

}  // namespace

const Table* active() noexcept { return choice().table; }
const char* choice_error() noexcept { return choice().error.c_str(); }

}  // namespace pyasr::cpu
