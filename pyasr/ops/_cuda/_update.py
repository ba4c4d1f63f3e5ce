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
from pyasr.ops._update import Options, Piece, StepInfo
from pyasr.ops._update_door import check_factors, check_segments

SLOT = np.dtype(  # UpdateSlot of csrc/cuda/update.hpp
    [
        ("begin", np.int64),
        ("length", np.int32),
        ("first", np.int32),
        ("end", np.int32),
        ("unused", np.int32),
        ("lr", np.float64),
        ("decay", np.float64),
        ("root", np.float64),
    ]
)
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
        self.vectors: dict[str, Any] = {}
        self.scalars: dict[str, DeviceArray] = {}

    def views(self, **arrays: Any) -> list[Any]:
        """The arrays as the door looks at them. Lists of arrays are refused."""
        if isinstance(arrays["value"], (list, tuple)):
            self.type_error(f"value must be a CUDA array, got {type(arrays['value']).__name__}")
        self.vectors = {name: self.view(name, x) for name, x in arrays.items()}
        return list(self.vectors.values())

    def scalar(self, name: str, x: Any, instead: float) -> Any:
        """x, or for an array on the device what the checks of numbers take in its place."""
        view = self.view(name, x)
        if not isinstance(view, DeviceArray):
            return x
        self.scalars[name] = view
        return instead

    def check_scalars(self, dtype: np.dtype) -> None:
        """One entry each, float64, or for the count of updates, which is written, the dtype of value."""
        for name, x in self.scalars.items():
            self.array(name, x, dtype if name == "step" else np.float64)
            if x.shape not in ((), (1,)):
                self.value_error(f"{name} must have shape () or (1,), got {x.shape}")
            if not x.flags.aligned:
                self.value_error(f"{name} must be aligned, got an unaligned array")
            if name == "step" and not x.flags.writeable:
                self.value_error(f"{name} must be writable, got a read-only array")
        self.no_overlap(**(self.vectors | self.scalars))


class Table(NamedTuple):
    """The slots of a segment table on the device."""

    slots: Any  # bytes of SLOT, or None for a vector without segments
    slot_count: int
    slot_size: int
    aligned: bool
    groups: int
    lr: float  # the largest factors
    decay: float


def cut(segments: np.ndarray, kind: str | None, slot_size: int) -> np.ndarray:
    """The segments in slots of at most slot_size entries, in the order of what is clipped together.

    That are groups, rows where kind is "adaptive", segments where it is "max_change".
    """
    rows = np.ones(len(segments), np.int64)
    if kind == "adaptive":  # one side of nothing may be longer than memory
        rows = np.where(segments["length"] > 0, segments["rows"], 0)
    owner = np.repeat(np.arange(len(segments)), rows)  # the segment of a row
    row = np.arange(len(owner)) - np.repeat(np.cumsum(rows) - rows, rows)
    length = segments["columns" if kind == "adaptive" else "length"][owner]
    begin = segments["offset"][owner] + row * length
    group = segments["group"][owner] if kind not in ("adaptive", "max_change") else np.arange(len(owner))
    order = np.argsort(group, kind="stable")
    owner, length, begin, group = (x[order] for x in (owner, length, begin, group))
    count = np.maximum(-(-length // slot_size), 1)
    of = np.repeat(np.arange(len(count)), count)
    at = (np.arange(len(of)) - np.repeat(np.cumsum(count) - count, count)) * slot_size
    slots = np.zeros(len(of), SLOT)
    slots["begin"], slots["length"] = begin[of] + at, np.minimum(length[of] - at, slot_size)
    slots["first"] = np.searchsorted(group[of], group[of], "left")
    slots["end"] = np.searchsorted(group[of], group[of], "right")
    slots["lr"], slots["decay"] = segments["lr"][owner][of], segments["decay"][owner][of]
    slots["root"] = 1 / np.sqrt(np.maximum(segments["length"][owner][of], 1))
    return slots


_tables: WeakKeyDictionary[Device, OrderedDict[Any, Table]] = WeakKeyDictionary()


def table_of(door: CudaDoor, segments: Any, size: int, dtype: np.dtype, options: Options, stream: int) -> Table:
    """The slots of a segment table of a vector [size], uploaded when they are first seen; kept by content, not by identity."""
    device, clip = door.device, options.clip.kind
    if segments is None:
        slot_size, count, _ = device.native.update_plan(size, 1)
        return Table(None, count, slot_size, True, 1, 1.0, 1.0)
    kind = clip if clip in ("adaptive", "max_change") else None
    key = None
    if isinstance(segments, np.ndarray):  # a stream of its own, because another one might read before the upload
        key = (door.index, stream, size, kind, segments.dtype, segments.shape, segments.strides, segments.tobytes())
    known = _tables.setdefault(device, OrderedDict())
    if key not in known:
        check_segments(door, segments, size)
        slot_size = device.native.update_plan(int(segments["length"].sum()), 1)[0]
        slots = cut(segments, kind, slot_size)
        aligned = not (slots["begin"] % 4).any()
        largest = (float(segments[name].max(initial=0.0)) for name in ("lr", "decay"))
        groups = len(np.unique(segments["group"]))
        known[key] = Table(
            device.xp.asarray(slots.view(np.uint8)), len(slots), slot_size, bool(aligned), groups, *largest
        )
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
    """One launch of the update door.op on the one vector in pieces, with the numbers of its rule.

    nonfinite="raise" waits for the launch; everything else is decided on the device.
    """
    device, clip, whole, scalars = door.device, options.clip, pieces[0], door.scalars
    value: Any = whole.value
    door.check_scalars(value.dtype)
    stream = door.stream()
    table = table_of(door, segments, value.size, value.dtype, options, stream)
    limit = clip.limit if not clip.d else 1 / math.sqrt(clip.d)
    report = device.empty(3, np.float64)
    workspace = device.workspace(device.native.update_workspace_bytes(table.slot_count))
    getattr(device.native, door.op)(
        value=value.address, grad=address(whole.grad), states=tuple(map(address, whole.states)),
        average=address(whole.average), n=value.size, is_double=value.dtype == np.float64,
        lr=options.lr, weight_decay=options.weight_decay, l1=options.l1, decoupled=options.decoupled,
        proximal=options.proximal, clip=clip.kind or "", limit=limit, total=clip.total, root=clip.d == 0, eps=options.eps,
        grad_scale=options.grad_scale, propagate=options.nonfinite == "propagate", sum_squares=options.sum_squares,
        average_decay=options.average_decay, table=0 if table.slots is None else device.address(table.slots),
        slots=table.slot_count, slot_size=table.slot_size, aligned=table.aligned, workspace=device.address(workspace),
        count=address(scalars.get("step")), grad_scale_at=address(scalars.get("grad_scale")),
        sum_squares_at=address(scalars.get("sum_squares")), report=device.address(report), stream=stream, **rule,
    )  # fmt: skip
    info = DeviceStepInfo(device, report, stream)
    if options.nonfinite == "raise" and info.skipped:
        door.value_error(f"grad must be finite, got a norm of {info.norm!r}")
    return info
