"""The criteria: value, gradient and curvature hang together, and masks hold."""

import numpy as np
import pytest

import pyasr
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not

COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None]


def i4(*values):
    return np.array(values, np.int32)


def loss_cases():
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((6, 4, 5))
    lengths = i4(6, 4, 2, 6)
    labels = i4([1, 2, -1], [3, 3, -1], [4, 4, -1], [-1, -1, -1])  # the third can not be aligned
    frame_labels = rng.integers(0, 5, (6, 4), np.int32)
    frame_labels[2, 1], frame_labels[:, 2] = -1, -1
    for column in COLUMNS:
        ops = pyasr.backend(column)
        yield pytest.param(Ctc(ops), logits, lengths, labels, id=f"ctc-{column}")
        yield pytest.param(Ctc(ops, reduction="sum"), logits, lengths, labels, id=f"ctc-sum-{column}")
        yield pytest.param(SoftmaxCrossEntropy(ops), logits, lengths, frame_labels, id=f"frames-{column}")
        yield pytest.param(SoftmaxCrossEntropy(ops), logits[0], None, i4(0, 4, -1, 2), id=f"rows-{column}")


@pytest.mark.parametrize(("criterion", "logits", "lengths", "labels"), [*loss_cases()])
def test_gradient_is_that_of_value(criterion, logits, lengths, labels):
    direction, h = np.random.default_rng(5).standard_normal(logits.shape), 1e-5
    up, down = (criterion(logits + s * h * direction, lengths, labels).value for s in (1, -1))
    loss = criterion(logits, lengths, labels)
    assert isinstance(loss.value, float) and loss.count == 3
    np.testing.assert_allclose((loss.grad * direction).sum(), (up - down) / (2 * h), rtol=1e-7)
    used = loss.losses[np.isfinite(loss.losses)]
    factor = 1 / loss.count if criterion._mean else 1
    np.testing.assert_allclose(loss.value, factor * used.sum(), rtol=1e-14)


@pytest.mark.parametrize(("criterion", "logits", "lengths", "labels"), [*loss_cases()])
def test_curvature_is_symmetric_semidefinite_and_zero_where_the_gradient_is_masked(criterion, logits, lengths, labels):
    loss = criterion(logits, lengths, labels)
    H = np.stack([loss.curvature(e.reshape(logits.shape)).ravel() for e in np.eye(logits.size)])
    np.testing.assert_allclose(H, H.T, atol=1e-16)
    assert np.linalg.eigvalsh(H).min() >= -1e-15
    masked = (np.broadcast_to((loss.grad == 0).all(-1, keepdims=True), logits.shape)).ravel()
    assert masked.any() and not H[masked].any() and not H[:, masked].any()
    assert (np.diag(H)[~masked] > 0).all()


@pytest.mark.parametrize("column", COLUMNS)
def test_curvature_of_cross_entropy_is_its_hessian(column):
    rng, h = np.random.default_rng(6), 1e-5
    logits, v = rng.standard_normal((2, 5, 3, 4))
    criterion, labels, lengths = (
        SoftmaxCrossEntropy(pyasr.backend(column)),
        rng.integers(-1, 4, (5, 3), np.int32),
        i4(5, 4, 2),
    )
    up, down = (criterion(logits + s * h * v, lengths, labels).grad for s in (1, -1))
    np.testing.assert_allclose(
        criterion(logits, lengths, labels).curvature(v), (up - down) / (2 * h), rtol=1e-7, atol=1e-10
    )


def test_curvature_of_ctc_is_the_prior_part_of_its_hessian():
    """Hessian = prior − posterior covariance of the path: with one possible path the posterior part is gone."""
    rng, h = np.random.default_rng(6), 1e-5
    logits, v = rng.standard_normal((2, 3, 1, 4))
    criterion, labels, lengths = Ctc(pyasr.backend()), i4([1, 3, 2]), i4(3)
    up, down = (criterion(logits + s * h * v, lengths, labels).grad for s in (1, -1))
    np.testing.assert_allclose(
        criterion(logits, lengths, labels).curvature(v), (up - down) / (2 * h), rtol=1e-7, atol=1e-10
    )


def test_criteria_leave_out_what_can_not_be_aligned_unless_told():
    ops, logits, lengths, labels = pyasr.backend(), np.zeros((2, 2, 3)), i4(2, 2), i4([1, 2], [1, 1])
    loss = Ctc(ops)(logits, lengths, labels)
    assert loss.count == 1 and loss.losses.tolist()[1] == np.inf and not loss.grad[:, 1].any()
    assert Ctc(ops, zero_infinity=False)(logits, lengths, labels).value == np.inf
    none = Ctc(ops)(logits[:, 1:].copy(), lengths[1:], labels[1:])
    assert none.value == 0 and none.count == 0 and not none.grad.any()
    logits[0, 0, 0] = np.nan
    assert np.isnan(Ctc(ops)(logits, lengths, labels).value)


