"""cg over one triangle of a matrix, and over many systems at once."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import why_not

MAKE = runpy.run_path(str(Path(__file__).parent / "oracle" / "make_cg.py"))  # test systems
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
needs_cpp = pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")


def cg(column, *args, **kwargs):
    return pyasr.backend(column).cg(*args, **kwargs)


def problem(n, condition, dtype, seed=0):
    rng = np.random.RandomState(seed)
    return MAKE["spd"](rng, n, condition).astype(dtype), rng.standard_normal(n).astype(dtype)


def one_triangle(A, stored):
    """A as `stored` wants it; what may not be read is NaN."""
    other = np.full_like(A, np.nan)
    if stored == "packed":
        return A[np.triu_indices(len(A))]
    return np.where(np.tri(len(A), dtype=bool) if stored == "lower" else np.tri(len(A), dtype=bool).T, A, other)


STORED = ("lower", "upper", "packed")


@every_column
@every_dtype
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 8, 15, 16, 17, 31, 64, 65, 100, 257, 400, 416, 640])
def test_one_triangle_is_all_that_is_read(column, dtype, stored, n):
    A, b = problem(n, 50, dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-10
    want, _ = cg(column, A, b, rtol=rtol)
    x, info = cg(column, one_triangle(A, stored), b, rtol=rtol, symmetric=stored)
    assert info == 0
    residual = np.linalg.norm(b - A.astype("f8") @ x.astype("f8"))
    assert residual <= 1.001 * rtol * np.linalg.norm(b.astype("f8"))
    assert np.linalg.norm(x - want) <= 100 * rtol * np.linalg.norm(want)


@needs_cpp
@every_dtype
@pytest.mark.parametrize("n", [40, 400, 416])
def test_upper_packed_and_full_have_the_same_bits(dtype, n):
    A, b = problem(n, 50, dtype)
    run = {"maxiter": 12, "rtol": 0.0, "verify": False}
    want = cg("cpp", A, b, **run)[0].tobytes()
    for stored in ("upper", "packed"):
        assert cg("cpp", one_triangle(A, stored), b, symmetric=stored, **run)[0].tobytes() == want


@needs_cpp
@every_dtype
@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("n", [83, 1040])
def test_bits_of_a_triangle_depend_on_neither_threads_nor_address(dtype, stored, n):
    A, b = problem(n, 100, dtype)
    A = one_triangle(A, stored)
    room = np.empty(A.nbytes + 128, np.uint8)
    results = set()
    for offset in (0, 16, 56):
        start = -room.ctypes.data % 64 + offset
        moved = room[start : start + A.nbytes].view(dtype).reshape(A.shape)
        moved[:] = A
        for threads in (1, 3):
            x = cg("cpp", moved, b, symmetric=stored, maxiter=20, damping=0.01, threads=threads)[0]
            results.add(x.tobytes())
    assert len(results) == 1


@every_column
def test_a_triangle_with_the_other_options(column):
    A, b = problem(70, 1e2, "float64")
    M = np.diag(1 / np.diag(A))
    for stored in STORED:
        part = one_triangle(A, stored)
        for options in ({"damping": 0.1}, {"M": M}, {"flexible": True, "M": M}, {"stop": "martens"}, {"verify": False}):
            want, _ = cg(column, A, b, rtol=1e-9, **options)
            x, info = cg(column, part, b, rtol=1e-9, symmetric=stored, **options)
            assert info == 0
            assert np.linalg.norm(x - want) <= 1e-5 * np.linalg.norm(want)


@every_column
def test_a_triangle_that_is_not_finite(column):
    for stored in STORED:
        A = np.eye(20)
        A[3, 5] = A[5, 3] = np.nan
        part = one_triangle(A, stored)
        assert cg(column, part, np.ones(20), symmetric=stored)[1] == -3


@every_column
def test_words_of_a_packed_matrix(column):
    b = np.ones(3)
    with pytest.raises(ValueError, match=r"^cg: A must have shape \(Q,\) with Q = 6 from P\*\(P\+1\)/2, got \(5,\)$"):
        cg(column, np.ones(5), b, symmetric="packed")
    with pytest.raises(ValueError, match=r'^cg: symmetric must be "full", "lower", "upper" or "packed", got \'both\'$'):
        cg(column, np.eye(3), b, symmetric="both")


# Many systems at once


def batch(systems, n, dtype):
    each = [problem(n, 10.0 ** (i % 3), dtype, seed=i) for i in range(systems)]
    return np.array([A for A, _ in each]), np.array([b for _, b in each])


@every_column
@every_dtype
@pytest.mark.parametrize("n", [1, 5, 16, 64])
def test_a_batch_is_a_loop_bit_for_bit(column, dtype, n):
    A, b = batch(7, n, dtype)
    M = np.array([np.diag(1 / np.diag(one)) for one in A])
    rng = np.random.RandomState(3)
    for options in (
        {},
        {"x0": rng.standard_normal(b.shape)},
        {"M": M, "flexible": True},
        {"damping": 0.5, "maxiter": 4},
    ):
        x, info = cg(column, A, b, **options)
        assert (x.dtype, x.shape, info.dtype, info.shape) == (b.dtype, b.shape, np.int64, (7,))
        for i in range(7):
            own = {k: v[i] if isinstance(v, np.ndarray) else v for k, v in options.items()}
            want, want_info = cg(column, A[i], b[i], **own)
            assert x[i].tobytes() == want.tobytes()
            assert info[i] == want_info


@needs_cpp
@every_dtype
def test_bits_of_a_batch_depend_neither_on_threads_nor_on_its_size(dtype):
    A, b = batch(20, 33, dtype)
    want, want_info = cg("cpp", A, b, threads=1)
    for threads in (2, 5, 64):
        x, info = cg("cpp", A, b, threads=threads)
        assert x.tobytes() == want.tobytes()
        assert (info == want_info).all()
    assert cg("cpp", A[4:9], b[4:9])[0].tobytes() == want[4:9].tobytes()


@every_column
@pytest.mark.parametrize("stored", STORED)
def test_a_batch_of_triangles(column, stored):
    A, b = batch(5, 20, "float64")
    x, info = cg(column, np.array([one_triangle(one, stored) for one in A]), b, rtol=1e-9, symmetric=stored)
    assert not info.any()
    np.testing.assert_allclose(x, np.linalg.solve(A, b[..., None])[..., 0], rtol=0, atol=1e-5)


@every_column
def test_every_system_of_a_batch_has_its_own_end(column):
    A = np.array([np.eye(3), -np.eye(3), np.diag([1.0, -1, 0]), np.diag([1.0, 2, np.nan]), 4 * np.eye(3)])
    b = np.array([[1.0, 2, 3], [1, 1, 1], [1, 1, 0], [1, 1, 1], [0, 0, 0]])
    x, info = cg(column, A, b)
    assert info.tolist() == [0, -2, -1, -3, 0]
    assert np.isfinite(x).all()
    np.testing.assert_allclose(x[0], b[0], rtol=1e-12)
    with pytest.raises(ValueError, match=r"^cg: A must be positive definite, got p\.Ap < 0 in system 1$"):
        cg(column, A, b, on_indefinite="raise")
    A[4, 0, 1] = 1.0
    b[4] = 1.0
    with pytest.raises(ValueError, match=r"^cg: A must be symmetric, .* disagree in system 4$"):
        cg(column, A, b)


@every_column
def test_empty_batches_and_their_words(column):
    x, info = cg(column, np.zeros((0, 3, 3)), np.zeros((0, 3)))
    assert (x.shape, info.shape, info.dtype) == ((0, 3), (0,), np.int64)
    x, info = cg(column, np.zeros((2, 0, 0), "f4"), np.zeros((2, 0), "f4"))
    assert (x.shape, x.dtype, info.tolist()) == ((2, 0), np.float32, [0, 0])
    A, b = np.array([np.eye(3)] * 2), np.ones((2, 3))
    with pytest.raises(ValueError, match=r"^cg: A must have shape \(P, P\) with P = 3 from b, got \(2, 3, 3\)$"):
        cg(column, A, np.ones(3))
    with pytest.raises(TypeError, match=r"^cg: callback must be None with a batch of systems, got builtin"):
        cg(column, A, b, callback=print)
    with pytest.raises(TypeError, match=r"^cg: M must be a NumPy array, got function$"):
        cg(column, A, b, M=lambda v: v)
    with pytest.raises(ValueError, match=r"^cg: b must have shape \(P,\), got \(2, 3\)$"):
        cg(column, lambda v: v, b)
