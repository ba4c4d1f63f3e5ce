"""What the cuda column asks of CuPy, torch and cuBLAS, with stand-ins that answer as those do: tests/test_cuda.py asks them."""

import gc
import importlib
import os
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from pyasr.ops._cuda import _cublas
from pyasr.ops._cuda._device import Device, Gpu, Stream, process_of_cuda
from pyasr.ops._cuda._door import CudaDoor

NATIVE = SimpleNamespace(current_device=lambda: 0, device_of=lambda p: 0, properties=lambda: {"major": 9})


class Cublas:
    """cublasGemmEx as its documentation has it, over memory of the host: matrices by columns, alpha and beta by address."""

    def __init__(self, status=0):
        self.status, self.streams, self.calls = status, [], []

    def cublasSetStream_v2(self, handle, stream):
        self.streams.append(stream)
        return 0

    def cublasGemmEx(
        self, handle, of_a, of_b, m, n, k, one, a, type_a, lda, b, type_b, ldb, zero, c, type_c, ldc, *how
    ):
        dtype = np.dtype(np.float32 if type_c == 0 else np.float64)

        def columns(address, rows, number, ld):
            step = dtype.itemsize
            flat = np.ctypeslib.as_array(
                (np.ctypeslib.as_ctypes_type(dtype) * ((number - 1) * ld + rows)).from_address(address)
            )
            return np.lib.stride_tricks.as_strided(flat, (rows, number), (step, ld * step))

        left = columns(a, *((m, k) if of_a == 0 else (k, m)), lda)
        right = columns(b, *((k, n) if of_b == 0 else (n, k)), ldb)
        out = columns(c, m, n, ldc)
        alpha, beta = columns(one, 1, 1, 1), columns(zero, 1, 1, 1)
        assert (alpha, beta) == (1, 0) and type_a == type_b == type_c
        out[...] = (left.T if of_a else left) @ (right.T if of_b else right)
        self.calls.append((handle, *how))
        return self.status


class Host(Device):
    native, xp, stream = NATIVE, np, 5

    def address(self, array):
        return array.ctypes.data

    def array(self, view):
        raise AssertionError

    def host(self, array, stream=None):
        raise AssertionError

    def check_process(self, op):
        pass


def matrix(rng, rows, columns, layout, dtype):
    x = rng.standard_normal((rows, columns)).astype(dtype)
    if layout == "transposed":
        return np.ascontiguousarray(x.T).T
    if layout == "strided":
        return np.concatenate([x, x], axis=1)[:, :columns]
    return x


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [(3, 5, 4), (1, 5, 4), (3, 1, 4), (3, 5, 1), (1, 1, 7), (1, 1, 1)], ids=str)
@pytest.mark.parametrize("right", ["by rows", "transposed", "strided"])
@pytest.mark.parametrize("left", ["by rows", "transposed", "strided"])
def test_cublas_is_asked_for_the_product(monkeypatch, left, right, size, dtype):
    rng, (n, k, m), fake = np.random.default_rng(0), size, Cublas()
    monkeypatch.setattr(_cublas, "library", lambda: fake)
    a, b = matrix(rng, n, k, left, dtype), matrix(rng, k, m, right, dtype)
    out = np.full((n, m), np.nan, dtype)
    _cublas.product(Host(), a, b, out, 77, 1)
    np.testing.assert_allclose(out, a @ b, rtol=1e-5)
    assert fake.streams == [5]
    assert fake.calls == [(77, 68 if dtype == "float32" else 70, 99)]


def test_cublas_is_told_how_cupy_computes(monkeypatch):
    fake, x = Cublas(), np.ones((2, 2), "f4")
    monkeypatch.setattr(_cublas, "library", lambda: fake)
    for kind in (_cublas.PEDANTIC, _cublas.TF32):
        _cublas.product(Host(), x, x, np.empty((2, 2), "f4"), 0, kind)
        _cublas.product(Host(), x.astype("f8"), x.astype("f8"), np.empty((2, 2)), 0, kind)
    assert [how[1] for how in fake.calls] == [69, 71, 77, 70]


