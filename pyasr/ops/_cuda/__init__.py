"""The cuda column: functions that check device arrays at the door and hand their addresses to the kernels of pyasr._cuda.

An argument is anything with `__cuda_array_interface__` or `__dlpack__` (CuPy, torch, JAX, Numba): nothing is converted or
copied. Work is queued on CuPy's current stream and the host does not wait. Workspaces come from CuPy's pool.

To add a family: csrc/cuda/<family>.cu and csrc/bind/cuda_<family>.cpp, its name in cmake/cuda.cmake, and here a module
<family>.py whose functions have the names of rows and take the Device before the arguments of the row.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any

from pyasr.ops._cuda._device import Device, Gpu, process_of_cuda


def why_not() -> str | None:
    """Why there is no GPU to run on; None when there is one."""
    from pyasr import _build
    from pyasr.ops._op import native

    module = native("_cuda")
    if module is None and not _build.NATIVE:
        return "this install has no native code (PYASR_PURE=1)"
    if module is None:
        return "this install was built without CUDA kernels (no GPU or no nvcc was found; PYASR_CUDA=ON insists)"
    process_of_cuda()
    reason = module.problem()
    if reason is None and importlib.util.find_spec("cupy") is None:
        reason = 'CuPy is not installed: pip install "pyasr-kernels[cuda]"'
    return reason


@functools.cache
def families() -> tuple[str, ...]:
    """The families with kernels, in alphabetical order."""
    return tuple(sorted(i.name for i in pkgutil.iter_modules(__path__) if not i.name.startswith("_")))


@functools.cache
def functions() -> dict[str, Callable]:
    """The functions of the column by the name of their row; each takes the Device first."""
    from pyasr.ops._op import rows

    modules = [importlib.import_module(f"{__name__}.{family}") for family in families()]
    return {name: getattr(m, name) for m in modules for name in rows() if hasattr(m, name)}


class Column:
    """The column on one device: a namespace with one function per row that it has, and `xp`, the library of its arrays."""

    name = "cuda"

    def __init__(self, device: Device) -> None:
        self.device = device

    @property
    def xp(self) -> Any:
        return self.device.xp

    def __getattr__(self, op: str) -> Callable:
        if op.startswith("_") or op not in functions():
            raise AttributeError(f"the cuda column has no {op!r}; it has {', '.join(functions())}")
        function = functools.partial(functions()[op], self.device)
        self.__dict__[op] = function
        return function


@functools.cache
def column() -> Column:
    """The column on the current GPU; the arrays are CuPy's."""
    return Column(Gpu(importlib.import_module("pyasr._cuda")))
