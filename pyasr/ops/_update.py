"""What clip_sgd, adam and rmsprop share: the pieces that they work on, and clipping.

A flat vector, a vector with a segment table and a list of arrays all become pieces (`_update_door.py`). `update` is the
specification of an update around the rule of an optimizer; the numpy and numba columns run it, csrc/cpu/update.hpp is its twin
in C++.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pyasr.ops._door import Door

SEGMENT = np.dtype(
    [
        ("offset", np.int64),  # in the vector
        ("length", np.int64),  # rows * columns
        ("rows", np.int64),  # units of adaptive clipping
        ("columns", np.int64),
        ("lr", np.float64),  # factor of lr
        ("decay", np.float64),  # factor of weight_decay and l1
        ("group", np.int64),  # of norm clipping, below the number of segments
    ]
)
LEAST_ROW = 1e-3  # adaptive clipping takes no row of weights for smaller: optax's eps


class StepInfo(NamedTuple):
    """What one update did."""

    norm: float  # of grad_scale * grad, before clipping
    scale: float  # the least factor that norm, adaptive or max_change clipping applied, 1.0 when nothing was clipped
    skipped: bool  # a gradient entry was NaN or infinite and nothing was written

    @property
    def report(self) -> np.ndarray:
        """[3] float64: norm, scale, skipped. Where the update ran on a device it lies there, and nobody waits for it."""
        return np.array(self, np.float64)


class Clip(NamedTuple):
    """A checked `clip`."""

    kind: str | None
    limit: float = 0.0
    total: float = 0.0  # of max_change
    d: int | None = None  # of rsqrt_d: 0 is the number of entries of the segment


class Options(NamedTuple):
    """The checked arguments that every update takes."""

    lr: float
    weight_decay: float
    l1: float
    decoupled: bool
    proximal: bool
    clip: Clip
    eps: float
    grad_scale: float
    nonfinite: str
    sum_squares: float | None
    average_decay: float


@dataclass
class Piece:
    """A run of entries with one learning rate: a segment of a vector, or an array of a list."""

    value: np.ndarray  # [n], as everything else here
    grad: np.ndarray
    states: list[Any]  # of the rule, None where it has none
    average: Any
    rows: int  # 0 where n is
    columns: int
    lr: float = 1.0  # factors
    decay: float = 1.0
    group: int = 0


class Factors(NamedTuple):
    """What a rule does with a piece.

    g = clamp(scale * grad, ±limit) + decay * p + l1 * sign(p)      p = keep * p - (shrink * p + lr * rule(g))
    """

    scale: float
    limit: float
    lr: float
    keep: float  # 1, or 0 to have the step alone
    shrink: float
    decay: float
    l1: float


Norm = Callable[[np.ndarray], float]
Step = Callable[
    [np.ndarray, np.ndarray, list[Any], Factors], None
]  # (value, grad, states, factors): writes value, states


def norm_of(g: np.ndarray) -> float:
    """‖g‖₂ in float64 that neither over- nor underflows; NaN or inf when an entry is."""
    return float(row_norms(g.reshape(1, -1))[0])


def row_norms(g: np.ndarray) -> np.ndarray:
    """norm_of every row."""
    if g.size == 0:
        return np.zeros(len(g))
    largest = np.max(np.abs(g), axis=1).astype(np.float64)
    usual = (largest > 0) & np.isfinite(largest)
    unit = np.where(usual, largest, 1.0)
    return np.where(usual, unit * np.sqrt(np.sum((g / unit[:, None]) ** 2, axis=1)), largest)


def overflows(pieces: list[Piece], o: Options, norm: float) -> bool:
    """Whether an entry of grad_scale * grad is beyond its dtype: its norm, in float64, may be so without that."""
    if not pieces or not norm > np.finfo(pieces[0].grad.dtype).max / 2:
        return False
    dtype = pieces[0].grad.dtype
    return any(not np.isfinite(np.max(np.abs(p.grad), initial=0) * dtype.type(o.grad_scale)) for p in pieces)


def above(limit: float, norm: float) -> float:
    """The factor that brings a norm down to the limit; 1.0 where it is not above it."""
    return limit / norm if limit < norm else 1.0


def update(door: Door, pieces: list[Piece], o: Options, step: Step, norm: Norm = norm_of) -> StepInfo:
    """One update of all pieces: grad_scale, the test for entries that are not finite, clipping, then the rule `step`."""
    with np.errstate(all="ignore"):
        return _update(door, pieces, o, step, norm)


def _update(door: Door, pieces: list[Piece], o: Options, step: Step, norm: Norm) -> StepInfo:
    unit = abs(o.grad_scale)
    norms = np.array([norm(p.grad) * unit for p in pieces]) if o.sum_squares is None else None
    total = math.sqrt(o.sum_squares) * unit if o.sum_squares is not None else norm_of(norms)  # type: ignore[arg-type]
    if o.nonfinite != "propagate" and overflows(pieces, o, total):
        total = math.inf
    if not math.isfinite(total) and o.nonfinite != "propagate":
        if o.nonfinite == "raise":
            not_finite(door, total)
        return StepInfo(total, 1.0, True)

    scales, limits, changes = np.ones(len(pieces)), np.full(len(pieces), math.inf), np.ones(len(pieces))
    grads, applied = [p.grad for p in pieces], [1.0]
    if o.clip.kind == "norm":
        groups = np.array([p.group for p in pieces])
        order = np.argsort(groups, kind="stable")
        for group in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            n = total if norms is None else norm_of(norms[group])
            scales[group] = n if math.isnan(n) else above(o.clip.limit, n + o.eps)
        applied += scales.tolist()
    elif o.clip.kind == "value":
        if o.clip.d is None:
            limits[:] = o.clip.limit
        else:
            limits[:] = [1 / math.sqrt(o.clip.d or max(p.value.size, 1)) for p in pieces]
    elif o.clip.kind == "adaptive":
        for i, p in enumerate(pieces):
            value, grad = (x.reshape(p.rows, p.columns) for x in (p.value, p.grad))
            most = o.clip.limit * np.maximum(row_norms(value), LEAST_ROW)
            rows = row_norms(grad) * unit
            factors = np.where(most < rows, most / rows, 1.0)
            grads[i] = (grad * factors[:, None]).reshape(-1)
            applied += factors.tolist()

    def factors_of(i: int, lr: float, keep: float) -> Factors:
        p = pieces[i]
        decay, l1 = o.weight_decay * p.decay, 0.0 if o.proximal else o.l1 * p.decay
        shrink, decay = (lr * decay, 0.0) if o.decoupled else (0.0, decay)
        return Factors(float(scales[i]) * o.grad_scale, float(limits[i]), lr, keep, shrink, decay, l1)

    if o.clip.kind == "max_change":
        for i, p in enumerate(pieces):  # the steps themselves, lr apart: from zero with a rate of -1
            away = p.value.copy()
            step(away, p.grad, [None if s is None else s.copy() for s in p.states], factors_of(i, -1.0, 0.0))
            changes[i] = norm_of(away) * abs(o.lr * p.lr)
        scales_of_change = np.array([above(o.clip.limit, c) for c in changes.tolist()])
        scales_of_change *= above(o.clip.total, norm_of(scales_of_change * changes))
        changes, applied = scales_of_change, [1.0, *scales_of_change.tolist()]

    for i, p in enumerate(pieces):
        lr = o.lr * p.lr
        step(p.value, grads[i], p.states, factors_of(i, lr * float(changes[i]), 1.0))
        if o.proximal:
            shrink(p.value, abs(lr) * float(changes[i]) * o.l1 * p.decay)
        if p.average is not None:
            p.average += (1 - o.average_decay) * (p.value.astype(np.float64) - p.average)
    return StepInfo(total, float(np.min(applied)), False)


def shrink(p: np.ndarray, threshold: float) -> None:
    """The soft threshold, in place: entries nearer to 0 than the threshold become 0. NaN stays."""
    v = p.astype(np.float64)
    p[:] = np.where(v > threshold, v - threshold, np.where(v < -threshold, v + threshold, v - v))


def gradient(p: np.ndarray, grad: np.ndarray, f: Factors) -> np.ndarray:
    """The clipped gradient with weight decay in float64; p is the value in float64."""
    g = np.clip(grad.astype(np.float64) * f.scale, -f.limit, f.limit)
    return g + f.decay * p + f.l1 * np.sign(p)


def held(square: np.ndarray, state: np.ndarray) -> np.ndarray:
    """The squares as the state holds them: infinite where they are beyond its dtype, as every later step will find them."""
    return np.where(np.isinf(state), state, square)


def not_finite(door: Door, norm: float) -> NoReturn:
    door.value_error(f"grad must be finite, got a norm of {norm!r}")
