"""The hinge loss of many classes: its definition, its subgradient beside finite differences, what it refuses."""

import math

import numpy as np
import pytest

import pyasr
from pyasr.losses import Hinge, SoftmaxCrossEntropy


def i4(*values):
    return np.array(values, np.int32)


def by_definition(scores, label):
    others = np.delete(scores, label)
    return max(0.0, 1 + others.max() - scores[label]) if label >= 0 else 0.0


def cases():
    rng = np.random.default_rng(2)
    logits, labels = 2 * rng.standard_normal((7, 5, 6)), rng.integers(-1, 6, (7, 5), np.int32)
    labels[:, 3] = -1
    yield pytest.param(logits, i4(7, 4, 0, 7, 1), labels, id="frames")
    yield pytest.param(logits, None, labels, id="all-frames")
    yield pytest.param(logits[0], None, labels[0], id="rows")
    yield pytest.param(logits[:, :, :2].copy(), i4(7, 4, 0, 7, 1), np.minimum(labels, 1), id="two-classes")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("logits", "lengths", "labels"), [*cases()])
def test_value_and_subgradient(logits, lengths, labels, reduction):
    criterion = Hinge(pyasr.backend(), reduction=reduction)
    loss = criterion(logits, lengths, labels)
    rows = np.array(
        [by_definition(s, y) for s, y in zip(logits.reshape(-1, logits.shape[-1]), labels.ravel(), strict=True)]
    )
    rows = rows.reshape(labels.shape)
    takes_part = labels >= 0
    if lengths is not None:
        takes_part &= np.arange(len(labels))[:, None] < lengths
    losses, used = (
        (rows * takes_part, takes_part) if labels.ndim == 1 else ((rows * takes_part).sum(0), takes_part.any(0))
    )
    np.testing.assert_allclose(loss.losses, losses, rtol=1e-14)
    assert loss.count == used.sum() and loss.sum == pytest.approx(losses.sum(), rel=1e-14)
    assert loss.value == pytest.approx(losses.sum() / (used.sum() if reduction == "mean" else 1), rel=1e-14)
    # Finite differences, entry by entry: exact away from the kinks, which no case is near.
    top = np.sort(logits, axis=-1)
    assert np.diff(top[..., -3:], axis=-1).min() > 1e-3
    h, different = 1e-5, np.zeros(logits.shape)
    for at in np.ndindex(logits.shape):
        up, down = logits.copy(), logits.copy()
        up[at], down[at] = up[at] + h, down[at] - h
        different[at] = (criterion(up, lengths, labels).value - criterion(down, lengths, labels).value) / (2 * h)
    np.testing.assert_allclose(loss.grad, different, atol=1e-9)
    assert not loss.grad[~takes_part].any() and loss.grad.any()


def test_at_a_kink_the_subgradient_is_zero_or_takes_the_first_of_equals():
    loss = Hinge(pyasr.backend())(np.array([[1.0, 0, 0], [0, 2, 2]]), None, i4(0, 0))
    assert loss.losses.tolist() == [0, 3]
    assert (2 * loss.grad).tolist() == [[0, 0, 0], [-1, 1, 0]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtype_and_what_is_not_finite(dtype):
    criterion, nan, inf = Hinge(pyasr.backend()), math.nan, math.inf
    loss = criterion(np.array([[1, nan, 0], [2, 0, 0], [0, 0.5, 0]], dtype), None, i4(0, 0, -1))
    assert loss.grad.dtype == loss.losses.dtype == dtype
    assert math.isnan(loss.value) and np.isnan(loss.grad[0]).all() and not loss.grad[1:].any()
    loss = criterion(np.array([[-inf, 0, 0], [0, 0, inf], [inf, 0, 0], [0, -inf, 0]], dtype), None, i4(0, 0, 0, 0))
    assert loss.losses.tolist() == [inf, inf, 0, 1] and loss.count == 2 and loss.value == 0.5
    assert (2 * loss.grad).tolist() == [[0] * 3, [0] * 3, [0] * 3, [-1, 0, 1]]
    assert criterion(np.zeros((2, 1), dtype), None, i4(0, 0)).value == 0
    assert criterion(np.zeros((0, 3), dtype), None, i4()).value == 0


def test_there_is_no_curvature():
    loss = Hinge(pyasr.backend())(np.zeros((1, 2)), None, i4(0))
    with pytest.raises(ValueError, match="curvature: the hinge loss is piecewise linear and has none"):
        loss.curvature(np.zeros((1, 2)))


@pytest.mark.parametrize("criterion", [Hinge, SoftmaxCrossEntropy])
def test_what_does_not_fit_is_named(criterion):
    judge, name = criterion(pyasr.backend()), criterion.__name__
    frames = np.zeros((4, 2, 3)), i4(4, 4), np.zeros((4, 2), "i4")
    for position, bad in (
        (0, [[0.0]]), (0, frames[0].astype("f2")), (0, np.zeros((4, 2, 0))), (0, np.zeros((2, 3))), (1, [4, 4]), (1, i4(4, 5)),
        (1, i4(-1, 4)), (1, i4(4)), (2, frames[2].astype("i8")), (2, None), (2, i4([0])),
    ):  # fmt: skip
        arguments = [bad if i == position else a for i, a in enumerate(frames)]
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: (logits|lengths|labels) must .*got"):
            judge(*arguments)
    for label in (3, -2):
        with pytest.raises(ValueError, match=rf"labels must lie in \[-1, V = 3\), got {label} at 1"):
            judge(np.zeros((2, 3)), None, i4(1, label))
    with pytest.raises(ValueError, match=f'{name}: reduction must be "mean" or "sum"'):
        criterion(pyasr.backend(), reduction="none")
