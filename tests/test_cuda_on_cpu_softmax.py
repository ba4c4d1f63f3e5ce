"""softmax_cross_entropy on the emulated device, beyond its cases: labels that nobody has looked at, alignment, lost rows."""

import numpy as np
import pytest


def i4(*values):
    return np.array(values, np.int32)


@pytest.mark.parametrize("symbols", [28, 516])
@pytest.mark.parametrize("label", [-2, "V", 2**31 - 1, -(2**31)])
def test_a_label_outside_of_its_row_loses_the_row_alone(emulated, symbols, label):
    logits = np.random.default_rng(0).standard_normal((3, symbols))
    want_loss, want = emulated.softmax_cross_entropy(logits, i4(1, 0, -1))
    loss, grad = emulated.softmax_cross_entropy(logits, i4(1, symbols if label == "V" else label, -1))
    assert np.isnan(loss[1]) and np.isnan(grad[1]).all()
    np.testing.assert_array_equal(loss[[0, 2]], want_loss[[0, 2]])
    np.testing.assert_array_equal(grad[[0, 2]], want[[0, 2]])


@pytest.mark.parametrize("symbols", [28, 516])
def test_rows_that_are_no_multiples_of_16_bytes_from_the_start_have_the_same_bits(emulated, symbols):
    logits = np.random.default_rng(0).standard_normal((3, symbols)).astype("f4")
    shifted = np.zeros(logits.size + 1, "f4")[1:].reshape(logits.shape)
    shifted[:] = logits
    for got, want in zip(*(emulated.softmax_cross_entropy(x, i4(1, 2, 3)) for x in (shifted, logits)), strict=True):
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("symbols", [28, 516, 4100])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_row_that_holds_nan_or_inf_is_nan(emulated, symbols, bad):
    logits = np.zeros((2, symbols), "f4")
    logits[0, symbols - 1] = bad
    loss, grad = emulated.softmax_cross_entropy(logits, i4(0, 0))
    assert np.isnan(loss[0]) and np.isnan(grad[0]).all()
    np.testing.assert_allclose(loss[1], np.log(symbols), rtol=1e-6)
