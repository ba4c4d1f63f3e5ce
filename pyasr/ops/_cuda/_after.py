"""What is done to features on a device, a launch each: derivatives in time, normalization per utterance.

Not rows of the table: pyasr.features.deltas and cmvn come here with arrays of a device. Nothing waits, so values are not
looked at: what is not finite becomes NaN in the frames that see it.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray
from pyasr.ops._deltas import delta_filters
from pyasr.ops._door import FLOATS, INT32, is_plain

INT64 = np.dtype(np.int64)


class Frames:
    """Features at the door, and where their utterances lie: FrameLayout of csrc/cuda/mfcc_after.hpp.

    lengths is what pyasr.features.batch returns beside features of that layout: lengths [B] int32 or, "concatenated",
    offsets [B+1] int64, on the device or, looked at before, on the host; None for one utterance [T,F].
    """

    def __init__(self, door: CudaDoor, features: Any, lengths: Any, layout: str) -> None:
        device, sizes, self.keep = door.device, {"lengths": 0, "offsets": 0}, lengths
        dims = {"BTF": "B T F", "TBF": "T B F", "concatenated": "T F"}[layout] if lengths is not None else "T F"
        x: DeviceArray = door.read("features", features, dims, FLOATS)
        T, self.features = door["T"], door["F"]
        B = door["B"] if "B" in door.dims else 1
        line, step = (1, B) if layout == "TBF" and lengths is not None else (T, 1)
        utterances = B
        if lengths is not None:
            if is_plain(lengths):
                self.keep = lengths = device.upload(door.op, lengths)
            if layout == "concatenated":
                view = door.array("lengths", lengths, INT64)
                if view.ndim != 1 or view.size < 2 - (T == 0):
                    door.value_error(f"lengths must be offsets of shape (B + 1,) with B > 0, got {view.shape}")
                view = door.read("lengths", view, "O", INT64)
                utterances = max(view.size - 1, 0)
                sizes["offsets"] = view.address
            else:
                sizes["lengths"] = door.read("lengths", lengths, "B", INT32).address
        self.shape, self.x = x.shape, x
        self.arguments = {
            "x": x.address, "is_double": x.dtype == np.float64, "F": self.features, "sizes": (B, T, line, step, utterances),
            **sizes,
        }  # fmt: skip


@functools.lru_cache(maxsize=32)
def _taps(device: Device, index: int, window: int, order: int) -> Any:
    """The filters of one device, uploaded once."""
    taps = device.upload("deltas", np.concatenate(delta_filters(window, order)))
    device.host(taps[:1])  # waits: any stream may read them from now on
    return taps


def deltas(device: Device, features: Any, window: int, order: int, repeated: bool, lengths: Any, layout: str) -> Any:
    """pyasr.features.deltas; repeated is its style "torchaudio"."""
    door = CudaDoor(device, "deltas")
    frames = Frames(door, features, lengths, layout)
    if not device.native.deltas_fit(max(frames.features, 1), window, order, repeated):
        door.value_error(f"window * order must fit into the shared memory of this device, got {window} * {order}")
    taps = _taps(device, device.index, window, order)
    y = device.empty((*frames.shape[:-1], frames.features * (order + 1)), frames.x.dtype)
    device.native.deltas(
        y=device.address(y), window=window, order=order, repeated=repeated, taps=device.address(taps),
        stream=door.stream(), **frames.arguments,
    )  # fmt: skip
    return y


def cmvn(device: Device, features: Any, variance: bool, lengths: Any, layout: str) -> Any:
    """pyasr.features.cmvn."""
    door = CudaDoor(device, "cmvn")
    frames = Frames(door, features, lengths, layout)
    y = device.empty(frames.shape, frames.x.dtype)
    device.native.cmvn(y=device.address(y), variance=variance, stream=door.stream(), **frames.arguments)
    return y
