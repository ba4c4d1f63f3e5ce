"""clip_sgd on a device: one launch, whose numbers stay on the device until they are looked at."""

from __future__ import annotations

from typing import Any

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._update import DeviceStepInfo as DeviceStepInfo
from pyasr.ops._cuda._update import UpdateDoor, run
from pyasr.ops.clip_sgd import check


def clip_sgd(
    device: Device,
    value: Any,
    grad: Any,
    *,
    lr: float,
    momentum: float = 0.0,
    buffer: Any = None,
    step: Any = None,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    l1: float = 0.0,
    proximal: bool = False,
    clip: tuple[Any, ...] | None = None,
    eps: float = 0.0,
    grad_scale: Any = 1.0,
    nonfinite: str = "skip",
    sum_squares: Any = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: Any = None,
    threads: int | None = None,
) -> DeviceStepInfo:
    """One launch on the current stream. nonfinite="raise" waits for it; everything else is decided on the device.

    segments is a NumPy array. grad_scale, sum_squares and step may be arrays of one entry on the device.
    """
    door = UpdateDoor(device, "clip_sgd")
    value, grad, buffer, average = door.views(value=value, grad=grad, buffer=buffer, average=average)
    step = door.scalar("step", step, 1)
    grad_scale, sum_squares = door.scalar("grad_scale", grad_scale, 1.0), door.scalar("sum_squares", sum_squares, 0.0)
    pieces, options = check(
        door, value, grad, lr, momentum, buffer, step, dampening, nesterov, weight_decay, decoupled, l1, proximal, clip, eps,
        grad_scale, nonfinite, sum_squares, average, average_decay, None, threads,
    )  # fmt: skip
    return run(
        door, pieces, options, segments,
        momentum=float(momentum), dampening=float(dampening), nesterov=bool(nesterov), first=step == 0,
    )  # fmt: skip
