"""`pyasr info`: what this install is made of and what it runs on. Needs NumPy alone."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pyasr import __version__
from pyasr.ops import BACKENDS, rows, why_not
from pyasr.ops._compare import worst_error
from pyasr.ops._door import default_threads
from pyasr.ops._op import DEFAULT_ORDER, has, native

# extra -> the modules that it brings
EXTRAS = {
    "train": (
        "soundfile",
        "soxr",
        "click",
        "rich",
        "safetensors",
        "rapidfuzz",
        "pooch",
        "matplotlib",
        "msgspec",
        "tomli_w",
    ),
    "numba": ("numba",),
    "cuda": ("cupy",),
    "mpi": ("mpi4py",),
    "test": ("pytest", "pytest_benchmark", "hypothesis", "jiwer", "pybind11"),
    "onnx": ("onnx",),
}


def op_table(columns: Sequence[str] = BACKENDS) -> list[list[str]]:
    """Rows of text: the op and, per backend, "yes" where the package has it, "–" where it has not.

    >>> pyasr.info.op_table()[0]
    ['op', 'numpy', 'numba', 'cpp', 'cuda']
    """
    from pyasr.ops import _cuda

    def cell(row: Any, column: str) -> str:
        there = row.name in _cuda.functions() if column == "cuda" else has(row, column)
        return "yes" if there else "–"

    return [["op", *columns], *([name, *(cell(row, c) for c in columns)] for name, row in sorted(rows().items()))]


def op_table_markdown() -> str:
    """The table as it stands in the README."""
    head, *body = op_table()
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    return "\n".join([*lines, *(f"| `{r[0]}` | " + " | ".join(r[1:]) + " |" for r in body)])


def collect() -> dict[str, Any]:
    """Everything that `pyasr info` prints, as plain data.

    >>> pyasr.info.collect()["pyasr"] == pyasr.__version__
    True
    """
    cpu = native("_cpu")
    extras = {extra: {m: importlib.util.find_spec(m) is not None for m in modules} for extra, modules in EXTRAS.items()}
    reasons = {name: why_not(name) for name in BACKENDS}
    return {
        "pyasr": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "processor": processor(),
        "instruction sets": {
            "built": [] if cpu is None else list(cpu.isas()),
            "supported here": [] if cpu is None else [isa for isa, ok in cpu.isas().items() if ok],
            "in use": None if cpu is None else cpu.isa(),
            "forced by PYASR_ISA": os.environ.get("PYASR_ISA") or None,
        },
        "threads": default_threads(),
        "backends": {name: reason or "ready" for name, reason in reasons.items()},
        "default": {
            name: next(c for c in DEFAULT_ORDER if reasons[c] is None and has(row, c)) for name, row in rows().items()
        },
        "extras": extras,
    }


def processor() -> str:
    try:
        with open("/proc/cpuinfo") as f:
            for line in f:
                if line.startswith("model name"):
                    return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux: platform knows less, but something
    return platform.processor() or platform.machine()


def check(columns: Sequence[str] = BACKENDS[1:]) -> list[dict[str, Any]]:
    """Run every op of this machine against its reference on a few small sizes.

    Returns one record per op, backend and dtype: `error` (largest relative error), `tolerance`, `passed`.
    """
    records = []
    for name, row in sorted(rows().items()):
        for column in columns:
            if why_not(column) is not None or not has(row, column):
                continue
            for dtype in row.dtypes:
                error = max(worst_error(row, column, size, dtype) for size in row.sizes_of(column)[:4])
                records.append(
                    {
                        "op": name,
                        "backend": column,
                        "dtype": dtype,
                        "error": error,
                        "tolerance": row.tolerance[dtype],
                        "passed": bool(error <= row.tolerance[dtype]),
                    }
                )
    return records


def _print_table(table: list[list[str]]) -> None:
    widths = [max(len(r[i]) for r in table) for i in range(len(table[0]))]
    for r in table:
        print("  " + "  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip())


def _print(data: dict[str, Any]) -> None:
    isa = data["instruction sets"]
    print(f"pyasr {data['pyasr']}, Python {data['python']}, NumPy {data['numpy']}, {data['platform']}")
    print(f"processor         {data['processor']}, {data['threads']} threads (PYASR_NUM_THREADS)")
    forced = f", forced by PYASR_ISA={isa['forced by PYASR_ISA']}" if isa["forced by PYASR_ISA"] else ""
    print(
        f"instruction sets  built {', '.join(isa['built']) or 'none'}; this CPU runs "
        f"{', '.join(isa['supported here']) or 'none of them'}; in use {isa['in use'] or 'none'}{forced}"
    )
    for name, state in data["backends"].items():
        print(f"{'backends' if name == 'numpy' else '':<18}{name}: {state}")
    for i, (extra, modules) in enumerate(data["extras"].items()):
        missing = [m for m, there in modules.items() if not there]
        print(f"{'extras' if i == 0 else '':<18}{extra}: {'missing ' + ', '.join(missing) if missing else 'installed'}")
    print("ops (the default takes the column marked *)")
    table = op_table()
    for r in table[1:]:
        i = 1 + BACKENDS.index(data["default"][r[0]])
        r[i] += " *"
    _print_table(table)


def main(argv: Sequence[str] = ()) -> int:
    """The command. Returns the exit code: 0, 1 when --check found a wrong op, 2 for unknown arguments."""
    unknown = [a for a in argv if a not in ("--json", "--check", "--help", "-h")]
    if unknown or "--help" in argv or "-h" in argv:
        out = sys.stderr if unknown else sys.stdout
        if unknown:
            print(f"pyasr info: unknown argument {unknown[0]!r}", file=out)
        print("usage: pyasr info [--json] [--check]", file=out)
        print("  --check  run every op of this machine against its reference", file=out)
        print("  --json   print machine-readable output", file=out)
        return 2 if unknown else 0
    data = collect()
    records: list[dict[str, Any]] = []
    if "--check" in argv:
        start = time.perf_counter()
        records = check()
        data["check"] = {"seconds": round(time.perf_counter() - start, 2), "records": records}
    if "--json" in argv:
        print(json.dumps(data, indent=2))
    else:
        _print(data)
        if "--check" in argv:
            if records:
                print(f"check: {sum(r['passed'] for r in records)} of {len(records)} agree with their reference "
                      f"in {data['check']['seconds']} s")  # fmt: skip
            else:
                print("check: this install has the reference alone, and nothing to compare with it")
            for r in records:
                if not r["passed"]:
                    print(f"  WRONG {r['op']} on {r['backend']} in {r['dtype']}: {r['error']:.1e} > {r['tolerance']}")
    return 0 if all(r["passed"] for r in records) else 1
