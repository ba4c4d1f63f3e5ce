"""The C entry points: a compiled Cython user, a Numba user, a C++ user and the raw capsule call the dispatched kernel."""

import ctypes
import importlib.util
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import backend, why_not

pytestmark = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
COMPILER = shutil.which("g++") or shutil.which("c++")

USER = """
# cython: language_level=3
from libc.math cimport INFINITY
from pyasr.kernels cimport clip_sgd

def step(float[::1] value, const float[::1] grad, double lr, double limit):
    cdef double norm
    with nogil:
        norm = clip_sgd(&value[0], &grad[0], NULL, value.shape[0], lr, 0.0, 0.0, limit, 0)
    return norm
"""


def problem(n=1000):
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, n)).astype("f4")


def expected(value, grad, buffer=None, **options):
    """The row's own answer on copies."""
    value, buffer = value.copy(), None if buffer is None else buffer.copy()
    info = backend("cpp").clip_sgd(value, grad, buffer=buffer, **options)
    return info.norm, value, buffer


def entry(name, result, *arguments):
    """A function of pyasr.kernels, called through its address."""
    import pyasr.kernels

    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    signature = ctypes.pythonapi.PyCapsule_GetName
    signature.restype, signature.argtypes = ctypes.c_char_p, [ctypes.py_object]
    capsule = pyasr.kernels.__pyx_capi__[name]
    return ctypes.CFUNCTYPE(result, *arguments)(pointer(capsule, signature(capsule)))


P, N, D, I = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_double, ctypes.c_int


@pytest.fixture(scope="module")
def clip_sgd():
    return entry("clip_sgd", D, P, P, P, N, D, D, D, D, I)


def test_entry_point_updates_in_place(clip_sgd):
    value, grad, buffer = problem()
    want = expected(value, grad, buffer, lr=0.1, momentum=0.9, weight_decay=0.01, clip=("norm", 1.0))
    norm = clip_sgd(value.ctypes.data, grad.ctypes.data, buffer.ctypes.data, 1000, 0.1, 0.9, 0.01, 1.0, 2)
    assert norm == want[0]
    np.testing.assert_array_equal(value, want[1])
    np.testing.assert_array_equal(buffer, want[2])


def test_entry_point_reports_what_it_cannot_do(clip_sgd):
    value, grad, _ = problem()
    before = value.copy()
    assert (
        clip_sgd(value.ctypes.data, grad.ctypes.data, None, 1000, 0.1, 0.9, 0.0, np.inf, 1) == -1
    )  # momentum, no buffer
    assert clip_sgd(None, grad.ctypes.data, None, 1000, 0.1, 0.0, 0.0, np.inf, 1) == -1
    grad[500] = np.nan
    assert np.isnan(clip_sgd(value.ctypes.data, grad.ctypes.data, None, 1000, 0.1, 0.0, 0.0, np.inf, 1))
    np.testing.assert_array_equal(value, before)


def test_ctc_entry_point():
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((9, 2, 5)).astype("f4")
    lengths, labels, label_lengths = (
        np.array([9, 6], "i4"),
        np.array([[1, 1, 2], [3, 4, 0]], "i4"),
        np.array([3, 2], "i4"),
    )
    loss, dlogits = np.empty(2, "f4"), np.empty_like(logits)
    ctc_loss = entry("ctc_loss", I, P, P, P, P, P, P, N, N, N, N, ctypes.c_int32, I, I)
    arrays = [a.ctypes.data for a in (logits, lengths, labels, label_lengths, loss, dlogits)]
    assert ctc_loss(*arrays, 9, 2, 5, 3, 0, 0, 1) == 0
    want = backend("cpp").ctc_loss(logits, lengths, labels, label_lengths)
    np.testing.assert_array_equal(loss, want[0])
    np.testing.assert_array_equal(dlogits, want[1])
    labels[0, 0] = 5
    assert ctc_loss(*arrays, 9, 2, 5, 3, 0, 0, 1) == -2
    labels[0, 0], lengths[1] = 1, 10
    assert ctc_loss(*arrays, 9, 2, 5, 3, 0, 0, 1) == -2


