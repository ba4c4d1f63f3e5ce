"""The arguments of cg, checked for the numpy and numba columns; csrc/bind/cg.cpp does the same for the native one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import FLOATS, Door

Product = Callable[[np.ndarray], np.ndarray]

BREAKDOWN, NEGATIVE_CURVATURE, NOT_FINITE, INDEFINITE_M = -1, -2, -3, -4
INDEFINITE = {
    BREAKDOWN: "A must be positive definite, got one that is singular or indefinite: p.Ap vanished",
    NEGATIVE_CURVATURE: "A must be positive definite, got p.Ap < 0",
    INDEFINITE_M: "M must be positive definite, got r.Mr <= 0",
}


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
            got = y.dtype.name if y.dtype.isnative else y.dtype.str
            door.type_error(f"{name} must return float32 or float64 numbers, got {got}")
        if y.shape != (n,):
            door.value_error(f"{name} must return shape ({n},), got {y.shape}")
        return y

    return product


def dtype_over(A: Any, b: np.ndarray) -> np.dtype:
    """The result dtype of b and of an operator, which counts where it has a dtype of real numbers."""
    dtype = getattr(A, "dtype", None)
    real = isinstance(dtype, np.dtype) and dtype.kind in "biuf"
    return np.dtype(np.float64) if real and np.result_type(dtype, b) != np.float32 else b.dtype


class Problem(NamedTuple):
    """The checked arguments of one call."""

    A: np.ndarray | None  # [n,n] or as `stored` says, or None and `product` is used; with a batch in front
    product: Product | None
    M: np.ndarray | None  # [n,n], or None; with a batch in front
    precondition: Product | None
    b: np.ndarray  # [n], or a batch [B,n]
    x0: np.ndarray | None  # as b
    given: np.dtype  # of A, or of what an operator takes
    dtype: np.dtype  # of the x that is returned
    rtol: float
    atol: float
    maxiter: int
    callback: Callable[[np.ndarray], Any] | None
    stored: str
    damping: float
    martens: bool
    martens_eps: float
    scale_by_k: bool
    flexible: bool
    verify: bool
    raises: bool

    def systems(self) -> Iterator[Problem]:
        """The problems of a batch."""
        for i, b in enumerate(self.b):
            A, M, x0 = (None if of is None else of[i] for of in (self.A, self.M, self.x0))
            yield self._replace(A=A, M=M, b=b, x0=x0)


def check(
    A: Any, b: Any, x0: Any, rtol: Any, atol: Any, maxiter: Any, M: Any, callback: Any, symmetric: Any, damping: Any, stop: Any,
    martens_eps: Any, scale_by_k: Any, flexible: Any, verify: Any, on_indefinite: Any, threads: Any,
) -> Problem:  # fmt: skip
    door = Door("cg")
    stored = door.choice("symmetric", symmetric, ("full", "lower", "upper", "packed"))
    arrays = isinstance(A, np.ndarray) and isinstance(b, np.ndarray)
    batched = arrays and b.ndim == 2 and A.ndim == (2 if stored == "packed" else 3)
    vector, matrix = ("B P", "B P P") if batched else ("P", "P P")
    b = door.read("b", b, vector, FLOATS)
    n = door["P"]
    dense, product, dense_m, precondition, given = None, None, None, None, b.dtype
    if isinstance(A, np.ndarray):
        door.bind("Q", n * (n + 1) // 2, "P*(P+1)/2")
        dense = door.read("A", A, matrix if stored != "packed" else "B Q" if batched else "Q", FLOATS)
        given = dense.dtype
    else:
        product, given = operator(door, "A", A, n), dtype_over(A, b)
        b = b.astype(given, copy=False)
    x0 = door.read("x0", x0, vector, FLOATS, optional=True)
    rtol, atol = door.real("rtol", rtol, 0.0), door.real("atol", atol, 0.0)
    maxiter = 10 * n if maxiter is None else door.integer("maxiter", maxiter, 1, 2**63 - 1)
    if isinstance(M, np.ndarray) or (batched and M is not None):
        dense_m = door.read("M", M, matrix, given)
    elif M is not None:
        precondition = operator(door, "M", M, n)
    if callback is not None and batched:
        door.type_error(f"callback must be None with a batch of systems, got {type(callback).__name__}")
    if callback is not None and (isinstance(callback, type) or not callable(callback)):
        door.type_error(f"callback must be None or a callable, got {type(callback).__name__}")
    damping = door.real("damping", damping, 0.0, 1e30)
    martens = door.choice("stop", stop, ("residual", "martens")) == "martens"
    martens_eps = door.real("martens_eps", martens_eps, 0.0)
    scale_by_k, flexible = door.boolean("scale_by_k", scale_by_k), door.boolean("flexible", flexible)
    verify = door.boolean("verify", verify)
    raises = door.choice("on_indefinite", on_indefinite, ("stop", "raise")) == "raise"
    door.threads(threads)
    return Problem(
        dense, product, dense_m, precondition, b, x0, given, np.result_type(given, b), rtol, atol, maxiter, callback,
        stored, damping, martens, martens_eps, scale_by_k, flexible, verify, raises,
    )  # fmt: skip
