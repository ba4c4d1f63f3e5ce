"""The options of cg beyond SciPy's: damping, Martens' rule, changing preconditioners, no verification, raising."""

import runpy
from pathlib import Path

import numpy as np
import pytest

SYSTEMS = runpy.run_path(str(Path(__file__).with_name("cg_systems.py")))
cg, problem, true_residual = SYSTEMS["cg"], SYSTEMS["problem"], SYSTEMS["true_residual"]
every_column, every_dtype = SYSTEMS["every_column"], SYSTEMS["every_dtype"]
FORMS = {"array": lambda A: A, "callable": lambda A: lambda v: A @ v}
every_form = pytest.mark.parametrize("form", FORMS)


def ill_conditioned():
    """float32, n = 400, condition 1e4; rounding the solution to float32 leaves a residual of 1.8e-5."""
    rng = np.random.default_rng(0)
    Q, _ = np.linalg.qr(rng.standard_normal((400, 400)))
    A = (Q * np.logspace(0, -4, 400)) @ Q.T
    return ((A + A.T) / 2).astype("f4"), rng.standard_normal(400).astype("f4")


@every_column
@pytest.mark.parametrize("guessed", [None, "float32", "float64"])
def test_x_has_the_result_dtype_of_A_and_b(column, guessed):
    A, b = problem(60, 1e4, "float64")
    for kind, right in (("f4", "f4"), ("f4", "f8"), ("f8", "f4"), ("f8", "f8")):
        matrix, vector = A.astype(kind), b.astype(right)
        x0 = None if guessed is None else np.ones(60, guessed)
        x, info = cg(column, matrix, vector, x0, rtol=1e-3)
        assert (info, x.dtype) == (0, np.result_type(matrix, vector))
        assert true_residual(matrix, vector, x) <= 1e-3
        x, info = cg(column, lambda v, right=right: (A @ v).astype(right), vector, x0, rtol=1e-3)
        assert (info, x.dtype) == (0, vector.dtype)


class Operator:
    """With a dtype, as SciPy's LinearOperator and sparse matrices have; `seen` are the dtypes that it was given."""

    def __init__(self, A, dtype):
        self.A, self.dtype, self.seen = A, dtype, set()

    def matvec(self, v):
        self.seen.add(v.dtype)
        return self.A @ v


@every_column
def test_x_has_the_result_dtype_of_an_operator_with_a_dtype(column):
    A, b = problem(60, 1e4, "float64")
    for kind in ("f4", "f8", "i8", "f2", "c16", None):
        for right in ("f4", "f8"):
            operator = Operator(A, kind and np.dtype(kind))
            x, info = cg(column, operator, b.astype(right), rtol=1e-3)
            want = np.dtype("f8" if kind in ("f8", "i8") else right)
            assert (info, x.dtype, operator.seen) == (0, want, {want})
    x, info = cg(column, Operator(A, A.dtype), b.astype("f4"), M=np.eye(60), rtol=1e-10)
    assert info == 0 and true_residual(A, b.astype("f4"), x) <= 1e-10  # no float32 x comes near
    with pytest.raises(TypeError, match=r"^cg: M must have dtype float64, got float32$"):
        cg(column, Operator(A, A.dtype), b.astype("f4"), M=np.eye(60, dtype="f4"))


@every_column
def test_sparse_matrices_and_float32(column):
    sparse, linalg = pytest.importorskip("scipy.sparse"), pytest.importorskip("scipy.sparse.linalg")
    A, b = problem(30, 10, "float64")
    for kind in ("f4", "f8"):
        for operator in (sparse.csr_array(A.astype(kind)), linalg.aslinearoperator(A.astype(kind))):
            for right in ("f4", "f8"):
                x, info = cg(column, operator, b.astype(right))
                assert info == 0 and x.dtype == linalg.cg(operator, b.astype(right))[0].dtype


@every_column
def test_float64_b_meets_a_tolerance_that_float32_can_not(column):
    A, b = ill_conditioned()
    x, info = cg(column, A, b.astype("f8"), rtol=1e-5)
    assert (info, x.dtype) == (0, np.float64)
    assert true_residual(A, b, x) <= 1e-5
    x, info = cg(column, A, b, rtol=1e-5)
    assert x.dtype == np.float32
    assert 0 < info < 2000  # long before maxiter


