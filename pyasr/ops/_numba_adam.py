"""The Numba twin of adam: two passes over the vectors, the norm in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._numba_update import compiled, numbers_of
from pyasr.ops._update import Factors, StepInfo, update
from pyasr.ops.adam import check


def adam() -> Callable[..., Any]:
    """Compiles and returns the twin."""
    jit, gradient, norm = compiled()

    @jit
    def moments(p, g, m, s, i, scale, limit, decay, l1, b):  # type: ignore[no-untyped-def]
        d = gradient(g[i], p[i], scale, limit, decay, l1)
        m[i] += b[0] * (d - m[i])
        s[i] = b[1] * s[i] + b[2] * d * d
        return s[i]

    @jit
    def step_plain(p, g, m, s, scale, limit, lr, keep, shrink, decay, l1, b):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            square = moments(p, g, m, s, i, scale, limit, decay, l1, b)
            p[i] = keep * p[i] - (shrink * p[i] + lr * (m[i] * b[3] / (np.sqrt(square) * b[4] + b[5])))

    @jit
    def step_largest(p, g, m, s, most, scale, limit, lr, keep, shrink, decay, l1, b):  # type: ignore[no-untyped-def]
        for i in range(p.size):
            square = moments(p, g, m, s, i, scale, limit, decay, l1, b)
            most[i] = square if not square <= most[i] else most[i]
            p[i] = keep * p[i] - (shrink * p[i] + lr * (m[i] * b[3] / (np.sqrt(most[i]) * b[4] + b[5])))

    def twin(
        value: Any,
        grad: Any,
        mean: Any,
        square: Any,
        *,
        step: int,
        lr: float,
        beta1: float = 0.9,
        beta2: float = 0.999,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        decoupled: bool = False,
        largest: Any = None,
        clip: tuple[Any, ...] | None = None,
        clip_eps: float = 0.0,
        grad_scale: float = 1.0,
        nonfinite: str = "skip",
        sum_squares: float | None = None,
        average: Any = None,
        average_decay: float = 0.999,
        segments: np.ndarray | None = None,
        threads: int | None = None,
    ) -> StepInfo:
        door = Door("adam")
        pieces, options, n = check(
            door, value, grad, mean, square, step, lr, beta1, beta2, eps, weight_decay, decoupled, largest, clip, clip_eps,
            grad_scale, nonfinite, sum_squares, average, average_decay, segments, threads,
        )  # fmt: skip
        T = pieces[0].value.dtype.type if pieces else np.float32
        numbers = np.array([1 - n.beta1, n.beta2, 1 - n.beta2, n.unbias1, n.unbias2, n.eps], T)

        def rule(p: np.ndarray, g: np.ndarray, states: list[Any], f: Factors) -> None:
            (m, s, most), (g, *given) = states, numbers_of(T, g, f)
            if most is None:
                step_plain(p, g, m, s, *given, numbers)
            else:
                step_largest(p, g, m, s, most, *given, numbers)

        return update(door, pieces, options, rule, norm)

    return twin
