"""Answers before times: a cell against the reference in float64, the same bits twice, and the same bits from a CUDA graph."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyasr.bench.cells import Cell
from pyasr.bench.target import Target
from pyasr.ops import backend, host
from pyasr.ops._compare import arguments_for, numbers, relative_error


@dataclass(frozen=True)
class Answers:
    """What was found of one cell."""

    error: float  # the largest ‖got − want‖ / ‖want‖ of any result or updated argument, over all seeds
    tolerance: float
    seeds: int
    same_bits: bool  # twice from the same inputs
    poisoned: bool  # results and workspaces held NaN before
    graph: str  # "same bits", "other bits", or why there is none
    bytes: float  # that the row declares for a call
    flops: float

    @property
    def right(self) -> bool:
        return self.error <= self.tolerance and self.same_bits and self.graph != "other bits"

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "right": self.right}


def arrays_of(x: Any, xp: Any) -> list[Any]:
    """The arrays of a library in a result or in arguments, also within tuples, lists and dicts."""
    if isinstance(x, xp.ndarray):
        return [x]
    if isinstance(x, dict):
        x = tuple(x.values())
    return [a for part in x for a in arrays_of(part, xp)] if isinstance(x, (tuple, list)) else []


def outputs(result: Any, args: tuple, kwargs: dict) -> list[np.ndarray]:
    """The numbers of a result, and the arguments that are arrays as they are after the call, in float64 on the host."""
    after = (host(a) for a in (*args, *kwargs.values()))
    return numbers(result) + [np.asarray(a, np.float64) for a in after if isinstance(a, np.ndarray)]


def answers(target: Target, cell: Cell, quick: bool = False) -> Answers:
    """Compare the column of a target with the reference, on `cell.seeds` fresh inputs."""
    row, error, same, graph, cost = cell.of, 0.0, True, "", (0.0, 0.0)
    function, reference = getattr(target.ops, cell.row), backend("numpy")
    for seed in range(cell.seeds):
        example = cell.arguments(seed, quick)
        args, kwargs = arguments_for(row, reference, *example)
        if seed == 0:
            cost = float(row.bytes(*args, **kwargs)), float(row.flops(*args, **kwargs))
        want = outputs(row.reference(*args, **kwargs), args, kwargs)
        found = []
        for _ in range(2):
            args, kwargs = arguments_for(row, target.ops, *example)
            with target.poisoned():
                found.append(outputs(function(*args, **kwargs), args, kwargs))
        error = max([error, *(relative_error(g, w) for g, w in zip(found[0], want, strict=True))])
        same &= equal(*found)
        if seed == 0:
            graph = in_a_graph(target, cell, example, found[0])
    return Answers(error, row.tolerance[cell.dtype], cell.seeds, same, target.poisons, graph, *cost)


def equal(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    return [x.tobytes() for x in a] == [x.tobytes() for x in b]


def in_a_graph(target: Target, cell: Cell, example: tuple[tuple, dict], want: list[np.ndarray]) -> str:
    """Whether a replay gives the same bits, its results poisoned and its arguments as they were before the capture."""
    args, kwargs = arguments_for(cell.of, target.ops, *example)
    function = getattr(target.ops, cell.row)
    given = arrays_of((args, kwargs), target.xp)
    before = [x.copy() for x in given]
    try:
        graph = target.capture(lambda: function(*args, **kwargs))
    except RuntimeError as e:
        return str(e)
    for x in arrays_of(graph.result, target.xp):
        x.fill(np.nan if x.dtype.kind == "f" else -1)
    for x, old in zip(given, before, strict=True):
        x[...] = old
    target.wait()
    graph.replay()
    target.wait()
    return "same bits" if equal(outputs(graph.result, args, kwargs), want) else "other bits"
