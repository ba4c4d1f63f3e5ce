"""The door of the cuda column: the rules and words of Door for arrays on a device, and the order of streams."""

from __future__ import annotations

import math
from copy import copy
from types import SimpleNamespace
from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._door import Door

LEGACY_STREAM = {1: 0}  # the interface's name of the default stream, and the stream's own


class DeviceArray:
    """What the door looks at: dtype, shape and layout of an array on a device, without touching its library.

    `owner` is the array, or what its library handed out for it: as long as this lives, its memory is not given to others.
    """

    def __init__(self, interface: dict[str, Any], array: Any) -> None:
        self.dtype = np.dtype(interface["typestr"])
        self.shape: tuple[int, ...] = tuple(interface["shape"])
        self.ndim = len(self.shape)
        self.size = math.prod(self.shape)
        self.nbytes = self.size * self.dtype.itemsize
        self.address, read_only = interface["data"]
        self.stream: int | None = interface.get("stream")
        self.masked = interface.get("mask") is not None
        self.owner = interface.get("owner", array)
        strides, step, contiguous = interface.get("strides"), self.dtype.itemsize, True
        if strides is not None and self.size:
            for size, stride in zip(reversed(self.shape), reversed(strides), strict=True):
                contiguous &= size == 1 or stride == step
                step *= size
        aligned = self.address % self.dtype.itemsize == 0
        self.flags = SimpleNamespace(c_contiguous=contiguous, aligned=aligned, writeable=not read_only)

    def reshape(self, size: int) -> DeviceArray:
        """The same entries in one dimension, as reshape(-1) of a contiguous array."""
        flat = copy(self)
        flat.shape, flat.ndim = (self.size,), 1
        return flat


class CudaDoor(Door):
    """The door of one call: read() and write() return DeviceArrays, whose `address` the kernels take.

    door = CudaDoor(device, "clip_sgd")
    value = door.write("value", value, "P", FLOATS)
    device.native.clip_sgd(value=value.address, …, stream=door.stream())
    """

    def __init__(self, device: Device, op: str) -> None:
        super().__init__(op)
        device.check_process(op)
        self.device = device
        self.index = device.index
        self.streams: set[int] = set()

    def array(self, name: str, x: Any, dtypes: Any) -> Any:
        x = self.view(name, x)
        if not isinstance(x, DeviceArray):
            self.type_error(f"{name} must be a CUDA array, got {type(x).__name__}")
        allowed = dtypes if isinstance(dtypes, tuple) else (np.dtype(dtypes),)
        if x.dtype not in allowed or not x.dtype.isnative:
            self.type_error(f"{name} must have dtype {' or '.join(d.name for d in allowed)}, got {x.dtype.name}")
        if x.masked:
            self.type_error(f"{name} must not be masked")
        return x

    def view(self, name: str, x: Any) -> Any:
        """x as a DeviceArray on the current device; what is no array on a device is returned as it came."""
        if isinstance(x, DeviceArray):
            return x
        try:
            interface = self.device.interface(x)
        except BufferError as e:
            self.type_error(f"{name} can not be taken: {e}")
        if interface is None:
            return x
        view = DeviceArray(interface, x)
        if view.size and (device := self.device.native.device_of(view.address)) != self.index:
            where = "host memory" if device < 0 else f"device {device}"
            self.value_error(f"{name} must be on device {self.index}, the current one, got an array on {where}")
        if view.stream is not None:
            self.streams.add(LEGACY_STREAM.get(view.stream, view.stream))
        return view

    def address(self, x: Any) -> int:
        return x.address

    def stream(self) -> int:
        """The stream to queue on, the caller's; it waits for the streams that the arguments were written on."""
        stream = self.device.stream
        for producer in self.streams - {stream}:
            self.device.native.wait_for(stream, producer)
        return stream


def address(x: Any) -> int:
    """Where it begins; 0 for None, which the kernels take as absent."""
    return 0 if x is None else x.address
