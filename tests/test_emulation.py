"""The emulation of CUDA on the CPU: every word of csrc/cuda/launch.cuh, and what it says of kernels that break the rules."""

import re
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.optim import Sgd

HERE = Path(__file__).parent
SHARED = runpy.run_path(str(HERE / "cuda_on_cpu" / "column.py"))
ORDERS = [(kind, seed) for kind in SHARED["SCHEDULES"] for seed in (0, 1, 2, 3)]
MISTAKES = {
    name: k
    for k, name in enumerate(
        re.findall(r"^  (\w+),$", (HERE / "cuda_on_cpu" / "probes.hpp").read_text(), re.MULTILINE),
    )
}


@pytest.fixture(params=ORDERS, ids=lambda o: f"{o[0]}-{o[1]}")
def native(emulated, request):
    emulated.schedule(*request.param)
    emulated.resident(64)
    return emulated.device.native


def array(*shape):
    return np.full(shape, -1, np.int32)


def test_indices_of_three_dimensions(native):
    for grid, block in (((2, 3, 2), (4, 3, 5)), ((70, 1, 1), (33, 1, 1)), ((1, 1, 3), (2, 8, 64))):
        out = array(int(np.prod(grid) * np.prod(block)))
        native.probe_indices(out.ctypes.data, grid, block)
        np.testing.assert_array_equal(out, 1 + np.arange(out.size))


def test_warp_operations(native):
    out, t = array(12, 64), np.arange(64)
    native.probe_warp_operations(out.ctypes.data, 64)
    warp, lane = t // 32 * 32, t % 32
    want = [
        warp + 5,
        t // 8 * 8 + (t + 3) % 8,
        np.where(lane >= 1, t - 1, t),
        np.where(t % 4 >= 2, t - 2, t),
        np.where(lane < 16, t + 16, t),
        np.where(t % 2 == 0, t + 1, t),
        t ^ 1,
        np.where((t ^ 9) > (t | 7), t, t ^ 9),  # earlier segments can be read, later ones can not
        np.where(warp == 0, 0x49249249, 0x92492492).astype(np.uint32).view(np.int32),
        warp == 32,
        warp == 0,
        np.where(warp == 0, 496, 496 + 1024),
    ]
    for k, row in enumerate(want):
        np.testing.assert_array_equal(out[k], row, err_msg=f"operation {k}")


def test_lanes_that_are_not_there(native):
    out = array(12, 40)
    native.probe_warp_operations(out.ctypes.data, 40)
    np.testing.assert_array_equal(out[0], [5] * 32 + [37] * 8)
    np.testing.assert_array_equal(out[9], [0] * 40)


def test_shared_memory_of_both_kinds_belongs_to_the_block(native):
    out = array(3, 64)
    native.probe_block_exchange(out.ctypes.data, 3, 64)
    sized = np.arange(64)[::-1]
    np.testing.assert_array_equal(out, 64 * np.arange(3)[:, None] + sized + 1000 * np.roll(sized, -1))


def test_barriers_of_warp_and_grid(native):
    out = array(64)
    native.probe_warp_exchange(out.ctypes.data)
    np.testing.assert_array_equal(out, np.arange(64) ^ 1)
    out = array(8)
    native.probe_grid_sum(out.ctypes.data, 7)
    np.testing.assert_array_equal(out, [*range(1, 8), 28])


def steps(native, groups=3, count=9):
    out, counters = array(groups, count, 2), np.full(groups, 77, np.uint32)
    native.probe_group_steps(out.ctypes.data, counters.ctypes.data, groups, count)
    return out


def test_group_barrier(native):
    want = [(1, 2)]
    for _ in range(8):
        want.append((sum(want[-1]), sum(want[-1]) + 1))
    np.testing.assert_array_equal(steps(native), [want] * 3)


def test_atomics(native):
    out = array(4)
    out[0] = 0
    native.probe_atomics(out.ctypes.data, 5)
    assert out[:2].tolist() == [200, 199]
    assert 0 <= out[2] < 200
    assert 0 <= out[3] < 200


def test_memory_begins_as_poison(native):
    out, counter = np.zeros(64, np.int32), np.zeros(1, np.uint32)
    native.probe_mistake(MISTAKES["reads_unwritten"], out.ctypes.data, counter.ctypes.data)
    assert (out == -1).all()


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("divergent_block", r"threads of a block wait at different barriers, 1[12] and 1[12]"),
        ("divergent_warp", r"threads of a warp wait at different places, the warp operation of line \d+ and "),
        ("leaves_block", r"a thread left while others of its block wait at 13 \(thread \(\d+,0,0\) of block"),
        ("leaves_warp", r"a thread left while others of its warp wait at 14"),
        ("leaves_grid", r"a thread left while others of the grid wait at 15"),
        ("dead_end", r"nothing can go on: 126 threads wait at block barrier 17, 2 threads wait at group barrier 17 "
         r"for a counter of 2 to reach 3"),
        ("grid_barrier_alone", r"barrier 18 of the grid in a launch that is not cooperative"),
    ],
)  # fmt: skip
def test_broken_rules_are_errors_with_words(native, mistake, words):
    out, counter = array(64), np.zeros(1, np.uint32)
    for _ in range(2):  # and the next launch begins anew
        counter[:] = 0
        with pytest.raises(RuntimeError, match=f"probe: the emulated grid: {words}"):
            native.probe_mistake(MISTAKES[mistake], out.ctypes.data, counter.ctypes.data)
        assert native.last_error() == 0


