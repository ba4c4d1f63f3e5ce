"""The door of the updates: their common arguments are checked here, and their arrays cut into pieces.

csrc/bind/update.cpp is its twin in C++, with the same words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, Door
from pyasr.ops._update import SEGMENT, Clip, Options, Piece

CLIP_WORDS = (
    'clip must be None, ("norm", M), ("value", v), ("value", "rsqrt_d"), ("value", "rsqrt_d", d), ("adaptive", factor) or '
    '("max_change", per, total), got '
)

MOST_DECAY = 1e6  # of rules that square the gradient, which float32 could not hold


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
    door: Door, dtype: np.dtype, lr: Any, weight_decay: Any, clip: Any, eps_name: str, eps: Any, grad_scale: Any,
    nonfinite: Any, sum_squares: Any, average_decay: Any, threads: Any, *, decoupled: Any = False, l1: Any = 0.0,
    proximal: Any = False, most_decay: float = math.inf,
) -> Options:  # fmt: skip
    """Raise for bad arguments that every update of arrays of dtype takes."""
    if sum_squares is not None:
        number = isinstance(sum_squares, (float, np.floating))
        if not (number and (math.isnan(sum_squares) or sum_squares == math.inf)):  # that is a gradient of such entries
            sum_squares = door.real("sum_squares", sum_squares, 0.0)
        sum_squares = float(sum_squares)
    checked = Options(
        door.real("lr", lr, dtype=dtype),
        door.real("weight_decay", weight_decay, 0.0, most_decay, dtype=dtype),
        door.real("l1", l1, 0.0, dtype=dtype),
        door.boolean("decoupled", decoupled),
        door.boolean("proximal", proximal),
        check_clip(door, clip),
        door.real(eps_name, eps, 0.0),
        door.real("grad_scale", grad_scale, dtype=dtype),
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
    """What is written, all but the gradients, shares no memory with anything."""
    spans = [
        (door.address(x), door.address(x) + x.nbytes, f"{name}[{i}]")
        for name, arrays in lists.items()
        for i, x in enumerate(arrays)
        if x.nbytes
    ]
    furthest = written = (0, "")  # end and name of what reaches furthest, and of what is written
    for begin, end, name in sorted(spans, key=itemgetter(0)):
        reads = name.startswith("grad[")
        before = written if reads else furthest
        if begin < before[0]:
            door.value_error(f"{before[1]} and {name} must not share memory")
        furthest = max(furthest, (end, name), key=itemgetter(0))
        if not reads:
            written = end, name


def check_value(door: Door, value: Any) -> np.dtype:
    """The dtype of value, an array of float32 or float64, or a list of at least one."""
    if not isinstance(value, (list, tuple)):
        return door.array("value", value, FLOATS).dtype
    if not value:
        door.value_error(f"value must be a NumPy array or hold at least one, got an empty {type(value).__name__}")
    return door.array("value[0]", value[0], FLOATS).dtype


def pieces_of(
    door: Door,
    value: Any,
    grad: Any,
    states: Mapping[str, Any],
    average: Any,
    segments: Any,
    options: Options,
    *,
    required: tuple[str, ...] = (),
    unused: str = "",
) -> list[Piece]:
    """Check the arrays of an update and cut them into pieces. States that are not required may be None, and the unused one is
    None in every piece."""
    written = {name: x for name, x in {**states, "average": average}.items() if x is not None or name in required}
    listed = isinstance(value, (list, tuple))
    if listed:
        check_list(door, "value", value, value, True)
        check_list(door, "grad", grad, value, False)
        for name, x in written.items():
            check_list(door, name, x, value, True)
        check_apart(door, {"value": value, "grad": grad, **written})
        if segments is not None:
            door.value_error(f"segments must be None with a list of arrays, got {type(segments).__name__}")
    else:
        door.write("value", value, "P", value.dtype)
        door.read("grad", grad, "P", value.dtype)
        for name, x in written.items():
            door.write(name, x, "P", value.dtype)
        door.no_overlap(value=value, grad=grad, **written)
        if segments is not None:
            check_segments(door, segments, value.size)
            several = len(set(segments["group"].tolist())) > 1
            if options.sum_squares is not None and options.clip.kind == "norm" and several:
                door.value_error("sum_squares must be None where segments have several groups, got a number")
    lines: list[tuple[Any, ...]]  # what to cut out, rows, columns, factors
    if listed:
        shapes = [v.shape if v.ndim > 1 else (1, v.size) for v in value]
        lines = [(i, shape[0], math.prod(shape[1:])) for i, shape in enumerate(shapes)]
    elif segments is None:
        lines = [(None, 1, value.size)]
    else:
        lines = [(slice(begin, begin + length), *numbers) for begin, length, *numbers in segments.tolist()]

    def cut(x: Any, part: Any) -> Any:
        return x if x is None or part is None else x[part].reshape(-1)

    used, found = [None if name == unused else x for name, x in states.items()], []
    for part, rows, columns, *numbers in lines:
        v, g = cut(value, part), cut(grad, part)
        form = (rows, columns) if v.size else (0, 0)  # one side of nothing may be longer than memory
        found.append(Piece(v, g, [cut(x, part) for x in used], cut(average, part), *form, *numbers))
    for i, p in enumerate(found):
        check_factors(door, options, p.lr, p.decay, p.value.dtype, "" if segments is None else f" of segments[{i}]")
    return found


def check_factors(door: Door, options: Options, lr: float, decay: float, dtype: np.dtype, of: str) -> None:
    """Raise where the options times the factors of a piece are beyond dtype. `of` names the piece."""
    rate = door.fit(f"lr{of}", options.lr * lr, dtype)
    shrink = door.fit(f"weight_decay{of}", options.weight_decay * decay, dtype)
    door.fit(f"l1{of}", options.l1 * decay, dtype)
    if options.decoupled:
        door.fit(f"lr * weight_decay{of}", rate * shrink, dtype)
