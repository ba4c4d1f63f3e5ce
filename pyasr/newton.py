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
    threads: int | None = None,
) -> tuple[np.ndarray, int]:
    """Solve A x = b for symmetric positive definite A by conjugate gradients, until ‖b − A x‖ ≤ max(rtol·‖b‖, atol).

    A is a C-contiguous symmetric array [P,P] of the dtype of b, a callable v [P] → A v [P], or an object with `matvec` or `@`
    (SciPy's LinearOperator and sparse matrices); M ≈ A⁻¹, the preconditioner, likewise, positive definite. Of an array A the
    first product is formed from both triangles and compared, the rest read the upper one. b [P] is float32 or float64. x0 [P]
    is where to start (zeros without it) and is not changed; it has the dtype of b, or float64. maxiter defaults to 10·P.
    callback(xk) is called after every iteration with a copy of x.

    Returns (x [P], info); x has the dtype of x0 where that is given, else that of b. info tells how it ended:

    ====  ========================================================================================================
       0  converged: ‖b − A x‖ was formed afresh with float64 sums for the x that is returned, and is small enough
      >0  the number of iterations done: maxiter was reached, or x is as good as this precision allows
      −1  pᵀA p vanished: A is singular and b is outside its range, or A is indefinite
      −2  pᵀA p was negative: A is indefinite or negative definite
      −3  a NaN or an infinity in A, b, x0 or a product
      −4  M is not positive definite
    ====  ========================================================================================================

    x is finite in every case, and where info is not 0 it is the best one found. At condition 1e4 and above a float32 x cannot
    meet rtol=1e-5: give x0 in float64 (zeros will do) and x is returned as it was kept, in float64.

    Raises ValueError when A is found not to be symmetric, TypeError and ValueError naming the argument for a wrong dtype, shape
    or layout, also of a product. What A, M or callback raises comes through.

    Signature and meaning follow scipy.sparse.linalg.cg; the method is Hestenes and Stiefel's (1952), each run verified and, where
    the recursion has drifted, restarted on the correction.

    >>> x, info = pyasr.cg(np.array([[4.0, 1.0], [1.0, 3.0]]), np.array([1.0, 2.0]))
    >>> x.round(4), info
    (array([0.0909, 0.6364]), 0)
    """
    return backend().cg(A, b, x0, rtol=rtol, atol=atol, maxiter=maxiter, M=M, callback=callback, threads=threads)
