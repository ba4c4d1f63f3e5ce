"""What a function of the column needs to know of the device, in one object: kernels, arrays, stream, memory.

Tests give the same functions another Device, whose kernels run on the CPU and whose arrays are NumPy's.
"""

from __future__ import annotations

import functools
import importlib
import os
from abc import ABC, abstractmethod
from typing import Any, Self

import numpy as np

from pyasr.ops._cuda import _cublas

CUDA_MEMORY = (2, 13)  # kDLCUDA and kDLCUDAManaged of DLPack


class Device(ABC):
    """The current device of one array library.

    `native` holds the kernels: functions of addresses and a stream, as pyasr._cuda has them. `xp` is the array library.
    """

    native: Any
    xp: Any

    @property
    def index(self) -> int:
        """The number of the current device."""
        return self.native.current_device()

    @property
    @abstractmethod
    def stream(self) -> int:
        """The stream of the caller: what is queued there runs in order."""

    def interface(self, x: Any) -> dict[str, Any] | None:
        """x as `__cuda_array_interface__` describes it; None for what does not lie on a device.

        An array that does not say on which stream it was written (torch) comes by DLPack where it can, which makes the current
        stream wait for the stream of its own library. Raises BufferError where the library refuses to hand it out.
        """
        if isinstance(x, type):  # which has the methods of its objects
            return None
        try:
            interface = getattr(x, "__cuda_array_interface__", None)
        except RuntimeError as e:  # torch's word for a tensor that requires a gradient
            raise BufferError(str(e)) from e
        if interface is not None and (interface.get("stream") is not None or not hasattr(x, "__dlpack__")):
            return interface
        where = getattr(x, "__dlpack_device__", None)
        if where is None or int(where()[0]) not in CUDA_MEMORY:
            return interface
        try:
            array = self.xp.from_dlpack(x)  # calls __dlpack__(stream=the current one); copies nothing
        except (TypeError, ValueError, NotImplementedError) as e:  # a dtype that it does not know
            raise BufferError(str(e)) from e
        return dict(array.__cuda_array_interface__, owner=array)

    @abstractmethod
    def address(self, array: Any) -> int:
        """Where an array of `xp` begins."""

    @abstractmethod
    def array(self, view: Any) -> Any:
        """What a door has read, a DeviceArray, as an array of `xp` in the same memory, for products by `xp`."""

    def matmul(self, a: Any, b: Any, out: Any) -> None:
        """out [n,m] = a [n,k] · b [k,m], arrays of `xp` of one dtype and out C-contiguous; in a CUDA graph too."""
        self.xp.matmul(a, b, out=out)

    @property
    def capturing(self) -> bool:
        """Whether the caller's stream records a CUDA graph instead of running."""
        return False

    def upload(self, op: str, array: np.ndarray) -> Any:
        """What the host has, as a new array of `xp`.

        Raises RuntimeError while a CUDA graph is captured: the graph would record a copy out of a buffer that others are
        given before it is replayed.
        """
        if self.capturing:
            raise RuntimeError(f"{op}: an upload can not be captured in a CUDA graph; call it once before, or outside")
        return self.xp.asarray(array)

    @abstractmethod
    def host(self, array: Any, stream: int | None = None) -> np.ndarray:
        """A copy on the host; waits for a stream, by default the current one."""

    @abstractmethod
    def check_process(self, op: str) -> None:
        """Raise RuntimeError in a process that was forked after CUDA was in use: there it does not work."""

    def empty(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """A new array of `xp` from its memory pool, not initialized."""
        return self.xp.empty(shape, dtype)

    def zeros(self, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """A new array of zeros, which the current stream writes."""
        return self.xp.zeros(shape, dtype)

    def workspace(self, nbytes: int) -> Any:
        """Memory for one call, as bytes [nbytes], aligned to 256: free for work that the stream runs after it."""
        return self.empty(max(nbytes, 1), np.uint8)


class Stream(int):
    """The handle of a CuPy stream. CuPy destroys a stream that nobody holds, so who keeps a handle for later keeps this."""

    held: Any

    def __new__(cls, stream: Any) -> Self:
        handle = super().__new__(cls, stream.ptr)
        handle.held = stream
        return handle


@functools.cache
def process_of_cuda() -> int:
    """The process that was the first to ask for a device: its forks can not use one."""
    return os.getpid()


class Gpu(Device):
    """The current GPU, with CuPy's arrays, stream and pool. CuPy is imported when the first function runs."""

    def __init__(self, native: Any) -> None:
        self.native = native

    @property
    def xp(self) -> Any:
        return importlib.import_module("cupy")

    @property
    def stream(self) -> int:
        return Stream(self.xp.cuda.get_current_stream())

    @property
    def capturing(self) -> bool:
        return self.xp.cuda.get_current_stream().is_capturing()

    def address(self, array: Any) -> int:
        return array.data.ptr

    def array(self, view: Any) -> Any:
        if view.size == 0:
            return self.xp.empty(view.shape, view.dtype)
        memory = self.xp.cuda.UnownedMemory(view.address, view.nbytes, view)  # asarray() would wait for its stream
        return self.xp.ndarray(view.shape, view.dtype, self.xp.cuda.MemoryPointer(memory, 0))

    def matmul(self, a: Any, b: Any, out: Any) -> None:
        if not self.capturing or out.size <= 1 or not a.size:
            self.xp.matmul(a, b, out=out)  # without cuBLAS where out has one entry or a none
            return
        handle = self.xp.cuda.device.get_cublas_handle()
        _cublas.product(self, a, b, out, handle, self.xp._core._routines_linalg.get_compute_type(out.dtype))

    def host(self, array: Any, stream: int | None = None) -> np.ndarray:
        if stream is None:
            return array.get()
        return array.get(stream=self.xp.cuda.ExternalStream(int(stream)))

    def check_process(self, op: str) -> None:
        if os.getpid() != process_of_cuda():
            raise RuntimeError(f"{op}: this process was forked from one that uses CUDA; start it by the method spawn")
