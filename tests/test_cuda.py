"""The cuda column. What needs no GPU runs everywhere: the module loads, says why it cannot run, plans launches, guards its door.

tests/test_cuda_on_cpu.py runs the column with its kernels themselves without a GPU.
"""

import importlib
import os
import runpy
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import _compare, _cuda, backend, rows, why_not
from pyasr.ops._cuda import Column
from pyasr.ops._cuda._device import Gpu
from pyasr.ops._cuda._door import CudaDoor
from pyasr.ops._cuda.clip_sgd import DeviceStepInfo
from pyasr.ops._op import native
from pyasr.params import Params

HERE = Path(__file__).parent
SHARED = runpy.run_path(str(HERE / "cuda_on_cpu" / "cases.py"))
CASES = SHARED["cases"](_cuda.families())
cuda = native("_cuda")
needs_module = pytest.mark.skipif(cuda is None, reason="this install was built without CUDA kernels")
needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(why_not("cuda") is not None, reason=f"no GPU here: {why_not('cuda')}"),
]


class OnDevice:
    """A NumPy array that claims to live on a device."""

    def __init__(self, array, **changes):
        self.array = array
        interface = dict(array.__array_interface__, version=3, stream=None, **changes)
        interface.pop("descr", None)
        self.__cuda_array_interface__ = interface


def pretended(where):
    """The column on a pretended device 0, with the memory of arguments on device `where`; bad arguments reach no launch."""
    return Column(Gpu(type("Module", (), {"current_device": lambda: 0, "device_of": lambda p: where})))


@pytest.fixture
def column():
    return pretended(0)


@needs_module
def test_module_without_driver_says_why():
    reason = cuda.problem()
    assert reason is None or reason.startswith("cuda") or "device" in reason
    if reason is not None:
        assert why_not("cuda") == reason
        with pytest.raises(RuntimeError, match=r"backend: 'cuda' cannot run here"):
            backend("cuda")


@needs_module
def test_module_links_no_cuda_library():
    linked = subprocess.run(["ldd", cuda.__file__], capture_output=True, text=True, check=True).stdout
    assert "libcu" not in linked


