"""ctc_greedy on the emulated device, beyond its cases: lengths that nobody has looked at, NaN, and rows of −inf."""

import numpy as np
import pytest

import pyasr


def i4(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize("length", [-1, 6, 2**31 - 1, -(2**31)])
def test_a_bad_length_has_a_count_of_minus_one(emulated, length):
    logits = np.random.default_rng(0).standard_normal((5, 3, 7))
    want, want_counts = emulated.ctc_greedy(logits, i4(5, 4, 3))
    labels, counts = emulated.ctc_greedy(logits, i4(5, length, 3))
    assert counts[1] == -1 and (labels[1] == -1).all()
    np.testing.assert_array_equal(counts[[0, 2]], want_counts[[0, 2]])
    np.testing.assert_array_equal(labels[[0, 2]], want[[0, 2]])


@pytest.mark.parametrize("symbols", [7, 40])
def test_nan_infinities_and_equals_are_decided_as_by_the_reference(emulated, symbols):
    rng = np.random.default_rng(0)
    logits = rng.choice([-np.inf, 0.0, -0.0, 1.0, np.inf, np.nan], (40, 3, symbols), p=[0.6, 0.1, 0.1, 0.1, 0.08, 0.02])
    logits[3] = -np.inf
    lengths = i4(40, 39, 1)
    for got, want in zip(
        emulated.ctc_greedy(logits, lengths), pyasr.backend("numpy").ctc_greedy(logits, lengths), strict=True
    ):
        np.testing.assert_array_equal(got, want)
