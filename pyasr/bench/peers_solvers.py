"""cg beside cupyx.scipy.sparse.linalg.cg on a GPU and scipy.sparse.linalg.cg on a CPU: time per iteration."""

from __future__ import annotations

import functools
import importlib
import inspect
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from pyasr.bench.cells import Cell, cells, system
from pyasr.bench.peers import Builder, Form, Race
from pyasr.bench.target import Target
from pyasr.counter import stream
from pyasr.ops import host
from pyasr.ops._compare import copied

NEEDS = {"cuda": ("cupy",), "cpu": ("scipy",)}
ITERATIONS = 50


def builders(target: Target, names: Sequence[str], quick: bool) -> Iterator[tuple[str, Builder]]:
    """One per cell of cg."""
    for cell in cells(["cg"] if "cg" in names else []):
        yield f"{cell.name} beside {'CuPy' if target.is_gpu else 'SciPy'}", functools.partial(race, target, cell, quick)


def race(target: Target, cell: Cell, quick: bool) -> Iterator[Race]:
    """Solutions to 1e-5 are compared; then both make 50 iterations, and no residual ends them."""
    package = "cupyx.scipy" if target.is_gpu else "scipy"
    theirs = importlib.import_module(f"{package}.sparse.linalg").cg
    rtol = "rtol" if "rtol" in inspect.signature(theirs).parameters else "tol"
    n, rng = cell.quick if quick else cell.size, stream("bench", "cg", cell.label)
    (A, b), _ = copied(target.ops, system(rng, n, np.dtype(cell.dtype), 1000.0))  # far from done after the iterations
    iterations = 5 if quick else ITERATIONS

    def solved(of: Any, **options: Any) -> list[Any]:
        return [host(of(A, b, **options)[0])]

    fixed: dict[str, Any] = {"atol": 0.0, "maxiter": iterations}
    ours = Form(
        functools.partial(target.ops.cg, A, b, rtol=0.0, verify=False, **fixed),
        functools.partial(solved, target.ops.cg, rtol=1e-5),
    )
    form = Form(
        functools.partial(theirs, A, b, **{rtol: 0.0}, **fixed),
        functools.partial(solved, theirs, **{rtol: 1e-5, "atol": 0.0}),
        tolerance=3e-2,  # both residuals are below 1e-5, and the condition is 1000
    )
    peer = "CuPy" if target.is_gpu else "SciPy"
    yield Race(cell.name, "cg", ours, {package: form}, peer, units=iterations, unit="iteration")
