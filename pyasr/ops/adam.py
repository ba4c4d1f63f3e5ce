"""adam: clip a gradient and take one step of Adam or AdamW, in place.

Semantics follow Kingma and Ba, ICLR 2015, and torch.optim.Adam and AdamW (Loshchilov and Hutter, ICLR 2019; amsgrad is Reddi,
Kale and Kumar, ICLR 2018) after one of the ways of clipping of clip_sgd.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._op import Row
from pyasr.ops._update import Factors, Options, Piece, StepInfo, gradient, held, update
from pyasr.ops._update_door import MOST_DECAY, check_options, check_value, pieces_of


class Numbers(NamedTuple):
    """What the rule counts with."""

    beta1: float
    beta2: float
    eps: float
    unbias1: float  # 1 / (1 - beta1^step)
    unbias2: float  # 1 / sqrt(1 - beta2^step)


def check(
    door: Door, value: Any, grad: Any, mean: Any, square: Any, step: Any, lr: Any, beta1: Any, beta2: Any, eps: Any,
    weight_decay: Any, decoupled: Any, largest: Any, clip: Any, clip_eps: Any, grad_scale: Any, nonfinite: Any,
    sum_squares: Any, average: Any, average_decay: Any, segments: Any, threads: Any,
) -> tuple[list[Piece], Options, Numbers]:  # fmt: skip
    """Raise for bad arguments; return the pieces, the common options and Adam's own."""
    dtype = check_value(door, value)
    options = check_options(
        door, dtype, lr, weight_decay, clip, "clip_eps", clip_eps, grad_scale, nonfinite, sum_squares, average_decay, threads,
        decoupled=decoupled, most_decay=MOST_DECAY,
    )  # fmt: skip
    count = door.integer("step", step, 1, 2**53)
    b1, b2 = (door.real(name, x, 0.0, 1.0) for name, x in (("beta1", beta1), ("beta2", beta2)))
    for name, beta in (("beta1", b1), ("beta2", b2)):
        if beta == 1:
            door.value_error(f"{name} must be below 1, got 1.0")
    e = door.real("eps", eps, 0.0, dtype=dtype)
    states = {"mean": mean, "square": square, "largest": largest}
    pieces = pieces_of(door, value, grad, states, average, segments, options, required=("mean", "square"))
    return pieces, options, Numbers(b1, b2, e, 1 / (1 - b1**count), 1 / math.sqrt(1 - b2**count))


def adam(
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

    def rule(p: np.ndarray, grad: np.ndarray, states: list[Any], f: Factors) -> None:
        v, (m, s, most) = p.astype(np.float64), states
        g = gradient(v, grad, f)
        m[:] = new_m = m + (1 - n.beta1) * (g - m)
        s[:] = new_s = n.beta2 * s.astype(np.float64) + (1 - n.beta2) * g * g
        new_s = held(new_s, s)
        if most is not None:
            most[:] = new_s = np.maximum(most, new_s)
        p[:] = f.keep * v - (f.shrink * v + f.lr * (new_m * n.unbias1) / (np.sqrt(new_s) * n.unbias2 + n.eps))

    return update(door, pieces, options, rule)


def example(rng: np.random.Generator, size: int, dtype: np.dtype) -> tuple[tuple, dict]:
    value, grad, mean, square = (rng.standard_normal(size).astype(dtype) for _ in range(4))
    return (value, grad, mean, square * square), {"step": 3, "lr": 0.1, "clip": ("norm", 1.0)}


ROWS = (
    Row(
        reference=adam,
        example=example,
        sizes=(0, 1, 7, 67, 1023, 16385, 100_003),
        benchmark_size=4_000_000,
        tolerance={"float32": 1e-6, "float64": 1e-14},
        reason="a handful of roundings per entry; the norm is exact to 1e-7 in float32",
        bytes=lambda value, *_, **__: 8.0 * value.nbytes,
        flops=lambda value, *_, **__: 18.0 * value.size,
        writes=("value", "mean", "square"),
        numba="pyasr.ops._numba_adam:adam",
    ),
)
