"""cg on the emulated device where A is singular, indefinite or badly scaled: what the other columns promise, wherever A lies."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import backend

HERE = Path(__file__).parent
SYSTEMS = runpy.run_path(str(HERE / "cg_systems.py"))
SINGULAR = runpy.run_path(str(HERE / "test_cg_singular.py"))
MAKE, problem, true_residual = (SYSTEMS[k] for k in ("MAKE", "problem", "true_residual"))
KINDS, PRECONDITIONERS = SINGULAR["SINGULAR"], SINGULAR["PRECONDITIONERS"]
FORMS = ("array", "callable")
every_dtype = SYSTEMS["every_dtype"]
# For 43 rows on three blocks, the shared memory of a block in bytes: float32, float64.
N = 43
LAYOUTS = {"alone": (16384, 32768), "on chip": (5632, 8192), "mostly on chip": (4096, 6400), "triangle": (2816, 4096)}
LAYOUTS["memory"] = (2048, 2048)
EVERY_LAYOUT = (*LAYOUTS, "batch", "callable")
every_layout = pytest.mark.parametrize("layout", EVERY_LAYOUT)


def lay(emulated, layout, dtype):
    """The device whose plan for N rows is the one of this name."""
    native, double, known = emulated.device.native, dtype == "float64", emulated.numbers
    shared = LAYOUTS.get(layout, (2048, 2048))[double]
    if (name := f"{shared} bytes") not in known:
        size = {"shared_per_block": shared, "shared_per_processor": shared}
        known[name] = native.describe(processors=3, threads_per_processor=2048, l2=1 << 20, major=7, minor=5, **size)
    native.select(known[name])
    options = native.CgOptions(
        rtol=1e-5, atol=0.0, damping=0.0, martens_eps=0.0, maxiter=10, stored=0, martens=False, scale_by_k=True,
        flexible=False, verify=True,
    )  # fmt: skip
    p = native.cg_plan(N, double, options, 1, 3, shared)
    if layout in LAYOUTS:
        kept = "all" if p["kept"] == p["rows"] else "some" if p["kept"] else "none"
        want = {"alone": (1, "all", True), "on chip": (3, "all", True), "mostly on chip": (3, "some", True)}
        want |= {"triangle": (3, "none", True), "memory": (3, "none", False)}
        assert (p["blocks"], kept, p["on_chip"]) == want[layout]


def solve(emulated, layout, A, b, x0=None, M=None, **options):
    """x and info as numbers. A batch has the system three times, one for each block."""
    if layout == "callable":
        x, info = emulated.cg(lambda v: A @ v, b, x0, **options)
        return x, info.get()
    if layout != "batch":
        x, info = emulated.cg(A, b, x0, M=M, **options)
        return x, info.get()
    many = [None if a is None else np.stack([a] * 3) for a in (A, b, x0, M)]
    x, info = emulated.cg(*many[:3], M=many[3], **options)
    assert (x == x[0]).all() and (info.get() == info.get()[0]).all()
    return x[0], int(info.get()[0])


@every_dtype
@pytest.mark.parametrize("form", FORMS)
def test_what_holds_of_small_systems_of_other_columns(emulated, dtype, form):
    SINGULAR["test_curvature_that_is_not_positive"](emulated, dtype, form)
    SINGULAR["test_singular_systems"](emulated, dtype)
    SINGULAR["test_singular_inconsistent_is_never_worse_than_where_it_began"](emulated, dtype)


@pytest.mark.parametrize(
    ("layout", "M"),
    [(layout, M) for layout in EVERY_LAYOUT for M in PRECONDITIONERS if layout != "callable" or M == "none"],
)  # an operator has no M on a device
@every_dtype
@pytest.mark.parametrize("kind", KINDS)
def test_x_of_a_singular_system_is_no_worse_than_where_it_began(emulated, layout, dtype, kind, M):
    lay(emulated, layout, dtype)
    rng = np.random.RandomState(0)
    A = KINDS[kind](rng, N).astype(dtype)
    A, b, x0 = (A + A.T) / 2, rng.standard_normal(N).astype(dtype), rng.standard_normal(N).astype(dtype)
    for start, maxiter in ((None, 2 * N), (None, N), (x0, 2 * N)):
        options = {"M": PRECONDITIONERS[M](A), "maxiter": maxiter}
        x, info = solve(emulated, layout, A, b, start, **options)
        others = [backend(column).cg(A, b, start, **options) for column in SYSTEMS["COLUMNS"]]
        assert info != 0 and info in [one for _, one in others]
        assert true_residual(A, b, x) <= 1.0001 * (1.0 if start is None else true_residual(A, b, start))
        if dtype == "float64":  # in float32 which iterate is the best one is a matter of rounding
            assert true_residual(A, b, x) <= 1.5 * max(true_residual(A, b, x) for x, _ in others)


@every_layout
@every_dtype
def test_a_breakdown_returns_the_x_before_its_huge_steps(emulated, layout, dtype):
    """All but 1e-3 of b can be reached, then the method runs off along the null space."""
    lay(emulated, layout, dtype)
    Q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((N, N)))
    A = (Q[:, 1:] * np.resize([1.0, 2.0, 3.0], N - 1)) @ Q[:, 1:].T
    A, b = ((A + A.T) / 2).astype(dtype), (Q[:, 1:7].sum(1) + 1e-3 * Q[:, 0]).astype(dtype)
    for verify in (True, False):
        x, info = solve(emulated, layout, A, b, rtol=1e-5, verify=verify)
        assert info == -1
        assert true_residual(A, b, x) < 5e-4 and np.linalg.norm(x) < 10


@every_layout
@pytest.mark.parametrize("maxiter", [28, None])
def test_the_energy_of_a_singular_system_says_nothing(emulated, layout, maxiter):
    """It falls without bound; the first iterates have less of a residual than x = 0."""
    if layout in LAYOUTS:
        emulated.device.native.select(0)
    rng = np.random.default_rng(38)
    G = rng.standard_normal((28, 27))
    A, b = G @ G.T, rng.standard_normal(28)
    x, info = solve(emulated, layout, A, b, maxiter=maxiter)
    assert info == (maxiter or -1)
    assert true_residual(A, b, x) < 0.83


@every_layout
@pytest.mark.parametrize("count", [3, 9, 20])
def test_the_energy_decides_where_it_is_resolved(emulated, layout, count):
    """At condition 1e6 the residual rises above that of x = 0 while the error falls: the last x is the better one."""
    lay(emulated, layout, "float64")
    A, b = problem(N, 1e6, "float64", seed=1)
    x, info = solve(emulated, layout, A, b, maxiter=count, rtol=1e-9)
    want, wanted = backend("numpy").cg(A, b, maxiter=count, rtol=1e-9)
    assert info == wanted == count
    assert true_residual(A, b, x) > 1
    energy, wanted = (y @ (A @ y) / 2 - b @ y for y in (x, want))
    assert energy == pytest.approx(wanted, rel=1e-3)  # rounding: the iterates of 20 steps differ by 6e-3


@every_dtype
@pytest.mark.parametrize("layout", [*LAYOUTS, "batch"])
def test_a_preconditioner_takes_scales_out(emulated, layout, dtype):
    """A positive definite matrix whose condition is 1e32 by its units alone is no singular one."""
    lay(emulated, layout, dtype)
    rng = np.random.default_rng(0)
    S, scale = rng.standard_normal((N, 200)), 10.0 ** rng.uniform(-8, 8, N)
    A = (S @ S.T / 200 * scale[:, None] * scale).astype(dtype)
    A = (A + A.T) / 2
    b, M = A @ rng.standard_normal(N).astype(dtype), np.diag(1 / np.diag(A))
    x, info = solve(emulated, layout, A, b, M=M, rtol=1e-4)
    assert info == 0
    assert true_residual(A, b, x) <= 1.01e-4
    for maxiter in (2, 4):  # beside ‖A‖ the curvature is not resolved, in the measure of M it is
        x, info = solve(emulated, layout, A, b, M=M, rtol=1e-4, maxiter=maxiter)
        want, wanted = backend("numpy").cg(A, b, M=M, rtol=1e-4, maxiter=maxiter)
        assert info == wanted == maxiter
        error = np.linalg.norm((x - want) * scale)
        assert error <= (1e-3 if dtype == "float32" else 1e-9) * np.linalg.norm(want * scale)


@every_dtype
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("unit", [1.0, 1e-30, 1e30])
def test_triangles_may_differ_as_those_of_inverses_do(emulated, layout, dtype, unit):
    """Whatever the unit of A, whose square is beyond the range of float32, and at 1e200 that of float64."""
    lay(emulated, layout, dtype)
    unit = unit if dtype == "float32" else unit**6
    A, b = problem(N, 10, dtype)
    noise = np.abs(A).mean() * np.random.RandomState(0).standard_normal(A.shape)
    close, far = (1e-6, 1e-3) if dtype == "float32" else (1e-10, 1e-6)
    _, info = emulated.cg((unit * (A + close * noise)).astype(dtype), b, rtol=1e-3)
    assert info == 0
    _, info = emulated.cg((unit * (A + far * noise)).astype(dtype), b)
    with pytest.raises(ValueError, match=r'^cg: A must be symmetric, or symmetric="upper" or "lower" be chosen, got'):
        info.get()


def test_the_first_residual_is_that_of_the_guess(emulated):
    """And not that of the guess in float32, which it has one entry of 2**24 + 1."""
    x0, b = np.array([2.0**24 + 1]), np.array([2.0**24 + 2], np.float32)
    x, _ = emulated.cg(np.eye(1, dtype=np.float32), b, x0, rtol=0.0, maxiter=1, verify=False)
    assert x[0] == b[0]


def test_the_products_of_a_solution_have_a_bound(emulated):
    """With a first guess, as many verifications as there may be and a look back at the smallest residual."""
    native = emulated.device.native
    A, b = problem(N, 1e6, "float32")
    for maxiter in (1, 2, 5, 20, 60):
        products = []
        _, info = emulated.cg(lambda v, n=products: n.append(v) or A @ v, b, b, rtol=0.0, maxiter=maxiter)
        assert info.get() != native.cg_under_way
        assert len(products) <= native.cg_most_products(maxiter)


@pytest.mark.parametrize("layout", [*LAYOUTS, "batch"])
@pytest.mark.parametrize("count", [2, 4])
def test_in_the_measure_of_M_the_energy_is_resolved(emulated, layout, count):
    """Beside ‖A‖ it is not, and by its residual, which is that of the largest scales, x = 0 would be the better x."""
    lay(emulated, layout, "float64")
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.uniform(-8, 8, N)
    A = MAKE["spd"](rng, N, 1e4) * scale[:, None] * scale
    b, M = rng.standard_normal(N) / scale, np.diag(1 / np.diag(A))
    x, info = solve(emulated, layout, A, b, M=M, maxiter=count, rtol=1e-10)
    want, wanted = backend("numpy").cg(A, b, M=M, maxiter=count, rtol=1e-10)
    assert info == wanted == count
    np.testing.assert_allclose(x * scale, want * scale, rtol=1e-6, atol=1e-6 * np.max(np.abs(want * scale)))


@pytest.mark.parametrize("layout", [*LAYOUTS, "batch"])
def test_a_curvature_that_is_not_resolved_is_a_breakdown(emulated, layout):
    """At the end of the iterations too, where x has run off along the null space."""
    lay(emulated, layout, "float64")
    rng = np.random.RandomState(2)
    A = KINDS["Laplacian"](rng, N)
    A, b = (A + A.T) / 2, rng.standard_normal(N)
    assert solve(emulated, layout, A, b, M=PRECONDITIONERS["Jacobi"](A), maxiter=60, rtol=1e-10)[1] == -1