# 1 and 2 around shared memory, 3 within a warp, 4 of the grid, 5 and 6 of a group
@pytest.mark.parametrize("barrier", [1, 2, 3, 4, 5, 6])
def test_a_barrier_that_is_left_out_shows_under_some_order(emulated, barrier):
    native = emulated.device.native
    emulated.resident(64)

    def results():
        outs = [array(3, 64), array(64), array(8), array(3, 9, 2)]
        native.probe_block_exchange(outs[0].ctypes.data, 3, 64)
        native.probe_warp_exchange(outs[1].ctypes.data)
        native.probe_grid_sum(outs[2].ctypes.data, 7)
        outs[3] = steps(native)
        return b"".join(o.tobytes() for o in outs)

    want, wrong = results(), 0
    for order in ORDERS:
        emulated.schedule(*order)
        with emulated.without(barrier):
            wrong += results() != want
    assert wrong > 0


def test_launches_that_a_device_refuses(emulated):
    native, out = emulated.device.native, array(2000)
    emulated.resident(3)
    with pytest.raises(RuntimeError, match="cudaErrorCooperativeLaunchTooLarge"):
        native.probe_grid_sum(out.ctypes.data, 4)
    with pytest.raises(RuntimeError, match="cudaErrorInvalidConfiguration"):
        native.probe_warp_operations(out.ctypes.data, 1025)
    emulated.properties("sm_86")
    fixed = 64 * 4  # what the kernel declares itself counts too
    native.probe_large_shared(out.ctypes.data, (99 << 10) - fixed)
    with pytest.raises(RuntimeError, match="101377 bytes of shared memory, of which the device has 101376"):
        native.probe_large_shared(out.ctypes.data, (99 << 10) - fixed + 1)
    with pytest.raises(RuntimeError, match="cudaErrorInvalidValue"):
        native.probe_large_shared(out.ctypes.data, (99 << 10) + 1)


def test_properties_are_those_of_the_current_device(emulated):
    emulated.properties("sm_80")
    assert emulated.device.native.properties() == {
        "processors": 108, "threads_per_processor": 2048, "shared_per_block": 163 << 10,
        "shared_per_processor": 164 << 10, "l2": 40 << 20, "major": 8, "minor": 0,
    }  # fmt: skip
    emulated.properties("sm_75")
    assert emulated.device.native.properties()["processors"] == 40


def test_arrays_of_the_device_begin_as_poison(emulated):
    x = emulated.xp.empty((3, 5), np.float32)
    assert np.isnan(x).all()
    assert x.ctypes.data % 256 == 0
    assert emulated.xp.zeros(4).tolist() == [0.0] * 4
    assert emulated.device.workspace(0).nbytes == 1


def test_a_model_may_lie_on_it(emulated):
    params = pyasr.Params(emulated.backend)
    params.declare("weights", (5, 3))
    params.init(seed=0)
    params.value[:], params.grad[:] = 1, 2
    optimizer = Sgd(params, momentum=0.9, clip=None)
    info = optimizer.step(lr=0.25)
    assert (params["weights"] == 0.5).all()
    assert info.norm == pytest.approx(np.linalg.norm(params.grad))


def test_device_arrays_are_as_strict_as_those_of_cupy(emulated):
    xp = emulated.backend.xp
    x = xp.asarray(np.arange(6.0).reshape(2, 3))
    for mixed in (
        lambda: x + np.ones(3),
        lambda: xp.where(x > 1, x, np.ones(3)),
        lambda: xp.add(x, x, out=np.ones((2, 3))),
    ):
        with pytest.raises(TypeError, match="Unsupported type"):
            mixed()
    with pytest.raises(TypeError, match="Unsupported type"):
        x[0] = np.ones(3)
    with pytest.raises(TypeError, match="must be a CUDA array, got ndarray"):
        emulated.backend.softmax_cross_entropy(x, np.zeros(2, "i4"))
    total, kind = x.sum(), emulated.arrays["DeviceArray"]
    assert {type(a) for a in (total, x[0, 1], x.max(0), x @ x.T, xp.concatenate([x, x]))} == {kind}
    assert (total.shape, x[0, 1].shape, x[:, 1].get().tolist()) == ((), (), [1, 4])
    x += x  # in place, and without a look
    assert float(total) == 15
    assert x.get().sum() == 30


def test_looks_at_the_device_are_counted(emulated):
    xp, arrays = emulated.backend.xp, emulated.arrays
    x, reads = xp.asarray(np.ones(3)), arrays["DeviceArray"].reads
    before = len(reads)
    float(x.sum()), int(x[0]), bool(x.any()), x.get(), x[0].item(), x.tolist()
    assert reads[before:] == ["float", "int", "bool", "get", "item", "tolist"]
    x[x > 0], xp.flatnonzero(x)
    x[x > 0] = 2
    assert reads[before + 6 :] == ["mask", "flatnonzero", "mask"]
    with arrays["unread"](), pytest.raises(arrays["HostRead"], match=r"bool\(\) waits for the device"):
        x.any() or None
    assert bool(x.any())


NVCC = shutil.which("nvcc")


@pytest.mark.skipif(NVCC is None, reason="no nvcc")
def test_nvcc_knows_the_same_words(tmp_path):
    folder = HERE / "cuda_on_cpu"
    shutil.copy(folder / "probes.cu", tmp_path)
    shutil.copy(folder / "probes.hpp", tmp_path)  # beside it, without the emulation's headers
    flags = ["-std=c++20", "-arch=sm_75", "-c", "-Werror", "all-warnings", f"-I{folder.parent.parent / 'csrc'}"]
    subprocess.run([NVCC, *flags, "probes.cu", "-o", "probes.o"], cwd=tmp_path, check=True)
