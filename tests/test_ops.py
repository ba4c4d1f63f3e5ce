"""The op table is the test list: every row × backend × size × dtype against the reference."""

import numpy as np
import pytest

from pyasr.ops import BACKENDS, rows, why_not
from pyasr.ops._compare import numbers, prepared, worst_error
from pyasr.ops._op import backend, has

COLUMNS = [
    (row, column)
    for row in rows().values()
    for column in BACKENDS
    if column != "cuda" and why_not(column) is None and has(row, column)
]
CELLS = [
    pytest.param(row, column, size, dtype, id=f"{row.name}-{column}-{size}-{dtype}")
    for row, column in COLUMNS
    if column != "numpy"
    for size in row.sizes_of(column)
    for dtype in row.dtypes
]


@pytest.mark.parametrize(("row", "column", "size", "dtype"), CELLS)
def test_agrees_with_reference(row, column, size, dtype):
    error = worst_error(row, column, size, dtype)
    assert error <= row.tolerance[dtype], f"differs by {error:.1e}; tolerance {row.tolerance[dtype]} ({row.reason})"


@pytest.mark.parametrize(("row", "column"), [pytest.param(r, c, id=f"{r.name}-{c}") for r, c in COLUMNS])
def test_arguments_that_are_only_read_keep_their_bits(row, column):
    args, kwargs = prepared(row, column, row.sizes[-1], row.dtypes[0], seed=1)
    names = row.argument_names(args, kwargs)
    arrays = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in arrays]
    getattr(backend(column), row.name)(*args, **kwargs)
    changed = [n for n, a, b in zip(names, arrays, before, strict=True) if a.tobytes() != b]
    assert set(changed) <= set(row.writes)


@pytest.mark.parametrize(
    ("row", "dtype"), [pytest.param(r, d, id=f"{r.name}-{d}") for r, c in COLUMNS if c == "cpp" for d in r.dtypes]
)
def test_same_bits_for_any_thread_count(row, dtype):
    ops, results = backend("cpp"), []
    for threads in (1, 2, 3, 7):
        args, kwargs = prepared(row, "cpp", row.sizes[-1], dtype, seed=2)
        out = getattr(ops, row.name)(*args, **kwargs, threads=threads)
        written = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        results.append([a.tobytes() for a in (*numbers(out), *written)])
    assert all(r == results[0] for r in results[1:])


def test_every_row_has_numpy_and_cpp():
    if why_not("cpp") is None:
        assert [r.name for r in rows().values() if not has(r, "cpp")] == []


@pytest.mark.parametrize(
    ("row", "column"), [pytest.param(r, c, id=f"{r.name}-{c}") for r, c in COLUMNS if c != "numpy"]
)
def test_results_have_the_types_of_the_reference(row, column):
    for dtype in row.dtypes:
        got, want = (
            getattr(backend(c), row.name)(*args, **kwargs)
            for c, (args, kwargs) in ((c, prepared(row, c, row.sizes[-1], dtype)) for c in (column, "numpy"))
        )
        for g, w in zip(*(r if isinstance(r, tuple) else (r,) for r in (got, want)), strict=True):
            if isinstance(w, (np.ndarray, np.generic)):
                assert (type(g), g.dtype, g.shape) == (type(w), w.dtype, w.shape)
                assert not isinstance(g, np.ndarray) or (g.flags.c_contiguous and g.flags.writeable)
            elif isinstance(w, (float, int)):
                assert type(g) is type(w)
