"""What the comparisons share: the command line, pinned threads, answers that must agree, races, results and pages."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import metadata
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


def near(name: str, got: Any, want: Any, tolerance: float) -> float:
    """The largest absolute difference; the end of the run where shapes differ or answers do.

    One number in a thousand may differ by more than the tolerance, by four times as much: the logarithm of a float32 sum that
    nearly cancels.
    """
    import numpy as np

    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        raise SystemExit(f"{name}: ours has shape {got.shape} and theirs {want.shape}: nothing was timed")
    error = np.abs(got - want)
    most, largest = float(np.quantile(error, 0.999)), float(error.max())
    if not (most <= tolerance and largest <= 4 * tolerance):
        raise SystemExit(
            f"{name}: ours and theirs differ by {most:.1e}, at most by {largest:.1e}, more than {tolerance:.1e}: "
            "nothing was timed"
        )
    return largest


def take_turns(
    calls: dict[str, Callable[[], Any]], rounds: int, clock: Callable[[], float], bunch: float = 2e-3
) -> dict[str, list[float]]:
    """Seconds per call of every contestant in every round, in turn, after a round that only warms up.

    Calls are timed in bunches of at least `bunch` seconds, so that a clock's own time does not count.
    """
    repeat, times = {}, {name: [] for name in calls}
    for name, call in calls.items():
        call()  # what is made once: plans, tables, compiled code
        start = clock()
        call()
        repeat[name] = max(1, int(bunch / max(clock() - start, 1e-6)))
    for _ in range(rounds):
        for name, call in calls.items():
            start = clock()
            for _ in range(repeat[name]):
                call()
            times[name].append((clock() - start) / repeat[name])
    return times


def quartiles(values: Any) -> tuple[float, float, float]:
    """Lower quartile, median, upper quartile."""
    import numpy as np

    low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
    return low, median, high


@dataclass
class Race:
    """One line of a table: ours against one or more forms of theirs, of which the fastest counts."""

    name: str
    peer: str
    ours: Callable[[], Any]
    theirs: dict[str, Callable[[], Any]]
    mark: float | None = None  # the ratio that the project wants, theirs over ours
    units: int = 1  # times are divided by it
    unit: str = "call"
    at_most: bool = False  # the mark is the largest ratio instead of the smallest
    rounds: int | None = None  # no more than these, where a call takes seconds
    clock: str | None = None  # instead of the command line's
    bunch: float = 2e-3  # seconds that each side has in a row


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def result(race: Race, options: argparse.Namespace) -> dict[str, Any]:
    """The medians of the contestants, per unit, and the ratio to the fastest of theirs."""
    import numpy as np

    clock, rounds = race.clock or options.clock, min(options.rounds, race.rounds or options.rounds)
    times = take_turns({"pyasr": race.ours, **race.theirs}, rounds, CLOCKS[clock], race.bunch)
    best = min(race.theirs, key=lambda name: float(np.median(times[name])))
    low, median, high = quartiles(np.array(times[best]) / np.array(times["pyasr"]))
    met = None if race.mark is None else (median <= race.mark if race.at_most else median >= race.mark)
    return {
        "name": race.name,
        "peer": race.peer,
        "form": best,
        "ours": float(np.median(times["pyasr"])) / race.units,
        "theirs": {name: float(np.median(times[name])) / race.units for name in race.theirs},
        "unit": race.unit,
        "ratio": median,
        "quartiles": [low, high],
        "mark": race.mark,
        "at most": race.at_most,
        "met": met,
        "rounds": rounds,
        "clock": clock,
    }


def mark(r: dict[str, Any]) -> str:
    """What the project wanted of a result, and whether it got that; empty without a mark."""
    if r["mark"] is None:
        return ""
    return f"{'at most ' if r['at most'] else ''}{r['mark']:g}: {'met' if r['met'] else 'missed'}"


def line(r: dict[str, Any]) -> str:
    """A result for the terminal."""
    wanted = f"  (mark {mark(r)})" if mark(r) else ""
    return (
        f"{r['name']:46s} ours {1e6 * r['ours']:10.1f} µs  {r['peer']} {1e6 * r['theirs'][r['form']]:11.1f} µs per {r['unit']}"
        f"  ratio {r['ratio']:6.2f} [{r['quartiles'][0]:.2f}, {r['quartiles'][1]:.2f}]{wanted}"
    )


def version(distribution: str) -> str:
    """As pip knows it, for some peers do not say; "not installed" without one."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def machine(peers: Iterable[str]) -> dict[str, Any]:
    """Where and when this runs, with the versions of the peers: names of distributions."""
    import probe

    return {**probe.machine(), "peers": {peer: version(peer) for peer in peers}}


def save(options: argparse.Namespace, where: dict[str, Any], **results: Any) -> dict[str, Any]:
    """The whole report; written to --json FILE, where that was asked for."""
    content = {"machine": where, "threads": options.threads, "clock": options.clock, **results}
    if options.json:
        options.json.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return content


def put(table: str, page: Path, begin: str, end: str) -> None:
    """Write the table between the markers of a page, which keeps all its other words."""
    text = page.read_text("utf-8")
    if text.count(begin) != 1 or text.count(end) != 1:
        raise SystemExit(f"{page}: must hold {begin} and {end} once each")
    before, after = text.split(begin)[0], text.split(end)[1]
    page.write_text(f"{before}{begin}\n{table}\n{end}{after}", "utf-8")
