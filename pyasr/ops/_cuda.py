"""The cuda column: functions that check device arrays at the door and hand their addresses to the kernels of pyasr._cuda.

An argument is anything with `__cuda_array_interface__` (CuPy, Numba, torch): nothing is converted or copied.
Work is queued on CuPy's current stream and the host does not wait. Workspaces come from CuPy's pool.
"""

from __future__ import annotations

import importlib
import importlib.util
import math
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._update import StepInfo
from pyasr.ops.clip_sgd import check


def _native() -> ModuleType:
    return importlib.import_module("pyasr._cuda")


def why_not() -> str | None:
    """Why there is no GPU to run on; None when there is one."""
    from pyasr import _build
    from pyasr.ops._op import native

    module = native("_cuda")
    if module is None and not _build.NATIVE:
        return "this install has no native code (PYASR_PURE=1)"
    if module is None:
        return "this install was built without CUDA kernels (no nvcc was found)"
    reason = module.problem()
    if reason is None and importlib.util.find_spec("cupy") is None:
        reason = 'CuPy is not installed: pip install "pyasr-kernels[cuda]"'
    return reason


class DeviceArray:
    """What the door looks at: dtype, shape and layout of an array on a device, without touching its library."""

    def __init__(self, interface: dict[str, Any]) -> None:
        self.dtype = np.dtype(interface["typestr"])
        self.shape: tuple[int, ...] = tuple(interface["shape"])
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.address, read_only = interface["data"]
        self.stream: int | None = interface.get("stream")
        self.masked = interface.get("mask") is not None
        strides, step, contiguous = interface.get("strides"), self.dtype.itemsize, True
        if strides is not None and self.size:
            for size, stride in zip(reversed(self.shape), reversed(strides), strict=True):
                contiguous &= size == 1 or stride == step
                step *= size
        aligned = self.address % self.dtype.itemsize == 0
        self.flags = SimpleNamespace(c_contiguous=contiguous, aligned=aligned, writeable=not read_only)


class CudaDoor(Door):
    """The door for device arrays: the rules and words of Door, and the device and stream of every argument."""

    def __init__(self, op: str) -> None:
        super().__init__(op)
        self.device = _native().current_device()
        self.streams: set[int] = set()

    def array(self, name: str, x: Any, dtypes: Any) -> Any:
        if not isinstance(x, DeviceArray):
            self.type_error(f"{name} must be a CUDA array, got {type(x).__name__}")
        allowed = dtypes if isinstance(dtypes, tuple) else (np.dtype(dtypes),)
        if x.dtype not in allowed or not x.dtype.isnative:
            self.type_error(f"{name} must have dtype {' or '.join(d.name for d in allowed)}, got {x.dtype.name}")
        if x.masked:
            self.type_error(f"{name} must not be masked")
        return x

    def view(self, name: str, x: Any) -> Any:
        """x as a DeviceArray on the current device; anything without the interface is returned as it came."""
        interface = getattr(x, "__cuda_array_interface__", None)
        if interface is None:
            return x
        view = DeviceArray(interface)
        if view.size and (device := _native().device_of(view.address)) != self.device:
            where = "host memory" if device < 0 else f"device {device}"
            self.value_error(f"{name} must be on device {self.device}, the current one, got an array on {where}")
        if view.stream is not None:
            self.streams.add(view.stream)
        return view

    def address(self, x: Any) -> int:
        return x.address

    def order(self, stream: int) -> None:
        """Make the stream wait for the streams that the arguments say they were written on."""
        for producer in self.streams - {stream}:
            _native().wait_for(stream, producer)


class DeviceStepInfo:
    """StepInfo whose numbers are still on the device: the first look at one waits for the stream, a step by itself never does.

    Has the fields of StepInfo and unpacks like it.
    """

    __slots__ = ("_report", "_stream", "_values")

    def __init__(self, report: Any, stream: Any) -> None:
        self._report = report  # [3] float64: norm, scale, skipped
        self._stream = stream
        self._values: StepInfo | None = None

    def get(self) -> StepInfo:
        """The numbers on the host; waits for the stream at the first call."""
        if self._values is None:
            norm, scale, skipped = self._report.get(stream=self._stream).tolist()
            self._values = StepInfo(norm, scale, skipped != 0)
        return self._values

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
    segments: Any = None,
    threads: int | None = None,
) -> DeviceStepInfo:
    """One launch on CuPy's current stream. nonfinite="raise" waits for it; everything else is decided on the device.

    Takes one vector, clipped by its norm, by value or not at all; numpy, numba and cpp have the other options.
    """
    door = CudaDoor("clip_sgd")
    for name, option in (("sum_squares", sum_squares), ("average", average), ("segments", segments)):
        if option is not None:
            door.value_error(f"{name} must be None on a CUDA device, got {type(option).__name__}")
    value, grad, buffer = door.view("value", value), door.view("grad", grad), door.view("buffer", buffer)
    if isinstance(value, (list, tuple)):
        door.type_error(f"value must be a CUDA array, got {type(value).__name__}")
    _, options = check(
        door, value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, l1, proximal, clip, eps,
        grad_scale, nonfinite, None, None, average_decay, None, threads,
    )  # fmt: skip
    kind, limit = options.clip.kind, options.clip.limit
    if options.l1:
        door.value_error(f"l1 must be 0.0 on a CUDA device, got {options.l1!r}")
    if kind in ("adaptive", "max_change"):
        door.value_error(f'clip must be None, ("norm", M) or ("value", v) on a CUDA device, got {clip!r}')
    if options.clip.d is not None:
        limit = 1 / math.sqrt(options.clip.d or max(value.size, 1))
    cupy, native = importlib.import_module("cupy"), _native()
    stream = cupy.cuda.get_current_stream()
    door.order(stream.ptr)
    report = cupy.empty(3, np.float64)
    workspace = cupy.empty(native.clip_sgd_workspace_bytes, np.uint8)
    native.clip_sgd(
        value=value.address, grad=grad.address, buffer=0 if buffer is None else buffer.address, n=value.size,
        is_double=value.dtype == np.float64, lr=float(lr), momentum=float(momentum), dampening=float(dampening),
        nesterov=bool(nesterov), weight_decay=float(weight_decay), decoupled=bool(decoupled), clip=kind or "",
        limit=limit, eps=float(eps), grad_scale=float(grad_scale), first=step == 0, propagate=nonfinite == "propagate",
        workspace=workspace.data.ptr, report=report.data.ptr, stream=stream.ptr,
    )  # fmt: skip
    info = DeviceStepInfo(report, stream)
    if nonfinite == "raise" and info.skipped:
        door.value_error(f"grad must be finite, got a norm of {info.norm!r}")
    return info
