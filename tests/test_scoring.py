"""Word errors and their bootstrap interval."""

import numpy as np
import pytest

import pyasr
from pyasr.scoring import bootstrap_interval


@pytest.mark.parametrize(
    ("reference", "hypothesis", "want"),
    [
        ("", "", (0, 0.0, 0, 0, 0)),
        ("", "a b", (2, 2.0, 0, 2, 0)),
        ("a b", "", (2, 1.0, 0, 0, 2)),
        ("a b c", "a x c", (1, 1 / 3, 1, 0, 0)),
        ("a b c", " a  b\tc\n", (0, 0.0, 0, 0, 0)),
        ("a b c d", "b c d e", (2, 0.5, 0, 1, 1)),
        (["a b", "c"], ["a", "c d d"], (3, 1.0, 0, 2, 1)),
        ([], [], (0, 0.0, 0, 0, 0)),
    ],
)
def test_wer(reference, hypothesis, want):
    assert pyasr.wer(reference, hypothesis) == pytest.approx(want)


def test_wer_says_what_is_wrong():
    with pytest.raises(ValueError, match="wer: hypothesis must have 2 sentences like reference, got 1"):
        pyasr.wer(["a", "b"], ["a"])
    for bad in (None, 3, b"a", ["a", 3], {"a"}):
        with pytest.raises(TypeError, match="wer: reference must be a string or a sequence of strings, got"):
            pyasr.wer(bad, "a")
        with pytest.raises(TypeError, match="wer: hypothesis must be a string or a sequence of strings, got"):
            pyasr.wer("a", bad)


def test_bootstrap_interval_covers_the_mean_and_repeats():
    scores = (np.arange(300) % 25 != 0).astype(float)
    low, high = bootstrap_interval(scores)
    assert low < scores.mean() < high
    assert 0.02 < high - low < 0.06  # ±1.96·√(0.96·0.04/300) = ±0.022
    assert bootstrap_interval(scores) == (low, high)


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ([1.0], {}, "scores must be a NumPy array of numbers, got list"),
        (np.zeros(0), {}, "scores must be a non-empty vector"),
        (np.array([np.nan]), {}, "scores must be finite"),
        (np.ones(3), {"confidence": 95}, r"confidence must lie in \[0.0, 1.0\], got 95"),
        (np.ones(3), {"resamples": 0}, r"resamples must lie in \[1, 10000000\], got 0"),
    ],
)
def test_bootstrap_interval_says_what_is_wrong(scores, options, message):
    with pytest.raises((TypeError, ValueError), match=f"^bootstrap_interval: {message}"):
        bootstrap_interval(scores, **options)
