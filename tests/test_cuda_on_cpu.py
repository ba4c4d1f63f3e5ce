"""The CUDA kernels themselves, compiled by a C++ compiler over tests/cuda_on_cpu/emulation.hpp: results against the reference
under several schedules, and a wrong answer when any one barrier is left out.
"""

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import rows

HERE = Path(__file__).parent
CSRC = HERE.parent / "csrc"
COMPILER = shutil.which("g++")
pytestmark = [
    pytest.mark.skipif(COMPILER is None, reason="no g++"),
    pytest.mark.skipif(not CSRC.is_dir(), reason="the C++ sources are not beside the tests"),
]
SCHEDULES = [0, 1, 2, 3, 4]
ROW = rows()["clip_sgd"]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    target = tmp_path_factory.mktemp("cuda_on_cpu") / "clip_sgd.so"
    command = [
        COMPILER, "-std=c++20", "-O1", "-shared", "-fPIC", "-DPYASR_CUDA_ON_CPU", "-Wno-unknown-pragmas", "-U_FORTIFY_SOURCE",
        f"-I{CSRC}", f"-I{CSRC / 'include'}", f"-I{HERE / 'cuda_on_cpu'}", str(HERE / "cuda_on_cpu" / "clip_sgd.cpp"),
    ]  # fmt: skip
    subprocess.run([*command, "-o", str(target)], check=True)
    return ctypes.CDLL(str(target))


def run(library, value, grad, *, lr, resident=3, seed=0, skip=0, **o):
    """The kernel on NumPy arrays, in place; (error, norm, scale, skipped)."""
    kind, limit = o.get("clip") or ("", 0.0)
    report = np.full(3, np.nan)
    buffer = o.get("buffer")
    address = ctypes.c_void_p
    error = library.clip_sgd(
        int(value.dtype == np.float64), address(value.ctypes.data), address(grad.ctypes.data),
        address(None if buffer is None else buffer.ctypes.data), ctypes.c_size_t(value.size), ctypes.c_double(lr),
        ctypes.c_double(o.get("momentum", 0.0)), ctypes.c_double(o.get("dampening", 0.0)), int(o.get("nesterov", False)),
        ctypes.c_double(o.get("weight_decay", 0.0)), int(o.get("decoupled", False)), ["", "norm", "value"].index(kind),
        ctypes.c_double(limit), int(o.get("step") == 0), int(o.get("nonfinite") == "propagate"), resident, seed, skip,
        address(report.ctypes.data),
    )  # fmt: skip
    return (error, *report.tolist())


def example(size, dtype, scale=1.0):
    rng = np.random.default_rng(size)
    return [scale * rng.standard_normal(size).astype(dtype) for _ in range(3)]


OPTIONS = {
    "plain": {},
    "norm": {"clip": ("norm", 1.0), "momentum": 0.9},
    "value": {"clip": ("value", 0.5), "momentum": 0.9, "dampening": 0.1},
    "nesterov": {"clip": ("norm", 2.0), "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "first step": {"momentum": 0.9, "dampening": 0.5, "step": 0, "weight_decay": 0.1, "decoupled": True},
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", [0, 1, 3, 1023, 1025, 5003])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_agrees_with_reference(library, dtype, size, options):
    value, grad, buffer = example(size, dtype)
    buffer = buffer if "momentum" in options else None
    want_value, want_buffer = value.copy(), None if buffer is None else buffer.copy()
    want = ROW.reference(want_value, grad, lr=0.1, buffer=want_buffer, **options)
    error, *got = run(library, value, grad, lr=0.1, buffer=buffer, **options)
    assert error == 0
    np.testing.assert_allclose(got, want, rtol=ROW.tolerance[dtype])
    for g, w in ((value, want_value), (buffer, want_buffer)):
        assert g is None or np.linalg.norm(g - w) <= ROW.tolerance[dtype] * max(1.0, np.linalg.norm(w))


def test_same_bits_for_any_grid_schedule_and_alignment(library):
    results = set()
    for seed in SCHEDULES:
        for resident, shift in ((1, 0), (2, 0), (5, 1), (9, 3)):
            value, grad, buffer = (np.zeros(5003 + shift, "f4")[shift:] for _ in range(3))
            for target, source in zip((value, grad, buffer), example(5003, "f4"), strict=True):
                target[:] = source
            run(library, value, grad, lr=0.1, buffer=buffer, resident=resident, seed=seed, **OPTIONS["norm"])
            results.add(value.tobytes() + buffer.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_float64_norm_neither_over_nor_underflows(library, scale):
    value, grad, _ = example(3000, "float64", scale)
    error, norm, *_ = run(library, value, grad, lr=0.0)
    assert error == 0
    assert norm == pytest.approx(scale * np.linalg.norm(grad / scale), rel=1e-14)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradient_is_skipped_on_the_device(library, bad):
    value, grad, _ = example(3000, "float32")
    grad[2999], before = bad, value.copy()
    error, _, scale, skipped = run(library, value, grad, lr=0.1, clip=("norm", 1.0))
    assert (error, scale, skipped) == (0, 1.0, 1.0)
    np.testing.assert_array_equal(value, before)
    assert run(library, value, grad, lr=0.1, nonfinite="propagate")[3] == 0.0
    assert not np.isfinite(value[2999])


# 1 to 3 in block_sum, 4 between the passes, 5 in the second sum that only extreme float64 gradients need. Barrier 3 guards
# the shared sums between two block_sum calls whose results all threads use, and those are the two sums of that case.
@pytest.mark.parametrize("barrier", [1, 2, 3, 4, 5])
def test_every_barrier_is_needed(library, barrier):
    scale, dtype = (1e200, "float64") if barrier in (3, 5) else (1.0, "float32")
    wrong = 0
    for seed in SCHEDULES:
        value, grad, _ = example(5003, dtype, scale)
        want = value.copy()
        ROW.reference(want, grad, lr=0.1, clip=("norm", scale))
        error, *_ = run(library, value, grad, lr=0.1, clip=("norm", scale), seed=seed, skip=barrier)
        with np.errstate(all="ignore"):
            wrong += error != 0 or not np.allclose(value / scale, want / scale, rtol=1e-5, atol=1e-6)
    assert wrong > 0
