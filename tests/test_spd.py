"""spd_solve: against a direct solver, over batches, and what it says of matrices that are not positive definite."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import spd, why_not
from pyasr.ops._op import native

MAKE = runpy.run_path(str(Path(__file__).parent / "oracle" / "make_cg.py"))  # test systems
COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None]
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
needs_cpp = pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
RTOL = {"float32": 1e-5, "float64": 1e-13}  # of "auto" from 2048 unknowns on
SIZES = (1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 63, 64, 65, 66, 80, 127, 128, 129, 161, 191, 192, 200, 257)


def spd_solve(column, *args, **kwargs):
    return pyasr.backend(column).spd_solve(*args, **kwargs)


def batch(systems, n, dtype, condition=50.0):
    each = [MAKE["spd"](np.random.RandomState(i), n, condition) for i in range(systems)]
    rights = [np.random.RandomState(100 + i).standard_normal(n) for i in range(systems)]
    return np.array(each, dtype).reshape(systems, n, n), np.array(rights, dtype).reshape(systems, n)


def without_upper(A):
    """A with NaN right of the diagonals."""
    return np.where(np.tri(A.shape[-1], dtype=bool), A, np.asarray(np.nan, A.dtype))


@every_column
@every_dtype
@pytest.mark.parametrize("n", SIZES)
def test_agrees_with_a_direct_solver_and_reads_one_triangle(column, dtype, n):
    A, b = batch(5, n, dtype)
    x = spd_solve(column, without_upper(A), b)
    want = np.linalg.solve(A.astype("f8"), b.astype("f8")[..., None])[..., 0]
    assert (x.dtype, x.shape) == (b.dtype, b.shape)
    assert np.linalg.norm(x - want) <= 100 * np.finfo(dtype).eps * np.linalg.norm(want)


@every_column
@every_dtype
@pytest.mark.parametrize("n", [33, 150])
def test_the_residual_is_rounding_at_any_condition(column, dtype, n):
    condition = 1e5 if dtype == "float32" else 1e12
    A, b = batch(3, n, dtype, condition)
    A += np.asarray(2 * np.finfo(dtype).eps, dtype) * np.eye(n, dtype=dtype)
    x = spd_solve(column, A, b)
    residual = np.linalg.norm(b - np.einsum("bij,bj->bi", A.astype("f8"), x.astype("f8")), axis=1)
    assert (residual <= 20 * np.finfo(dtype).eps * np.linalg.norm(x.astype("f8"), axis=1)).all()  # ‖A‖ is 1


@needs_cpp
@every_dtype
@pytest.mark.parametrize("n", [1, 6, 33, 64, 65, 130])
def test_bits_of_a_system_depend_on_neither_batch_nor_threads(dtype, n):
    A, b = batch(37, n, dtype)
    want = spd_solve("cpp", A, b, threads=1)
    for threads in (2, 3, 64):
        assert spd_solve("cpp", A, b, threads=threads).tobytes() == want.tobytes()
    for begin, end in ((0, 1), (2, 4), (5, 8), (9, 14), (3, 20)):
        assert spd_solve("cpp", A[begin:end], b[begin:end]).tobytes() == want[begin:end].tobytes()
    assert spd_solve("cpp", A[7], b[7]).tobytes() == want[7].tobytes()


@needs_cpp
@every_dtype
def test_bits_of_a_large_system_depend_on_neither_threads_nor_address(dtype):
    n = 643
    A, b = batch(1, n, dtype)
    room = np.empty(A.nbytes + 128, np.uint8)
    results = set()
    for offset in (0, 16, 56):
        start = -room.ctypes.data % 64 + offset
        moved = room[start : start + A.nbytes].view(dtype).reshape(n, n)
        moved[:] = A[0]
        for threads in (1, 2, 5):
            results.add(spd_solve("cpp", moved, b[0], threads=threads).tobytes())
    assert len(results) == 1


@every_column
@every_dtype
@pytest.mark.parametrize(("n", "order"), [(1, 1), (5, 5), (5, 2), (40, 17), (64, 64), (70, 3), (70, 68), (150, 129)])
@pytest.mark.parametrize("value", [-1.0, 0.0, np.nan, np.inf])
def test_what_is_not_positive_definite(column, dtype, n, order, value):
    A = np.array([np.eye(n)] * 3, dtype)
    A[1, order - 1, order - 1] = value
    b = np.ones((3, n), dtype)
    words = (
        f"^spd_solve: A must be positive definite, got a leading minor of order {order} that is not positive and finite"
    )
    with pytest.raises(ValueError, match=words + " in system 1$"):
        spd_solve(column, A, b)
    with pytest.raises(ValueError, match=words + "$"):
        spd_solve(column, A[1], b[1])


@every_column
@every_dtype
def test_an_indefinite_matrix_with_a_positive_diagonal(column, dtype):
    A = np.array([[1, 2, 0], [2, 1, 0], [0, 0, 1]], dtype)
    with pytest.raises(ValueError, match="a leading minor of order 2 "):
        spd_solve(column, A, np.ones(3, dtype))
    with pytest.raises(
        ValueError, match=r"^spd_solve: A must be positive definite, got one that is singular or indefinite$"
    ):
        spd_solve(column, A, np.array([1, -1, 0], dtype), method="cg")


@every_column
@every_dtype
def test_trivial_systems(column, dtype):
    for shape in ((0,), (0, 3), (2, 0), (0, 0)):
        A = np.zeros((*shape, shape[-1]), dtype)
        for method in ("auto", "cholesky", "cg"):
            x = spd_solve(column, A, np.zeros(shape, dtype), method=method)
            assert (x.shape, x.dtype) == (shape, np.dtype(dtype))
    assert spd_solve(column, np.eye(3, dtype=dtype), np.zeros(3, dtype)).tolist() == [0, 0, 0]
    assert np.isnan(spd_solve(column, np.eye(2, dtype=dtype), np.array([np.nan, 1], dtype))[0])


@every_column
@every_dtype
def test_conjugate_gradients_reach_rtol_or_say_so(column, dtype):
    A, b = batch(4, 90, dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-10
    for given in (None, 100 * rtol):
        x = spd_solve(column, without_upper(A), b, method="cg", rtol=given)
        residual = np.linalg.norm(b - np.einsum("bij,bj->bi", A.astype("f8"), x.astype("f8")), axis=1)
        assert (residual <= 1.001 * (given or rtol) * np.linalg.norm(b.astype("f8"), axis=1)).all()
    with pytest.raises(ValueError, match=r"^spd_solve: rtol must be within reach of conjugate gradients, got none in "):
        spd_solve(column, A, b, method="cg", rtol=0.0)
    b[2, 3] = np.inf
    with pytest.raises(ValueError, match=r"^spd_solve: A and b must be finite, got a NaN or an infinity in system 2$"):
        spd_solve(column, A, b, method="cg")


@every_dtype
def test_auto_of_the_reference_goes_over_to_conjugate_gradients(monkeypatch, dtype):
    monkeypatch.setattr(spd, "ITERATES_FROM", 64)
    monkeypatch.setattr(spd, "SIZE_PER_ITERATION", 2)
    easy, hard = batch(1, 64, dtype, 2.0), batch(1, 64, dtype, 1e4)
    for (A, b), method in ((easy, "cg"), (hard, "cholesky")):
        got, want = spd_solve("numpy", A, b), spd_solve("numpy", A, b, method=method, rtol=RTOL[dtype])
        other = spd_solve("numpy", A, b, method="cg" if method == "cholesky" else "cholesky", rtol=1e-3)
        assert got.tobytes() == want.tobytes() != other.tobytes()


@pytest.mark.parametrize("column", COLUMNS)
@every_dtype
def test_what_the_diagonal_shows_is_refused_whatever_b_is(column, dtype, monkeypatch):
    monkeypatch.setattr(spd, "ITERATES_FROM", 64)  # of the reference
    n = 64 if column == "numpy" else 2048
    for value in (-1.0, 0.0, np.nan):
        A, b = np.eye(n, dtype=dtype), np.zeros(n, dtype)
        A[9, 9] = value
        with pytest.raises(
            ValueError, match=r"^spd_solve: A must be positive definite, got a leading minor of order 10 "
        ):
            spd_solve(column, A, b)
        words = "A and b must be finite" if np.isnan(value) else "A must be positive definite, got one that is singular"
        with pytest.raises(ValueError, match=f"^spd_solve: {words}"):
            spd_solve(column, A, b, method="cg")
    b[3] = np.inf
    assert np.isnan(spd_solve(column, np.eye(n, dtype=dtype), b)[3])  # as below that size


@needs_cpp
@pytest.mark.parametrize("condition", [2.0, 20.0])
def test_auto_is_as_exact_above_its_limit_as_below(condition):
    n = spd.ITERATES_FROM
    A, b = MAKE["spd"](np.random.RandomState(0), n, condition), np.random.RandomState(1).standard_normal(n)
    for size in (n, n - 1):
        part, right = np.ascontiguousarray(A[:size, :size]), b[:size]
        assert np.linalg.norm(right - part @ spd_solve("cpp", part, right)) <= 1.01e-13 * np.linalg.norm(right)


@needs_cpp
def test_auto_goes_over_to_conjugate_gradients():
    n, rng = spd.ITERATES_FROM, np.random.RandomState(0)
    G = rng.standard_normal((n, n)).astype("f4") / n
    easy = G + G.T + np.eye(n, dtype="f4")
    hard = easy + np.diag(np.logspace(0, 4, n)).astype("f4")
    b = rng.standard_normal(n).astype("f4")
    for A, method in ((easy, "cg"), (hard, "cholesky")):
        assert spd_solve("cpp", A, b).tobytes() == spd_solve("cpp", A, b, method=method).tobytes()
    below = np.ascontiguousarray(easy[:-1, :-1])
    assert spd_solve("cpp", below, b[:-1]).tobytes() == spd_solve("cpp", below, b[:-1], method="cholesky").tobytes()


@needs_cpp
@pytest.mark.parametrize(
    "isa", [isa for isa, runs in native("_cpu").isas().items() if runs] if "cpp" in COLUMNS else []
)
def test_every_instruction_set(isa):
    code = (
        "import numpy as np, pyasr\n"
        "for n in (1, 3, 4, 16, 63, 64, 65, 100, 128, 257):\n"
        "    for dtype, eps in (('f4', 1e-7), ('f8', 2e-16)):\n"
        "        G = np.random.RandomState(n).standard_normal((11, n, n))\n"
        "        A = (G @ G.transpose(0, 2, 1) / n + np.eye(n)).astype(dtype); b = np.ones((11, n), dtype)\n"
        "        x = pyasr.backend('cpp').spd_solve(A, b)\n"
        "        w = np.linalg.solve(A.astype('f8'), b.astype('f8')[..., None])[..., 0]\n"
        "        e = np.linalg.norm(x - w) / np.linalg.norm(w)\n"
        "        assert e <= 50 * eps, (n, dtype, e)\n"
        "        for i in (0, 10):\n"
        "            assert pyasr.backend('cpp').spd_solve(A[i], b[i]).tobytes() == x[i].tobytes(), (n, dtype, i)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={**os.environ, "PYASR_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@every_column
def test_arguments_in_words(column):
    A, b = np.eye(3), np.ones(3)
    with pytest.raises(
        ValueError, match=r"^spd_solve: b must have shape \(B, P\) with B = 1 from A, P = 3 from A, got \(3,\)$"
    ):
        spd_solve(column, A[None], b)
    with pytest.raises(ValueError, match=r"^spd_solve: b must have shape \(P,\) with P = 3 from A, got \(3, 2\)$"):
        spd_solve(column, A, np.ones((3, 2)))
    with pytest.raises(TypeError, match=r"^spd_solve: A must have dtype float32, got float64$"):
        spd_solve(column, A, b.astype("f4"))
    with pytest.raises(ValueError, match=r'^spd_solve: method must be "auto", "cholesky" or "cg", got \'lu\'$'):
        spd_solve(column, A, b, method="lu")
    with pytest.raises(ValueError, match=r"^spd_solve: rtol must be at least 0\.0 and finite, got -1\.0$"):
        spd_solve(column, A, b, rtol=-1.0)
