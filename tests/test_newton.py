"""cg: against a direct solver, and what it does with systems that are not what it wants."""

import itertools
import os
import runpy
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops._op import native

SYSTEMS = runpy.run_path(str(Path(__file__).with_name("cg_systems.py")))
cg, problem, true_residual = SYSTEMS["cg"], SYSTEMS["problem"], SYSTEMS["true_residual"]
COLUMNS, FORMS, MAKE = SYSTEMS["COLUMNS"], SYSTEMS["FORMS"], SYSTEMS["MAKE"]
every_column, every_dtype = SYSTEMS["every_column"], SYSTEMS["every_dtype"]


@every_column
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("condition", [1, 10, 1e2, 1e3, 1e4])
@pytest.mark.parametrize("n", [1, 2, 17, 200])
def test_agrees_with_a_direct_solver(column, form, n, condition):
    A, b = problem(n, condition, "float64")
    x, info = cg(column, FORMS[form](A), b, rtol=1e-10)
    want = np.linalg.solve(A, b)
    assert info == 0
    assert x.dtype == b.dtype
    assert np.linalg.norm(x - want) <= 2e-10 * condition * np.linalg.norm(want)
    assert true_residual(A, b, x) <= 1.01e-10


@every_column
@pytest.mark.parametrize("condition", [10, 1e2, 1e3, 1e4, 1e6])
def test_info_0_in_float32_means_a_residual_that_is_small(column, condition):
    A, b = problem(300, condition, "float32")
    x, info = cg(column, A, b, rtol=1e-5, maxiter=20_000)
    assert x.dtype == np.float32
    if info == 0:
        assert true_residual(A, b, x) <= 1.0001e-5
    else:
        assert condition >= 1e4  # there the rounding of x alone is more than that
        assert info > 0


@every_column
def test_float64_b_returns_x_as_it_was_kept(column):
    A, b = problem(300, 1e5, "float32")
    x, info = cg(column, A, b.astype("f8"), rtol=1e-5, maxiter=20_000)
    assert (info, x.dtype) == (0, np.float64)
    assert true_residual(A, b, x) <= 1.0001e-5
    assert true_residual(A, b, x.astype("f4")) > 1e-5


@every_column
def test_x0_beyond_the_range_of_x(column):
    eye, one, x0 = np.eye(2, dtype="f4"), np.ones(2, "f4"), np.array([1e300, 1.0])
    for A in (eye, lambda v: v):
        x, info = cg(column, A, one, x0)
        assert (x.tolist(), info) == ([0, 0], -3)
    x, info = cg(column, eye, one.astype("f8"), x0)
    assert (x.tolist(), info) == ([1, 1], 0)


@every_column
@every_dtype
def test_trivial_systems(column, dtype):
    eye, one = np.eye(3, dtype=dtype), np.ones(3, dtype)
    x, info = cg(column, eye, one, one, rtol=0)
    assert (x.tolist(), info) == ([1, 1, 1], 0)
    x, info = cg(column, eye, 0 * one, one)
    assert (x.tolist(), info) == ([0, 0, 0], 0)
    x, info = cg(column, np.zeros((0, 0), dtype), np.zeros(0, dtype))
    assert (x.shape, info) == ((0,), 0)


@every_column
@every_dtype
def test_x0_keeps_its_bits(column, dtype):
    A, b = problem(20, 10, dtype)
    x0 = np.ones(20, dtype)
    x, _ = cg(column, A, b, x0)
    assert (x0 == 1).all()
    assert not np.shares_memory(x, x0)


@every_column
@every_dtype
@pytest.mark.parametrize("exponent", [-25, 25])
def test_systems_of_any_scale(column, dtype, exponent):
    scale = 10.0 ** (exponent if dtype == "float32" else 10 * exponent)
    A, b = problem(30, 5, dtype)
    want = np.linalg.solve(A.astype("f8"), b.astype("f8"))
    for matrix, right in ((1, 1), (scale, scale), (1, scale)):
        x, info = cg(column, (A * matrix).astype(dtype), (b * right).astype(dtype), rtol=1e-6)
        assert info == 0
        np.testing.assert_allclose(x / (right / matrix), want, rtol=0, atol=1e-4 * np.abs(want).max())


