"""The LSTM on the emulated device, beyond its cases: plans for real devices, the same bits from all, what `saved` owns."""

import itertools
import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import rows

DEVICES = runpy.run_path(str(Path(__file__).parent / "cuda_on_cpu" / "column.py"))["DEVICES"]
SHAPES = [
    (T, B, H, S, False)
    for T, B, H, S in itertools.product((0, 500), (0, 1, 7, 32, 129), (1, 17, 128, 512, 1024, 4000), (1, 2))
]


def device(name):
    return *DEVICES[name], *divmod(int(name.removeprefix("sm_")), 10)


@pytest.mark.parametrize("name", DEVICES)
def test_a_persistent_plan_fits_on_the_device(emulated, name):
    processors, threads, per_block, per_processor, _ = DEVICES[name]
    native = emulated.device.native
    for shape, backward, is_double in itertools.product(SHAPES, (False, True), (False, True)):
        _, B, H, S, _ = shape
        persistent, units, batch, groups, blocks, group_rows, shared = native.lstm_plan(
            device(name), shape, backward, is_double
        )
        assert blocks == groups * S * -(-H // units)
        assert (groups - 1) * group_rows < B <= groups * group_rows or B == 0
        assert group_rows % (batch * 32 // units) == 0
        assert shared <= per_block
        if persistent:
            assert blocks <= processors
            assert shared + 1024 <= per_processor
            assert native.lstm_threads <= threads
            weights = 4 * units * H * (8 if is_double else 4)
            assert shared >= weights


@pytest.mark.parametrize(
    ("name", "shape", "persistent"),
    [
        ("sm_75", (500, 32, 128, 1, False), True),
        ("sm_75", (500, 32, 512, 1, False), False),
        ("sm_80", (500, 32, 512, 2, False), True),
        ("sm_80", (500, 32, 1024, 1, False), False),
        ("sm_86", (500, 32, 512, 1, False), True),
        ("sm_89", (500, 32, 512, 2, False), True),
        ("sm_90", (500, 32, 512, 2, False), True),
        ("sm_90", (500, 32, 1024, 1, False), True),
        ("sm_90", (500, 32, 1024, 2, False), False),
        ("sm_90", (2**31, 32, 512, 1, False), False),  # more frames than a counter counts
        ("sm_90", (500, 0, 512, 1, False), False),
    ],
)
def test_what_does_not_fit_is_refused(emulated, name, shape, persistent):
    for backward in (False, True):
        assert emulated.device.native.lstm_plan(device(name), shape, backward, False)[0] is persistent


def test_two_directions_on_an_h100_take_every_processor_but_four(emulated):
    plan = emulated.device.native.lstm_plan(device("sm_90"), (500, 32, 512, 2, False), False, False)
    assert plan == (True, 16, 8, 2, 128, 16, 163840)


def example(row, size=(4, 6, 3, 21, 2, "state"), dtype="float64"):
    return rows()[row].example(np.random.default_rng(1), size, np.dtype(dtype))


def gradients(kwargs):
    return {n: np.zeros_like(a) for n, a in kwargs.items()}


def everything(ops, dtype):
    """The results of all three rows."""
    (forward, dy, *dstates), kwargs = example("lstm_backward", dtype=dtype)
    (_, *tangents), more = example("lstm_jvp", dtype=dtype)
    *states, saved = ops.lstm_forward(*forward[0], **forward[1])
    grads = gradients(kwargs)
    back = ops.lstm_backward(saved, dy, *dstates, **grads)
    return [*states, *back, *grads.values(), *ops.lstm_jvp(saved, *tangents, **more)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_same_bits_from_every_plan(emulated, dtype):
    results = set()
    for resident, name in ((0, None), (1, None), (0, "sm_75"), (0, "sm_90")):
        emulated.resident(resident)
        emulated.properties(name)
        results.add(b"".join(a.tobytes() for a in everything(emulated, dtype)))
    assert len(results) == 1


@pytest.mark.parametrize("resident", [0, 1])
def test_backward_is_the_adjoint_of_jvp(emulated, resident):
    emulated.resident(resident)
    (forward, dy, *dstates), kwargs = example("lstm_backward")
    (_, *tangents), _ = example("lstm_jvp")
    saved = emulated.lstm_forward(*forward[0])[-1]
    active = np.arange(dy.shape[0])[:, None, None] < forward[0][1][:, None]
    grads = gradients(kwargs)
    cotangents = emulated.lstm_backward(saved, dy, *dstates, **grads)
    out = emulated.lstm_jvp(saved, *tangents)
    left = sum(float((a * b).sum()) for a, b in zip(out, (dy * active, *dstates), strict=True))
    into = (cotangents[0], *grads.values(), *cotangents[1:])
    right = sum(float((a * b).sum()) for a, b in zip(tangents, into, strict=True))
    assert left == pytest.approx(right, rel=1e-12)


def test_saved_does_not_depend_on_what_the_caller_does_later(emulated):
    (forward, dy, *dstates), kwargs = example("lstm_backward")
    args = forward[0]

    def back(saved):
        grads = gradients(kwargs)
        return [a.tobytes() for a in (*emulated.lstm_backward(saved, dy, *dstates, **grads), *grads.values())]

    *states, saved = emulated.lstm_forward(*args)
    want = back(saved)
    for a in (*args[1:], *states):  # all but x, of which it keeps a reference
        a[...] = 1
    assert back(saved) == want


def test_lengths_beyond_the_frames_count_as_the_nearer_end(emulated):
    args, _ = example("lstm_forward")
    x, lengths, *rest = args
    T = x.shape[0]
    lengths[:] = [T, 0, T, 0, 1, 2]
    want = emulated.lstm_forward(x, lengths, *rest)[:3]
    lengths[:] = [T + 1, -1, 2**31 - 1, -(2**31), 1, 2]
    for got, w in zip(emulated.lstm_forward(x, lengths, *rest)[:3], want, strict=True):
        np.testing.assert_array_equal(got, w)


def test_gradients_are_added_and_dx_is_left_out(emulated):
    (forward, dy, *dstates), kwargs = example("lstm_backward")
    saved = emulated.lstm_forward(*forward[0])[-1]
    zeros, ones = gradients(kwargs), {n: a + 1 for n, a in gradients(kwargs).items()}
    emulated.lstm_backward(saved, dy, *dstates, **zeros)
    dx, _, _ = emulated.lstm_backward(saved, dy, *dstates, need_dx=False, **ones)
    assert dx is None
    for name, grad in zeros.items():
        np.testing.assert_array_equal(ones[name], grad + 1)


def test_a_failed_launch_leaves_the_gradients_as_they_are(emulated):
    (forward, dy, *dstates), kwargs = example("lstm_backward")
    saved = emulated.lstm_forward(*forward[0])[-1]
    grads = gradients(kwargs)
    emulated.device.native.plant(2)
    with pytest.raises(RuntimeError, match=r"lstm_backward: cudaErrorMemoryAllocation"):
        emulated.lstm_backward(saved, dy, *dstates, **grads)
    assert not any(a.any() for a in grads.values())
    emulated.lstm_backward(saved, dy, *dstates, **grads)
    assert all(a.any() for a in grads.values())


def test_no_tangents_have_no_effect(emulated):
    saved = emulated.lstm_forward(*example("lstm_forward")[0])[-1]
    assert not any(a.any() for a in emulated.lstm_jvp(saved))


def test_frames_of_a_saved_state(emulated):
    args, _ = example("lstm_forward")
    assert emulated.lstm_forward(*args)[-1].frames == args[1].sum()


def test_a_projection_is_refused(emulated):
    args, kwargs = example("lstm_forward", (3, 2, 3, 4, 1, "projection"))
    with pytest.raises(ValueError, match=r"lstm_forward: projection must be None on a CUDA device, got ndarray"):
        emulated.lstm_forward(*args, **kwargs)


def test_bad_arguments_are_named(emulated):
    args, _ = example("lstm_forward")
    saved = emulated.lstm_forward(*args)[-1]
    with pytest.raises(ValueError, match=r"lstm_forward: w_hh must have shape \(S, 4\*H, R\)"):
        emulated.lstm_forward(*args[:3], args[3][:, :, 1:].copy(), *args[4:])
    with pytest.raises(
        TypeError, match=r"lstm_backward: saved must come from lstm_forward of the same backend, got tuple"
    ):
        emulated.lstm_backward((), args[0], dw_ih=None, dw_hh=None, dbias=None)
    with pytest.raises(TypeError, match=r"lstm_backward: dw_ih must be a CUDA array, got NoneType"):
        emulated.lstm_backward(saved, np.zeros((4, 6, 42)), dw_ih=None, dw_hh=None, dbias=None)
    with pytest.raises(ValueError, match=r"lstm_jvp: dpeephole must be None, as forward had no such weight"):
        emulated.lstm_jvp(saved, dpeephole=np.zeros((2, 63)))
    with pytest.raises(ValueError, match=r"lstm_forward: cell_clip must lie in \[0\.0, 1e\+30\], got -1\.0"):
        emulated.lstm_forward(*args, cell_clip=-1.0)
