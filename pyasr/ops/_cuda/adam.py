"""adam on a device: one launch, whose numbers stay on the device until they are looked at."""

from __future__ import annotations

from typing import Any

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._update import DeviceStepInfo, UpdateDoor, run
from pyasr.ops.adam import check


def adam(
    device: Device,
    value: Any,
    grad: Any,
    mean: Any,
    square: Any,
    *,
    step: Any,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    largest: Any = None,
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
    door = UpdateDoor(device, "adam")
    value, grad, mean, square, largest, average = door.views(
        value=value, grad=grad, mean=mean, square=square, largest=largest, average=average
    )
    step = door.scalar("step", step, 1)
    grad_scale, sum_squares = door.scalar("grad_scale", grad_scale, 1.0), door.scalar("sum_squares", sum_squares, 0.0)
    pieces, options, n = check(
        door, value, grad, mean, square, step, lr, beta1, beta2, eps, weight_decay, decoupled, largest, clip, clip_eps,
        grad_scale, nonfinite, sum_squares, average, average_decay, None, threads,
    )  # fmt: skip
    return run(
        door, pieces, options, segments,
        beta1=n.beta1, beta2=n.beta2, rule_eps=n.eps, unbias1=n.unbias1, unbias2=n.unbias2,
    )  # fmt: skip
