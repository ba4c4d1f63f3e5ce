"""Checks the contents of a built wheel: `python tests/check_wheel.py dist/pyasr_kernels-*.whl`. Standard library only."""

from __future__ import annotations

import fnmatch
import sys
import zipfile
from pathlib import Path

LARGEST = 3_000_000  # bytes of a CPU wheel
ALLOWED = (
    "pyasr/*.py",
    "pyasr/*.pyi",
    "pyasr/*.pxd",
    "pyasr/py.typed",
    "pyasr/include/pyasr/*.hpp",
    "pyasr/include/pyasr/*.h",
    "pyasr/lib/cmake/pyasr/*.cmake",
    "pyasr/_c*.so",
    "pyasr/kernels.*.so",
    "pyasr_kernels-*.dist-info/*",
)
NATIVE = ("pyasr/_cpu.*.so", "pyasr/kernels.*.so", "pyasr/include/pyasr/capi.h", "pyasr/kernels.pxd")
ALWAYS = ("pyasr/__init__.py", "pyasr/_version.py", "pyasr/_build.py", "pyasr/py.typed", "*/licenses/LICENSE")


def problems(names: list[str], size: int, pure: bool) -> list[str]:
    """What is wrong with a wheel of these files and this size in bytes; empty when nothing is."""
    found = [f"unwanted file {n}" for n in names if not any(fnmatch.fnmatch(n, p) for p in ALLOWED)]
    found += [f"missing {p}" for p in ALWAYS if not fnmatch.filter(names, p)]
    for pattern in NATIVE:
        if bool(fnmatch.filter(names, pattern)) == pure:
            found.append(f"{'unwanted in a pure wheel' if pure else 'missing'}: {pattern}")
    if size > LARGEST and not fnmatch.filter(names, "pyasr/_cuda.*"):
        found.append(f"{size} bytes, more than {LARGEST}")
    return found


def main() -> int:
    bad = 0
    for path in map(Path, sys.argv[1:]):
        with zipfile.ZipFile(path) as wheel:
            names = [n for n in wheel.namelist() if not n.endswith("/")]
        found = problems(names, path.stat().st_size, path.name.endswith("-none-any.whl"))
        for line in found:
            print(f"{path.name}: {line}")
        bad += bool(found)
        if not found:
            print(f"{path.name}: {len(names)} files, {path.stat().st_size / 1e6:.2f} MB, ok")
    return 1 if bad or len(sys.argv) < 2 else 0


if __name__ == "__main__":
    sys.exit(main())
