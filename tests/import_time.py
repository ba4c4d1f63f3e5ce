"""Times `import pyasr` over NumPy's own import in CPU seconds, interleaved; exits 1 beyond the budget.

Run it with the Python that has the installed package.
"""

import os
import statistics
import sys

BUDGET = 0.015  # seconds
CODES = {
    "numpy": "import numpy",
    "numpy and pyasr": "import numpy, pyasr",
    "and its first op": "import numpy, pyasr; pyasr.backend().clip_sgd",
}


def seconds(code):
    """CPU time of a fresh interpreter: unlike wall time, the same on a busy machine."""
    child = os.posix_spawn(sys.executable, [sys.executable, "-c", code], os.environ)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit(f"failed: {code}")
    return usage.ru_utime + usage.ru_stime


def main():
    times = {name: [] for name in CODES}
    for _ in range(21):
        for name, code in CODES.items():
            times[name].append(seconds(code))
    over = {name: statistics.median(t) - statistics.median(times["numpy"]) for name, t in times.items()}
    for name, t in times.items():
        print(f"result: import {name}: {1e3 * statistics.median(t):.1f} ms, {1e3 * over[name]:+.1f} ms over NumPy")
    return 1 if over["numpy and pyasr"] > BUDGET else 0


if __name__ == "__main__":
    sys.exit(main())