def test_an_error_of_cublas_is_one(monkeypatch):
    monkeypatch.setattr(_cublas, "library", lambda: Cublas(status=13))
    x = np.ones((2, 2), "f4")
    with pytest.raises(RuntimeError, match=r"cublasGemmEx of \(2, 2\) and \(2, 2\): status 13"):
        _cublas.product(Host(), x, x, x.copy(), 0, 1)


class CupyStream:
    """A stream that is destroyed with its last reference, as CuPy's are."""

    def __init__(self, ptr, capturing=False):
        self.ptr, self.is_capturing = ptr, lambda: capturing


def gpu(monkeypatch, stream, **names):
    """A Gpu over a stand-in for CuPy whose current stream is this."""
    cuda = SimpleNamespace(get_current_stream=lambda: stream(), device=SimpleNamespace(get_cublas_handle=lambda: 77))
    linalg = SimpleNamespace(get_compute_type=lambda dtype: 1)
    cupy = SimpleNamespace(cuda=cuda, _core=SimpleNamespace(_routines_linalg=linalg), **names)
    monkeypatch.setattr(Gpu, "xp", cupy)
    return Gpu(NATIVE)


def test_a_handle_keeps_its_stream(monkeypatch):
    stream = CupyStream(9)
    alive = weakref.ref(stream)
    handle = CudaDoor(gpu(monkeypatch, alive), "op").stream()
    del stream
    gc.collect()
    assert handle == 9 and alive() is not None
    del handle
    gc.collect()
    assert alive() is None


@pytest.mark.parametrize("capturing", [False, True])
def test_products_go_past_cupy_where_it_refuses(monkeypatch, capturing):
    asked = []

    def matmul(a, b, out):
        if capturing and out.size > 1:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        asked.append("CuPy")

    stream = CupyStream(9, capturing)
    device = gpu(monkeypatch, lambda: stream, matmul=matmul)
    monkeypatch.setattr(_cublas, "product", lambda device, a, b, out, handle, kind: asked.append((handle, kind)))
    device.matmul(np.ones((3, 4)), np.ones((4, 2)), np.ones((3, 2)))
    device.matmul(np.ones((1, 4)), np.ones((4, 1)), np.ones((1, 1)))
    assert asked == [(77, 1) if capturing else "CuPy", "CuPy"]


def test_a_handle_is_a_number():
    handle = Stream(CupyStream(9))
    assert {handle} - {9} == set()
    assert type(int(handle)) is int


class Tensor:
    """What torch's tensors do when they are asked."""

    def __init__(self, asked=None, given=None):
        self.asked, self.given = asked, given

    @property
    def __cuda_array_interface__(self):
        if self.asked:
            raise self.asked
        return {"shape": (3,), "typestr": "<f4", "data": (64, False), "version": 2}

    def __dlpack_device__(self):
        return 2, 0

    def __dlpack__(self, **_):
        raise self.given


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor(asked=RuntimeError("it requires grad")),
        Tensor(given=BufferError("it requires grad")),
        Tensor(given=NotImplementedError("it requires grad")),
        Tensor(given=TypeError("it requires grad")),
    ],
)
def test_a_tensor_that_is_not_handed_out_is_refused_by_name(monkeypatch, tensor):
    device = gpu(monkeypatch, lambda: CupyStream(0), from_dlpack=lambda x: x.__dlpack__())
    with pytest.raises(TypeError, match="op: x can not be taken: it requires grad"):
        CudaDoor(device, "op").read("x", tensor, "P", np.float32)


def test_a_fork_of_the_process_that_asked_the_driver_is_refused(monkeypatch):
    process_of_cuda()
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(RuntimeError, match="op: this process was forked from one that uses CUDA"):
        CudaDoor(Gpu(NATIVE), "op")


def test_cupy_has_what_is_asked_of_it():
    """Signatures alone: that needs no GPU."""
    pytest.importorskip("cupy", reason="CuPy is not installed")
    assert importlib.import_module("cupy.cuda.device").get_cublas_handle
    assert importlib.import_module("cupy._core._routines_linalg").get_compute_type
    assert importlib.import_module("cupy.cuda").Stream.is_capturing
