"""The Numba twin of clip_sgd: two passes over the vectors, the norm in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops.clip_sgd import StepInfo, check, norm_of


def clip_sgd() -> Callable[..., Any]:
    """Compiles and returns the twin."""
    import numba

    # Sums may be reordered into registers; NaN and infinity keep their meaning.
    jit = numba.njit(nogil=True, error_model="numpy", fastmath={"reassoc", "contract", "nsz"})

    @jit
    def sum_squares(g: np.ndarray) -> float:
        total = 0.0
        for i in range(g.size):
            total += np.float64(g[i]) * np.float64(g[i])
        return total

    @jit
    def clamp(g, limit):  # type: ignore[no-untyped-def]
        return limit if g > limit else -limit if g < -limit else g

    @jit
    def step_plain(p, g, scale, limit, lr, decay, keep):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            p[i] = keep * p[i] - lr * (clamp(scale * g[i], limit) + decay * p[i])

    @jit
    def step_momentum(p, g, m, scale, limit, lr, decay, keep, momentum, damp, first, nesterov):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            d = clamp(scale * g[i], limit) + decay * p[i]
            m[i] = d if first else momentum * m[i] + damp * d
            p[i] = keep * p[i] - lr * (d + momentum * m[i] if nesterov else m[i])

    def twin(
        value: np.ndarray,
        grad: np.ndarray,
        *,
        lr: float,
        momentum: float = 0.0,
        buffer: np.ndarray | None = None,
        step: int | None = None,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        clip: tuple[str, float] | None = None,
        eps: float = 0.0,
        grad_scale: float = 1.0,
        nonfinite: str = "skip",
        threads: int | None = None,
    ) -> StepInfo:
        kind, limit = check(
            Door("clip_sgd"), value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, clip,
            eps, grad_scale, nonfinite, threads,
        )  # fmt: skip
        # NumPy scalars have types of their own: 1 - np.uint64(2) wraps, a float32 would round the rest.
        lr, momentum, dampening, weight_decay = float(lr), float(momentum), float(dampening), float(weight_decay)
        eps, grad_scale = float(eps), float(grad_scale)
        T = value.dtype.type
        with np.errstate(all="ignore"):
            total = sum_squares(grad)
            # float64 entries may square out of range: then the reference's slow and safe norm
            safe = math.isfinite(total) and (total > 1e-280 * grad.size or T is np.float32)
            norm, scale = (math.sqrt(total) if safe else norm_of(grad)) * abs(grad_scale), 1.0
            if not math.isfinite(norm) and nonfinite != "propagate":
                if nonfinite == "raise":
                    raise ValueError(f"clip_sgd: grad must be finite, got a norm of {norm!r}")
                return StepInfo(norm, 1.0, True)
            if kind == "norm":
                if math.isnan(norm):
                    scale = norm
                elif limit < norm + eps:
                    scale = limit / (norm + eps)
            common = (
                T(scale * grad_scale),
                T(limit if kind == "value" else math.inf),
                T(lr),
                T(0.0 if decoupled else weight_decay),
                T(1 - lr * weight_decay if decoupled else 1.0),
            )
            if buffer is None:
                step_plain(value, grad, *common)
            else:
                weights = T(momentum), T(1 - dampening)
                step_momentum(value, grad, buffer, *common, *weights, step == 0, bool(nesterov))
        return StepInfo(norm, scale, False)

    return twin
