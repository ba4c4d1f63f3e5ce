"""The cuda column: short functions that hand CuPy's memory and stream to the kernels of pyasr._cuda."""

from __future__ import annotations


def why_not() -> str | None:
    """Why there is no GPU to run on; None when there is one."""
    from pyasr.ops._op import native

    if native("_cuda") is None:
        return "this install was built without CUDA kernels (no nvcc was found)"
    return None
