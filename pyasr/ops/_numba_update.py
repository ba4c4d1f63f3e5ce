"""What the Numba twins of updates share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._update import Factors, norm_of


class Compiled(NamedTuple):
    """jit: the decorator, gradient(g, p, scale, limit, decay, l1): one clipped entry, norm(g): ‖g‖₂."""

    jit: Callable[..., Any]
    gradient: Callable[..., Any]
    norm: Callable[[np.ndarray], float]


def numbers_of(T: type, g: np.ndarray, f: Factors) -> tuple[Any, ...]:
    """The gradient and the factors in T. A scale that T holds with few bits, or not at all, is applied in float64."""
    if 0 < abs(f.scale) < np.finfo(T).tiny:
        g, f = g.astype(np.float64) * f.scale, f._replace(scale=1.0)
    return g.astype(T, copy=False), *map(T, f)


def compiled() -> Compiled:
    """Imports Numba."""
    import numba

    # Only sums may be reordered, into registers; NaN and infinity keep their meaning.
    jit = numba.njit(nogil=True, error_model="numpy", fastmath={"contract", "nsz"})

    @numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})
    def sum_squares_of(g: np.ndarray) -> float:
        total = 0.0
        for i in range(g.size):
            total += np.float64(g[i]) * np.float64(g[i])
        return total

    @jit
    def gradient(g, p, scale, limit, decay, l1):  # type: ignore[no-untyped-def]
        g = scale * g
        g = limit if g > limit else -limit if g < -limit else g
        return g + decay * p + (l1 if p > 0 else -l1 if p < 0 else l1 * p)  # 0 or NaN

    def norm(g: np.ndarray) -> float:
        total = sum_squares_of(g)
        # float64 entries may square out of range: then the reference's slow and safe norm
        safe = math.isfinite(total) and (total > 1e-280 * g.size or g.dtype == np.float32)
        return math.sqrt(total) if safe else norm_of(g)

    return Compiled(jit, gradient, norm)