@every_column
def test_a_residual_at_the_end_of_the_range(column):
    b = np.array([1e308, 1e308, 0.0])
    x, info = cg(column, np.diag([10.0, 20.0, 30.0]), b)
    assert info == 0
    np.testing.assert_allclose(x, [1e307, 5e306, 0.0], rtol=1e-4)


@every_column
@pytest.mark.parametrize("form", FORMS)
def test_callback_sees_every_iteration(column, form):
    A, b = problem(60, 100, "float64")
    seen = []
    x, info = cg(column, FORMS[form](A), b, rtol=1e-9, callback=seen.append)
    assert info == 0
    assert np.array_equal(seen[-1], x)
    energy = [v @ A @ v / 2 - b @ v for v in seen]
    assert all(later < earlier + 1e-12 * abs(earlier) for earlier, later in itertools.pairwise(energy))
    for count in (1, 5, len(seen) // 2):
        some = []
        y, info = cg(column, FORMS[form](A), b, rtol=1e-9, maxiter=count, callback=some.append)
        assert info == len(some) == count
        np.testing.assert_allclose(y, seen[count - 1], rtol=0, atol=1e-9 * np.abs(y).max())


@every_column
def test_preconditioner_in_every_form(column):
    A, b, _, M = MAKE["system"](4)
    counts = []
    for form in (None, *FORMS.values()):
        seen = []
        _, info = cg(column, A, b, rtol=1e-8, M=None if form is None else form(M), callback=seen.append)
        counts.append((len(seen), info))
    assert all(c == counts[1] for c in counts[1:])
    assert counts[1][1] == 0
    assert 2 * counts[1][0] < counts[0][0]


@every_column
def test_scipy_operators(column):
    scipy_linalg = pytest.importorskip("scipy.sparse.linalg")
    sparse = pytest.importorskip("scipy.sparse")
    A, b = problem(40, 50, "float64")
    for operator in (scipy_linalg.aslinearoperator(A), sparse.csr_array(A), sparse.csc_matrix(A)):
        x, info = cg(column, operator, b, rtol=1e-9)
        assert info == 0
        assert true_residual(A, b, x) <= 1.01e-9


@every_column
@every_dtype
@pytest.mark.parametrize("n", [3, 40, 500])
def test_matrix_that_is_not_symmetric(column, dtype, n):
    A, b = problem(n, 5, dtype)
    A[0, -1] += 0.5
    with pytest.raises(ValueError, match="cg: A must be symmetric"):
        cg(column, A, b)


@every_column
@pytest.mark.parametrize(("dtype", "condition"), [("float32", 1e4), ("float64", 1e6)])
def test_matrix_that_is_symmetric_up_to_what_formed_it(column, dtype, condition):
    """Inverses are as far from symmetric as their condition makes them. What is 30 times as far is refused."""
    for n in (3, 5, 20, 65, 300):
        for seed in range(3):
            A, b = problem(n, condition, dtype, seed)
            inverse = np.linalg.solve(A, np.eye(n, dtype=dtype))
            assert cg(column, inverse, b, rtol=1e-3, maxiter=5)[1] <= 5
    A, b = problem(20, 10, dtype)
    noise = np.abs(A).mean() * np.random.RandomState(0).standard_normal(A.shape)
    close, far = (1e-6, 1e-3) if dtype == "float32" else (1e-10, 1e-6)
    assert cg(column, (A + close * noise).astype(dtype), b, rtol=1e-3)[1] == 0
    with pytest.raises(ValueError, match=r'must be symmetric, or symmetric="upper" or "lower" be chosen, got'):
        cg(column, (A + far * noise).astype(dtype), b)


@every_column
def test_an_inverted_hilbert_matrix(column):
    A = np.linalg.inv(1 / (np.arange(5)[:, None] + np.arange(5) + 1))
    x, info = cg(column, A, np.ones(5))
    assert info == 0 and true_residual(A, np.ones(5), x) <= 1e-5


@every_column
def test_column_vector_is_refused_in_words(column):
    with pytest.raises(ValueError, match=r"^cg: b must have shape \(P,\), got \(3, 1\)$"):
        cg(column, np.eye(3), np.ones((3, 1)))


@every_column
def test_products_are_checked(column):
    b = np.ones(3)
    with pytest.raises(ValueError, match=r"^cg: A must return shape \(3,\), got \(3, 1\)$"):
        cg(column, lambda v: v[:, None], b)
    with pytest.raises(TypeError, match=r"^cg: A must return float32 or float64 numbers, got complex128$"):
        cg(column, lambda v: v * 1j, b)
    swapped = b.dtype.newbyteorder()
    with pytest.raises(TypeError, match=rf"^cg: A must return float32 or float64 numbers, got {swapped.str}$"):
        cg(column, lambda v: v.astype(swapped), b)
    with pytest.raises(ValueError, match=r"^cg: M must return shape \(3,\), got \(2,\)$"):
        cg(column, np.eye(3), b, M=lambda v: v[:2])
    with pytest.raises(
        TypeError, match=r"^cg: A must be a NumPy array, a callable or an object with matvec or @, got int$"
    ):
        cg(column, 3, b)


@every_column
def test_an_operator_may_spoil_its_argument_and_return_views(column):
    A, b = problem(20, 5, "float64")

    def spoil(v):
        out = np.repeat(A @ v, 2)[::2]
        v[:] = np.nan
        return out

    x, info = cg(column, spoil, b, rtol=1e-9)
    assert info == 0
    assert true_residual(A, b, x) <= 1.01e-9
    x, info = cg(column, lambda v: v, b)
    assert info == 0
    np.testing.assert_allclose(x, b, rtol=1e-12)


@every_column
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_python_raises_comes_through(column, error):
    A, b = problem(20, 5, "float64")

    def fail(v):
        raise error("stop")

    for kwargs in ({"A": fail}, {"A": A, "M": fail}, {"A": A, "callback": fail}):
        with pytest.raises(error, match="stop"):
            cg(column, b=b, **kwargs)


@every_column
def test_rtol_0_goes_to_the_end_of_the_precision(column):
    A, b = problem(100, 10, "float64")
    x, info = cg(column, A, b, rtol=0)
    assert 0 < info < 1000
    assert true_residual(A, b, x) < 5e-15


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
@every_dtype
def test_bits_depend_on_neither_threads_nor_address(dtype):
    n = 1040
    A, b = problem(n, 100, dtype)
    room = np.empty(A.nbytes + 128, np.uint8)
    results = set()
    for offset in (0, 16, 8, 56):
        start = -room.ctypes.data % 64 + offset
        moved = room[start : start + A.nbytes].view(dtype).reshape(n, n)
        moved[:] = A
        for threads in (1, 3):
            results.add(cg("cpp", moved, b, maxiter=20, threads=threads)[0].tobytes())
    assert len(results) == 1


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
@pytest.mark.parametrize(
    "isa", [isa for isa, runs in native("_cpu").isas().items() if runs] if "cpp" in COLUMNS else []
)
def test_every_instruction_set(isa):
    code = (
        "import numpy as np, pyasr\n"
        "for n in (1, 3, 15, 16, 17, 100, 257, 400, 416):\n"
        "    for dtype, rtol in (('f4', 1e-5), ('f8', 1e-10)):\n"
        "        G = np.random.RandomState(n).standard_normal((n, n))\n"
        "        A = (G @ G.T / n + np.eye(n)).astype(dtype); A = (A + A.T) / 2\n"
        "        b = np.ones(n, dtype)\n"
        "        x, info = pyasr.backend('cpp').cg(A, b, rtol=rtol)\n"
        "        r = np.linalg.norm(b - A.astype('f8') @ x.astype('f8')) / np.linalg.norm(b)\n"
        "        assert info == 0 and r <= 1.01 * rtol, (n, dtype, info, r)\n"
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


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
def test_ctrl_c_ends_a_long_solution():
    A, b = problem(600, 1e4, "float32")
    timer = threading.Timer(0.3, signal.raise_signal, (signal.SIGINT,))
    timer.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            for _ in range(10_000):
                cg("cpp", A, b, rtol=0)
    finally:
        timer.join()
