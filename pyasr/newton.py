"""Second-order steps: the linear solvers that Newton and Hessian-free methods rest on."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops import backend
from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops.cg import norm_of


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
    """Solve (A + damping·I) x = b for symmetric positive definite A by conjugate gradients.

    A is a C-contiguous array, a callable v [P] → A v [P], or an object with `matvec` or `@` (SciPy's LinearOperator and sparse
    matrices); it sees vectors of the dtype of x. M ≈ A⁻¹, the preconditioner, is an array [P,P] of the dtype of A or likewise an
    operator, positive definite. b [P] and x0 [P], where to start (zeros without it; it is not changed), are float32 or float64.
    maxiter is at least 1 and defaults to 10·P. callback(xk) is called after every iteration with a copy of x. damping lies in
    [0, 1e30].

    `symmetric` says what of an array A is read: "full", a [P,P] whose upper triangle is read, after the first product was formed
    from both and compared; "lower" or "upper", that triangle of a [P,P], the other may hold anything; "packed", the rows of the
    upper triangle as a vector [P·(P+1)/2], which is LAPACK's lower triangle by columns. With "full" both products may differ by
    5e-5·|A|·|p| in float32, 1.5e-8·|A|·|p| in float64: inverses do by rounding, up to condition 1e4 and far beyond 1e6.

    Many systems at once are A [B,P,P] (packed [B,P·(P+1)/2]), b [B,P] and, where given, x0 [B,P] and M [B,P,P]; without operators
    and callback. Each is solved on its own, in parallel, with the bits that it has alone; x is [B,P] and info [B] int64.

    Returns (x [P], info). x has the result dtype of A and b, that of b where an operator has no dtype. info tells how it ended:

    ====  ========================================================================================================
       0  converged
      >0  the number of iterations done: maxiter was reached, or x is as good as this precision allows
      −1  pᵀA p vanished, or xᵀA x by maxiter: A is singular and b is outside its range, or A is indefinite
      −2  pᵀA p was negative: A is indefinite or negative definite
      −3  a NaN or an infinity in A, b, x0 (also as x has it) or a product
      −4  M is not positive definite
    ====  ========================================================================================================

    x is finite in every case, and where info is not 0 it is the best one found. After maxiter iterations that is the last, which
    has the lowest energy xᵀA x/2 − bᵀx, although an earlier one may have a smaller residual. Where A is not positive definite
    the energy says nothing: x is that of least residual, never more than that of x0, where info is negative and where P or more
    iterations end with a residual above the first one. on_indefinite="raise" raises instead of returning −1, −2 or −4. At
    condition 1e4 and above a float32 x cannot meet rtol=1e-5: give b in float64, also over a float32 A, and x is returned as it
    was kept, in float64.

    stop="residual" ends at ‖b − A x‖ ≤ max(rtol·‖b‖, atol). That was formed afresh with float64 sums for the x that is returned;
    with verify=False the residual of the recursion decides, as in SciPy, which drifts from the truth, and x is the last one.

    stop="martens" ends at iteration i when, with φ(x) = xᵀA x/2 − bᵀx and k = max(10, ⌈i/10⌉) (at most 65536), i > k, φᵢ < 0 and
    (φᵢ − φᵢ₋ₖ)/φᵢ < k·martens_eps, or < martens_eps with scale_by_k=False. rtol and atol are not asked; info is 0 then, and where
    the residual fell to the rounding of the dtype before, and nothing is verified.

    flexible=True is for an M that changes from call to call: β = zₖ₊₁ᵀ(rₖ₊₁ − rₖ)/zₖᵀrₖ.

    Raises ValueError when A is found not to be symmetric, TypeError and ValueError naming the argument for a wrong dtype, shape
    or layout, also of a product. What A, M or callback raises comes through.

    Signature and meaning follow scipy.sparse.linalg.cg; the method is Hestenes and Stiefel's (1952), each run verified and, where
    the recursion has drifted, restarted on the correction. The other rule is that of Martens, Deep learning via Hessian-free
    optimization (2010).

    >>> x, info = pyasr.cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]))
    >>> x.round(4), info
    (array([0.0909, 0.6364]), 0)
    """
    return backend().cg(
        A, b, x0, rtol=rtol, atol=atol, maxiter=maxiter, M=M, callback=callback, symmetric=symmetric, damping=damping, stop=stop,
        martens_eps=martens_eps, scale_by_k=scale_by_k, flexible=flexible, verify=verify, on_indefinite=on_indefinite,
        threads=threads,
    )  # fmt: skip


def spd_solve(
    A: np.ndarray, b: np.ndarray, *, method: str = "auto", rtol: float | None = None, threads: int | None = None
) -> np.ndarray:
    """Solve A x = b for symmetric positive definite A, one system or many at once.

    A [P,P] and b [P], or A [B,P,P] and b [B,P], are C-contiguous arrays of one dtype, float32 or float64, which x, of the shape
    of b, has too. Of every matrix the lower triangle is read and the other may hold anything. A system's bits depend neither on
    its batch nor on `threads`. Several right-hand sides of one matrix are not taken.

    method="cholesky" factors A = L·Lᵀ: P³/3 flops, for up to 64 unknowns several systems in a register at once. method="cg" is
    pyasr.cg until ‖b − A x‖ ≤ rtol·‖b‖, verified. "auto" factors below 2048 unknowns; from there on it tries conjugate gradients
    for P/64 iterations, about half the time of the factorization, and factors what has not converged by then. rtol is not asked
    by the factorization; where it is not given it is 1e-5 in float32, and in float64 1e-13 with "auto", 1e-10 with "cg".

    Raises ValueError naming the system, and the order of the first leading minor that is not positive, when the factorization
    finds A not to be positive definite (a NaN is not positive). Conjugate gradients, and so "auto" from 2048 unknowns on, find
    that where the diagonal shows it, and else only along the directions that b leads to: a b that has nothing of a negative
    direction gets an x. A NaN or an infinity in b gives NaN in that system's x; with method="cg" it raises ValueError, as does an
    rtol that was not reached. TypeError and ValueError naming the argument for a wrong dtype, shape or layout.

    On a CUDA device "auto" factors at every size and waits for nothing, so it never raises: x is NaN in the systems that are not
    positive definite, and in no other. "cholesky" and "cg" wait there, and raise.

    Meaning and answers are those of scipy.linalg.solve(..., assume_a="pos") with lower=True.

    >>> A = np.array([[[4.0, 1.0], [1.0, 3.0]], [[2.0, 0.0], [0.0, 8.0]]])
    >>> pyasr.spd_solve(A, np.array([[1.0, 2.0], [1.0, 2.0]])).round(4)
    array([[0.0909, 0.6364],
           [0.5   , 0.25  ]])
    """
    return backend().spd_solve(A, b, method=method, rtol=rtol, threads=threads)


class NewtonInfo(NamedTuple):
    """What one step of Newton's method did."""

    before: float  # the objective at theta
    value: float  # and at the parameters that are returned
    norm: float  # of the gradient at theta
    scale: float  # the share of the Newton step that was taken: 1, 1/2, 1/4 …; 0 where none went down
    cg: int  # the info of the solver, see cg