@every_column
@every_dtype
@every_form
def test_damping_is_a_multiple_of_the_identity(column, dtype, form):
    A, b = problem(83, 1e3, dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-9
    damped = A + np.asarray(0.25, dtype) * np.eye(83, dtype=dtype)
    want, _ = cg(column, damped, b, rtol=rtol)
    for x0 in (None, np.ones(83, dtype)):
        x, info = cg(column, FORMS[form](A), b, x0, rtol=rtol, damping=0.25)
        assert info == 0
        assert true_residual(damped, b, x) <= 1.01 * rtol
        assert np.linalg.norm(x - want) <= 10 * rtol * np.linalg.norm(want)


@every_column
def test_damping_makes_an_indefinite_matrix_definite(column):
    A = np.diag([1.0, -1.0, 2.0])
    assert cg(column, A, np.ones(3))[1] == -2
    x, info = cg(column, A, np.ones(3), damping=2.0)
    assert info == 0
    np.testing.assert_allclose(x, [1 / 3, 1, 1 / 4], rtol=1e-5)


# Martens' rule: a damped quadratic with eigenvalues from 1e2 to 1e-4, n = 2000.


def quadratic():
    d = np.logspace(2, -4, 2000)
    return d + 1e-3, np.random.default_rng(1).standard_normal(2000) * np.sqrt(d)


def by_the_book(A, b, eps, scale_by_k):
    """The energies of the textbook method under the rule."""
    x, r, phi = np.zeros_like(b), b.copy(), [0.0]
    p, rr = r.copy(), r @ r
    for i in range(1, 2001):
        q = A * p
        a = rr / (p @ q)
        x += a * p
        r -= a * q
        rr, before = r @ r, rr
        p = r + rr / before * p
        phi.append(-0.5 * (x @ (r + b)))
        k = max(10, int(np.ceil(0.1 * i)))
        if i > k and phi[i] < 0 and (phi[i] - phi[i - k]) / phi[i] < (k * eps if scale_by_k else eps):
            break
    return phi


@every_column
@pytest.mark.parametrize("scale_by_k", [True, False])
def test_martens_rule_waits_until_it_can_look_back_ten_iterations(column, scale_by_k):
    A, b = quadratic()
    seen = []
    _, info = cg(
        column, lambda v: A * v, b, stop="martens", martens_eps=1e9, scale_by_k=scale_by_k, callback=seen.append
    )
    assert (info, len(seen)) == (0, 11)


@every_column
@pytest.mark.parametrize(
    ("eps", "scale_by_k", "about"),
    [(5e-4, True, 185), (5e-6, True, 545), (5e-4, False, 493), (1e-4, False, 633)],
)
def test_martens_rule(column, eps, scale_by_k, about):
    A, b = quadratic()
    phi = by_the_book(A, b, eps, scale_by_k)
    seen = []
    x, info = cg(
        column, lambda v: A * v, b, stop="martens", martens_eps=eps, scale_by_k=scale_by_k, callback=seen.append
    )
    assert info == 0
    assert np.array_equal(x, seen[-1])
    assert abs(len(seen) - (len(phi) - 1)) <= 4  # rounding: the iterates of hundreds of steps differ
    assert abs(len(seen) - about) <= 5  # measured once, with k rounded down
    assert x @ (A * x) / 2 - b @ x == pytest.approx(phi[-1], rel=1e-3)
    # It stops where the energies of its own iterates fulfil the rule for the first time.
    own = np.array([0.0, *(v @ (A * v) / 2 - b @ v for v in seen)])
    i = np.arange(11, len(own))
    k = np.maximum(10, -(-i // 10))
    fulfils = (own[i] - own[i - k]) / own[i] < eps * (k if scale_by_k else 1)
    assert fulfils.tolist() == [False] * (len(i) - 1) + [True]


@every_column
@every_dtype
@every_form
def test_martens_rule_asks_neither_tolerance_nor_verification(column, dtype, form):
    A, b = problem(200, 1e3, dtype)
    products = []

    def counted(v):
        products.append(v)
        return A @ v

    counts = []
    for rtol in (1e-5, 0.9):
        seen, products[:] = [], []
        operator = A if form == "array" else counted
        _, info = cg(column, operator, b, rtol=rtol, stop="martens", callback=seen.append)
        counts.append(len(seen))
        assert info == 0
        assert form == "array" or len(products) == len(seen)
    assert counts[0] == counts[1] > 10
    x, info = cg(column, FORMS[form](A), b, stop="martens", maxiter=7)
    assert info == 7
    assert np.isfinite(x).all()


@every_column
@every_dtype
def test_martens_rule_on_systems_that_are_solved_before_it_asks(column, dtype):
    for n in (1, 2, 3):
        A, b = problem(n, 5, dtype)
        x, info = cg(column, A, b, stop="martens")
        assert info == 0
        assert true_residual(A, b, x) <= 30 * np.finfo(dtype).eps
        y, info = cg(column, A, b, x, stop="martens")
        assert info == 0
        assert true_residual(A, b, y) <= 30 * np.finfo(dtype).eps
    assert cg(column, np.diag(np.ones(2, dtype)), np.zeros(2, dtype), stop="martens")[1] == 0
    x, info = cg(column, -np.eye(3, dtype=dtype), np.ones(3, dtype), stop="martens")
    assert (x.tolist(), info) == ([0, 0, 0], -2)


# Preconditioners that change


@every_column
@every_dtype
def test_flexible_is_the_same_where_M_stays(column, dtype):
    A, b = problem(50, 1e2, dtype)
    M = np.diag(1 / np.diag(A)).astype(dtype)
    runs = []
    for flexible in (False, True):
        seen = []
        cg(column, A, b, M=M, flexible=flexible, maxiter=8, callback=seen.append)
        runs.append(np.array(seen))
    assert runs[0].shape == runs[1].shape
    for plain, flexible in zip(*runs, strict=True):
        assert np.linalg.norm(plain - flexible) <= (1e-4 if dtype == "float32" else 1e-12) * np.linalg.norm(plain)


@every_column
def test_flexible_bears_a_preconditioner_that_changes(column):
    n = 300
    A = np.diag(np.logspace(0, 4, n))
    b = np.random.RandomState(0).standard_normal(n)
    counts = []
    for flexible in (False, True):
        rng, seen = np.random.RandomState(1), []

        def M(v, rng=rng):  # the inverse of the diagonal, each entry wrong by up to a factor of 4
            return v / np.diag(A) * np.exp(rng.uniform(-1.4, 1.4, n))

        _, info = cg(column, A, b, rtol=1e-8, maxiter=300, M=M, flexible=flexible, callback=seen.append)
        counts.append(len(seen) if info == 0 else None)
    assert counts[0] is None
    assert counts[1] < 60


# No verification, and raising


@every_column
def test_without_verification_the_recursion_decides(column):
    A, b = ill_conditioned()
    x, info = cg(column, A, b.astype("f8"), rtol=1e-5, verify=False)
    if column != "numpy":  # whose products are float64
        assert info == 0
        assert true_residual(A, b, x) > 1.2e-5
    A, b = problem(40, 1e2, "float64")
    products, seen = [], []

    def counted(v):
        products.append(v)
        return A @ v

    x, info = cg(column, counted, b, rtol=1e-8, verify=False, callback=seen.append)
    assert info == 0
    assert len(products) == len(seen)
    assert true_residual(A, b, x) <= 1.01e-8
    assert cg(column, A, b, rtol=1e-8, verify=False, maxiter=5)[1] == 5
    assert 0 < cg(column, A, b, rtol=0.0, verify=False)[1] < 400  # the rounding of float64 is the end


@every_column
@every_dtype
@every_form
def test_indefinite_systems_raise_where_that_is_asked(column, dtype, form):
    one, form = np.ones(3, dtype), FORMS[form]
    with pytest.raises(ValueError, match=r"^cg: A must be positive definite, got p\.Ap < 0$"):
        cg(column, form(-np.eye(3, dtype=dtype)), one, on_indefinite="raise")
    with pytest.raises(ValueError, match=r"^cg: A must be positive definite, got one that is singular or indefinite"):
        cg(column, form(np.diag([1, -1]).astype(dtype)), one[:2], on_indefinite="raise")
    with pytest.raises(ValueError, match=r"^cg: M must be positive definite, got r\.Mr <= 0$"):
        cg(column, form(np.eye(3, dtype=dtype)), one, M=form(-np.eye(3, dtype=dtype)), on_indefinite="raise")
    assert cg(column, form(np.eye(3, dtype=dtype)), one, on_indefinite="raise")[1] == 0


@every_column
def test_words_and_numbers_of_options(column):
    A, b = np.eye(3), np.ones(3)
    with pytest.raises(ValueError, match=r'^cg: stop must be "residual" or "martens", got \'marten\'$'):
        cg(column, A, b, stop="marten")
    with pytest.raises(ValueError, match=r'^cg: on_indefinite must be "stop" or "raise", got \'abs\'$'):
        cg(column, A, b, on_indefinite="abs")
    with pytest.raises(ValueError, match=r"^cg: damping must lie in \[0\.0, 1e\+30\], got -1\.0$"):
        cg(column, A, b, damping=-1.0)
    with pytest.raises(TypeError, match=r"^cg: flexible must be True or False, got int$"):
        cg(column, A, b, flexible=1)
