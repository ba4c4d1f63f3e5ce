"""What clip_sgd, adam and rmsprop share: the pieces that they work on, clipping, and the checks of their common arguments.

A flat vector, a vector with a segment table and a list of arrays all become pieces. `update` is the specification of an update
around the rule of an optimizer; the numpy and numba columns run it, csrc/cpu/update.hpp is its twin in C++.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, NoReturn

import numpy as np

from pyasr.ops._door import FLOATS, Door

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
CLIP_WORDS = (
    'clip must be None, ("norm", M), ("value", v), ("value", "rsqrt_d"), ("value", "rsqrt_d", d), ("adaptive", factor) or '
    '("max_change", per, total), got '
)

MOST_DECAY = 1e6  # of rules that square the gradient, which float32 could not hold


class StepInfo(NamedTuple):
    """What one update did."""

    norm: float  # of grad_scale * grad, before clipping
    scale: float  # the least factor that norm, adaptive or max_change clipping applied, 1.0 when nothing was clipped
    skipped: bool  # a gradient entry was NaN or infinite and nothing was written


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
    rows: int
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


def check_clip(door: Door, clip: Any) -> Clip:
    """Raise for a bad `clip`."""
    if clip is None:
        return Clip(None)
    if not isinstance(clip, tuple) or len(clip) not in (2, 3):
        door.type_error(CLIP_WORDS + type(clip).__name__)
    kind = clip[0]
    if not isinstance(kind, str):
        door.type_error(f"{CLIP_WORDS}a tuple with {type(kind).__name__}")
    if kind not in ("norm", "value", "adaptive", "max_change"):
        door.value_error(f"{CLIP_WORDS}a tuple with {kind!r}")
    if kind == "value" and isinstance(clip[1], str):
        if clip[1] != "rsqrt_d":
            door.value_error(f'clip[1] must be a number or "rsqrt_d", got {clip[1]!r}')
        return Clip(kind, d=door.integer("clip[2]", clip[2], 1, 2**62) if len(clip) == 3 else 0)
    if len(clip) != (3 if kind == "max_change" else 2):
        door.type_error(f'{CLIP_WORDS}"{kind}" and {len(clip) - 1} more')
    limit = door.real("clip[1]", clip[1], 0.0)
    return Clip(kind, limit, door.real("clip[2]", clip[2], 0.0) if kind == "max_change" else 0.0)


def check_options(
    door: Door, lr: Any, weight_decay: Any, clip: Any, eps_name: str, eps: Any, grad_scale: Any, nonfinite: Any,
    sum_squares: Any, average_decay: Any, threads: Any, *, decoupled: Any = False, l1: Any = 0.0, proximal: Any = False,
    most_decay: float = math.inf,
) -> Options:  # fmt: skip
    """Raise for bad arguments that every update takes."""
    if sum_squares is not None:
        number = isinstance(sum_squares, (float, np.floating))
        if not (number and (math.isnan(sum_squares) or sum_squares == math.inf)):  # that is a gradient of such entries
            sum_squares = door.real("sum_squares", sum_squares, 0.0)
        sum_squares = float(sum_squares)
    checked = Options(
        door.real("lr", lr),
        door.real("weight_decay", weight_decay, 0.0, most_decay),
        door.real("l1", l1, 0.0),
        door.boolean("decoupled", decoupled),
        door.boolean("proximal", proximal),
        check_clip(door, clip),
        door.real(eps_name, eps, 0.0),
        door.real("grad_scale", grad_scale),
        door.choice("nonfinite", nonfinite, ("skip", "raise", "propagate")),
        sum_squares,
        door.real("average_decay", average_decay, 0.0, 1.0),
    )
    door.threads(threads)
    return checked


def check_segments(door: Door, segments: Any, size: int) -> None:
    """Raise for a bad segment table of a vector [size]."""
    if not isinstance(segments, np.ndarray):
        door.type_error(f"segments must be None or an array of pyasr.params.SEGMENT, got {type(segments).__name__}")
    if segments.dtype != SEGMENT:
        door.type_error(f"segments must have dtype pyasr.params.SEGMENT, got {segments.dtype.name}")
    if segments.ndim != 1:
        door.value_error(f"segments must have shape (S,), got {segments.shape}")
    if not segments.flags.c_contiguous:
        door.value_error("segments must be C-contiguous, got a strided array")
    if not segments.flags.aligned:
        door.value_error("segments must be aligned, got an unaligned array")
    end = 0
    for i, (offset, length, rows, columns, lr, decay, group) in enumerate(segments.tolist()):
        if not (end <= offset <= size and 0 <= length <= size - offset):
            door.value_error(
                f"segments[{i}] must lie within [{end}, P = {size}], got offset {offset} and length {length}"
            )
        if rows < 0 or columns < 0 or rows * columns != length:
            door.value_error(f"segments[{i}] must have rows * columns = length = {length}, got {rows} * {columns}")
        if not (0 <= lr < math.inf and 0 <= decay < math.inf):
            door.value_error(f"segments[{i}] must have finite factors of at least 0, got lr {lr!r} and decay {decay!r}")
        if not 0 <= group < len(segments):
            door.value_error(f"segments[{i}] must have a group in [0, {len(segments) - 1}], got {group}")
        end = offset + length


def check_list(door: Door, name: str, arrays: Any, values: Sequence[np.ndarray], writes: bool) -> Sequence[Any]:
    """A list of arrays, each of the dtype and shape of its fellow in values."""
    if not isinstance(arrays, (list, tuple)):
        door.type_error(f"{name} must be a list of arrays, as value is, got {type(arrays).__name__}")
    if len(arrays) != len(values):
        door.value_error(f"{name} must hold {len(values)} arrays, as value does, got {len(arrays)}")
    for i, (x, value) in enumerate(zip(arrays, values, strict=True)):
        item = f"{name}[{i}]"
        door.array(item, x, values[0].dtype)
        if x.shape != value.shape:
            door.value_error(f"{item} must have shape {value.shape} from value[{i}], got {x.shape}")
        if not x.flags.c_contiguous:
            door.value_error(f"{item} must be C-contiguous, got a strided array")
        if not x.flags.aligned:
            door.value_error(f"{item} must be aligned, got an unaligned array")
        if writes and not x.flags.writeable:
            door.value_error(f"{item} must be writable, got a read-only array")
    return arrays


def check_apart(door: Door, lists: Mapping[str, Any]) -> None:
    """The arrays of all lists share no memory."""
    spans = sorted(
        (door.address(x), door.address(x) + x.nbytes, f"{name}[{i}]")
        for name, arrays in lists.items()
        for i, x in enumerate(arrays)
        if x.nbytes
    )
    for (_, end, one), (begin, _, other) in itertools.pairwise(spans):
        if begin < end:
            door.value_error(f"{one} and {other} must not share memory")


def check_value(door: Door, value: Any) -> None:
    """Raise unless value is an array of float32 or float64, or a list of at least one."""
    if isinstance(value, (list, tuple)):
        if not value:
            door.value_error(f"value must be a NumPy array or hold at least one, got an empty {type(value).__name__}")
        door.array("value[0]", value[0], FLOATS)
    else:
        door.array("value", value, FLOATS)


def pieces_of(
    door: Door,
    value: Any,
    grad: Any,
    states: Mapping[str, Any],
    average: Any,
    segments: Any,
    options: Options,
    required: tuple[str, ...] = (),
) -> list[Piece]:
    """Check the arrays of an update and cut them into pieces. States that are not required may be None."""
    written = {name: x for name, x in {**states, "average": average}.items() if x is not None or name in required}
    if isinstance(value, (list, tuple)):
        check_list(door, "value", value, value, True)
        check_list(door, "grad", grad, value, False)
        for name, x in written.items():
            check_list(door, name, x, value, True)
        check_apart(door, {"value": value, "grad": grad, **written})
        if segments is not None:
            door.value_error(f"segments must be None with a list of arrays, got {type(segments).__name__}")

        def item(x: Any, i: int) -> Any:
            return None if x is None else x[i].reshape(-1)

        found = []
        for i, v in enumerate(value):
            rows = v.shape[0] if v.ndim > 1 else 1
            columns = v.size // rows if rows else 0
            found.append(
                Piece(
                    item(value, i),
                    item(grad, i),
                    [item(s, i) for s in states.values()],
                    item(average, i),
                    rows,
                    columns,
                )
            )
        return found
    door.write("value", value, "P", value.dtype)
    door.read("grad", grad, "P", value.dtype)
    for name, x in written.items():
        door.write(name, x, "P", value.dtype)
    door.no_overlap(value=value, grad=grad, **written)
    if segments is None:
        return [Piece(value, grad, list(states.values()), average, 1, value.size)]
    check_segments(door, segments, value.size)
    if options.sum_squares is not None and options.clip.kind == "norm" and len(set(segments["group"].tolist())) > 1:
        door.value_error("sum_squares must be None where segments have several groups, got a number")
    found = []
    for offset, length, rows, columns, lr, decay, group in segments.tolist():
        part = slice(offset, offset + length)
        cut = [None if x is None else x[part] for x in (average, *states.values())]
        found.append(Piece(value[part], grad[part], cut[1:], cut[0], rows, columns, lr, decay, group))
    return found


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
    if not math.isfinite(total) and o.nonfinite != "propagate":
        if o.nonfinite == "raise":
            not_finite(door, total)
        return StepInfo(total, 1.0, True)

    scales, limits, changes = np.ones(len(pieces)), np.full(len(pieces), math.inf), np.ones(len(pieces))
    grads, applied = [p.grad for p in pieces], [1.0]
    if o.clip.kind == "norm":
        groups = np.array([p.group for p in pieces])
        for group in set(groups.tolist()):
            n = total if norms is None else norm_of(norms[groups == group])
            scales[groups == group] = n if math.isnan(n) else above(o.clip.limit, n + o.eps)
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

    def factors_of(i: int, lr: float, keep: float, shrink: float) -> Factors:
        p = pieces[i]
        decay, l1 = 0.0 if o.decoupled else o.weight_decay * p.decay, 0.0 if o.proximal else o.l1 * p.decay
        return Factors(float(scales[i]) * o.grad_scale, float(limits[i]), lr, keep, shrink, decay, l1)

    if o.clip.kind == "max_change":
        for i, p in enumerate(pieces):  # the steps themselves, lr apart: from zero with a rate of -1
            away = p.value.copy()
            step(away, p.grad, [None if s is None else s.copy() for s in p.states], factors_of(i, -1.0, 0.0, 0.0))
            changes[i] = norm_of(away) * abs(o.lr * p.lr)
        scales_of_change = np.array([above(o.clip.limit, c) for c in changes.tolist()])
        scales_of_change *= above(o.clip.total, norm_of(scales_of_change * changes))
        changes, applied = scales_of_change, [1.0, *scales_of_change.tolist()]

    for i, p in enumerate(pieces):
        lr = o.lr * p.lr
        by = lr * (o.weight_decay * p.decay) if o.decoupled else 0.0
        step(p.value, grads[i], p.states, factors_of(i, lr * float(changes[i]), 1.0, by))
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


def not_finite(door: Door, norm: float) -> NoReturn:
    door.value_error(f"grad must be finite, got a norm of {norm!r}")
