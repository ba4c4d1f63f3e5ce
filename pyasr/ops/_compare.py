"""Compare a column of the table with the reference: what the tests, the benchmarks and `pyasr info --check` share."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._op import Row, backend, host


def numbers(result: Any) -> list[np.ndarray]:
    """The arrays and numbers of a result as float64; opaque parts, such as a saved state, are left out."""
    result = host(result)
    parts = tuple(map(host, result)) if isinstance(result, tuple) else (result,)
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


def copied(ops: Any, x: Any) -> Any:
    """x with every array in it, also within tuples, lists and dicts, as a fresh array of a column; the rest as it is."""
    if isinstance(x, np.ndarray):
        return x.copy() if ops.xp is np else ops.xp.asarray(x.copy())
    if isinstance(x, (tuple, list)) and type(x) in (tuple, list):
        return type(x)(copied(ops, part) for part in x)
    if type(x) is dict:
        return {key: copied(ops, part) for key, part in x.items()}
    return x


def arguments_for(row: Row, ops: Any, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """Arguments of a row as its example gives them, for a column: copies, and a `saved` of the column's own."""
    args, kwargs = copied(ops, (args, kwargs))
    return (args if row.prepare is None else row.prepare(ops, args)), kwargs


def prepared(row: Row, column: str, size: Any, dtype: str, seed: int = 0) -> tuple[tuple, dict]:
    """Fresh example arguments of a row for a column."""
    return arguments_for(row, backend(column), *row.example(np.random.default_rng(seed), size, np.dtype(dtype)))


def worst_error(row: Row, column: str, size: Any, dtype: str) -> float:
    """Run a column and the reference on the same example; the largest relative error of any result or updated argument."""
    want_args, want_kwargs = prepared(row, "numpy", size, dtype)
    got_args, got_kwargs = prepared(row, column, size, dtype)
    want = numbers(row.reference(*want_args, **want_kwargs))
    got = numbers(getattr(backend(column), row.name)(*got_args, **got_kwargs))
    pairs = [*zip(got, want, strict=True), *zip(got_args, want_args, strict=True)]
    pairs += [(got_kwargs[k], want_kwargs[k]) for k in want_kwargs]
    errors = [
        relative_error(np.asarray(host(g), np.float64), np.asarray(w, np.float64))
        for g, w in pairs
        if isinstance(w, np.ndarray)
    ]
    return max(errors, default=0.0)
