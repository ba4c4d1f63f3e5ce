"""cg: conjugate gradients for A x = b with A symmetric positive definite, dense or known only by its products.

The method is that of Hestenes and Stiefel (1952), with a preconditioner M ≈ A⁻¹:

    r = b − A x    z = M r    p = z
    α = rᵀz / pᵀAp    x += α p    r −= α A p    z = M r    β = new rᵀz / old rᵀz    p = z + β p

The residual r of this recursion drifts away from b − A x: in float32 at condition 1e4 it says 1e-5 where the truth is 3e-4. So
x is kept in float64, and a run that seems to have converged is verified: b − A x is formed in float64, and while that is too
large the method starts again on the correction A d = b − A x. (Replacing r without restarting p diverges.) Every run is scaled
by a power of two to a residual of about 1, so that no inner product over- or underflows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import FLOATS, Door
from pyasr.ops._op import Row

Product = Callable[[np.ndarray], np.ndarray]

BREAKDOWN, NEGATIVE_CURVATURE, NOT_FINITE, INDEFINITE_M = -1, -2, -3, -4


def operator(door: Door, name: str, A: Any, n: int) -> Product:
    """v [n] -> A v [n] for a callable, an object with matvec, or one with @; what comes back is checked."""
    if isinstance(A, type) or not (hasattr(A, "matvec") or callable(A) or hasattr(A, "__matmul__")):
        door.type_error(
            f"{name} must be a NumPy array, a callable or an object with matvec or @, got {type(A).__name__}"
        )
    call: Product = A.matvec if hasattr(A, "matvec") else A if callable(A) else A.__matmul__

    def product(v: np.ndarray) -> np.ndarray:
        y = np.asarray(call(v.copy()))  # a copy: whatever the callee does to it is its own business
        if y.dtype not in FLOATS:
            door.type_error(f"{name} must return float32 or float64 numbers, got {y.dtype.name}")
        if y.shape != (n,):
            door.value_error(f"{name} must return shape ({n},), got {y.shape}")
        return y

    return product


class Problem(NamedTuple):
    """The checked arguments of one call."""

    A: np.ndarray | None  # [n,n], or None and `product` is used
    product: Product | None
    M: np.ndarray | None  # [n,n], or None
    precondition: Product | None
    b: np.ndarray  # [n]
    x0: np.ndarray | None  # [n]
    dtype: np.dtype  # of the x that is returned
    rtol: float
    atol: float
    maxiter: int
    callback: Callable[[np.ndarray], Any] | None


def check(
    op: str, A: Any, b: Any, x0: Any, rtol: Any, atol: Any, maxiter: Any, M: Any, callback: Any, threads: Any
) -> Problem:
    door = Door(op)
    b = door.read("b", b, "P", FLOATS)
    n = b.shape[0]
    dense, product, dense_m, precondition = None, None, None, None
    if isinstance(A, np.ndarray):
        dense = door.read("A", A, "P P", b.dtype)
    else:
        product = operator(door, "A", A, n)
    if x0 is not None:
        x0 = door.read("x0", x0, "P", (b.dtype, FLOATS[1]) if b.dtype != FLOATS[1] else b.dtype)
    rtol, atol = door.real("rtol", rtol, 0.0), door.real("atol", atol, 0.0)
    maxiter = 10 * n if maxiter is None else door.integer("maxiter", maxiter, 1, 2**63 - 1)
    if isinstance(M, np.ndarray):
        dense_m = door.read("M", M, "P P", b.dtype)
    elif M is not None:
        precondition = operator(door, "M", M, n)
    if callback is not None and (isinstance(callback, type) or not callable(callback)):
        door.type_error(f"callback must be None or a callable, got {type(callback).__name__}")
    door.threads(threads)
    dtype = b.dtype if x0 is None else x0.dtype
    return Problem(dense, product, dense_m, precondition, b, x0, dtype, rtol, atol, maxiter, callback)


def norm_of(v: np.ndarray) -> float:
    """‖v‖₂ in float64 that neither over- nor underflows; NaN or inf when an entry is."""
    largest = float(np.max(np.abs(v), initial=0.0))
    if largest == 0 or not math.isfinite(largest):
        return largest
    unit = math.ldexp(1.0, math.frexp(largest)[1] - 1)
    scaled = v.astype(np.float64) / unit
    return unit * math.sqrt(float(scaled @ scaled))


class Steps(NamedTuple):
    """The work on vectors. The numba column brings its own."""

    product: Callable[[np.ndarray, np.ndarray], np.ndarray]  # (A, p) -> A p; one triangle of A is enough
    curvature: Callable[[np.ndarray, np.ndarray], tuple[float, float, float]]  # (p, q) -> pᵀq, pᵀp, max |q|
    advance: Callable[..., float]  # (x, r, p, q, step of x, step of r) -> rᵀr; changes x and r
    direct: Callable[[np.ndarray, np.ndarray, float], None]  # (p, z, β): p = z + β p


def _dot(u: np.ndarray, v: np.ndarray) -> float:
    return float(u.astype(np.float64) @ v.astype(np.float64))


def _curvature(p: np.ndarray, q: np.ndarray) -> tuple[float, float, float]:
    return _dot(p, q), _dot(p, p), float(np.max(np.abs(q)))


def _advance(x: np.ndarray, r: np.ndarray, p: np.ndarray, q: np.ndarray, x_step: float, r_step: float) -> float:
    x += x_step * p.astype(np.float64)
    r[:] = r - r_step * q.astype(np.float64)
    return _dot(r, r)


def _direct(p: np.ndarray, z: np.ndarray, beta: float) -> None:
    p[:] = z + beta * p.astype(np.float64)


NUMPY_STEPS = Steps(np.matmul, _curvature, _advance, _direct)


def assert_symmetric(A: np.ndarray, p: np.ndarray, rounding: float) -> None:
    """A p = Aᵀp up to rounding, and to the rounding of whatever formed A."""
    if norm_of(A @ p - p @ A) > 16 * math.sqrt(p.size) * rounding * norm_of(np.abs(A) @ np.abs(p)):
        raise ValueError("cg: A must be symmetric, got a matrix whose two triangles disagree")


def solve(o: Problem, steps: Steps, work: np.dtype) -> tuple[np.ndarray, int]:
    """The method. `work` is the dtype of the vectors r, p, q and z of the recursion."""
    n, precision = o.b.size, float(np.finfo(o.b.dtype).eps)
    dense = o.A is not None
    A = o.A.astype(work, copy=False) if o.A is not None else np.empty((0, 0), work)
    A64 = o.A.astype(np.float64, copy=False) if o.A is not None else np.empty((0, 0))
    b = o.b.astype(np.float64)
    x = np.zeros(n) if o.x0 is None else o.x0.astype(np.float64)

    def by_operator(product: Product | None, v: np.ndarray) -> np.ndarray:
        assert product is not None
        return product(v.astype(o.b.dtype, copy=False))

    def residual(at: np.ndarray) -> np.ndarray:
        return b - (A64 @ at if dense else by_operator(o.product, at))

    def precondition(r: np.ndarray) -> np.ndarray:
        if o.M is not None:
            return (o.M.astype(np.float64) @ r).astype(work)
        return r if o.precondition is None else by_operator(o.precondition, r).astype(work, copy=False)

    size = norm_of(b)
    if not (math.isfinite(size) and np.isfinite(x).all()):
        return np.zeros(n, o.dtype), NOT_FINITE
    if size == 0:
        return np.zeros(n, o.dtype), 0
    tolerance = max(o.rtol * size, o.atol)
    true = b.copy() if o.x0 is None else residual(x)
    length = norm_of(true)
    # The best x verified so far, its ‖b − A x‖, and its energy xᵀAx/2 − bᵀx, which every step of the method lowers.
    best, best_length, best_energy = x.astype(o.dtype), length, -0.5 * float(x @ (true + b))
    if not math.isfinite(length):
        return best, NOT_FINITE
    if length <= tolerance:
        return best, 0
    # An operator sees x in the dtype of b, so x is rounded to that at every verification.
    kept = o.dtype if dense else o.b.dtype
    continues_from_rounded = not dense or kept == np.float64

    iterations, share, symmetric = 0, 0.9, not dense
    operator_norm = 0.0  # the largest |A p| / ‖p‖ seen, a lower bound of ‖A‖
    while True:
        # One run on the correction, in units of about ‖b − A x‖.
        unit = math.ldexp(1.0, math.frexp(length)[1])
        r, p = (true / unit).astype(work), np.zeros(n, work)
        rr, rz, info = _dot(r, r), 1.0, 0
        low, lowest = rr, x.copy()  # the smallest residual of the run and its x
        target = max(share * tolerance / unit, 4 * precision * length / unit) ** 2
        while info == 0 and iterations < o.maxiter and rr > target:
            z = precondition(r)
            rz_before, rz = rz, rr if z is r else _dot(r, z)
            if not (rz > 0 and math.isfinite(rz)):
                info = INDEFINITE_M if math.isfinite(rz) else NOT_FINITE
                break
            steps.direct(p, z, rz / rz_before)
            q = steps.product(A, p) if dense else by_operator(o.product, p).astype(work, copy=False)
            pq, pp, largest = steps.curvature(p, q)
            if not math.isfinite(pq):
                info = NOT_FINITE
                break
            if not symmetric:
                assert_symmetric(A, p, precision)
                symmetric = True
            operator_norm = max(operator_norm, largest / math.sqrt(pp))
            noise = 4 * precision * operator_norm * pp
            if pq <= noise:
                info = NEGATIVE_CURVATURE if pq < -noise else BREAKDOWN
                break
            rr = steps.advance(x, r, p, q, rz / pq * unit, rz / pq)
            iterations += 1
            if not math.isfinite(rr):
                info = NOT_FINITE
                break
            if rr < low:
                low, lowest = rr, x.copy()
            if o.callback is not None:
                o.callback(x.astype(o.dtype))

        if info == BREAKDOWN:
            x = lowest  # the last steps before a breakdown are huge and lead away
        # Verify the x that would be returned.
        rounded = x.astype(kept)
        if not np.isfinite(rounded).all():
            return best, NOT_FINITE
        if info == NOT_FINITE:
            return rounded.astype(o.dtype), NOT_FINITE
        at = rounded.astype(np.float64)
        started, true = length, residual(at)
        length = norm_of(true)
        if not math.isfinite(length):
            return best, NOT_FINITE
        if length <= tolerance:
            return rounded.astype(o.dtype), 0
        closer, energy = length < best_length, -0.5 * float(at @ (true + b))
        if info != 0 or iterations >= o.maxiter:
            # The residual may grow while the error shrinks: only an x that is worse by both is given up.
            keep = closer or (energy < best_energy and info != BREAKDOWN)
            return (rounded.astype(o.dtype) if keep else best), (info or iterations)
        if closer:
            best, best_length, best_energy = rounded.astype(o.dtype), length, energy
        if continues_from_rounded:
            x = at
        else:
            true = residual(x)
            length = norm_of(true)
            if length <= 0.5 * tolerance:
                return best, iterations  # it is the rounding of x that keeps the residual up
        if not length <= 0.5 * started:
            return best, iterations  # as close as this precision comes
        share = 0.5


def cg(
    A: Any,
    b: np.ndarray,
    x0: np.ndarray | None = None,
    *,
    rtol: float = 1e-5,
    atol: float = 0.0,
    maxiter: int | None = None,
    M: Any = None,
    callback: Callable[[np.ndarray], Any] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, int]:
    problem = check("cg", A, b, x0, rtol, atol, maxiter, M, callback, threads)
    with np.errstate(all="ignore"):
        # A dense system is solved in float64 throughout; an operator gets vectors of the dtype of b.
        return solve(problem, NUMPY_STEPS, np.dtype(np.float64) if problem.A is not None else b.dtype)


def example(rng: np.random.Generator, size: int, dtype: np.dtype) -> tuple[tuple, dict]:
    G = rng.standard_normal((size, size)) / math.sqrt(max(size, 1))
    A = (G @ G.T + np.eye(size)).astype(dtype)  # condition below 6
    rtol = 1e-6 if dtype == np.float32 else 1e-12
    return ((A + A.T) / 2, rng.standard_normal(size).astype(dtype)), {"rtol": rtol}


def iterations_of(A: np.ndarray, b: np.ndarray, **kwargs: Any) -> int:
    count: list[None] = []
    cg(A, b, **kwargs, callback=lambda x: count.append(None))
    return len(count)


ROWS = (
    Row(
        reference=cg,
        example=example,
        sizes=(0, 1, 2, 7, 63, 64, 65, 257, 1024),
        benchmark_size=1024,
        tolerance={"float32": 1e-5, "float64": 1e-11},
        reason="two solutions with residuals below rtol may differ by twice rtol times the condition, which is below 6",
        # Half of the matrix once per iteration.
        bytes=lambda A, b, **kwargs: iterations_of(A, b, **kwargs) * (A.nbytes / 2 + 10 * b.nbytes),
        numba="pyasr.ops._numba_cg:cg",
        flops=lambda A, b, **kwargs: iterations_of(A, b, **kwargs) * (2.0 * A.size + 10.0 * b.size),
    ),
)
