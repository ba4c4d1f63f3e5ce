"""ctc_align on a device: two launches."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops._cuda.ctc import read_lattice


def ctc_align(
    device: Device,
    logits: Any,
    lengths: Any,
    labels: Any,
    label_lengths: Any,
    *,
    blank: int = 0,
    threads: int | None = None,
) -> tuple[Any, Any, Any]:
    """(positions [T,B], scores [T,B], log_p [B]). Lengths and labels stay on the device, unseen by the host.

    Where one is out of range, or a label is the blank, log_p of its utterance is NaN and so are the scores of its frames.
    """
    door = CudaDoor(device, "ctc_align")
    logits, lengths, labels, label_lengths, blank = read_lattice(door, logits, lengths, labels, label_lengths, blank)
    door.threads(threads)
    stream = door.stream()
    shape = logits.shape[:2]
    positions, scores = device.empty(shape, np.int32), device.empty(shape, logits.dtype)
    log_p = device.empty(door["B"], logits.dtype)
    workspace = device.workspace(device.native.align_workspace_bytes(door["T"], door["B"], door["U"]))
    device.native.ctc_align(
        logits=logits.address, lengths=lengths.address, labels=labels.address, label_lengths=label_lengths.address,
        positions=device.address(positions), scores=device.address(scores), log_p=device.address(log_p), T=door["T"],
        B=door["B"], V=door["V"], U=door["U"], blank=blank, is_double=logits.dtype == np.float64,
        workspace=device.address(workspace), stream=stream,
    )  # fmt: skip
    return positions, scores, log_p