def test_cg_entry_point():
    A = np.array([[4, 1, 0], [1, 3, 1], [0, 1, 2]], "f4")
    b, x = np.array([1, 2, 3], "f4"), np.zeros(3, "f4")
    cg = entry("cg", ctypes.c_int64, P, P, P, N, D, D, ctypes.c_int64, I)
    assert cg(A.ctypes.data, b.ctypes.data, x.ctypes.data, 3, 1e-6, 0.0, 30, 0) == 0
    np.testing.assert_array_equal(x, backend("cpp").cg(A, b, rtol=1e-6)[0])
    A[0, 1] = 2
    assert cg(A.ctypes.data, b.ctypes.data, x.ctypes.data, 3, 1e-6, 0.0, 30, 0) == -(2**63)
    assert cg(None, b.ctypes.data, x.ctypes.data, 3, 1e-6, 0.0, 30, 0) == -(2**63)


@pytest.mark.skipif(COMPILER is None, reason="no C++ compiler")
@pytest.mark.skipif(importlib.util.find_spec("Cython") is None, reason="Cython is not installed")
def test_cython_user(tmp_path, monkeypatch):
    source = tmp_path / "pyasr_user.pyx"
    source.write_text(USER)
    # An editable install keeps pyasr/kernels.pxd in the source tree: let Cython find it where Python does.
    roots = {str(Path(p).parent) for p in pyasr.__path__}
    include = [a for root in roots for a in ("-I", root)]
    subprocess.run([sys.executable, "-m", "cython", "--cplus", *include, str(source)], check=True, cwd=tmp_path)
    target = tmp_path / f"pyasr_user{sysconfig.get_config_var('EXT_SUFFIX')}"
    flags = ["-shared", "-fPIC", "-O1", f"-I{sysconfig.get_path('include')}"]
    subprocess.run([COMPILER, *flags, str(source.with_suffix(".cpp")), "-o", str(target)], check=True)
    monkeypatch.syspath_prepend(str(tmp_path))
    user = importlib.import_module("pyasr_user")
    value, grad, _ = problem()
    want = expected(value, grad, lr=0.1, clip=("norm", 1.0))
    assert user.step(value, grad, 0.1, 1.0) == want[0]
    np.testing.assert_array_equal(value, want[1])


@pytest.mark.skipif(importlib.util.find_spec("numba") is None, reason="Numba is not installed")
def test_numba_user():
    import numba
    from numba.extending import get_cython_function_address

    address = get_cython_function_address("pyasr.kernels", "clip_sgd")
    kind = ctypes.CFUNCTYPE(
        ctypes.c_double, *[ctypes.c_size_t] * 3, ctypes.c_size_t, *[ctypes.c_double] * 4, ctypes.c_int
    )
    clip_sgd = kind(address)

    @numba.njit
    def steps(value, grad, count):
        norm = 0.0
        for _ in range(count):
            norm = clip_sgd(value.ctypes.data, grad.ctypes.data, 0, value.size, 0.1, 0.0, 0.0, 1.0, 1)
        return norm

    value, grad, _ = problem()
    want = value
    for _ in range(3):
        norm, want, _ = expected(want, grad, lr=0.1, clip=("norm", 1.0))
    assert steps(value, grad, 3) == norm
    np.testing.assert_array_equal(value, want)


@pytest.mark.skipif(shutil.which("cmake") is None or COMPILER is None, reason="no CMake or no C++ compiler")
def test_cpp_user_finds_the_headers(tmp_path):
    import pyasr._cpu

    prefix = Path(pyasr._cpu.__file__).parent
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.25)\nproject(user LANGUAGES CXX)\n"
        f"find_package(pyasr {'.'.join(pyasr.__version__.split('.')[:2])} CONFIG REQUIRED)\n"
        "add_executable(user user.cpp)\ntarget_link_libraries(user PRIVATE pyasr::headers)\n"
    )
    (tmp_path / "user.cpp").write_text(
        "#include <pyasr/capi.h>\n#include <pyasr/clip_sgd.hpp>\n"
        "int main() { return sizeof(PyasrApi) > sizeof(size_t) && PYASR_API_CAPSULE[0] == 'p' ? 0 : 1; }\n"
    )
    for command in (
        ["cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}"],
        ["cmake", "--build", "build"],
        ["build/user"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
