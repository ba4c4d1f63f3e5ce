"""clip_sgd on the emulated device, beyond its cases: any grid and alignment, extreme norms, decisions that the device takes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def example(size, dtype="float32", scale=1.0):
    rng = np.random.default_rng(size)
    return [scale * rng.standard_normal(size).astype(dtype) for _ in range(3)]


def test_same_bits_for_any_grid_and_alignment(emulated):
    results = set()
    for resident, shift in ((1, 0), (2, 0), (5, 1), (9, 3)):
        value, grad, buffer = (np.zeros(5003 + shift, "f4")[shift:] for _ in range(3))
        for target, source in zip((value, grad, buffer), example(5003), strict=True):
            target[:] = source
        emulated.resident(resident)
        emulated.clip_sgd(value, grad, lr=0.1, buffer=buffer, clip=("norm", 1.0), momentum=0.9)
        results.add(value.tobytes() + buffer.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_float64_norm_neither_over_nor_underflows(emulated, scale):
    value, grad, _ = example(3000, "float64", scale)
    assert emulated.clip_sgd(value, grad, lr=0.0).norm == pytest.approx(scale * np.linalg.norm(grad / scale), rel=1e-14)


def test_norms_of_float64_subnormals(emulated):
    assert emulated.clip_sgd(np.zeros(4), np.full(4, 5e-324), lr=0.0).norm == 1e-323


def test_a_factor_that_float32_rounds_as_a_subnormal_is_applied_exactly(emulated):
    value, grad = np.zeros(4, "f4"), np.full(4, 3e38, "f4")
    emulated.clip_sgd(value, grad, lr=-1.0, clip=("norm", 1e-6))
    np.testing.assert_allclose(value, 5e-7, rtol=1e-6)


def test_without_momentum_the_buffer_is_neither_read_nor_written(emulated):
    value, grad, _ = example(100)
    want, buffer = value - np.float32(0.5) * grad, np.full(100, np.nan, "f4")
    emulated.clip_sgd(value, grad, lr=0.5, buffer=buffer, dampening=0.5)
    np.testing.assert_allclose(value, want, rtol=1e-6)
    assert np.isnan(buffer).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nonfinite_gradient_is_skipped_on_the_device(emulated, bad):
    value, grad, _ = example(3000)
    grad[2999], before = bad, value.copy()
    info = emulated.clip_sgd(value, grad, lr=0.1, clip=("norm", 1.0))
    assert (info.scale, info.skipped) == (1.0, True)
    np.testing.assert_array_equal(value, before)
    with pytest.raises(ValueError, match=r"clip_sgd: grad must be finite, got a norm of (nan|inf)"):
        emulated.clip_sgd(value, grad, lr=0.1, nonfinite="raise")
    np.testing.assert_array_equal(value, before)
    assert not emulated.clip_sgd(value, grad, lr=0.1, nonfinite="propagate").skipped
    assert not np.isfinite(value[2999])


@pytest.mark.parametrize("shape", [(3,), (0,)])
def test_arrays_of_other_libraries_come_by_dlpack(emulated, shape):
    """As JAX hands them out: no interface of CUDA, a device of kDLCUDA, and a stream in the call."""
    asked = []

    class Array:
        def __init__(self, array):
            self.array = array

        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **options):
            asked.append(options)
            return self.array.__dlpack__(max_version=(1, 0))  # older ones are read-only to NumPy

    value, grad = np.ones(shape, "f4"), np.ones(shape, "f4")
    emulated.clip_sgd(Array(value), Array(grad), lr=0.5)
    np.testing.assert_array_equal(value, np.full(shape, 0.5))
    assert asked == [{"stream": 1}] * 2


def test_an_array_that_its_library_keeps_is_refused(emulated):
    class Array:
        def __dlpack_device__(self):
            return 2, 0

        def __dlpack__(self, **options):
            raise BufferError("it needs a gradient")

    with pytest.raises(TypeError, match=r"clip_sgd: value can not be taken: it needs a gradient"):
        emulated.clip_sgd(Array(), np.ones(3, "f4"), lr=0.5)


def test_an_error_is_consumed(emulated):
    value, grad, _ = example(100)
    before = value.copy()
    emulated.device.native.plant(2)
    with pytest.raises(RuntimeError, match=r"clip_sgd: cudaErrorMemoryAllocation"):
        emulated.clip_sgd(value, grad, lr=0.1)
    np.testing.assert_array_equal(value, before)
    assert emulated.device.native.last_error() == 0
    emulated.clip_sgd(value, grad, lr=0.1)
    assert (value != before).any()


# In a process of its own, because that is what becomes useless.
AFTER_FAULT = """
import runpy, sys
import numpy as np
shared = runpy.run_path(sys.argv[1])
ops = shared["column"]()
value, grad = np.ones(3, "f4"), np.ones(3, "f4")
ops.device.native.plant(700)
for _ in range(3):
    try:
        ops.clip_sgd(value, grad, lr=0.1)
    except ops.device.native.DeviceFault as e:
        print(e)
assert (value == 1).all()
"""


def test_after_a_device_fault_every_call_says_to_restart(emulated):
    column = Path(__file__).parent / "cuda_on_cpu" / "column.py"
    command = [sys.executable, "-c", AFTER_FAULT, str(column)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/").stdout.splitlines()
    assert len(lines) == 3
    for line in lines:
        assert "the device failed (cudaErrorIllegalAddress" in line
        assert line.endswith("and this process can not use it any more: restart the process")
