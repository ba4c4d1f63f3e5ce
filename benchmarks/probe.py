"""What this machine can do at best: multiply-add peak and bandwidth, by pyasr's own kernels, in the run that quotes them.

    python benchmarks/probe.py [--threads N] [--json FILE]

A probe counts only if nothing in the same run is faster: not torch's 2048³ product or copy (where torch is installed), nor a
kernel of ours. All of them are printed, and the larger number is the limit.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from pyasr import __version__, _cpu

LEVELS = (1 << 15, 1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 27, 1 << 28)  # bytes that are walked through


def best_of(run: Callable[[], Any], threads: int, rounds: int = 7) -> float:
    """The smallest seconds of some calls, after one that is not timed; of one thread its CPU time, as others may be at work."""
    clock = time.thread_time if threads == 1 else time.perf_counter
    run()
    times = []
    for _ in range(rounds):
        start = clock()
        run()
        times.append(clock() - start)
    return min(times)


@dataclass
class Limits:
    """Flops in GFLOP/s, bandwidth in GB/s by the bytes that a walk takes (reads and writes of a copy both count)."""

    threads: int
    fma: float
    read: dict[int, float]
    copy: dict[int, float]
    others: dict[str, float] = field(default_factory=dict)  # what was measured beside: torch's, and ours as they come
    moved: list[tuple[float, float]] = field(default_factory=list)  # bytes of a kernel of ours and its GB/s
    shares: list[str] = field(default_factory=list)  # a line per benchmark

    def bandwidth(self, size: float) -> float:
        """Of the smallest level that holds `size` bytes, or of a kernel of ours that moved as many and was faster."""
        level = next((n for n in LEVELS if n >= size), LEVELS[-1])
        return max(self.read[level], self.copy[level], *(rate for moved, rate in self.moved if moved >= size))

    def seconds(self, flops: float, size: float) -> float:
        """The least time for so many flops and bytes."""
        return max(flops / (1e9 * self.flops_peak()), size / (1e9 * self.bandwidth(size)))

    def flops_peak(self) -> float:
        return max([self.fma, *(v for k, v in self.others.items() if "GFLOP/s" in k)])

    def verdict(self) -> list[str]:
        """A line for each probe: what it saw, the best of the others, whether it counts."""
        memory = max(self.read[LEVELS[-1]], self.copy[LEVELS[-1]])
        lines = []
        for name, unit, value in (("multiply-add", "GFLOP/s", self.fma), ("memory", "GB/s", memory)):
            rivals = {k: v for k, v in self.others.items() if unit in k}
            best = max(rivals, key=lambda k: rivals[k], default=None)
            text = f"{name} probe {value:.1f} {unit}"
            if best is not None:
                text += f"; best of the others {rivals[best]:.1f} ({best}): "
                text += "counts" if value >= rivals[best] else "does not count, the other is the limit"
            lines.append(text)
        return lines


def measure(threads: int = 1) -> Limits:
    def fma() -> float:
        seconds, flops = _cpu._probe("fma", 100_000, threads)  # 0.3 ms: short enough for a quiet moment
        return flops / seconds / 1e9

    def walk(kind: str, size: int) -> float:
        arrays = 2 if kind == "copy" else 1
        seconds, _ = _cpu._probe(kind, max(size // 4 // arrays, 64), threads)
        return size / seconds / 1e9

    limits = Limits(
        threads,
        max(fma() for _ in range(60)),
        {n: walk("read", n) for n in LEVELS},
        {n: walk("copy", n) for n in LEVELS},
    )
    limits.others |= torch_limits(threads)
    return limits


def torch_limits(threads: int) -> dict[str, float]:
    """torch's 2048³ float32 product and its 256 MB copy; nothing where torch is not installed."""
    try:
        import torch
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        return {}
    torch.set_num_threads(threads)
    a, b, c = (torch.randn(2048, 2048) for _ in range(3))
    product = best_of(lambda: torch.mm(a, b, out=c), threads)
    x, y = torch.zeros(LEVELS[-1] // 8), torch.zeros(LEVELS[-1] // 8)
    return {
        "torch 2048^3 product, GFLOP/s": 2 * 2048**3 / product / 1e9,
        "torch copy, GB/s": LEVELS[-1] / best_of(lambda: x.copy_(y), threads) / 1e9,
    }


def processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((x.partition(":")[2].strip() for x in lines if x.startswith("model name")), platform.processor())


def machine() -> dict[str, Any]:
    """What a result must say about where and when it was measured."""
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        commit = "not in a git repository"
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "pyasr": __version__,
        "isa": _cpu.isa(),
        "processor": processor(),
        "cpus": len(os.sched_getaffinity(0)),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    limits, where = measure(options.threads), machine()
    print(", ".join(f"{k} {v}" for k, v in where.items()))
    for n in LEVELS:
        print(f"{n >> 10:8d} KiB  read {limits.read[n]:7.1f} GB/s  copy {limits.copy[n]:7.1f} GB/s")
    print("\n".join(limits.verdict()))
    if options.json:
        options.json.write_text(json.dumps({"machine": where, "limits": asdict(limits)}, indent=1) + "\n")


if __name__ == "__main__":
    main()
