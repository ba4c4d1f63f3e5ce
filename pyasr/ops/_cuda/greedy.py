"""ctc_greedy on a device: two launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops._door import FLOATS, INT32


def ctc_greedy(
    device: Device, logits: Any, lengths: Any, *, blank: int = 0, threads: int | None = None
) -> tuple[Any, Any]:
    """(labels [B,T], counts [B]). Lengths stay on the device: one outside of [0, T] shows as a count of −1, without labels."""
    door = CudaDoor(device, "ctc_greedy")
    logits = door.read("logits", logits, "T B V", FLOATS)
    lengths = door.read("lengths", lengths, "B", INT32)
    if door["V"] == 0:
        door.value_error("logits must have at least one symbol, got V = 0")
    blank = door.integer("blank", blank, 0, door["V"] - 1)
    door.threads(threads)
    stream = door.stream()
    labels, counts = device.empty((door["B"], door["T"]), np.int32), device.empty(door["B"], np.int32)
    workspace = device.workspace(device.native.greedy_workspace_bytes(door["T"], door["B"]))
    device.native.ctc_greedy(
        logits=logits.address, lengths=lengths.address, labels=device.address(labels), counts=device.address(counts),
        T=door["T"], B=door["B"], V=door["V"], blank=blank, is_double=logits.dtype == np.float64,
        workspace=device.address(workspace), stream=stream,
    )  # fmt: skip
    return labels, counts
