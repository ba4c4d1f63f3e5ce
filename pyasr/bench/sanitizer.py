"""compute-sanitizer over every row at small sizes, where it is installed: reads and writes out of bounds, races, barriers.

python -m pyasr.bench.sanitizer cuda    # what runs under it: every row of a column once, against the reference
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pyasr.bench.cells import cells
from pyasr.bench.check import outputs
from pyasr.bench.target import Target, find
from pyasr.ops import backend
from pyasr.ops._compare import arguments_for, relative_error

# Without initcheck: rows are padded to whole vectors of 16 bytes, which are read whole, and what was never written is dropped
# behind. That nothing of it is used shows where memory is poisoned.
TOOLS = ("memcheck", "racecheck", "synccheck")
REFUSED = "Device not supported"  # what it says where it can not see into the device, as in some virtual machines
FOUND = 86  # the exit code that it is told to end with when it has found something
# memcheck: not the calls of CUDA that fail: who asks for what a device has not, as CuPy does, knows what to do then.
MORE = {"memcheck": ("--report-api-errors", "no")}
SECONDS = 300  # for a tool; racecheck runs everything hundreds of times slower


def executable() -> str | None:
    """Its path: of PATH, or of the toolkit that CUDA_HOME or CUDA_PATH names."""
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if name in os.environ]
    places = [os.environ.get("PATH", os.defpath), *(str(Path(home) / "bin") for home in homes)]
    return shutil.which("compute-sanitizer", path=os.pathsep.join(places))


def run(tools: Sequence[str] = TOOLS, note: Callable[[str], None] = print) -> dict[str, Any]:
    """A line per tool: "nothing found", or the end of what it says. Where it is not installed, that."""
    path = executable()
    if path is None:
        return {"absent": "compute-sanitizer is not installed"}
    found = {}
    for tool in tools:
        argv = [
            path,
            "--tool",
            tool,
            "--error-exitcode",
            str(FOUND),
            *MORE.get(tool, ()),
            sys.executable,
            "-m",
            "pyasr.bench.sanitizer",
            "cuda",
        ]
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=SECONDS, cwd="/", check=False)
        except subprocess.TimeoutExpired:
            found[tool] = f"not done after {SECONDS} s"
        else:
            if REFUSED in done.stdout + done.stderr:
                return found | {"absent": f"compute-sanitizer does not work here: {REFUSED}"}
            words = {0: "nothing found", FOUND: f"found: {done.stdout[-2000:]}"}
            found[tool] = words.get(
                done.returncode, f"ended with {done.returncode}: {(done.stdout + done.stderr)[-2000:]}"
            )
        note(f"compute-sanitizer {tool}: {found[tool].splitlines()[0]}")
    return found


def small(target: Target) -> list[str]:
    """Every cell of a target at the size of tests, once; a line for each that is wrong."""
    wrong = []
    for cell in cells(target.names()):
        row, example = cell.of, cell.arguments(0, quick=True)
        args, kwargs = arguments_for(row, backend("numpy"), *example)
        want = outputs(row.reference(*args, **kwargs), args, kwargs)
        args, kwargs = arguments_for(row, target.ops, *example)
        got = outputs(getattr(target.ops, cell.row)(*args, **kwargs), args, kwargs)
        error = max((relative_error(g, w) for g, w in zip(got, want, strict=True)), default=0.0)
        if not error <= row.tolerance[cell.dtype]:
            wrong.append(f"{cell.name}: differs by {error:.1e}")
    return wrong


if __name__ == "__main__":
    lines = small(find(sys.argv[1]))
    print("\n".join(lines))
    sys.exit(bool(lines))
