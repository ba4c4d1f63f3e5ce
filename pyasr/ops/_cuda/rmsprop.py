"""rmsprop on a device: one launch, whose numbers stay on the device until they are looked at."""

from __future__ import annotations

from typing import Any

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._update import DeviceStepInfo, UpdateDoor, run
from pyasr.ops.rmsprop import check


def rmsprop(
    device: Device,
    value: Any,
    grad: Any,
    square: Any,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    buffer: Any = None,
    mean: Any = None,
    weight_decay: float = 0.0,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: Any = 1.0,
    nonfinite: str = "skip",
    sum_squares: Any = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: Any = None,
    threads: int | None = None,
) -> DeviceStepInfo:
    """One launch on the current stream, as clip_sgd."""
    door = UpdateDoor(device, "rmsprop")
    value, grad, square, buffer, mean, average = door.views(
        value=value, grad=grad, square=square, buffer=buffer, mean=mean, average=average
    )
    grad_scale, sum_squares = door.scalar("grad_scale", grad_scale, 1.0), door.scalar("sum_squares", sum_squares, 0.0)
    pieces, options, n = check(
        door, value, grad, square, lr, alpha, eps, momentum, buffer, mean, weight_decay, clip, clip_eps, grad_scale, nonfinite,
        sum_squares, average, average_decay, None, threads,
    )  # fmt: skip
    return run(
        door, pieces, options, segments,
        alpha=n.alpha, rule_eps=n.eps, momentum=n.momentum,
    )  # fmt: skip