def newton_step(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, model: str = "linear", *, l2: float = 0.0, rtol: float = 1e-12
) -> tuple[np.ndarray, NewtonInfo]:
    """One step of Newton's method for linear, logistic or softmax regression: (the new theta, NewtonInfo).

    x [N,D] float32 or float64 holds one example per row; an intercept is a column of ones in it. theta is float64 and is not
    changed. The objective is l2/2·‖theta‖² plus the mean over the examples of

    ==========  =============  ========================  ================================
    model       theta          y [N]                     loss of an example
    ==========  =============  ========================  ================================
    "linear"    [D]            of the dtype of x         ½·(x·theta − y)²
    "logistic"  [D]            int32, 0 or 1             −log σ(x·theta) for 1, −log(1 − σ(x·theta)) for 0
    "softmax"   [V,D]          int32, 0 … V−1            −log softmax(theta x)_y
    ==========  =============  ========================  ================================

    The step d solves H d = −∇ with the full Hessian H = XᵀWX/N + l2, by conjugate gradients over products with it: it is
    never formed nor inverted, and may be singular (equal columns, softmax without l2): d is then one of the solutions. The units
    of the columns of x make no difference to the solver, whose relative tolerance is rtol; the square of the condition that is
    left without them enters. theta + scale·d is returned, where scale starts at 1 and is halved until the objective falls
    enough, so no step goes up.

    For linear regression one step from anywhere is the least squares solution, as far as the square of the condition of x allows,
    its columns in units of their norms: up to a condition of about 5e6. Beyond that the residual is up to some ten times the
    least one, and info.cg does not show it; np.linalg.lstsq factors x itself and gets further. For logistic and softmax
    regression a few steps are enough; without l2 separable classes have no minimum, and every step goes on towards infinity.

    Raises TypeError and ValueError naming the argument, also where the objective at theta is beyond the range of float64.

    Source: Boyd and Vandenberghe, "Convex optimization", 2004, section 9.5.2, with a linear solver that stops early: Nocedal and
    Wright, "Numerical optimization", 2006, section 7.1.

    >>> x = np.array([[0.0, 1.0], [1.0, 1.0], [2.0, 1.0]])  # with the intercept's column
    >>> theta, info = pyasr.newton_step(np.array([5.0, -7.0]), x, np.array([1.0, 3.0, 5.0]))
    >>> theta.round(9), info.scale  # y = 2x + 1
    (array([2., 1.]), 1.0)
    >>> theta = np.zeros(2)
    >>> for _ in range(6):
    ...     theta, info = pyasr.newton_step(theta, x, np.array([0, 1, 0], "i4"), "logistic", l2=0.1)
    >>> theta.round(4), bool(info.norm < 1e-12)
    (array([-0.1487, -0.3798]), True)
    """
    door = Door("newton_step")
    model = door.choice("model", model, ("linear", "logistic", "softmax"))
    x = door.read("x", x, "N D", FLOATS)
    if not len(x):
        door.value_error(f"x must have at least one row, got shape {x.shape}")
    theta = door.read("theta", theta, "V D" if model == "softmax" else "D", FLOATS[1])
    y = door.read("y", y, "N", x.dtype if model == "linear" else INT32)
    l2, rtol = door.real("l2", l2, 0.0), door.real("rtol", rtol, 0.0, 1.0)
    for name, array in (("theta", theta), ("x", x), ("y", y)):
        if not np.isfinite(array).all():
            door.value_error(f"{name} must be finite, got NaN or infinity")
    classes = theta.shape[0] if model == "softmax" else 2
    if model != "linear" and len(y) and not 0 <= y.min() <= y.max() < classes:
        at = int(np.flatnonzero((y < 0) | (y >= classes))[0])
        door.value_error(f"y must lie in [0, {classes}), got {y[at]} at {at}")
    rows, shape = x.astype(np.float64, copy=False), theta.shape
    loss = {"linear": _squared, "logistic": _logistic, "softmax": _softmax}[model]

    def objective(at: np.ndarray) -> float:
        with np.errstate(over="ignore", invalid="ignore"):  # a step that is too long is halved
            return float(loss(rows @ at.T, y)[0].mean() + (l2 / 2 * (at * at).sum() if l2 else 0.0))

    before = objective(theta)
    if not math.isfinite(before):
        door.value_error(f"theta, x and y must give a finite objective, got {before!r}")
    _, slope, curvature, diagonal = loss(rows @ theta.T, y)
    grad = slope.T @ rows / len(rows) + l2 * theta

    # The unknowns are d times the roots of the diagonal of H, so that the solver sees no units: it judges what is singular.
    largest = np.abs(rows).max(0)
    largest = np.where(largest > 0, largest, 1.0)
    mean_square = diagonal.T @ np.square(rows / largest) / len(rows)
    root = np.hypot(largest * np.sqrt(mean_square), math.sqrt(l2))
    unit = np.divide(1.0, root, out=np.ones_like(root), where=root > 0)

    def product(v: np.ndarray) -> np.ndarray:
        v = unit * v.reshape(shape)
        return (unit * (curvature(rows @ v.T).T @ rows / len(rows) + l2 * v)).ravel()

    solution, code = cg(product, -(unit * grad).ravel(), rtol=rtol)
    norm, step = norm_of(grad.ravel()), unit * solution.reshape(shape)
    down = float((grad * step).sum())
    slack = 4 * np.finfo(np.float64).eps  # of a sum: at the minimum values only differ in it
    share = 1.0
    for _ in range(60):
        after = objective(theta + share * step)
        if after <= before + 1e-4 * share * down + slack * abs(before):
            return theta + share * step, NewtonInfo(before, after, norm, share, code)
        share /= 2
    return theta.copy(), NewtonInfo(before, before, norm, 0.0, code)


# Of scores [N] or [N,V]: (losses [N], their slopes, curvature: directions of scores to H times them, its diagonal).
Scored = tuple[np.ndarray, np.ndarray, Callable[[np.ndarray], np.ndarray], np.ndarray]


def _squared(scores: np.ndarray, y: np.ndarray) -> Scored:
    error = scores - y
    return error * error / 2, error, lambda v: v, np.ones_like(error)


def _logistic(scores: np.ndarray, y: np.ndarray) -> Scored:
    p, other = (np.exp(-np.logaddexp(0.0, s)) for s in (-scores, scores))  # 1 − p would lose its digits near 1
    losses = np.logaddexp(0.0, np.where(y == 1, -scores, scores))
    weight = p * other
    return losses, np.where(y == 1, -other, p), lambda v: weight * v, weight


def _softmax(scores: np.ndarray, y: np.ndarray) -> Scored:
    shifted = scores - scores.max(1, keepdims=True)
    log_p = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    p, own = np.exp(log_p), np.arange(scores.shape[1]) == y[:, None]
    losses = -log_p[np.arange(len(y)), y]
    return losses, p - own, lambda v: p * (v - (p * v).sum(1, keepdims=True)), p * (1 - p)
