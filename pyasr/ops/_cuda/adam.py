"""adam on a device: one launch, whose numbers stay on the device until they are looked at."""

from __future__ import annotations

from typing import Any

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops._cuda._update import DeviceStepInfo, run, views
from pyasr.ops.adam import check


def adam(
    device: Device,
    value: Any,
    grad: Any,
    mean: Any,
    square: Any,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    largest: Any = None,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: Any = None,
    threads: int | None = None,
) -> DeviceStepInfo:
    """One launch on the current stream, as clip_sgd."""
    door = CudaDoor(device, "adam")
    value, grad, mean, square, largest, average = views(
        door, value=value, grad=grad, mean=mean, square=square, largest=largest, average=average
    )
    pieces, options, n = check(
        door, value, grad, mean, square, step, lr, beta1, beta2, eps, weight_decay, decoupled, largest, clip, clip_eps,
        grad_scale, nonfinite, sum_squares, average, average_decay, None, threads,
    )  # fmt: skip
    return run(
        door, pieces, options, segments,
        beta1=n.beta1, beta2=n.beta2, rule_eps=n.eps, unbias1=n.unbias1, unbias2=n.unbias2,
    )  # fmt: skip
