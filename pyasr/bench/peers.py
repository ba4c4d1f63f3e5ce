"""The same jobs by others: ours and theirs in turn, the same inputs, answers compared before anything is timed.

A module of peers has NEEDS, the packages without which it has none, and `builders(target, names, quick)`: functions without
arguments that yield Races, named by what they race, so that the arrays of one go before those of the next are made.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pyasr.bench.target import Target
from pyasr.bench.timing import in_turns, quartiles

# What a peer raises that does not fit this machine: a library of another version, a build without CUDA, no memory.
FAILURES = (ImportError, OSError, RuntimeError, AssertionError, AttributeError, TypeError, ValueError, MemoryError)
MODULES = ("pyasr.bench.peers_torch", "pyasr.bench.peers_solvers")
PACKAGES = {"cuda": ("torch", "torchaudio", "cupy"), "cpu": ("torch", "torchaudio", "scipy")}
Call = Callable[[], Any]
Builder = Callable[[], Iterator["Race"]]


@dataclass(frozen=True)
class Form:
    """One way in which a peer does the job. `answer` is its first call and returns what is compared, None where it was already.

    `counts`: whether it computes the same numbers as ours; the others are shown and no ratio is made of them.
    """

    call: Call
    answer: Callable[[], Sequence[Any]] | None = None
    tolerance: float = 1e-4
    counts: bool = True


@dataclass(frozen=True)
class Race:
    """Ours against forms of theirs; the fastest of each side makes the ratio."""

    name: str
    row: str
    ours: Form
    theirs: dict[str, Form]
    peer: str
    units: int = 1  # a time is divided by it
    unit: str = "call"
    absent: dict[str, str] = field(default_factory=dict)  # forms that could not be made, and why


def present(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def versions(target: Target) -> dict[str, str]:
    """The peers of a target; "not installed" where they are not, and why where one can not be imported."""
    found = {}
    for package in PACKAGES[target.name]:
        try:
            found[package] = str(importlib.import_module(package).__version__) if present(package) else "not installed"
        except (ImportError, OSError, RuntimeError) as e:  # built for another version of what it loads
            found[package] = f"can not be imported: {e}"
    return found


def distance(got: Sequence[Any], want: Sequence[Any]) -> float:
    """The largest ‖got − want‖ / ‖want‖ of two lists of arrays; inf where a number is not finite."""
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        g, w = np.asarray(g, np.float64), np.asarray(w, np.float64)
        error = float(np.linalg.norm(g - w) / max(float(np.linalg.norm(w)), 1e-300)) if g.shape == w.shape else np.inf
        worst = max(worst, error if np.isfinite(error) else np.inf)
    return worst


def run(target: Target, race: Race, rounds: int, quick: bool) -> dict[str, Any]:
    """Answers, then times. A form whose answer is another one, or which fails, is not timed."""
    want = race.ours.answer() if race.ours.answer else None
    agreement, calls, absent = {}, {"pyasr": race.ours.call}, dict(race.absent)
    for name, form in race.theirs.items():
        try:
            if form.answer is not None and want is not None:
                agreement[name] = distance(form.answer(), want)
                if not agreement[name] <= form.tolerance:
                    absent[name] = f"its answer differs by {agreement[name]:.1e}, more than {form.tolerance:.0e}"
                    continue
            else:
                form.call()
        except (RuntimeError, MemoryError) as e:  # such as a precision that cuDNN does not have; the others go on
            absent[name] = f"failed: {e}"
            continue
        calls[name] = form.call
    try:
        graph = target.capture(race.ours.call)
        calls["pyasr, graph"] = graph.replay
    except RuntimeError as e:
        absent["pyasr, graph"] = str(e)
    seconds = in_turns(target, calls, rounds, 0.0 if quick else 5e-3)
    ours = min((n for n in calls if n.startswith("pyasr")), key=lambda n: float(np.median(seconds[n])))
    rivals = [n for n in calls if n in race.theirs and race.theirs[n].counts]
    record: dict[str, Any] = {
        "name": race.name, "row": race.row, "peer": race.peer, "unit": race.unit, "agreement": agreement, "absent": absent,
        "us": {name: quartiles(s / race.units) for name, s in seconds.items()}, "ours": ours, "form": None, "ratio": None,
    }  # fmt: skip
    if rivals:
        best = min(rivals, key=lambda n: float(np.median(seconds[n])))
        low, median, high = (float(q) for q in np.quantile(seconds[best] / seconds[ours], (0.25, 0.5, 0.75)))
        record |= {"form": best, "ratio": {"median": median, "low": low, "high": high}}
    return record


def builders(target: Target, names: Sequence[str], quick: bool) -> Iterator[tuple[str, Builder]]:
    """All builders of these rows for which the peers are there, by name."""
    for module in map(importlib.import_module, MODULES):
        if all(present(package) for package in module.NEEDS[target.name]):
            yield from module.builders(target, names, quick)


def run_all(
    target: Target, names: Sequence[str], rounds: int, quick: bool
) -> Iterator[tuple[str, dict[str, Any] | Exception]]:
    """The record of every race of these rows, by name, or why there is none: a part of a peer is missing, or one side failed."""
    for name, build in builders(target, names, quick):
        try:
            for race in build():
                yield race.name, run(target, race, rounds, quick)
        except FAILURES as e:
            yield name, e