def test_criteria_name_what_does_not_fit():
    ops = pyasr.backend()
    with pytest.raises(ValueError, match='Ctc: reduction must be "mean" or "sum"'):
        Ctc(ops, reduction="none")
    with pytest.raises(ValueError, match="SoftmaxCrossEntropy: logits must have shape"):
        SoftmaxCrossEntropy(ops)(np.zeros((2, 3)), None, i4(1))
    with pytest.raises(ValueError, match="SoftmaxCrossEntropy: lengths must be None for"):
        SoftmaxCrossEntropy(ops)(np.zeros((2, 3)), i4(1, 1), i4(1, 1))
    with pytest.raises(ValueError, match="curvature: v must have shape"):
        SoftmaxCrossEntropy(ops)(np.zeros((2, 3)), None, i4(1, 1)).curvature(np.zeros(3))
    frames = np.zeros((4, 2, 3)), i4(4, 4), np.zeros((4, 2), "i4")
    for position, bad in (
        (0, [[0.0]]), (0, frames[0].astype("f2")), (1, [4, 4]), (1, np.array([4.0, 4.0])), (1, i4(4, 5)), (1, i4(-1, 4)),
        (1, i4(4)), (2, [[0]]), (2, frames[2].astype("i8")), (2, None),
    ):  # fmt: skip
        arguments = [bad if i == position else a for i, a in enumerate(frames)]
        with pytest.raises((TypeError, ValueError), match=r"^SoftmaxCrossEntropy: (logits|lengths|labels) must .*got"):
            SoftmaxCrossEntropy(ops)(*arguments)
    for labels in (None, [[1]], i4(1), np.ones((2, 1))):
        with pytest.raises((TypeError, ValueError), match=r"^Ctc: labels must .*got"):
            Ctc(ops)(np.zeros((4, 2, 3)), i4(4, 4), labels)
    for v in (None, [1.0], np.zeros((2, 3), "f4")):
        with pytest.raises(TypeError, match=r"curvature: v must .*got"):
            SoftmaxCrossEntropy(ops)(np.zeros((2, 3)), None, i4(1, 1)).curvature(v)
    for criterion in (Ctc, SoftmaxCrossEntropy):
        with pytest.raises(TypeError, match=r"ops must be a pyasr.backend\(\), got NoneType"):
            criterion(None)
    with pytest.raises(ValueError, match=r"softmax_cross_entropy: labels must lie in \[-1, V = 3\), got 3 at 1"):
        SoftmaxCrossEntropy(ops)(np.zeros((2, 3)), None, i4(1, 3))


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("symbols", [1, 3, 40])
def test_softmax_rows_with_infinities(column, symbols):
    logits = np.zeros((5, symbols))
    logits[1, 0], logits[2, -1], logits[3], logits[4, 0] = np.nan, np.inf, -np.inf, -np.inf
    loss, grad = pyasr.backend(column).softmax_cross_entropy(logits, i4(0, -1, 0, 0, 0))
    assert np.isfinite(loss[:2]).all() and not grad[1].any()
    assert np.isnan(loss[2:4]).all() and np.isnan(grad[2:4]).all()
    assert np.isnan(loss[4]) if symbols == 1 else loss[4] == np.inf and grad[4, 0] == -1


@pytest.mark.parametrize("column", COLUMNS)
def test_an_infinite_cross_entropy_takes_no_part(column):
    logits = np.random.default_rng(8).standard_normal((3, 3, 4))
    logits[1, 2, 3] = -np.inf
    labels = np.full((3, 3), 3, np.int32)
    criterion = SoftmaxCrossEntropy(pyasr.backend(column))
    rows, frames = criterion(logits[1], None, labels[1]), criterion(logits, i4(3, 3, 3), labels)
    for loss, others in ((rows, criterion(logits[1, :2], None, labels[1, :2])),
                         (frames, criterion(logits[:, :2].copy(), i4(3, 3), labels[:, :2].copy()))):  # fmt: skip
        assert loss.count == 2 and loss.value == pytest.approx(others.value, rel=1e-15)
        assert np.isinf(loss.losses[2]) and not loss.grad[..., 2, :].any()
        np.testing.assert_allclose(loss.grad[..., :2, :], others.grad, rtol=1e-14)
        assert not loss.curvature(np.ones_like(loss.grad))[..., 2, :].any()


@pytest.mark.filterwarnings("error")
def test_logits_that_overflow_have_a_curvature_in_silence():
    logits = np.array([3e38, -3e38, 0], np.float32).reshape(1, 1, 3)
    one = np.ones(1, np.int32)
    v = np.ones_like(logits)
    assert not Ctc(pyasr.backend("numpy"))(logits, one, np.array([[1]], "i4"), one).curvature(v).any()
    logits[0, 0, 0] = np.inf  # no softmax: value, gradient and curvature are NaN
    assert np.isnan(Ctc(pyasr.backend("numpy"))(logits, one, np.array([[1]], "i4"), one).curvature(v)).all()


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_sum_curvature_is_that_of_the_sum(reduction):
    rng = np.random.default_rng(8)
    logits, v = rng.standard_normal((2, 6, 3, 4))
    loss = Ctc(pyasr.backend(), reduction=reduction)(logits, i4(6, 5, 4), np.array([[1, 2], [3, -1], [2, 2]], "i4"))
    times = 3 if reduction == "mean" else 1
    np.testing.assert_allclose(loss.sum_curvature(v), times * loss.curvature(v), rtol=1e-14)
