"""The Numba twin of clip_sgd: two passes over the vectors, the norm in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._numba_update import compiled, numbers_of
from pyasr.ops._update import Factors, StepInfo, update
from pyasr.ops.clip_sgd import check


def clip_sgd() -> Callable[..., Any]:
    """Compiles and returns the twin."""
    jit, gradient, norm = compiled()

    @jit
    def step_plain(p, g, scale, limit, lr, keep, shrink, decay, l1):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            p[i] = keep * p[i] - (shrink * p[i] + lr * gradient(g[i], p[i], scale, limit, decay, l1))

    @jit
    def step_momentum(p, g, m, scale, limit, lr, keep, shrink, decay, l1, momentum, damp, first, nesterov):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            d = gradient(g[i], p[i], scale, limit, decay, l1)
            m[i] = d if first else momentum * m[i] + damp * d
            p[i] = keep * p[i] - (shrink * p[i] + lr * (d + momentum * m[i] if nesterov else m[i]))

    def twin(
        value: Any,
        grad: Any,
        *,
        lr: float,
        momentum: float = 0.0,
        buffer: Any = None,
        step: int | None = None,
        dampening: float = 0.0,
        nesterov: bool = False,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        l1: float = 0.0,
        proximal: bool = False,
        clip: tuple[Any, ...] | None = None,
        eps: float = 0.0,
        grad_scale: float = 1.0,
        nonfinite: str = "skip",
        sum_squares: float | None = None,
        average: Any = None,
        average_decay: float = 0.999,
        segments: np.ndarray | None = None,
        threads: int | None = None,
    ) -> StepInfo:
        door = Door("clip_sgd")
        pieces, options = check(
            door, value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, l1, proximal, clip,
            eps, grad_scale, nonfinite, sum_squares, average, average_decay, segments, threads,
        )  # fmt: skip
        T = pieces[0].value.dtype.type if pieces else np.float32
        # NumPy scalars have types of their own: 1 - np.uint64(2) wraps, a float32 would round the rest.
        weights = T(float(momentum)), T(1 - float(dampening))

        def rule(p: np.ndarray, g: np.ndarray, states: list[Any], f: Factors) -> None:
            (m,), (g, *given) = states, numbers_of(T, g, f)
            if m is None:
                step_plain(p, g, *given)
            else:
                step_momentum(p, g, m, *given, *weights, step == 0, bool(nesterov))

        return update(door, pieces, options, rule, norm)

    return twin
