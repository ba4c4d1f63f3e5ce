"""Rounds of calls: medians and quartiles, over inputs that take turns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.bench.cells import Cell
from pyasr.bench.check import Answers, arrays_of
from pyasr.bench.target import Target
from pyasr.ops._compare import arguments_for


def quartiles(seconds: Any) -> dict[str, float]:
    """Median and quartiles, in µs."""
    low, median, high = (1e6 * float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return {"median": median, "low": low, "high": high}


def passes(target: Target, work: Callable[[], Any], least: float) -> int:
    """How often the work runs in a round that takes `least` seconds; runs it twice, which is the warm-up."""
    work()
    target.wait()
    return max(1, min(10_000, round(least / max(target.seconds(work), 1e-7))))


def repeated(target: Target, work: Callable[[], Any], rounds: int, least: float) -> np.ndarray:
    """Seconds of one run of the work, per round."""
    times = passes(target, work, least)

    def some() -> None:
        for _ in range(times):
            work()

    return np.array([target.seconds(some) for _ in range(rounds)]) / times


def in_turns(
    target: Target, contestants: dict[str, Callable[[], Any]], rounds: int, least: float
) -> dict[str, np.ndarray]:
    """Seconds of one call of each, per round; in a round each has its turn."""
    times = {name: passes(target, call, least) for name, call in contestants.items()}
    found: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, call in contestants.items():

            def some(call: Callable[[], Any] = call, count: int = times[name]) -> None:
                for _ in range(count):
                    call()

            found[name].append(target.seconds(some) / times[name])
    return {name: np.array(seconds) for name, seconds in found.items()}


def sets_of(target: Target, cell: Cell, moved: float, quick: bool) -> list[tuple[tuple, dict]]:
    """Copies of one example, together more than twice the cache of a target: at most 64, and as many as a quarter of its memory
    holds with their results."""
    example = cell.arguments(0, quick)
    size = max(sum(x.nbytes for x in arrays_of(example, np)), 1)
    fit = int(target.free // 4 // max(size, moved))
    count = 2 if quick else max(1, min(64, fit, 2 * target.cache // size + 2))
    return [arguments_for(cell.of, target.ops, *example) for _ in range(count)]


def timed(
    target: Target, cell: Cell, found: Answers, limits: dict[str, float], rounds: int, quick: bool
) -> dict[str, Any]:
    """The times of a cell, called from Python and replayed from a CUDA graph, and its share of the limits.

    `us` is what a caller waits for who queues one call behind the other; `graph us` is the time of the device alone, from a graph
    that holds a call on every set of inputs. Shares are of the faster of both.
    """
    sets = sets_of(target, cell, found.bytes, quick)
    function, least = getattr(target.ops, cell.row), 0.0 if quick else 5e-3
    kept: list[Any] = [None] * len(sets)  # so that results take turns too

    def once() -> list[Any]:
        for i, (args, kwargs) in enumerate(sets):
            kept[i] = function(*args, **kwargs)
        return list(kept)

    record: dict[str, Any] = {"sets": len(sets)}
    record["us"] = quartiles(repeated(target, once, rounds, least) / len(sets))
    best = record["us"]["median"]
    try:
        graph = target.capture(once)
    except RuntimeError as e:
        record["graph us"] = str(e)
    else:
        record["graph us"] = quartiles(repeated(target, graph.replay, rounds, least) / len(sets))
        best = min(best, record["graph us"]["median"])
    record |= {"GB/s": found.bytes / best / 1e3, "TFLOP/s": found.flops / best / 1e6}
    record["share of copy"] = record["GB/s"] / limits["copy, GB/s"]
    record["share of arithmetic"] = record["TFLOP/s"] / limits["float32, TFLOP/s"]
    return record
