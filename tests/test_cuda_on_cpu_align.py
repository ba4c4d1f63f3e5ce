"""ctc_align on the emulated device, beyond its cases: ties, values that nobody has looked at, lost frames, many labels."""

import numpy as np
import pytest

import pyasr


def i4(*values):
    return np.array(values, np.int32)


def assert_same(got, want):
    np.testing.assert_array_equal(got[0], want[0])
    for g, w in zip(got[1:], want[1:], strict=True):
        np.testing.assert_allclose(g, w, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("labels", [5, 40])
def test_the_same_path_among_equals(emulated, labels):
    rng = np.random.default_rng(0)
    logits = rng.integers(0, 2, (90, 3, 4)).astype("f8")
    arguments = logits, i4(90, 80, 60), rng.integers(1, 4, (3, labels), np.int32), i4(labels, labels // 2, 1)
    assert_same(emulated.ctc_align(*arguments), pyasr.backend("numpy").ctc_align(*arguments))


def test_more_labels_than_a_block_has_threads(emulated):
    rng = np.random.default_rng(3)
    labels = rng.integers(1, 7, (1, 1100), np.int32)
    arguments = rng.standard_normal((1400, 1, 7)), i4(1400), labels, i4(1100)
    assert_same(emulated.ctc_align(*arguments), pyasr.backend("numpy").ctc_align(*arguments))


def test_lost_frames_and_impossible_labels(emulated):
    logits = np.random.default_rng(0).standard_normal((6, 4, 3))
    logits[2, 1, 2] = np.nan
    logits[:, 2, 1] = -np.inf
    arguments = logits, i4(6, 5, 6, 0), i4([1, 2], [1, 2], [1, 2], [1, 1]), i4(2, 2, 2, 1)
    assert_same(emulated.ctc_align(*arguments), pyasr.backend("numpy").ctc_align(*arguments))


GOOD = {"lengths": i4(7, 6, 7), "labels": i4([1, 2, 0], [2, 2, 4], [3, 1, 2]), "label_lengths": i4(2, 3, 2)}


@pytest.mark.parametrize(
    ("name", "at", "value"),
    [
        ("labels", (1, 1), 5),
        ("labels", (1, 2), 2**31 - 1),
        ("labels", (1, 0), -3),
        ("labels", (1, 1), 0),
        ("lengths", 1, 8),
        ("lengths", 1, -1),
        ("label_lengths", 1, 2**31 - 1),
        ("label_lengths", 1, -(2**31)),
    ],
)
def test_a_bad_value_on_the_device_loses_its_utterance_alone(emulated, name, at, value):
    logits = np.random.default_rng(1).standard_normal((7, 3, 5))
    want = emulated.ctc_align(logits, **GOOD)
    arguments = {k: v.copy() for k, v in GOOD.items()}
    arguments[name][at] = value
    positions, scores, log_p = emulated.ctc_align(logits, **arguments)
    frames = min(max(arguments["lengths"][1], 0), 7)
    assert np.isfinite(want[2]).all() and np.isnan(log_p[1])
    assert np.isnan(scores[:frames, 1]).all() and not scores[frames:, 1].any() and (positions[:, 1] == -1).all()
    for got, w in zip((positions.T, scores.T, log_p), (want[0].T, want[1].T, want[2]), strict=True):
        assert got[[0, 2]].tobytes() == w[[0, 2]].tobytes()
