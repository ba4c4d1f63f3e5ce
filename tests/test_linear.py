"""A linear support vector machine: its minimum where it is known, and single digits of real recordings."""

import os
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.features import resize
from pyasr.linear import linear_svm
from pyasr.losses import Hinge

FSDD = Path(os.environ.get("PYASR_DATA", "")) / "fsdd"
needs_fsdd = pytest.mark.skipif(
    not os.environ.get("PYASR_DATA") or not FSDD.is_dir(), reason="PYASR_DATA names no folder with fsdd"
)


def i4(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize(("penalty", "want"), [(4.0, 0.25), (8.0, 0.125), (0.5, 0.5)])
def test_two_points_have_the_minimum_that_is_known(penalty, want):
    """Of penalty·a² + max(0, 1 − 2a), over weights ±a at ±1: a = 1/penalty, or 1/2 where that is more."""
    weight, bias = linear_svm(np.array([[-1.0], [1.0]]), i4(0, 1), penalty=penalty, epochs=4000, batch_size=2)
    np.testing.assert_allclose(weight.ravel(), [-want, want], rtol=0.01)
    np.testing.assert_allclose(bias, 0, atol=0.01)


def test_iterates_and_their_mean_are_those_of_the_definition():
    """Two whole batches of features that are standardized: W_1 and W_2 by hand, the mean (W_1 + 2·W_2) / 3."""
    x, labels = np.array([[1.0, 1], [-1, 1], [1, -1], [-1, -1]]), i4(0, 1, 2, 1)
    rows, own = np.c_[x, np.ones(4)], np.eye(3)[labels]
    iterates, weight = [], np.zeros((3, 3))
    for step in (1, 2):
        scores = rows @ weight.T
        best = np.eye(3)[(scores - 1e9 * own).argmax(1)]
        hit = ((1 + (scores * best).sum(1) - (scores * own).sum(1)) > 0)[:, None]
        weight = (1 - 1 / step) * weight - (hit * (best - own)).T @ rows / 4 / (0.5 * step)
        iterates.append(weight)
    got, bias = linear_svm(x, labels, penalty=0.5, epochs=2, batch_size=4)
    want = (iterates[0] + 2 * iterates[1]) / 3
    np.testing.assert_allclose(np.c_[got, bias], want, rtol=1e-12, atol=1e-15)
    assert np.abs(want - (iterates[0] + iterates[1]) / 2).max() > 0.01


def clusters(seed, count=60, classes=4, size=5, spread=1.2):
    rng = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % classes
    return 3 * np.eye(classes, size)[labels] + spread * rng.standard_normal((count, size)), labels


def objective(weight, bias, x, labels, penalty):
    """Of features that are standardized already."""
    scores = x @ weight.T + bias
    return penalty / 2 * ((weight**2).sum() + (bias**2).sum()) + Hinge(pyasr.backend())(scores, None, labels).value


def test_nothing_near_is_lower():
    x, labels = clusters(0)
    x = (x - x.mean(0)) / x.std(0)
    weight, bias = linear_svm(x, labels, epochs=600)
    least, rng = objective(weight, bias, x, labels, 0.1), np.random.default_rng(1)
    for size in (0.3, 0.1, 0.03):
        around = [
            objective(weight + size * rng.standard_normal(weight.shape), bias, x, labels, 0.1) for _ in range(100)
        ]
        assert min(around) > least - 1e-4
    assert least < 0.95 * objective(0 * weight, 0 * bias, x, labels, 0.1)


def test_scale_and_offset_of_the_features_change_nothing():
    x, labels = clusters(3)
    scale, offset = np.array([1e-3, 1.0, 50.0, 7.0, 0.2]), np.array([5.0, -1e3, 0.0, 3.0, 1.0])
    weight, bias = linear_svm(x, labels)
    other, other_bias = linear_svm(x * scale + offset, labels)
    np.testing.assert_allclose(other * scale, weight, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose((x * scale + offset) @ other.T + other_bias, x @ weight.T + bias, atol=1e-6)


def test_a_feature_that_never_changes_is_left_out():
    x, labels = clusters(3)
    weight, bias = linear_svm(np.concatenate([x, np.full((len(x), 2), 0.1)], axis=1), labels)
    assert not weight[:, 5:].any()
    np.testing.assert_allclose(weight[:, :5], linear_svm(x, labels)[0], rtol=1e-12)
    assert np.isfinite(bias).all()


def test_the_same_bits_for_a_seed_and_others_for_another():
    x, labels = clusters(5)
    before = x.copy()
    first, again, other = (np.concatenate([a.ravel() for a in linear_svm(x, labels, seed=s)]) for s in (1, 1, 2))
    assert first.tobytes() == again.tobytes() != other.tobytes() and (x == before).all()


def test_words_that_differ_in_order_alone_are_told_apart():
    """Rising and falling tones of any length, as features that a mean over time would confuse."""
    rng, features, labels = np.random.default_rng(0), [], []
    for k in range(120):
        x = np.linspace(-1, 1, int(rng.integers(5, 40)))[:, None] * [1.0, -2.0] + 0.4 * rng.standard_normal((1, 2))
        features.append(resize(x if k % 2 else x[::-1].copy(), 8).ravel())
        labels.append(k % 2)
    x, labels = np.array(features), np.array(labels, np.int32)
    weight, bias = linear_svm(x[:80], labels[:80])
    assert ((x[80:] @ weight.T + bias).argmax(-1) == labels[80:]).all()


@needs_fsdd
def test_the_figure_of_the_readme():
    pytest.importorskip("soundfile", reason="recordings are read with it")
    judged = runpy.run_path(str(Path(__file__).parent.parent / "benchmarks" / "linear_svm.py"))["judged"]
    from pyasr.datasets import fsdd

    found = judged(fsdd.locate(FSDD, offline=True), 20, 0)
    assert found["penalty"] == 0.1 and abs(found["test"] - 97.0) < 1, found


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("x", (None, [[1.0]], np.zeros(3), np.zeros((3, 2), int), np.full((3, 2), np.nan), np.zeros((4, 3)).T)),
        ("labels", (None, [0, 1, 2], i4(0, 1), i4(0, -1, 1), np.zeros(3), np.zeros((3, 1), "i4"))),
        ("penalty", (0, -1.0, np.nan, "1", None)),
        ("epochs", (0, 1.0, True)),
        ("batch_size", (0, 2.5, None)),
        ("seed", (-1, 1.5, None)),
    ],
)
def test_what_is_wrong_is_named(name, values):
    call = partial(linear_svm, **{"x": np.eye(3), "labels": i4(0, 1, 2)})
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"^linear_svm: {name} must .*got"):
            call(**{name: value})
    with pytest.raises(ValueError, match="linear_svm: x must have rows"):
        linear_svm(np.zeros((0, 3)), i4())
