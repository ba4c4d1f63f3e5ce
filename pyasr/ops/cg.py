"""cg: conjugate gradients for A x = b with A symmetric positive definite, dense or known only by its products.

The method is that of Hestenes and Stiefel (1952), with a preconditioner M ≈ A⁻¹:

    r = b − A x    z = M r    p = z
    α = rᵀz / pᵀAp    x += α p    r −= α A p    z = M r    β = new rᵀz / old rᵀz    p = z + β p

The residual r of this recursion drifts away from b − A x: in float32 at condition 1e4 it says 1e-5 where the truth is 3e-4. So
x is kept in float64, and a run that seems to have converged is verified: b − A x is formed in float64, and while that is too
large the method starts again on the correction A d = b − A x. (Replacing r without restarting p diverges.) Every run is scaled
by a power of two to a residual of about 1, so that no inner product over- or underflows.

With `damping` A is A + damping I throughout. Martens' rule (2010, section 4.4) asks for the energy φ(x) = xᵀA x/2 − bᵀx =
−xᵀ(r + b)/2, which costs no product, and ends when it has all but stopped to fall; that x is returned as it is. A preconditioner
that changes wants β = new zᵀ(new r − old r) / old zᵀr (`flexible`; Polak and Ribière), which is the same where M stays.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._cg_problem import (
    BREAKDOWN,
    INDEFINITE,
    INDEFINITE_M,
    NEGATIVE_CURVATURE,
    NOT_FINITE,
    Problem,
    Product,
    check,
)
from pyasr.ops._op import Row

# Martens' rule looks back over a tenth of the iterations, at least 10 and at most so many.
LONGEST_LOOK_BACK = 65536
# What the two triangles may differ by, times |A| |p|. Least symmetric is what LU factorizations leave of inverses: 2.6e-5 at
# condition 1e4 in float32, 3e-12 at 1e6 in float64.
ASYMMETRY = {"float32": 5e-5, "float64": 1.5e-8}
ASYMMETRIC = 'A must be symmetric, or symmetric="upper" or "lower" be chosen, got a matrix whose two triangles disagree'


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


def mirrored(A: np.ndarray, stored: str, n: int) -> np.ndarray:
    """The whole matrix of one triangle; of a full one that is trusted, itself."""
    if stored == "full":
        return A
    if stored == "packed":
        upper = np.zeros((n, n), A.dtype)
        upper[np.triu_indices(n)] = A
    else:
        upper = np.triu(A if stored == "upper" else A.T)
    return upper + np.triu(upper, 1).T


def is_symmetric(A: np.ndarray, p: np.ndarray, asymmetry: float) -> bool:
    """A p = Aᵀp, relative to |A| |p|, up to the rounding of whatever formed A."""
    return not norm_of(A @ p - p @ A) > asymmetry * norm_of(np.abs(A) @ np.abs(p))


def martens_stops(o: Problem, energies: list[float]) -> bool:
    """Over the last k iterations the energy fell by less than martens_eps of what it is, times k."""
    i = len(energies) - 1
    k = min(max(10, -(-i // 10)), LONGEST_LOOK_BACK)
    if i <= k or not energies[i] < 0:
        return False
    return (energies[i] - energies[i - k]) / energies[i] < o.martens_eps * (k if o.scale_by_k else 1)


def solve(o: Problem, steps: Steps, work: np.dtype, where: str) -> tuple[np.ndarray, int]:
    """The method for one system. `work` is the dtype of the vectors r, p, q and z of the recursion; `where` ends messages."""
    n, precision = o.b.size, float(np.finfo(o.given).eps)
    dense = o.A is not None
    whole = mirrored(o.A, o.stored, n) if o.A is not None else np.empty((0, 0))
    A, A64 = whole.astype(work, copy=False), whole.astype(np.float64, copy=False)
    b = o.b.astype(np.float64)
    x = np.zeros(n) if o.x0 is None else o.x0.astype(np.float64)

    def by_operator(product: Product | None, v: np.ndarray) -> np.ndarray:
        assert product is not None
        return product(v.astype(o.b.dtype, copy=False))

    def residual(at: np.ndarray) -> np.ndarray:
        return b - (A64 @ at if dense else by_operator(o.product, at)) - o.damping * at

    def precondition(r: np.ndarray) -> np.ndarray:
        if o.M is not None:
            return (o.M.astype(np.float64) @ r).astype(work)
        return r if o.precondition is None else by_operator(o.precondition, r).astype(work, copy=False)

    size = norm_of(b)
    if not (math.isfinite(size) and np.isfinite(x.astype(o.dtype)).all()):
        return np.zeros(n, o.dtype), NOT_FINITE
    if size == 0:
        return np.zeros(n, o.dtype), 0
    tolerance = 0.0 if o.martens else max(o.rtol * size, o.atol)
    true = b.copy() if o.x0 is None else residual(x)
    length = norm_of(true)
    # The best x verified so far, its ‖b − A x‖, and its energy xᵀAx/2 − bᵀx, which every step of the method lowers.
    best, best_length, best_energy = x.astype(o.dtype), length, -0.5 * float(x @ (true + b))
    first_length, scaled_by_m = length, o.M is not None or o.precondition is not None
    if not math.isfinite(length):
        return best, NOT_FINITE
    if length <= tolerance:
        return best, 0
    # An operator sees x in the dtype of b, so x is rounded to that at every verification.
    continues_from_rounded = not dense or o.dtype == np.float64

    iterations, share, symmetric = 0, 0.9 if o.verify else 1.0, not dense or o.stored != "full"
    energies = [best_energy]
    operator_norm = 0.0  # the largest |A p| / ‖p‖ seen, a lower bound of ‖A‖
    steepest = 0.0  # the largest pᵀA p / pᵀM⁻¹p seen
    while True:
        # One run on the correction, in units of about ‖b − A x‖.
        unit = math.ldexp(1.0, min(math.frexp(length)[1], 1023))
        r, p, r_before = (true / unit).astype(work), np.zeros(n, work), np.zeros(n, work)
        rr, rz, info, stopped = _dot(r, r), 1.0, 0, False
        length_in_m, with_p, way_in_m, lift = 0.0, 0.0, 0.0, 0.0  # pᵀM⁻¹p; of the run's way d: dᵀM⁻¹p, dᵀM⁻¹d, dᵀA d
        low, lowest = rr, x.copy()  # the smallest residual of the run and its x
        target = max(share * tolerance / unit, 4 * precision * length / unit) ** 2
        while iterations < o.maxiter and not (stopped := stopped or rr <= target):
            z = precondition(r)
            rz_before, rz = rz, rr if z is r else _dot(r, z)
            if not (rz > 0 and math.isfinite(rz)):
                info = INDEFINITE_M if math.isfinite(rz) else NOT_FINITE
                break
            across = _dot(z, r_before) if o.flexible else 0.0  # 0 for an M that stays the same
            r_before = r.copy() if o.flexible else r_before
            beta = (rz - across) / rz_before
            length_in_m, with_p = rz + beta * beta * length_in_m, beta * with_p  # r is orthogonal to the p before
            steps.direct(p, z, beta)
            q = steps.product(A, p) if dense else by_operator(o.product, p).astype(work, copy=False)
            if not symmetric:
                if not is_symmetric(A, p, ASYMMETRY[o.given.name]):
                    raise ValueError(f"cg: {ASYMMETRIC}{where}")
                symmetric = True
            if o.damping:
                q = (q + o.damping * p.astype(np.float64)).astype(work)
            pq, pp, largest = steps.curvature(p, q)
            if not math.isfinite(pq):
                info = NOT_FINITE
                break
            operator_norm = max(operator_norm, largest / math.sqrt(pp))
            noise = 4 * precision * operator_norm * pp
            # Where M takes scales out of A, what is small beside ‖A‖ need not be rounding: M is the measure.
            steepest = max(steepest, pq / length_in_m)
            scaled = 4 * precision * steepest * length_in_m
            if pq <= (min(noise, scaled) if scaled_by_m else noise):
                info = NEGATIVE_CURVATURE if pq < -noise else BREAKDOWN
                break
            alpha = rz / pq
            rr = steps.advance(x, r, p, q, alpha * unit, alpha)
            way_in_m += alpha * (2 * with_p + alpha * length_in_m)
            with_p, lift = with_p + alpha * length_in_m, lift + alpha * rz
            iterations += 1
            if not math.isfinite(rr):
                info = NOT_FINITE
                break
            if rr < low:
                low, lowest = rr, x.copy()
            if o.callback is not None:
                o.callback(x.astype(o.dtype))
            if o.martens:
                energies.append(-0.5 * float(x @ (unit * r.astype(np.float64) + b)))
                stopped = martens_stops(o, energies)

        if info == BREAKDOWN:
            x = lowest  # the last steps before a breakdown are huge and lead away
        rounded = x.astype(o.dtype)
        if not np.isfinite(rounded).all():
            return best, NOT_FINITE
        if info == NOT_FINITE:
            return rounded, NOT_FINITE
        if o.martens or not o.verify:
            done = stopped if o.martens else rr <= (tolerance / unit) ** 2
            return rounded, info or (0 if done else iterations)
        # Verify the x that would be returned.
        at = rounded.astype(np.float64)
        started, true = length, residual(at)
        length = norm_of(true)
        if not math.isfinite(length):
            return best, NOT_FINITE
        if length <= tolerance:
            return rounded, 0
        closer, energy = length < best_length, -0.5 * float(at @ (true + b))
        if info != 0 or iterations >= o.maxiter:
            # The residual may grow while the error shrinks, so the energy says which x is better. Where A is not positive
            # definite it falls without bound: it is not asked where that was seen, below the rounding of A, and where more
            # than the first residual is left after n iterations, which in exact arithmetic are the solution.
            reach = norm_of(at)
            resolved = float((at / (reach or 1.0)) @ (b - true)) > 4 * precision * operator_norm * reach
            resolved |= scaled_by_m and lift > 4 * precision * steepest * way_in_m
            if info == 0 and resolved and energy < best_energy and (iterations < n or length <= first_length):
                return rounded, iterations
            if closer:
                best, best_length = rounded, length
            if low < rr and info != BREAKDOWN:  # a smaller residual lies on the way
                info = info or (0 if resolved else BREAKDOWN)
                rounded = lowest.astype(o.dtype)
                if norm_of(residual(rounded.astype(np.float64))) < best_length:
                    best = rounded
            return best, info or iterations
        if closer:
            best, best_length, best_energy = rounded, length, energy
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


def answer(problem: Problem, steps: Steps, work: np.dtype, where: str = "") -> tuple[np.ndarray, Any]:
    if problem.b.ndim == 2:
        results = [answer(one, steps, work, f" in system {i}") for i, one in enumerate(problem.systems())]
        x = np.array([x for x, _ in results], problem.dtype).reshape(problem.b.shape)
        return x, np.array([info for _, info in results], np.int64)
    with np.errstate(all="ignore"):
        x, info = solve(problem, steps, work, where)
    if problem.raises and info in INDEFINITE:
        raise ValueError(f"cg: {INDEFINITE[info]}{where}")
    return x, info


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
    symmetric: str = "full",
    damping: float = 0.0,
    stop: str = "residual",
    martens_eps: float = 5e-4,
    scale_by_k: bool = True,
    flexible: bool = False,
    verify: bool = True,
    on_indefinite: str = "stop",
    threads: int | None = None,
) -> tuple[np.ndarray, Any]:
    problem = check(
        A, b, x0, rtol, atol, maxiter, M, callback, symmetric, damping, stop, martens_eps, scale_by_k, flexible, verify,
        on_indefinite, threads,
    )  # fmt: skip
    # A dense system is solved in float64 throughout; an operator gets vectors of the dtype of b.
    return answer(problem, NUMPY_STEPS, np.dtype(np.float64) if problem.A is not None else b.dtype)


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
