"""Second-order steps: the linear solver that Newton and Hessian-free methods rest on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops import backend


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
    matrices); it sees vectors of the dtype of b. M ≈ A⁻¹, the preconditioner, is an array [P,P] of the dtype of A or likewise an
    operator, positive definite. b [P] and x0 [P], where to start (zeros without it; it is not changed), are float32 or float64.
    maxiter defaults to 10·P. callback(xk) is called after every iteration with a copy of x. damping lies in [0, 1e30].

    `symmetric` says what of an array A is read: "full", a [P,P] whose upper triangle is read, after the first product was formed
    from both and compared; "lower" or "upper", that triangle of a [P,P], the other may hold anything; "packed", the rows of the
    upper triangle as a vector [P·(P+1)/2], which is LAPACK's lower triangle by columns.

    Many systems at once are A [B,P,P] (packed [B,P·(P+1)/2]), b [B,P] and, where given, x0 [B,P] and M [B,P,P]; without operators
    and callback. Each is solved on its own, in parallel, with the bits that it has alone; x is [B,P] and info [B] int64.

    Returns (x [P], info). x has the result dtype of A and b (an operator has none: that of b). info tells how it ended:

    ====  ========================================================================================================
       0  converged
      >0  the number of iterations done: maxiter was reached, or x is as good as this precision allows
      −1  pᵀA p vanished: A is singular and b is outside its range, or A is indefinite
      −2  pᵀA p was negative: A is indefinite or negative definite
      −3  a NaN or an infinity in A, b, x0 or a product
      −4  M is not positive definite
    ====  ========================================================================================================

    x is finite in every case, and where info is not 0 it is the best one found. on_indefinite="raise" raises instead of returning
    −1, −2 or −4. At condition 1e4 and above a float32 x cannot meet rtol=1e-5: give b in float64, also over a float32 A, and x is
    returned as it was kept, in float64.

    stop="residual" ends at ‖b − A x‖ ≤ max(rtol·‖b‖, atol). That was formed afresh with float64 sums for the x that is returned;
    with verify=False the residual of the recursion decides, as in SciPy, which drifts from the truth.

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
