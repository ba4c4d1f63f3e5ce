"""A product of two matrices while a CUDA graph is captured, by the cuBLAS that CuPy has loaded.

CuPy raises NotImplementedError for every product on a stream that is being captured (setStream of its cublas.pyx); cuBLAS itself
takes part in a capture. This is the call that cupy.matmul makes for two matrices (tensordot_core of its _routines_linalg.pyx),
with the same handle, operands, algorithm and type of computation, so that a graph has the bits of a call outside of it.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
from typing import Any

import numpy as np

N, T = 0, 1  # an operand as it lies, or transposed
DEFAULT, DEFAULT_TENSOR_OP = -1, 99  # cublasGemmAlgo_t
REAL = {np.dtype(np.float32): 0, np.dtype(np.float64): 1}  # cudaDataType
COMPUTE = {np.dtype(np.float32): (68, 69), np.dtype(np.float64): (70, 71)}  # cublasComputeType_t: as usual, pedantic
FAST_TF32 = 77
PEDANTIC, TF32 = 2, 7  # what CuPy calls them


@functools.cache
def library() -> ctypes.CDLL:
    """The functions of cuBLAS, found through the module of CuPy that is linked to it."""
    cublas = ctypes.CDLL(importlib.import_module("cupy_backends.cuda.libs.cublas").__file__)
    pointer, number = ctypes.c_void_p, ctypes.c_int
    cublas.cublasSetStream_v2.argtypes = (pointer, pointer)
    cublas.cublasGemmEx.argtypes = (
        pointer, number, number, number, number, number, pointer, pointer, number, number, pointer, number, number, pointer,
        pointer, number, number, number, number,
    )  # fmt: skip
    return cublas


def operand(x: Any, as_it_lies: int) -> tuple[Any, int, int]:
    """x [k, n] with its operation and the distance of its columns in memory; a copy where neither rows nor columns lie close."""
    if x.flags.f_contiguous:
        return x, as_it_lies, max(x.strides[1] // x.itemsize, x.shape[0])
    x = x if x.flags.c_contiguous else x.copy()
    return x, 1 - as_it_lies, x.strides[0] // x.itemsize


def product(device: Any, a: Any, b: Any, out: Any, handle: int, kind: int) -> None:
    """out [n,m] = a [n,k] · b [k,m], C-contiguous and of one dtype, none empty, on the current stream.

    handle: of cuBLAS, for this thread; kind: the type of computation as CuPy numbers it. Raises RuntimeError with the status of
    cuBLAS.
    """
    cublas, dtype, (n, m) = library(), out.dtype, out.shape
    a, of_a, columns_a = operand(a.T, N)  # cuBLAS counts in columns: outᵀ = bᵀ · aᵀ
    b, of_b, columns_b = operand(b, T)
    one, zero = (np.full(1, value, dtype) for value in (1, 0))
    usual, pedantic = COMPUTE[dtype]
    tf32 = kind == TF32 and dtype == np.float32
    compute = FAST_TF32 if tf32 else pedantic if kind == PEDANTIC else usual
    algorithm = DEFAULT_TENSOR_OP if device.native.properties()["major"] >= 8 else DEFAULT
    real, address = REAL[dtype], device.address
    status = cublas.cublasSetStream_v2(handle, int(device.stream)) or cublas.cublasGemmEx(
        handle, of_b, of_a, m, n, b.shape[0], one.ctypes.data, address(b), real, columns_b, address(a), real, columns_a,
        zero.ctypes.data, address(out), real, m, compute, algorithm,
    )  # fmt: skip
    if status:
        raise RuntimeError(f"cublasGemmEx of {a.shape[::-1]} and {b.shape}: status {status}")
