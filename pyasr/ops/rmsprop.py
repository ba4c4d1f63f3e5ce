"""rmsprop: clip a gradient and take one step of RMSprop, in place.

Semantics follow torch.optim.RMSprop (Tieleman and Hinton 2012; centered as in Graves, arXiv 1308.0850; eps stands outside the
root) after one of the ways of clipping of clip_sgd.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._op import Row
from pyasr.ops._update import Factors, Options, Piece, StepInfo, gradient, held, update
from pyasr.ops._update_door import MOST_DECAY, check_options, check_value, pieces_of


class Numbers(NamedTuple):
    """What the rule counts with."""

    alpha: float
    eps: float
    momentum: float


def check(
    door: Door, value: Any, grad: Any, square: Any, lr: Any, alpha: Any, eps: Any, momentum: Any, buffer: Any, mean: Any,
    weight_decay: Any, clip: Any, clip_eps: Any, grad_scale: Any, nonfinite: Any, sum_squares: Any, average: Any,
    average_decay: Any, segments: Any, threads: Any,
) -> tuple[list[Piece], Options, Numbers]:  # fmt: skip
    """Raise for bad arguments; return the pieces, the common options and RMSprop's own."""
    dtype = check_value(door, value)
    options = check_options(
        door, dtype, lr, weight_decay, clip, "clip_eps", clip_eps, grad_scale, nonfinite, sum_squares, average_decay, threads,
        most_decay=MOST_DECAY,
    )  # fmt: skip
    a, e = door.real("alpha", alpha, 0.0, 1.0), door.real("eps", eps, 0.0, dtype=dtype)
    mu = door.real("momentum", momentum, 0.0, dtype=dtype)
    pieces = pieces_of(
        door,
        value,
        grad,
        {"square": square, "buffer": buffer, "mean": mean},
        average,
        segments,
        options,
        required=("square",),
        unused="" if mu else "buffer",
    )
    if mu != 0 and buffer is None:
        door.value_error("momentum needs a buffer, got None")
    return pieces, options, Numbers(a, e, mu)


def rmsprop(
    value: Any,
    grad: Any,
    square: Any,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    buffer: Any = None,
    mean: Any = None,
    weight_decay: float = 0.0,
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
    door = Door("rmsprop")
    pieces, options, (a, e, mu) = check(
        door, value, grad, square, lr, alpha, eps, momentum, buffer, mean, weight_decay, clip, clip_eps, grad_scale, nonfinite,
        sum_squares, average, average_decay, segments, threads,
    )  # fmt: skip

    def rule(p: np.ndarray, grad: np.ndarray, states: list[Any], f: Factors) -> None:
        v, (s, m, average_g) = p.astype(np.float64), states
        g = gradient(v, grad, f)
        s[:] = power = a * s.astype(np.float64) + (1 - a) * g * g
        power = held(power, s)
        if average_g is not None:
            average_g[:] = new = average_g + (1 - a) * (g - average_g)
            power = power - new * new
            power = np.where(power < 0, 0, power)  # below 0 by rounding alone: a root of it would be NaN
        g = g / (np.sqrt(power) + e)
        if m is not None:
            m[:] = g = mu * m + g
        p[:] = f.keep * v - (f.shrink * v + f.lr * g)

    return update(door, pieces, options, rule)


def example(rng: np.random.Generator, size: int, dtype: np.dtype) -> tuple[tuple, dict]:
    value, grad, square, buffer = (rng.standard_normal(size).astype(dtype) for _ in range(4))
    options = {"lr": 0.1, "momentum": 0.9, "buffer": buffer, "clip": ("norm", 1.0)}
    return (value, grad, square * square), options


ROWS = (
    Row(
        reference=rmsprop,
        example=example,
        sizes=(0, 1, 7, 67, 1023, 16385, 100_003),
        benchmark_size=4_000_000,
        tolerance={"float32": 1e-6, "float64": 1e-14},
        reason="a handful of roundings per entry; the norm is exact to 1e-7 in float32",
        bytes=lambda value, *_, buffer=None, **__: (6.0 if buffer is None else 8.0) * value.nbytes,
        flops=lambda value, *_, **__: 16.0 * value.size,
        writes=("value", "square", "buffer"),
    ),
)
