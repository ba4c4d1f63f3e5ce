"""What clip_sgd, adam and rmsprop share on a device: the launch, the numbers that it leaves there, tables of segments."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray, address
from pyasr.ops._update import SEGMENT, Options, Piece, StepInfo
from pyasr.ops._update_door import check_factors, check_segments

SLOT = np.dtype(  # UpdateSlot of csrc/cuda/update.hpp
    [
        ("begin", np.int64),
        ("length", np.int32),
        ("first", np.int32),
        ("end", np.int32),
        ("array", np.int32),
        ("lr", np.float64),
        ("decay", np.float64),
        ("root", np.float64),
    ]
)
TILE = 1024  # update_tile there
MOST_TABLES = 16  # kept per device


class DeviceStepInfo:
    """StepInfo whose numbers are still on the device: the first look at one waits for the stream, a step by itself never does.

    Has the fields of StepInfo and unpacks like it.
    """

    __slots__ = ("_device", "_report", "_stream", "_values")

    def __init__(self, device: Device, report: Any, stream: int) -> None:
        self._device = device
        self._report = report  # [3] float64: norm, scale, skipped
        self._stream = stream
        self._values: StepInfo | None = None

    def get(self) -> StepInfo:
        """The numbers on the host; waits for the stream at the first call."""
        if self._values is None:
            norm, scale, skipped = self._device.host(self._report, self._stream).tolist()
            self._values = StepInfo(norm, scale, skipped != 0)
        return self._values

    @property
    def report(self) -> Any:
        """[3] float64 on the device: norm, scale, skipped. Does not wait."""
        return self._report

    @property
    def norm(self) -> float:
        return self.get().norm

    @property
    def scale(self) -> float:
        return self.get().scale

    @property
    def skipped(self) -> bool:
        return self.get().skipped

    def __iter__(self) -> Iterator[Any]:
        return iter(self.get())

    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> Any:
        return self.get()[i]

    def __repr__(self) -> str:
        return f"Device{self.get()!r}"


class UpdateDoor(CudaDoor):
    """The door of an update, whose numbers may lie on the device, where nobody looks at them."""

    def __init__(self, device: Device, op: str) -> None:
        super().__init__(device, op)
        self.listed = False
        self.vectors: dict[str, Any] = {}
        self.scalars: dict[str, DeviceArray] = {}

    def views(self, **arrays: Any) -> list[Any]:
        """The arrays, or lists of arrays, as the door looks at them."""
        self.listed = isinstance(arrays["value"], (list, tuple))
        if self.listed and not arrays["value"]:
            self.value_error("value must be a CUDA array or hold at least one, got an empty list")
        found: list[Any] = []
        for name, x in arrays.items():
            if isinstance(x, (list, tuple)):
                views = {f"{name}[{i}]": self.view(f"{name}[{i}]", y) for i, y in enumerate(x)}
                self.vectors |= views
                found.append(list(views.values()))
            elif self.listed:  # nothing, or refused
                found.append(x)
            else:
                found.append(self.view(name, x))
                self.vectors[name] = found[-1]
        return found

    def scalar(self, name: str, x: Any, instead: float) -> Any:
        """x, or for an array on the device what the checks of numbers take in its place."""
        view = self.view(name, x)
        if not isinstance(view, DeviceArray):
            return x
        self.scalars[name] = view
        return instead

    def check_scalars(self, dtype: np.dtype) -> None:
        """One entry each, float64, or for the count of updates, which is written, the dtype of value. They share no memory."""
        taken = {name: (x.address, x.address + x.nbytes) for name, x in self.vectors.items() if x is not None}
        for name, x in self.scalars.items():
            self.array(name, x, dtype if name == "step" else np.float64)
            if x.shape not in ((), (1,)):
                self.value_error(f"{name} must have shape () or (1,), got {x.shape}")
            if not x.flags.aligned:
                self.value_error(f"{name} must be aligned, got an unaligned array")
            if name == "step" and not x.flags.writeable:
                self.value_error(f"{name} must be writable, got a read-only array")
            for other, (begin, end) in taken.items():
                if begin < x.address + x.nbytes and x.address < end:
                    self.value_error(f"{other} and {name} must not share memory")
            taken[name] = x.address, x.address + x.nbytes


class Table(NamedTuple):
    """The slots of a segment table, or of a list of arrays, on the device."""

    slots: Any  # bytes of SLOT, or None for a vector without segments
    arrays: Any  # [count, 7] int64: places(), or None for vectors without short rows
    slot_count: int
    whole: int  # of these, those that are no short rows
    slot_size: int
    aligned: bool
    groups: int
    lr: float  # the largest factors
    decay: float


def cut(segments: np.ndarray, kind: str | None, slot_size: int) -> np.ndarray:
    """The segments in slots of at most slot_size entries, in the order of what is clipped together.

    That are groups, rows where kind is "adaptive", those shorter than a tile at the end, segments where it is "max_change".
    """
    rows = np.ones(len(segments), np.int64)
    if kind == "adaptive":  # one side of nothing may be longer than memory
        rows = np.where(segments["length"] > 0, segments["rows"], 0)
    owner = np.repeat(np.arange(len(segments)), rows)  # the segment of a row
    row = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
    length = segments["columns" if kind == "adaptive" else "length"][owner]
    begin = segments["offset"][owner] + row * length
    group = segments["group"][owner] if kind not in ("adaptive", "max_change") else np.arange(len(owner))
    order = np.argsort(length < TILE if kind == "adaptive" else group, kind="stable")
    owner, length, begin, group = (x[order] for x in (owner, length, begin, group))
    if kind == "adaptive":
        group = np.arange(len(group))
    count = np.maximum(-(-length // slot_size), 1)
    of = np.repeat(np.arange(len(count)), count)
    at = (np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)) * slot_size
    slots = np.zeros(len(of), SLOT)
    slots["array"] = owner[of]  # of a list
    slots["begin"], slots["length"] = begin[of] + at, np.minimum(length[of] - at, slot_size)
    slots["first"] = np.searchsorted(group[of], group[of], "left")
    slots["end"] = np.searchsorted(group[of], group[of], "right")
    slots["lr"], slots["decay"] = segments["lr"][owner][of], segments["decay"][owner][of]
    slots["root"] = 1 / np.sqrt(np.maximum(segments["length"][owner][of], 1))
    return slots


_tables: WeakKeyDictionary[Device, OrderedDict[Any, Table]] = WeakKeyDictionary()


def places(pieces: list[Piece]) -> np.ndarray:
    """Where the arrays of pieces are [count, 7]: UpdateArrays of csrc/cuda/update.hpp."""
    lines = np.zeros((len(pieces), 7), np.int64)
    for line, p in zip(lines, pieces, strict=True):
        states = [*p.states, *[None] * (3 - len(p.states))]
        line[:6] = [address(x) for x in (p.value, p.grad, *states, p.average)]
        line[6] = not (line[:6] % 16).any()
    return lines


def as_segments(pieces: list[Piece]) -> np.ndarray:
    """A list of arrays as a segment table whose segments begin at 0, each in its own."""
    segments = np.zeros(len(pieces), SEGMENT)
    for segment, p in zip(segments, pieces, strict=True):
        segment["length"], segment["rows"], segment["columns"] = p.value.size, p.rows, p.columns
    segments["lr"] = segments["decay"] = 1
    return segments


def table_of(
    door: UpdateDoor, segments: Any, arrays: Any, size: int, dtype: np.dtype, options: Options, stream: int
) -> Table:
    """The slots of a segment table of a vector [size], or of the arrays of a list, uploaded when they are first seen; kept by
    content, not by identity."""
    device, clip = door.device, options.clip.kind
    if segments is None:
        slot_size, count, _ = device.native.update_plan(size, 1)
        return Table(None, None, count, count, slot_size, True, 1, 1.0, 1.0)
    kind = clip if clip in ("adaptive", "max_change") else None
    key: Any = None
    if isinstance(segments, np.ndarray):  # a stream of its own, because another one might read before the upload
        where = None if arrays is None else arrays.tobytes()
        content = segments.dtype, segments.shape, segments.strides, segments.tobytes(), where
        key = (door.index, stream, size, kind, *content)
    known = _tables.setdefault(device, OrderedDict())
    if key not in known:
        if not door.listed:
            check_segments(door, segments, size)
        slot_size = device.native.update_plan(int(segments["length"].sum()), 1)[0]
        slots = cut(segments, kind, slot_size)
        if not door.listed:
            slots["array"] = 0
        aligned = not (slots["begin"] % 4).any()
        largest = (float(segments[name].max(initial=0.0)) for name in ("lr", "decay"))
        groups = len(np.unique(segments["group"]))
        short = (slots["length"] < TILE) & (slots["end"] - slots["first"] == 1) & (kind == "adaptive")
        whole = len(slots) - int(np.count_nonzero(short))
        used = arrays is not None and (door.listed or whole < len(slots))
        parts = slots.view(np.uint8), arrays if used else None
        uploaded = [None if x is None else device.upload(door.op, x) for x in parts]
        known[key] = Table(uploaded[0], uploaded[1], len(slots), whole, slot_size, bool(aligned), groups, *largest)
        if len(known) > MOST_TABLES:
            known.popitem(last=False)
    known.move_to_end(key)
    table = known[key]
    if options.sum_squares is not None and clip == "norm" and table.groups > 1:
        door.value_error("sum_squares must be None where segments have several groups, got a number")
    most = float(np.finfo(dtype).max)
    rate, shrink = abs(options.lr) * table.lr, max(options.weight_decay, options.l1) * table.decay
    if not max(rate, shrink, rate * shrink) <= most:  # one of them may be too large: which?
        for i, s in enumerate(segments):
            check_factors(door, options, float(s["lr"]), float(s["decay"]), dtype, f" of segments[{i}]")
    return table


def run(door: UpdateDoor, pieces: list[Piece], options: Options, segments: Any, **rule: Any) -> DeviceStepInfo:
    """One launch of the update door.op on the one vector in pieces, or the arrays of a list, with the numbers of its rule.

    nonfinite="raise" waits for the launch; everything else is decided on the device.
    """
    device, clip, whole, scalars = door.device, options.clip, pieces[0], door.scalars
    value: Any = whole.value
    door.check_scalars(value.dtype)
    stream, arrays = door.stream(), None
    if door.listed:
        if segments is not None:
            door.value_error(f"segments must be None with a list of arrays, got {type(segments).__name__}")
        segments, arrays = as_segments(pieces), places(pieces)
    elif segments is not None and clip.kind == "adaptive":
        arrays = places(pieces)
    table = table_of(door, segments, arrays, value.size, value.dtype, options, stream)
    vectors = [value, whole.grad, *whole.states, whole.average]
    at = list(map(address, vectors))
    if door.listed:  # what is left out is 0; an array without entries may be nowhere
        at = [0 if x is None else device.address(table.arrays) for x in vectors]
    limit = clip.limit if not clip.d else 1 / math.sqrt(clip.d)
    report = device.empty(3, np.float64)
    workspace = device.workspace(device.native.update_workspace_bytes(table.slot_count))
    getattr(device.native, door.op)(
        value=at[0], grad=at[1], states=tuple(at[2:-1]), average=at[-1], n=value.size,
        list=0 if table.arrays is None else device.address(table.arrays), is_double=value.dtype == np.float64,
        lr=options.lr, weight_decay=options.weight_decay, l1=options.l1, decoupled=options.decoupled,
        proximal=options.proximal, clip=clip.kind or "", limit=limit, total=clip.total, root=clip.d == 0, eps=options.eps,
        grad_scale=options.grad_scale, propagate=options.nonfinite == "propagate", sum_squares=options.sum_squares,
        average_decay=options.average_decay, table=0 if table.slots is None else device.address(table.slots),
        slots=table.slot_count, whole=table.whole, slot_size=table.slot_size, aligned=table.aligned,
        workspace=device.address(workspace), count=address(scalars.get("step")), grad_scale_at=address(scalars.get("grad_scale")),
        sum_squares_at=address(scalars.get("sum_squares")), report=device.address(report), stream=stream, **rule,
    )  # fmt: skip
    info = DeviceStepInfo(device, report, stream)
    if options.nonfinite == "raise" and info.skipped:
        door.value_error(f"grad must be finite, got a norm of {info.norm!r}")
    return info
