"""Writes cg_scipy.npz: scipy.sparse.linalg.cg in float64, an outside oracle for tests/test_newton.py.

    python tests/oracle/make_cg.py

The systems are not stored: they come from np.random.RandomState, whose stream NumPy keeps for good.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

# n, condition, rtol, atol, maxiter, preconditioned, x0 given
CASES = (
    (1, 1, 1e-5, 0.0, None, False, False),
    (5, 10, 1e-12, 0.0, None, False, False),
    (40, 1e2, 1e-5, 0.0, None, False, False),
    (40, 1e2, 1e-10, 0.0, None, False, True),
    (40, 1e4, 1e-10, 0.0, None, True, False),
    (65, 1e3, 0.0, 1e-8, None, False, True),
    (65, 1e3, 1e-10, 0.0, 7, False, False),
    (65, 1e3, 1e-10, 0.0, 7, True, True),
)


def spd(rng: np.random.RandomState, n: int, condition: float) -> np.ndarray:
    """Symmetric with eigenvalues from 1 down to 1 / condition: a diagonal matrix between Householder reflections."""
    A = np.diag(np.logspace(0, -np.log10(condition), n))
    for _ in range(3):
        v = rng.standard_normal(n)
        v /= np.linalg.norm(v)
        A = A - 2 * np.outer(v, v @ A)
        A = A - 2 * np.outer(A @ v, v)
    return (A + A.T) / 2


def system(index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray | None]:
    """A, b, x0 and M of a case; badly scaled where there is an M, its diagonal's inverse."""
    n, condition, _, _, _, preconditioned, guessed = CASES[index]
    rng = np.random.RandomState(50 + index)
    A = spd(rng, n, condition)
    if preconditioned:
        scale = 10.0 ** rng.uniform(-2, 2, n)
        A = scale[:, None] * (A + 0.1 * np.eye(n)) * scale
    b = rng.standard_normal(n)
    return A, b, rng.standard_normal(n) if guessed else None, np.diag(1 / np.diag(A)) if preconditioned else None


def main() -> None:
    import scipy
    from scipy.sparse.linalg import cg

    out = {"scipy": np.array(scipy.__version__)}
    for i, (_, _, rtol, atol, maxiter, _, _) in enumerate(CASES):
        A, b, x0, M = system(i)
        out[f"x_{i}"], info = cg(A, b, x0, rtol=rtol, atol=atol, maxiter=maxiter, M=M)
        out[f"info_{i}"] = np.array(info)
    np.savez_compressed(Path(__file__).with_name("cg_scipy.npz"), **out)


if __name__ == "__main__":
    main()
