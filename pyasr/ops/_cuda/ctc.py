"""ctc_loss on a device: four launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray
from pyasr.ops._door import FLOATS, INT32

MOST_BYTES = 1 << 62


def read_lattice(
    door: CudaDoor, logits: Any, lengths: Any, labels: Any, label_lengths: Any, blank: Any
) -> tuple[DeviceArray, DeviceArray, DeviceArray, DeviceArray, int]:
    """The arguments that ops on the lattice share. What lengths and labels hold is not looked at."""
    logits = door.read("logits", logits, "T B V", FLOATS)
    lengths = door.read("lengths", lengths, "B", INT32)
    labels = door.read("labels", labels, "B U", INT32)
    label_lengths = door.read("label_lengths", label_lengths, "B", INT32)
    if door["V"] == 0:
        door.value_error("logits must have at least one symbol, got V = 0")
    if (door["T"] + 64) * door["B"] * (door["U"] + 1) * 100 > MOST_BYTES:
        door.value_error(
            f"the lattice must have less than 2**55 cells, got T, B, U = {door['T']}, {door['B']}, {door['U']}"
        )
    return logits, lengths, labels, label_lengths, door.integer("blank", blank, 0, door["V"] - 1)


def ctc_loss(
    device: Device,
    logits: Any,
    lengths: Any,
    labels: Any,
    label_lengths: Any,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    threads: int | None = None,
) -> tuple[Any, Any]:
    """(loss [B], dlogits [T,B,V]). Lengths and labels stay on the device, unseen by the host.

    Where one is out of range, or a label is the blank, the loss of its utterance is NaN and so is the gradient of its frames.
    """
    door = CudaDoor(device, "ctc_loss")
    logits, lengths, labels, label_lengths, blank = read_lattice(door, logits, lengths, labels, label_lengths, blank)
    zero_infinity = door.boolean("zero_infinity", zero_infinity)
    door.threads(threads)
    stream = door.stream()
    loss, dlogits = device.empty(door["B"], logits.dtype), device.empty(logits.shape, logits.dtype)
    nbytes = device.native.ctc_workspace_bytes(door["T"], door["B"], door["U"], logits.dtype.itemsize)
    workspace = device.workspace(nbytes)
    device.native.ctc_loss(
        logits=logits.address, lengths=lengths.address, labels=labels.address, label_lengths=label_lengths.address,
        loss=device.address(loss), dlogits=device.address(dlogits), T=door["T"], B=door["B"], V=door["V"], U=door["U"],
        blank=blank, zero_infinity=zero_infinity, is_double=logits.dtype == np.float64,
        workspace=device.address(workspace), stream=stream,
    )  # fmt: skip
    return loss, dlogits