@needs_module
@pytest.mark.parametrize("n", [0, 1, 1023, 1024, 1025, 1_048_576, 1_048_577, 10**7, 2**40])
@pytest.mark.parametrize("resident", [1, 36, 1056])
def test_plan_covers_every_parameter_once(n, resident):
    size, slots, blocks = cuda.update_plan(n, resident)
    assert size % 1024 == 0
    assert slots <= 1024
    assert (slots - 1) * size < n <= slots * size or n == slots == 0
    rounds = -(-slots // resident)  # of all resident blocks; fewer blocks take as many, each the same
    assert blocks == max(1, -(-slots // max(rounds, 1))) <= resident


@needs_module
def test_slots_depend_on_the_size_alone():
    assert {cuda.update_plan(10**7, resident)[:2] for resident in (1, 40, 2000)} == {cuda.update_plan(10**7, 7)[:2]}


def test_host_array_is_refused(column):
    value = np.zeros(3, "f4")
    with pytest.raises(TypeError, match=r"clip_sgd: value must be a CUDA array, got ndarray"):
        column.clip_sgd(value, value, lr=0.1)


@pytest.mark.parametrize(
    ("grad", "text"),
    [
        (np.zeros(4, "f4"), r"clip_sgd: grad must have shape \(P,\) with P = 3 from value, got \(4,\)"),
        (np.zeros(6, "f4")[::2], r"clip_sgd: grad must be C-contiguous, got a strided array"),
    ],
)
def test_bad_shape_and_layout_are_refused(column, grad, text):
    with pytest.raises(ValueError, match=text):
        column.clip_sgd(OnDevice(np.zeros(3, "f4")), OnDevice(grad), lr=0.1)


def test_bad_dtype_is_refused(column):
    with pytest.raises(TypeError, match=r"clip_sgd: grad must have dtype float32, got float64"):
        column.clip_sgd(OnDevice(np.zeros(3, "f4")), OnDevice(np.zeros(3)), lr=0.1)


def test_read_only_value_is_refused(column):
    value = np.zeros(3, "f4")
    value.flags.writeable = False
    with pytest.raises(ValueError, match=r"clip_sgd: value must be writable"):
        column.clip_sgd(OnDevice(value), OnDevice(np.zeros(3, "f4")), lr=0.1)


def test_overlap_is_refused(column):
    both = np.zeros(5, "f4")
    with pytest.raises(ValueError, match=r"clip_sgd: value and grad must not share memory"):
        column.clip_sgd(OnDevice(both[:4]), OnDevice(both[1:]), lr=0.1)


def test_array_of_another_device_is_refused():
    column = pretended(1)
    with pytest.raises(ValueError, match=r"value must be on device 0, the current one, got an array on device 1"):
        column.clip_sgd(OnDevice(np.zeros(3, "f4")), OnDevice(np.zeros(3, "f4")), lr=0.1)


def test_array_in_host_memory_is_refused():
    with pytest.raises(ValueError, match=r"value must be on device 0, the current one, got an array on host memory"):
        pretended(-1).clip_sgd(OnDevice(np.zeros(3, "f4")), OnDevice(np.zeros(3, "f4")), lr=0.1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_forked_process_is_told_to_spawn(column, monkeypatch):
    value = OnDevice(np.zeros(3, "f4"))
    with pytest.raises(ValueError, match="must not share memory"):  # CUDA is in use from here on
        column.clip_sgd(value, value, lr=0.1)
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with pytest.raises(RuntimeError, match=r"clip_sgd: this process was forked from one that uses CUDA"):
        column.clip_sgd(OnDevice(np.zeros(3, "f4")), OnDevice(np.zeros(3, "f4")), lr=0.1)


@pytest.mark.parametrize(("written_on", "waits"), [(None, []), (1, []), (7, [(0, 7)])])
def test_the_stream_waits_for_those_that_the_arguments_were_written_on(written_on, waits):
    seen = []

    class Module:
        current_device = staticmethod(lambda: 0)
        device_of = staticmethod(lambda p: 0)
        wait_for = staticmethod(lambda stream, producer: seen.append((stream, producer)))

    class Default(Gpu):
        stream = 0

    door = CudaDoor(Default(Module), "op")
    for name in ("x", "y"):
        array = OnDevice(np.zeros(3, "f4"))
        array.__cuda_array_interface__["stream"] = written_on
        door.read(name, array, "P", np.float32)
    assert door.stream() == 0
    assert seen == waits


def test_step_info_waits_only_when_looked_at():
    looks = []

    class Device:
        def host(self, report, stream):
            looks.append(stream)
            return report

    info = DeviceStepInfo(Device(), np.array([2.0, 0.5, 0.0]), "stream")
    assert not looks
    norm, scale, skipped = info
    assert (norm, scale, skipped) == (info.norm, info.scale, info.skipped) == (2.0, 0.5, False)
    assert looks == ["stream"]


@pytest.mark.gpu
@pytest.mark.skipif(why_not("cuda") is not None, reason=f"no GPU here: {why_not('cuda')}")
@pytest.mark.parametrize("case", CASES, ids=str)
def test_cases_of_the_emulation_agree_on_a_gpu(case):
    row = rows()[case.row]
    error = SHARED["worst_error"](case.outputs(backend("cuda")), case.outputs(backend("numpy")))
    assert error <= row.tolerance[case.dtype], f"differs by {error:.1e}; tolerance {row.tolerance} ({row.reason})"


class TestOnGpu:
    pytestmark = needs_gpu

    @pytest.fixture
    def cupy(self):
        return importlib.import_module("cupy")

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize("size", [0, 1, 7, 1023, 1025, 100_003, 3_000_017])
    @pytest.mark.parametrize(
        "options", [{}, {"nesterov": True}, {"clip": ("value", 0.5)}, {"weight_decay": 0.1, "step": 0}]
    )
    def test_agrees_with_reference(self, cupy, dtype, size, options):
        row = rows()["clip_sgd"]
        (value, grad), kwargs = row.example(np.random.default_rng(0), size, np.dtype(dtype))
        kwargs |= options
        device = [cupy.asarray(x) for x in (value, grad, kwargs["buffer"])]
        want = row.reference(value, grad, **kwargs)
        got = backend("cuda").clip_sgd(device[0], device[1], **{**kwargs, "buffer": device[2]})
        np.testing.assert_allclose(tuple(got), want, rtol=row.tolerance[dtype])
        for g, w in ((device[0], value), (device[2], kwargs["buffer"])):
            assert np.linalg.norm(g.get() - w) <= row.tolerance[dtype] * max(1.0, np.linalg.norm(w))

    def test_unaligned_views_give_the_same_bits(self, cupy):
        rng = np.random.default_rng(1)
        grad, results = rng.standard_normal(5001).astype("f4"), []
        for shift in (0, 1, 3):
            value, g = cupy.zeros(5004, "f4")[shift : shift + 5001], cupy.zeros(5004, "f4")[shift : shift + 5001]
            g[:] = cupy.asarray(grad)
            backend("cuda").clip_sgd(value, g, lr=0.1, clip=("norm", 1.0))
            results.append(value.get().tobytes())
        assert len(set(results)) == 1

    def test_numbers_of_the_device_are_neither_read_nor_waited_for(self, cupy):
        value, grad, mean, square, count = (cupy.zeros(n) for n in (3000, 3000, 3000, 3000, 1))
        grad[:] = 2
        scale = cupy.asarray(0.5)
        backend("cuda").adam(value, grad, mean, square, step=count, lr=0.1, grad_scale=scale)
        scale[...] = cupy.nan
        info = backend("cuda").adam(value, grad, mean, square, step=count, lr=0.1, grad_scale=scale)
        np.testing.assert_allclose(value.get(), -0.1)
        assert (float(count[0]), info.skipped, float(info.report[2])) == (1, True, 1)

    @pytest.mark.parametrize("clip", [("norm", 1.0), ("adaptive", 0.1), ("max_change", 0.1, 0.2)])
    def test_a_list_is_the_vector_with_its_segments_bit_for_bit(self, cupy, clip):
        params = Params(backend("numpy"))
        for i, shape in enumerate(((0, 3), (3, 5), (), (701, 301), (100_003,))):
            params.declare(f"w{i}", shape)
        params.init()
        rng = np.random.default_rng(0)
        value, grad = (cupy.asarray(rng.standard_normal(params.value.size).astype("f4")) for _ in range(2))
        table = params.segments()
        apart = [
            [
                x[o : o + n].reshape(r, c).copy()
                for o, n, r, c in table[["offset", "length", "rows", "columns"]].tolist()
            ]
            for x in (value, grad)
        ]
        one = backend("cuda").clip_sgd(value, grad, lr=0.1, clip=clip, segments=table)
        other = backend("cuda").clip_sgd(*apart, lr=0.1, clip=clip)
        assert tuple(one) == tuple(other)
        for x, (o, n) in zip(apart[0], table[["offset", "length"]].tolist(), strict=True):
            assert x.get().tobytes() == value[o : o + n].get().tobytes()

    def test_nonfinite_gradient_is_decided_on_the_device(self, cupy):
        value, grad = cupy.ones(3000, "f4"), cupy.ones(3000, "f4")
        grad[1234] = cupy.nan
        assert backend("cuda").clip_sgd(value, grad, lr=0.1).skipped
        assert bool((value == 1).all())
        with pytest.raises(ValueError, match="grad must be finite"):
            backend("cuda").clip_sgd(value, grad, lr=0.1, nonfinite="raise")

    def test_extreme_float64_norms_survive(self, cupy):
        for size in (1e-200, 1e200):
            value, grad = cupy.zeros(4, "f8"), cupy.full(4, size)
            assert backend("cuda").clip_sgd(value, grad, lr=0.0).norm == pytest.approx(2 * size)

    def test_runs_on_the_current_stream(self, cupy):
        value, grad = cupy.zeros(1000, "f4"), cupy.ones(1000, "f4")
        with cupy.cuda.Stream(non_blocking=True):
            info = backend("cuda").clip_sgd(value, grad, lr=1.0)
        assert info.norm == pytest.approx(1000**0.5)

    def test_threads_do_not_take_shared_memory_from_each_other(self, cupy):
        """Blocks of two sizes of the same kernel, one of which asks for more than 48 KB."""

        def forward(units, times):
            example = rows()["lstm_forward"].example(np.random.default_rng(0), (3, 4, 8, units, 1, ""), np.dtype("f4"))
            args = [cupy.asarray(a) for a in example[0]]
            return {backend("cuda").lstm_forward(*args)[0].get().tobytes() for _ in range(times)}

        want = {units: forward(units, 1) for units in (64, 512)}
        with ThreadPoolExecutor(2) as pool:
            found = {units: pool.submit(forward, units, 200) for units in want}
        assert {units: f.result() for units, f in found.items()} == want


def test_the_check_compares_a_device_column_too(monkeypatch):
    """With NumPy's arrays in the place of the device's: what --check does is prepare, run, copy back, compare."""

    class Library:
        asarray = staticmethod(lambda a: Device(a))

    class Device:
        def __init__(self, a):
            self.a = np.array(a)

        def get(self):
            return self.a

    class Report:
        def __init__(self, info):
            self.info = info

        def get(self):
            return self.info

    def clip_sgd(value, grad, *, buffer, **options):
        return Report(rows()["clip_sgd"].reference(value.a, grad.a, buffer=buffer.a, **options))

    fake = type("Ops", (), {"xp": Library, "clip_sgd": staticmethod(clip_sgd)})
    monkeypatch.setattr(_compare, "backend", lambda name: fake if name == "cuda" else backend(name))
    assert _compare.worst_error(rows()["clip_sgd"], "cuda", 67, "float32") == 0.0
    monkeypatch.setattr(
        fake, "clip_sgd", staticmethod(lambda *a, **k: Report(clip_sgd(*a, **k).get()._replace(norm=9)))
    )
    assert _compare.worst_error(rows()["clip_sgd"], "cuda", 67, "float32") > 0.1
