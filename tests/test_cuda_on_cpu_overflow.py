"""The rule by which the updates skip a step, on the emulated device as in the reference: entries of grad_scale * grad that are
beyond the dtype, where those of grad are not, and norms that are so without them."""

import numpy as np
import pytest

from pyasr.ops import backend
from pyasr.ops._update import SEGMENT

SIZE = 2051
TABLE = np.array([(0, 1200, 3, 400, 1.0, 1.0, 1), (1300, 500, 5, 100, 1.0, 1.0, 0)], SEGMENT)
CLIPS = {
    "none": None,
    "norm": ("norm", 1.0),
    "value": ("value", 0.5),
    "adaptive": ("adaptive", 0.1),
    "change": ("max_change", 0.1, 0.2),
}
# dtype, entry 1199, the other entries, grad_scale, the sum of squares where it is known
GRADIENTS = {
    "an entry": ("f4", 2e38, 0.0, 2.0, 4e76),
    "an entry, by a negative scale": ("f4", 2e38, 1.0, -2.0, 4e76),
    "no entry, the norm": ("f4", 1e38, 1e38, 1.0, SIZE * 1e76),
    "just below": ("f4", np.finfo("f4").max, 0.0, 1.0, float(np.finfo("f4").max) ** 2),
    "just above": ("f4", np.finfo("f4").max, 0.0, 1 + 2.0**-20, float(np.finfo("f4").max) ** 2),
    "NaN, and a large sum": ("f4", np.nan, 0.0, 2.0, 4e76),
    "infinite, and a sum that does not say so": ("f4", np.inf, 0.0, 1.0, 4.0),
    "zero times infinity": ("f4", np.inf, 0.0, 0.0, np.inf),
    "float64, an entry": ("f8", 1e154, 0.0, 1e155, 1e308),
    "float64, no entry": ("f8", 1e153, 0.0, 1.2e155, 1e306),
    "float64, the norm": ("f8", 1e308, 1e308, 1.0, np.inf),
    "float64, a small scale": ("f8", 1e308, 1e308, 1e-300, np.inf),
}
SKIPPED = {  # which of them where nothing is known
    "an entry", "an entry, by a negative scale", "just above", "NaN, and a large sum", "zero times infinity",
    "infinite, and a sum that does not say so", "float64, an entry", "float64, the norm", "float64, a small scale",
}  # fmt: skip


def one(x):
    return np.array(x, np.float64)


def step(ops, gradient, clip, *, known=False, device=False, segments=None, shift=0, nonfinite="skip"):
    dtype, large, rest, scale, total = GRADIENTS[gradient]
    value, grad = np.ones(SIZE + shift, dtype)[shift:], np.full(SIZE + shift, rest, dtype)[shift:]
    grad[1199], grad[1250] = large, rest if segments is None else np.nan  # which lies in no segment
    numbers = {"grad_scale": scale} | ({"sum_squares": total} if known else {})
    if device:
        numbers = {name: one(x) for name, x in numbers.items()}
    with np.errstate(all="ignore"):
        info = ops.clip_sgd(value, grad, lr=1e-3, clip=CLIPS[clip], nonfinite=nonfinite, segments=segments, **numbers)
    return tuple(info), value


def same(got, want):
    (got, value), (want, wanted_value) = got, want
    assert got[2] == want[2]
    np.testing.assert_allclose(got, want, rtol=1e-6)
    np.testing.assert_allclose(value, wanted_value, rtol=1e-5)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("known", [False, True])
def test_the_device_skips_as_the_reference(emulated, gradient, clip, known):
    want = step(backend("numpy"), gradient, clip, known=known)
    for more in ({}, {"device": True}, {"device": True, "shift": 1}):
        same(step(emulated, gradient, clip, known=known, **more), want)
    if not known:
        assert want[0][2] == (gradient in SKIPPED)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("clip", CLIPS)
def test_by_segments_and_not_between_them(emulated, gradient, clip):
    want = step(backend("numpy"), gradient, clip, segments=TABLE)
    for device in (False, True):
        same(step(emulated, gradient, clip, segments=TABLE, device=device), want)
    assert want[0][2] == (gradient in SKIPPED)


@pytest.mark.parametrize("gradient", GRADIENTS)
@pytest.mark.parametrize("known", [False, True])
def test_propagate_skips_nothing(emulated, gradient, known):
    want = step(backend("numpy"), gradient, "value", known=known, nonfinite="propagate")
    for device in (False, True):
        same(step(emulated, gradient, "value", known=known, device=device, nonfinite="propagate"), want)
    assert not want[0][2]
