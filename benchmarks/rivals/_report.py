"""What the comparisons share: the command line, pinned threads, answers that must agree, and the file of results."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))  # benchmarks, for probe
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "PYASR_NUM_THREADS")


def parser(description: str, *, threads: int, rounds: int) -> argparse.ArgumentParser:
    """The options of every comparison, with these defaults."""
    found = argparse.ArgumentParser(description=description)
    found.add_argument("--threads", type=int, default=threads, help=f"of ours and theirs (default {threads})")
    found.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    found.add_argument(
        "--clock", choices=("wall", "cpu"), default="wall", help="cpu: of this process, for a busy machine"
    )
    found.add_argument("--json", type=Path, help="write the results there")
    return found


def pin(threads: int) -> None:
    """Set every library's number of threads; to be called before the first import of NumPy, which starts its BLAS."""
    if "numpy" in sys.modules:
        raise RuntimeError("pin: must be called before NumPy is imported")
    for variable in THREADS:
        os.environ[variable] = str(threads)


def close(name: str, got: Any, want: Any, tolerance: float) -> float:
    """The relative error of got in the Euclidean norm; the end of the run where it exceeds the tolerance."""
    import numpy as np

    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    error = float(np.linalg.norm(got - want) / np.linalg.norm(want))
    if not error <= tolerance:
        raise SystemExit(f"{name}: ours and theirs differ by {error:.1e}, more than {tolerance:.0e}: nothing was timed")
    return error


def machine(peers: dict[str, str]) -> dict[str, Any]:
    """Where and when this runs, with the versions of the peers: name -> module."""
    import probe

    where = probe.machine()
    where["peers"] = {
        peer: importlib.import_module(module).__version__ if importlib.util.find_spec(module) else "not installed"
        for peer, module in peers.items()
    }
    return where


def save(options: argparse.Namespace, where: dict[str, Any], **results: Any) -> None:
    """Write --json FILE, where that was asked for."""
    if options.json:
        content = {"machine": where, "threads": options.threads, "clock": options.clock, **results}
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
