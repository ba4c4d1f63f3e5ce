"""cg where A is singular, indefinite or not finite, or looks so: what it reports, and which x it returns."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SYSTEMS = runpy.run_path(str(Path(__file__).with_name("cg_systems.py")))
cg, problem, true_residual = SYSTEMS["cg"], SYSTEMS["problem"], SYSTEMS["true_residual"]
FORMS, MAKE = SYSTEMS["FORMS"], SYSTEMS["MAKE"]
every_column, every_dtype = SYSTEMS["every_column"], SYSTEMS["every_dtype"]


@every_column
@every_dtype
@pytest.mark.parametrize("form", FORMS)
def test_curvature_that_is_not_positive(column, dtype, form):
    one = np.ones(3, dtype)
    form = FORMS[form]
    assert cg(column, form(np.diag([1, -1, 2]).astype(dtype)), one)[1] == -2
    assert cg(column, form(-np.eye(3, dtype=dtype)), one)[1] == -2
    x, info = cg(column, form(np.diag([1, -1]).astype(dtype)), np.ones(2, dtype))
    assert info == -1
    assert x.tolist() == [0, 0]


@every_column
@every_dtype
def test_singular_systems(column, dtype):
    A = np.ones((3, 3), dtype)
    x, info = cg(column, A, np.ones(3, dtype))
    assert info == 0
    np.testing.assert_allclose(x, 1 / 3, rtol=1e-6)
    b = np.array([1, 2, 3], dtype)
    x, info = cg(column, A, b)
    assert info == -1
    assert true_residual(A, b, x) < 1


@every_column
@every_dtype
def test_singular_inconsistent_is_never_worse_than_where_it_began(column, dtype):
    rng = np.random.RandomState(0)
    G = rng.standard_normal((50, 30))
    A = (G @ G.T).astype(dtype)
    A, b = (A + A.T) / 2, rng.standard_normal(50).astype(dtype)
    x, info = cg(column, A, b)
    assert info != 0
    assert true_residual(A, b, x) <= 1


# Singular matrices, with a right-hand side that none of them reaches.
SINGULAR = {
    "Gram": lambda rng, n: (lambda G: G @ G.T)(rng.standard_normal((n, n - 1))),
    "Laplacian": lambda rng, n: (lambda W: np.diag(W.sum(1)) - W)(MAKE["spd"](rng, n, 10) ** 2),
    "spectrum": lambda rng, n: (lambda Q: (Q * np.r_[np.logspace(0, -2, n - 1), 0]) @ Q.T)(
        np.linalg.qr(rng.standard_normal((n, n)))[0]
    ),
}
PRECONDITIONERS = {
    "none": lambda A: None,
    "Jacobi": lambda A: np.diag(1 / np.diag(A)).astype(A.dtype),
    "badly scaled": lambda A: np.diag(np.logspace(0, 6, len(A))).astype(A.dtype),
}


def singular(kind, dtype, seed):
    rng = np.random.RandomState(seed)
    A = SINGULAR[kind](rng, rng.randint(5, 50)).astype(dtype)
    return (A + A.T) / 2, rng.standard_normal(len(A)).astype(dtype)


@every_column
@every_dtype
@pytest.mark.parametrize("kind", SINGULAR)
@pytest.mark.parametrize("M", PRECONDITIONERS)
def test_x_of_a_singular_system_is_no_worse_than_where_it_began(column, dtype, kind, M):
    ended = []
    for seed in range(20):
        A, b = singular(kind, dtype, seed)
        x0 = np.random.RandomState(seed).standard_normal(len(A)).astype(dtype)
        for start, maxiter in ((None, None), (None, len(A)), (x0, None)):
            x, info = cg(column, A, b, start, M=PRECONDITIONERS[M](A), maxiter=maxiter)
            began = 1.0 if start is None else true_residual(A, b, start)
            assert info != 0 and true_residual(A, b, x) <= 1.0001 * began
            ended += [info] if maxiter is None else []
    if M != "badly scaled":
        assert ended.count(-1) >= 0.9 * len(ended)


@every_column
@pytest.mark.parametrize("maxiter", [28, None])
def test_the_energy_of_a_singular_system_says_nothing(column, maxiter):
    """It falls without bound, here while the residual grows to 420 times that of x = 0; the first iterates have less."""
    rng = np.random.default_rng(38)
    G = rng.standard_normal((28, 27))
    A, b = G @ G.T, rng.standard_normal(28)
    x, info = cg(column, A, b, maxiter=maxiter)
    assert info == (maxiter or -1)
    assert true_residual(A, b, x) < 0.83


@every_column
@pytest.mark.parametrize("count", [3, 9, 20])
def test_the_energy_decides_where_it_is_resolved(column, count):
    """At condition 1e6 the residual rises above that of x = 0 while the error falls: the last x is the better one."""
    A, b = problem(60, 1e6, "float64", seed=1)
    seen = []
    x, info = cg(column, A, b, maxiter=count, rtol=1e-9, callback=seen.append)
    assert info == count and true_residual(A, b, x) > 1
    np.testing.assert_allclose(x, seen[-1], rtol=1e-12)


@every_column
@pytest.mark.parametrize("verify", [True, False])
def test_a_breakdown_returns_the_x_before_its_huge_steps(column, verify):
    """Nearly consistent: all but 1e-4 of b can be reached, then the method runs off along the null space."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((20, 20)))
    A = (Q[:, 1:] * np.linspace(1, 3, 19)) @ Q[:, 1:].T
    A = (A + A.T) / 2
    b = A @ rng.standard_normal(20) + 1e-3 * Q[:, 0]
    x, info = cg(column, A, b, rtol=1e-10, verify=verify)
    assert info == -1
    assert true_residual(A, b, x) < 5e-4 and np.linalg.norm(x) < 10


