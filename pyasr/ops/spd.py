"""spd_solve: A x = b for symmetric positive definite A, one system or many, by Cholesky's factorization or conjugate gradients.

l_jj = √(a_jj − Σ_k<j l_jk²)    l_ij = (a_ij − Σ_k<j l_ik l_jk) / l_jj    L y = b    Lᵀ x = y
"""

from __future__ import annotations

import math

import numpy as np

from pyasr.ops._cg_problem import BREAKDOWN, NOT_FINITE
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._op import Row
from pyasr.ops.cg import cg

# From this size on "auto" tries conjugate gradients first, for an n-th of so many iterations: about half the time of the
# factorization, which is as long as n/30 to n/40 iterations wherever the matrix lies (measured on a Zen 5 core, both dtypes).
ITERATES_FROM, SIZE_PER_ITERATION = 2048, 64


def factor(A: np.ndarray) -> tuple[np.ndarray, int]:
    """L [n,n] of the lower triangle of A, in float64, and 0 or the order of the first leading minor that is not positive."""
    L = np.zeros(A.shape)
    for j in range(len(A)):
        pivot = float(A[j, j]) - float(L[j, :j] @ L[j, :j])
        if not (pivot > 0 and math.isfinite(pivot)):
            return L, j + 1
        L[j, j] = math.sqrt(pivot)
        L[j + 1 :, j] = (A[j + 1 :, j] - L[j + 1 :, :j] @ L[j, :j]) / L[j, j]
    return L, 0


def substitute(L: np.ndarray, b: np.ndarray) -> np.ndarray:
    """x of L Lᵀ x = b."""
    x = b.astype(np.float64)
    for j in range(len(x)):
        x[j] = (x[j] - L[j, :j] @ x[:j]) / L[j, j]
    for j in reversed(range(len(x))):
        x[j] = (x[j] - L[j + 1 :, j] @ x[j + 1 :]) / L[j, j]
    return x


def outcome_of(diagonal: np.ndarray) -> int:
    """What cg would find out where b asks it: BREAKDOWN or NOT_FINITE, which a diagonal that is not positive tells at once."""
    return NOT_FINITE if not np.isfinite(diagonal).all() else 0 if (diagonal > 0).all() else BREAKDOWN


def solve(door: Door, A: np.ndarray, b: np.ndarray, method: str, rtol: float, where: str) -> np.ndarray:
    n = b.size
    if method == "cg" or (method == "auto" and n >= ITERATES_FROM):
        x, info = b, outcome_of(A.diagonal())
        if info == 0:
            maxiter = None if method == "cg" else n // SIZE_PER_ITERATION
            x, info = cg(A, b, rtol=rtol, maxiter=maxiter, symmetric="lower")
        if info == 0:
            return x
        if method == "cg" and info > 0:
            door.value_error(f"rtol must be within reach of conjugate gradients, got none in {info} iterations{where}")
        if method == "cg" and info == NOT_FINITE:
            door.value_error(f"A and b must be finite, got a NaN or an infinity{where}")
        if method == "cg":
            door.value_error(f"A must be positive definite, got one that is singular or indefinite{where}")
    with np.errstate(all="ignore"):
        L, minor = factor(A)
        if minor:
            door.value_error(
                f"A must be positive definite, got a leading minor of order {minor} that is not positive and finite{where}"
            )
        return substitute(L, b).astype(b.dtype)


def spd_solve(
    A: np.ndarray, b: np.ndarray, *, method: str = "auto", rtol: float | None = None, threads: int | None = None
) -> np.ndarray:
    door = Door("spd_solve")
    batched = isinstance(A, np.ndarray) and A.ndim == 3
    A = door.read("A", A, "B P P" if batched else "P P", door.array("b", b, FLOATS).dtype)
    b = door.read("b", b, "B P" if batched else "P", A.dtype)
    method = door.choice("method", method, ("auto", "cholesky", "cg"))
    default = 1e-5 if b.dtype == np.float32 else 1e-10 if method == "cg" else 1e-13
    rtol = default if rtol is None else door.real("rtol", rtol, 0.0)
    door.threads(threads)
    if not batched:
        return solve(door, A, b, method, rtol, "")
    systems = [solve(door, *one, method, rtol, f" in system {i}") for i, one in enumerate(zip(A, b, strict=True))]
    return np.array(systems, b.dtype).reshape(b.shape)


def example(rng: np.random.Generator, size: tuple[int, int], dtype: np.dtype) -> tuple[tuple, dict]:
    B, n = size
    G = rng.standard_normal((B, n, n)) / math.sqrt(max(n, 1))
    A = G @ G.transpose(0, 2, 1) + np.eye(n)  # condition below 6
    return (((A + A.transpose(0, 2, 1)) / 2).astype(dtype), rng.standard_normal((B, n)).astype(dtype)), {}


ROWS = (
    Row(
        reference=spd_solve,
        example=example,
        sizes=(
            (0, 3),
            (2, 0),
            (1, 1),
            (3, 2),
            (5, 3),
            (17, 4),
            (9, 7),
            (20, 16),
            (3, 33),
            (2, 64),
            (2, 65),
            (3, 130),
            (1, 257),
        ),
        benchmark_size=(256, 64),
        tolerance={"float32": 1e-5, "float64": 1e-13},
        reason="the rounding of n²/2 sums, times a condition below 6",
        bytes=lambda A, b, **kwargs: A.nbytes / 2 + 2.0 * b.nbytes,
        flops=lambda A, b, **kwargs: A.size * (A.shape[-1] / 3 + 2.0),
    ),
)
