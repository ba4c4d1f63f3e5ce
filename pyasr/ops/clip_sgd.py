"""clip_sgd: clip a gradient and take one step of SGD with momentum, in place.

Semantics follow torch.nn.utils.clip_grad_norm_ (eps=1e-6 is its rule exactly) or clip_grad_value_, then torch.optim.SGD.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import FLOATS, Door
from pyasr.ops._op import Row


class StepInfo(NamedTuple):
    """What one update did."""

    norm: float  # of grad_scale * grad, before clipping
    scale: float  # the factor of norm clipping, 1.0 when nothing was clipped
    skipped: bool  # a gradient entry was NaN or infinite and nothing was written


def check(
    door: Door, value: Any, grad: Any, lr: Any, momentum: Any, buffer: Any, step: Any, dampening: Any, nesterov: Any,
    weight_decay: Any, decoupled: Any, clip: Any, eps: Any, grad_scale: Any, nonfinite: Any, threads: Any,
) -> tuple[str | None, float]:  # fmt: skip
    """Raise for bad arguments; return the kind of clipping and its limit."""
    door.array("value", value, FLOATS)
    door.real("lr", lr)
    door.real("momentum", momentum, 0.0)
    door.real("dampening", dampening)
    door.real("weight_decay", weight_decay, 0.0)
    door.real("eps", eps, 0.0)
    door.real("grad_scale", grad_scale)
    door.boolean("nesterov", nesterov)
    door.boolean("decoupled", decoupled)
    if step is not None:
        door.integer("step", step, 0, 2**63 - 1)
    kind, limit = None, 0.0
    if clip is not None:
        wanted = 'clip must be None, ("norm", M) or ("value", v), got '
        if not isinstance(clip, tuple) or len(clip) != 2:
            door.type_error(wanted + type(clip).__name__)
        kind = clip[0]
        if not isinstance(kind, str):
            door.type_error(f"{wanted}a pair with {type(kind).__name__}")
        if kind not in ("norm", "value"):
            door.value_error(f"{wanted}a pair with {kind!r}")
        limit = door.real("clip[1]", clip[1], 0.0)
    door.choice("nonfinite", nonfinite, ("skip", "raise", "propagate"))
    if nesterov and (momentum == 0 or dampening != 0):
        door.value_error("nesterov needs momentum above 0 and dampening 0")
    door.threads(threads)
    door.write("value", value, "P", value.dtype)
    door.read("grad", grad, "P", value.dtype)
    door.write("buffer", buffer, "P", value.dtype, optional=True)
    door.no_overlap(value=value, grad=grad, buffer=buffer)
    if momentum != 0 and buffer is None:
        door.value_error("momentum needs a buffer, got None")
    return kind, limit


def norm_of(g: np.ndarray) -> float:
    """‖g‖₂ in float64 that neither over- nor underflows; NaN or inf when an entry is."""
    if g.size == 0:
        return 0.0
    largest = float(np.max(np.abs(g)))
    if largest == 0 or not math.isfinite(largest):
        return largest
    return largest * math.sqrt(float(np.sum((g.astype(np.float64) / largest) ** 2)))


def clip_sgd(
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
        Door("clip_sgd"), value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, clip, eps,
        grad_scale, nonfinite, threads,
    )  # fmt: skip
    # NumPy scalars have types of their own: 1 - np.uint64(2) wraps, a float32 would round the rest.
    lr, momentum, dampening, weight_decay = float(lr), float(momentum), float(dampening), float(weight_decay)
    eps, grad_scale = float(eps), float(grad_scale)
    with np.errstate(all="ignore"):
        norm, scale = norm_of(grad) * abs(grad_scale), 1.0
        if not math.isfinite(norm) and nonfinite != "propagate":
            if nonfinite == "raise":
                raise ValueError(f"clip_sgd: grad must be finite, got a norm of {norm!r}")
            return StepInfo(norm, 1.0, True)
        if kind == "norm":
            if math.isnan(norm):
                scale = norm
            elif limit < norm + eps:
                scale = limit / (norm + eps)
        g = grad.astype(np.float64) * (grad_scale * scale)
        if kind == "value":
            g = np.clip(g, -limit, limit)
        p = value.astype(np.float64)
        if decoupled:
            p *= 1 - lr * weight_decay
        else:
            g += weight_decay * p
        if buffer is not None:
            m = g if step == 0 else momentum * buffer + (1 - dampening) * g
            buffer[:] = m
            g = g + momentum * m if nesterov else m
        value[:] = p - lr * g
    return StepInfo(norm, scale, False)


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