@every_column
@every_dtype
def test_inputs_that_are_not_finite(column, dtype):
    eye, one, nan = np.eye(2, dtype=dtype), np.ones(2, dtype), np.array([np.nan, 1], dtype)
    broken = eye.copy()
    broken[0, 0] = np.inf
    for args in ((eye, nan), (broken, one), (eye, one, nan), (lambda v: nan, one), (lambda v: v / 0, one)):
        with np.errstate(divide="ignore"):
            x, info = cg(column, *args)
        assert info == -3
        assert np.isfinite(x).all()
    x, info = cg(column, eye, one, M=lambda v: nan)
    assert (x.tolist(), info) == ([0, 0], -3)


@every_column
@every_dtype
def test_indefinite_preconditioner(column, dtype):
    A, b = problem(5, 10, dtype)
    for M in (-np.eye(5, dtype=dtype), lambda v: -v):
        x, info = cg(column, A, b, M=M)
        assert (x.tolist(), info) == ([0] * 5, -4)


@every_column
@every_dtype
@pytest.mark.parametrize("form", ["array", "callable"])
def test_a_preconditioner_takes_scales_out(column, dtype, form):
    """A positive definite matrix whose condition is 1e32 by its units alone is no singular one."""
    rng = np.random.default_rng(0)
    S, scale = rng.standard_normal((50, 200)), 10.0 ** rng.uniform(-8, 8, 50)
    A = (S @ S.T / 200 * scale[:, None] * scale).astype(dtype)
    A = (A + A.T) / 2
    b = A @ rng.standard_normal(50).astype(dtype)
    M = np.diag(1 / np.diag(A))
    for right in (b, b.astype("f8")):
        given = A.astype(right.dtype) if form == "callable" else A
        x, info = cg(column, FORMS[form](given), right, M=FORMS[form](M.astype(given.dtype)), rtol=1e-4)
        assert info == 0
        assert true_residual(A, b, x) <= 1.01e-4
