"""clip_sgd on a device: one launch, whose numbers stay on the device until they are looked at."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, address
from pyasr.ops._update import StepInfo
from pyasr.ops.clip_sgd import check


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
    device: Device,
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
    """One launch on the current stream. nonfinite="raise" waits for it; everything else is decided on the device.

    Takes one vector, clipped by its norm, by value or not at all; numpy, numba and cpp have the other options.
    """
    door = CudaDoor(device, "clip_sgd")
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
    stream = door.stream()
    report = device.empty(3, np.float64)
    workspace = device.workspace(device.native.clip_sgd_workspace_bytes)
    device.native.clip_sgd(
        value=value.address, grad=grad.address, buffer=address(buffer if momentum else None), n=value.size,
        is_double=value.dtype == np.float64, lr=float(lr), momentum=float(momentum), dampening=float(dampening),
        nesterov=bool(nesterov), weight_decay=float(weight_decay), decoupled=bool(decoupled), clip=kind or "",
        limit=limit, eps=float(eps), grad_scale=float(grad_scale), first=step == 0, propagate=nonfinite == "propagate",
        workspace=device.address(workspace), report=device.address(report), stream=stream,
    )  # fmt: skip
    info = DeviceStepInfo(device, report, stream)
    if nonfinite == "raise" and info.skipped:
        door.value_error(f"grad must be finite, got a norm of {info.norm!r}")
    return info
