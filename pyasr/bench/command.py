"""`pyasr bench`. Needs NumPy, and for a GPU the extra "cuda"; everything else is a peer that may be absent."""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyasr
from pyasr.bench import limits, peers, predictions, sanitizer
from pyasr.bench.cells import Cell, cells
from pyasr.bench.check import answers
from pyasr.bench.target import Target, find
from pyasr.bench.timing import timed
from pyasr.ops import why_not

BACKEND = {"cuda": "cuda", "cpu": "cpp"}
EXTRA = 'CuPy comes with the extra: pip install "pyasr-kernels[cuda]"'


def parser() -> argparse.ArgumentParser:
    found = argparse.ArgumentParser(
        prog="pyasr bench", description="Check every row that has a CUDA kernel against its reference, then time it."
    )
    found.add_argument("--device", choices=tuple(BACKEND), default="cuda", help="cpu: the same rows of the cpp backend")
    found.add_argument("--json", type=Path, metavar="FILE", help="write the results there, after every line")
    found.add_argument("--rows", metavar="ROW,…", help="these rows alone")
    found.add_argument("--rounds", type=int, default=25, help="of which medians and quartiles are taken (default 25)")
    found.add_argument("--commit", help="what was installed, where that is no checkout")
    found.add_argument("--no-peers", action="store_true", help="without torch and the others")
    found.add_argument("--quick", action="store_true", help="tiny sizes: whether everything runs")
    return found


def main(argv: Sequence[str] = ()) -> int:
    """The command. Returns 0, 1 when an answer was wrong, 2 for wrong use or where the device is not there."""
    try:
        options = parser().parse_args(list(argv))
    except SystemExit as e:  # --help, or wrong use, of which argparse has told
        return int(e.code or 0)
    if options.rounds < 1:
        print(f"pyasr bench: --rounds must be at least 1, got {options.rounds}", file=sys.stderr)
        return 2
    os.environ["CUPY_TF32"] = "0"  # read by CuPy when it is imported: the product that is a limit is one in float32
    if (reason := why_not(BACKEND[options.device])) is not None:
        hint = f" ({EXTRA})" if options.device == "cuda" and "pyasr-kernels[cuda]" not in reason else ""
        print(f"pyasr bench: --device {options.device} cannot run here: {reason}{hint}", file=sys.stderr)
        return 2
    target = find(options.device)
    names = target.names()
    if options.rows is not None:
        wanted = options.rows.split(",")
        if unknown := sorted(set(wanted) - set(names)):
            print(f"pyasr bench: --rows has no {', '.join(unknown)}; there are {', '.join(names)}", file=sys.stderr)
            return 2
        names = [name for name in names if name in wanted]
    return measure(target, names, options)


