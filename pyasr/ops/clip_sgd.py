"""clip_sgd: clip a gradient and take one step of SGD with momentum, in place.

Semantics follow torch.nn.utils.clip_grad_norm_ (eps=1e-6 is its rule exactly) or clip_grad_value_, then torch.optim.SGD.
Clipping by "adaptive" follows Brock et al. 2021 with optax's constants, "max_change" Kaldi's UpdateNnetWithMaxChange.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._op import Row
from pyasr.ops._update import Factors, Options, Piece, gradient, update
from pyasr.ops._update import StepInfo as StepInfo
from pyasr.ops._update_door import check_options, check_value, pieces_of


def check(
    door: Door, value: Any, grad: Any, lr: Any, momentum: Any, buffer: Any, step: Any, dampening: Any, nesterov: Any,
    weight_decay: Any, decoupled: Any, l1: Any, proximal: Any, clip: Any, eps: Any, grad_scale: Any, nonfinite: Any,
    sum_squares: Any, average: Any, average_decay: Any, segments: Any, threads: Any,
) -> tuple[list[Piece], Options]:  # fmt: skip
    """Raise for bad arguments; return the pieces, whose one state is the buffer, and the common options."""
    dtype = check_value(door, value)
    options = check_options(
        door, dtype, lr, weight_decay, clip, "eps", eps, grad_scale, nonfinite, sum_squares, average_decay, threads,
        decoupled=decoupled, l1=l1, proximal=proximal,
    )  # fmt: skip
    door.real("momentum", momentum, 0.0, dtype=dtype)
    door.real("dampening", dampening, dtype=dtype)
    door.boolean("nesterov", nesterov)
    if step is not None:
        door.integer("step", step, 0, 2**63 - 1)
    if nesterov and (momentum == 0 or dampening != 0):
        door.value_error("nesterov needs momentum above 0 and dampening 0")
    pieces = pieces_of(
        door, value, grad, {"buffer": buffer}, average, segments, options, unused="" if momentum else "buffer"
    )
    if momentum != 0 and buffer is None:
        door.value_error("momentum needs a buffer, got None")
    return pieces, options


def clip_sgd(
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
        door, value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, l1, proximal, clip, eps,
        grad_scale, nonfinite, sum_squares, average, average_decay, segments, threads,
    )  # fmt: skip
    # NumPy scalars have types of their own: 1 - np.uint64(2) wraps, a float32 would round the rest.
    mu, damp = float(momentum), 1 - float(dampening)

    def rule(p: np.ndarray, grad: np.ndarray, states: list[Any], f: Factors) -> None:
        v, (m,) = p.astype(np.float64), states
        g = gradient(v, grad, f)
        if m is not None:
            new = g if step == 0 else mu * m + damp * g
            m[:] = new
            g = g + mu * new if nesterov else new
        p[:] = f.keep * v - (f.shrink * v + f.lr * g)

    return update(door, pieces, options, rule)


def example(rng: np.random.Generator, size: int, dtype: np.dtype) -> tuple[tuple, dict]:
    value, grad, buffer = (rng.standard_normal(size).astype(dtype) for _ in range(3))
    return (value, grad), {"lr": 0.1, "momentum": 0.9, "buffer": buffer, "clip": ("norm", 1.0)}


def update_bytes(value: np.ndarray, grad: np.ndarray, *, buffer: np.ndarray | None = None, **_: Any) -> float:
    return (4.0 if buffer is None else 6.0) * value.nbytes


ROWS = (
    Row(
        reference=clip_sgd,
        example=example,
        sizes=(0, 1, 7, 67, 1023, 16385, 100_003),
        benchmark_size=4_000_000,
        tolerance={"float32": 1e-6, "float64": 1e-14},
        reason="a handful of roundings per entry; the norm is exact to 1e-7 in float32",
        bytes=update_bytes,
        flops=lambda value, *_, **__: 8.0 * value.size,
        writes=("value", "buffer"),
        numba="pyasr.ops._numba_clip_sgd:clip_sgd",
    ),
)
