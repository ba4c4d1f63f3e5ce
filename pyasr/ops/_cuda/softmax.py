"""softmax_cross_entropy on a device: one launch."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops._door import FLOATS, INT32


def softmax_cross_entropy(device: Device, logits: Any, labels: Any, *, threads: int | None = None) -> tuple[Any, Any]:
    """(loss [N], dlogits [N,V]). Labels stay on the device: one outside of [-1, V) makes loss and gradient of its row NaN."""
    door = CudaDoor(device, "softmax_cross_entropy")
    logits = door.read("logits", logits, "N V", FLOATS)
    labels = door.read("labels", labels, "N", INT32)
    door.threads(threads)
    stream = door.stream()
    loss, dlogits = device.empty(door["N"], logits.dtype), device.empty(logits.shape, logits.dtype)
    device.native.softmax_cross_entropy(
        logits=logits.address, labels=labels.address, loss=device.address(loss), dlogits=device.address(dlogits),
        N=door["N"], V=door["V"], is_double=logits.dtype == np.float64, stream=stream,
    )  # fmt: skip
    return loss, dlogits
