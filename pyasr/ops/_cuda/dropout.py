"""dropout on a device: one launch that draws the random numbers where they are needed."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops.dropout import check


def dropout(
    device: Device, x: Any, *, rate: float, key: tuple[int, int], threads: int | None = None
) -> tuple[Any, Any]:
    """(y [N], factor [N]), the bits of the other columns. One launch on the current stream; nothing waits."""
    door = CudaDoor(device, "dropout")
    x, rate, (k0, k1) = check(door, x, rate, key, threads)
    stream = door.stream()
    y, factor = device.empty(door["N"], x.dtype), device.empty(door["N"], x.dtype)
    device.native.dropout(
        x=x.address, y=device.address(y), factor=device.address(factor), N=door["N"], rate=rate, k0=k0, k1=k1,
        is_double=x.dtype == np.float64, stream=stream,
    )  # fmt: skip
    return y, factor
