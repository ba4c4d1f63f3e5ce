"""Compare a column of the table with the reference: what the tests, the benchmarks and `pyasr info --check` share."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from pyasr.ops._op import Row, backend


def on_host(x: Any) -> Any:
    """x itself, or the NumPy copy of what lies on a device."""
    return x.get() if hasattr(x, "get") and not isinstance(x, dict) else x


def numbers(result: Any) -> list[np.ndarray]:
    """The arrays and numbers of a result as float64; opaque parts, such as a saved state, are left out."""
    result = on_host(result)
    parts = tuple(map(on_host, result)) if isinstance(result, tuple) else (result,)
    return [np.asarray(p, np.float64) for p in parts if isinstance(p, (np.ndarray, float, int, np.generic))]


def relative_error(got: np.ndarray, want: np.ndarray) -> float:
    """‖got − want‖ / ‖want‖ over the finite entries; inf when shapes, NaNs or infinities differ."""
    if got.shape != want.shape:
        return np.inf
    finite = np.isfinite(want)
    if not np.array_equal(got[~finite], want[~finite], equal_nan=True) or not np.isfinite(got[finite]).all():
        return np.inf
    norm = float(np.linalg.norm(want[finite]))
    error = float(np.linalg.norm(got[finite] - want[finite])) / (norm if norm > 0 else 1.0)
    return error if np.isfinite(error) else np.inf  # max() would pass a NaN over


def prepared(row: Row, column: str, size: Any, dtype: str, seed: int = 0) -> tuple[tuple, dict]:
    """Fresh example arguments of a row for a column."""
    args, kwargs = row.example(np.random.default_rng(seed), size, np.dtype(dtype))
    args, kwargs = copy.deepcopy((args, kwargs))
    ops = backend(column)
    if ops.xp is not np:
        args = tuple(ops.xp.asarray(a) if isinstance(a, np.ndarray) else a for a in args)
        kwargs = {k: ops.xp.asarray(a) if isinstance(a, np.ndarray) else a for k, a in kwargs.items()}
    return (args if row.prepare is None else row.prepare(ops, args)), kwargs


def worst_error(row: Row, column: str, size: Any, dtype: str) -> float:
    """Run a column and the reference on the same example; the largest relative error of any result or updated argument."""
    want_args, want_kwargs = prepared(row, "numpy", size, dtype)
    got_args, got_kwargs = prepared(row, column, size, dtype)
    want = numbers(row.reference(*want_args, **want_kwargs))
    got = numbers(getattr(backend(column), row.name)(*got_args, **got_kwargs))
    pairs = [*zip(got, want, strict=True), *zip(got_args, want_args, strict=True)]
    pairs += [(got_kwargs[k], want_kwargs[k]) for k in want_kwargs]
    errors = [
        relative_error(np.asarray(on_host(g), np.float64), np.asarray(w, np.float64))
        for g, w in pairs
        if isinstance(w, np.ndarray)
    ]
    return max(errors, default=0.0)
