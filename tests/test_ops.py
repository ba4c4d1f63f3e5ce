"""The op table is the test list: every row × backend × size × dtype against the reference."""

import copy

import numpy as np
import pytest

from pyasr.ops import BACKENDS, rows, why_not
from pyasr.ops._op import backend, has

CELLS = [
    pytest.param(row, column, size, dtype, id=f"{row.name}-{column}-{size}-{dtype}")
    for row in rows().values()
    for column in BACKENDS
    if column not in ("numpy", "cuda") and why_not(column) is None and has(row, column)
    for size in row.sizes
    for dtype in row.dtypes
]


def arrays(result):
    """The arrays and numbers of a result, opaque parts left out."""
    parts = result if isinstance(result, tuple) else (result,)
    return [np.asarray(p, np.float64) for p in parts if isinstance(p, (np.ndarray, float, int, np.generic))]


def relative_error(got, want):
    assert got.shape == want.shape
    if want.size == 0:
        return 0.0
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(want))
    finite = np.isfinite(want)
    norm = np.linalg.norm(want[finite])
    return np.linalg.norm((got - want)[finite]) / (norm if norm > 0 else 1.0)


@pytest.mark.parametrize(("row", "column", "size", "dtype"), CELLS)
def test_agrees_with_reference(row, column, size, dtype):
    want_args, want_kwargs = row.example(np.random.default_rng(0), size, np.dtype(dtype))
    got_args, got_kwargs = copy.deepcopy((want_args, want_kwargs))
    if row.prepare is not None:  # opaque arguments, such as a saved state, belong to the column that made them
        want_args, got_args = row.prepare(backend("numpy"), want_args), row.prepare(backend(column), got_args)
    want = row.reference(*want_args, **want_kwargs)
    got = getattr(backend(column), row.name)(*got_args, **got_kwargs)
    tolerance = row.tolerance[dtype]
    for g, w in zip(arrays(got), arrays(want), strict=True):
        error = relative_error(g, w)
        assert error <= tolerance, f"result differs by {error:.1e}"
    everything = [*zip(got_args, want_args, strict=True), *((got_kwargs[k], want_kwargs[k]) for k in want_kwargs)]
    for g, w in everything:
        if isinstance(w, np.ndarray):
            error = relative_error(np.asarray(g, np.float64), np.asarray(w, np.float64))
            assert error <= tolerance, f"an argument differs by {error:.1e}"


@pytest.mark.parametrize(
    ("row", "column"),
    [
        pytest.param(r, c, id=f"{r.name}-{c}")
        for r in rows().values()
        for c in ("numpy", "cpp", "numba")
        if why_not(c) is None and has(r, c)
    ],
)
def test_arguments_that_are_only_read_keep_their_bits(row, column):
    args, kwargs = row.example(np.random.default_rng(1), row.sizes[-1], np.dtype(row.dtypes[0]))
    if row.prepare is not None:
        args = row.prepare(backend(column), args)
    before = copy.deepcopy([a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)])
    getattr(backend(column), row.name)(*args, **kwargs)
    after = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
    names = row.argument_names(args, kwargs)
    for name, b, a in zip(names, before, after, strict=True):
        if name not in row.writes:
            assert a.tobytes() == b.tobytes(), f"{row.name} changed {name}"


@pytest.mark.parametrize(
    ("row", "dtype"), [pytest.param(r, d, id=f"{r.name}-{d}") for r in rows().values() for d in r.dtypes]
)
@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
def test_same_bits_for_any_thread_count(row, dtype):
    if not has(row, "cpp"):
        pytest.fail(f"{row.name} has no cpp column")
    ops, results = backend("cpp"), []
    for threads in (1, 2, 3, 7):
        args, kwargs = row.example(np.random.default_rng(2), row.sizes[-1], np.dtype(dtype))
        if row.prepare is not None:
            args = row.prepare(ops, args)
        out = getattr(ops, row.name)(*args, **kwargs, threads=threads)
        written = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        results.append([a.tobytes() for a in (*arrays(out), *written)])
    assert all(r == results[0] for r in results[1:])