def measure(target: Target, names: Sequence[str], options: argparse.Namespace) -> int:
    """Everything, in the order limits, rows, races, sanitizer; the file is complete after every line of the output."""
    report: dict[str, Any] = {
        "device": target.name, "quick": options.quick, "rounds": options.rounds, "machine": machine(target, options.commit),
        "rows": [], "races": [], "missing": {}, "failed": {},
    }  # fmt: skip

    def done(words: str) -> None:
        report["predictions"] = predictions.outcomes(report)
        if options.json:
            write(options.json, report)
        print(words, flush=True)

    print(", ".join(f"{k} {v}" for k, v in report["machine"].items()), flush=True)
    if options.quick:
        print("tiny sizes, whatever a line is called: no figure means anything")
    report["limits"] = limits.measure(target, options.rounds, options.quick)
    done(f"copy {report['limits']['copy, GB/s']:.0f} GB/s, float32 {report['limits']['float32, TFLOP/s']:.2f} TFLOP/s")
    for cell in cells(names):
        report["rows"].append(one(target, cell, report["limits"], options))
        done(line(report["rows"][-1]))
    report["peers"] = {} if options.no_peers else peers.versions(target)
    if report["peers"]:
        done("peers: " + ", ".join(f"{name} {version}" for name, version in report["peers"].items()))
        for name, found in peers.run_all(target, names, options.rounds, options.quick):
            if isinstance(found, dict):
                report["races"].append(found)
                done(race_line(found))
            else:
                report["missing" if isinstance(found, ImportError) else "failed"][name] = str(found)
                done(f"{name:58s} {'absent' if isinstance(found, ImportError) else 'FAILED'}: {found}")
    if target.is_gpu:
        report["sanitizer"] = sanitizer.run()
        done(report["sanitizer"].get("absent", "compute-sanitizer is done"))
    wrong = [r["name"] for r in report["rows"] if "wrong" in r]
    wrong += [f"compute-sanitizer {t}" for t, words in report.get("sanitizer", {}).items() if words.startswith("found")]
    wrong += report["failed"]
    wrong += [
        f"{r['name']}, {form}"
        for r in report["races"]
        for form, words in r["absent"].items()
        if words.startswith("failed")
    ]
    for p in report["predictions"]:
        got = "" if p["measured"] is None else f"{p['measured']:.3g} {p['unit']}, "
        print(f"{p['claim']} {p['mark']}: {got}{p['outcome']}")
    if wrong:
        print(f"pyasr bench: WRONG: {'; '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def one(target: Target, cell: Cell, limit: dict[str, float], options: argparse.Namespace) -> dict[str, Any]:
    """The record of a cell: answers, then times; "wrong" or "absent" with the reason instead of times."""
    size = cell.quick if options.quick else cell.size
    record: dict[str, Any] = {
        "name": cell.name,
        "row": cell.row,
        "label": cell.label,
        "size": size,
        "dtype": cell.dtype,
    }
    try:
        found = answers(target, cell, options.quick)
        record["answers"] = found.record()
        if not found.right:
            return {**record, "wrong": f"error {found.error:.1e}, same bits {found.same_bits}, graph: {found.graph}"}
        return {**record, "times": timed(target, cell, found, limit, options.rounds, options.quick)}
    except MemoryError as e:
        return {**record, "absent": f"out of memory: {e}"}
    except (RuntimeError, ValueError, TypeError) as e:  # of this row; the others are measured
        return {**record, "wrong": f"{type(e).__name__}: {e}"}


def line(record: dict[str, Any]) -> str:
    """A cell for the terminal."""
    if "times" not in record:
        return f"{record['name']:58s} {'WRONG, ' + record['wrong'] if 'wrong' in record else record['absent']}"
    times = record["times"]
    graph = times["graph us"]
    inside = f"{graph['median']:10.1f}" if isinstance(graph, dict) else f"{'–':>10s}"
    copy, arithmetic = (100 * times[f"share of {what}"] for what in ("copy", "arithmetic"))
    return (
        f"{record['name']:58s} {times['us']['median']:11.1f} µs, in a graph {inside} µs {times['GB/s']:8.1f} GB/s "
        f"({copy:.0f} % of copy) {times['TFLOP/s']:7.3f} TFLOP/s ({arithmetic:.0f} %)"
    )


def race_line(record: dict[str, Any]) -> str:
    """A race for the terminal."""
    times = ", ".join(f"{name} {t['median']:.1f}" for name, t in record["us"].items())
    absent = "".join(f"; {name}: {reason}" for name, reason in record["absent"].items())
    ratio = (
        "no ratio"
        if record["ratio"] is None
        else f"{record['form']} / {record['ours']} {record['ratio']['median']:.2f}"
    )
    return f"{record['name']:58s} {record['peer']}, µs per {record['unit']}: {times}; {ratio}{absent}"


def write(path: Path, report: dict[str, Any]) -> None:
    """As a whole or not at all."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    partial.replace(path)


def machine(target: Target, commit: str | None) -> dict[str, Any]:
    """What a result says about where and when it was measured."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit or checkout(),
        "pyasr": pyasr.__version__,
        "python": platform.python_version(),
        **target.describe(),
    }


def checkout(run: Callable[..., Any] = subprocess.run) -> str:
    """The commit of the source tree that this package is; with a + where files have changed."""
    folder = Path(__file__).parent

    def git(*argv: str) -> str | None:
        try:
            done = run(["git", *argv], cwd=folder, capture_output=True, text=True, check=False)
        except FileNotFoundError:  # no git
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if git("ls-files", "--error-unmatch", Path(__file__).name) is None:
        return "unknown"
    return (
        f"{git('rev-parse', '--short=12', 'HEAD')}{'+' if git('status', '--porcelain', '--untracked-files=no') else ''}"
    )
