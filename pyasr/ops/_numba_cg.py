"""The Numba twin of cg: the method of the reference, with compiled work on the vectors in the dtype of the arguments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._cg_problem import check
from pyasr.ops.cg import Steps, answer


def cg() -> Callable[..., Any]:
    """Compiles and returns the twin."""
    import numba

    # Sums may be reordered into registers; NaN and infinity keep their meaning.
    jit = numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})

    @jit
    def product(A: np.ndarray, p: np.ndarray) -> np.ndarray:
        n = p.size
        q = np.zeros_like(p)
        for i in range(n):
            # One triangle serves two rows, in two loops that the compiler turns into vectors; in one loop it does not.
            row, right, below, own, total = A[i, i + 1 :], p[i + 1 :], q[i + 1 :], p[i], A[i, i] * p[i]
            for j in range(right.size):
                total += row[j] * right[j]
            for j in range(right.size):
                below[j] += row[j] * own
            q[i] += total
        return q

    @jit
    def curvature(p: np.ndarray, q: np.ndarray) -> tuple[float, float, float]:
        pq, pp, largest = 0.0, 0.0, 0.0
        for i in range(p.size):
            u, v = np.float64(p[i]), np.float64(q[i])
            pq += u * v
            pp += u * u
            largest = max(largest, abs(v))
        return pq, pp, largest

    @jit
    def advance(x: np.ndarray, r: np.ndarray, p: np.ndarray, q: np.ndarray, x_step: float, r_step: float) -> float:
        rr = 0.0
        for i in range(x.size):
            x[i] += x_step * p[i]
            r[i] = np.float64(r[i]) - r_step * np.float64(q[i])
            rr += np.float64(r[i]) * np.float64(r[i])
        return rr

    @jit
    def direct(p: np.ndarray, z: np.ndarray, beta: float) -> None:
        for i in range(p.size):
            p[i] = z[i] + beta * p[i]

    steps = Steps(product, curvature, advance, direct)

    def twin(
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
        return answer(problem, steps, problem.given)

    return twin
