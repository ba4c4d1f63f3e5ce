"""dropout: the factors are those that NumPy draws, bit for bit, whichever backend draws them."""

import numpy as np
import pytest

import pyasr
from pyasr.counter import generator, philox_key, stream
from pyasr.layers import Dropout
from pyasr.layers._layer import Mode
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None and has(rows()["dropout"], c)]
MODE = Mode(True, seed=3, step=11, micro_batch=1, rank=2)
SHAPES = [(0,), (1,), (7,), (8,), (9,), (5, 3, 2), (100_003,)]


def numpys(rng, rate, x):
    """The factors, by NumPy alone."""
    kept = (rng.random(x.shape, "float32") >= rate).astype(x.dtype)
    kept *= 1 / (1 - rate)
    return kept


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("column", COLUMNS)
def test_the_layer_draws_numpys_stream_of_its_key(column, dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    want = numpys(stream("dropout", 3, 11, 1, 2, "here"), 0.3, x)
    layer = Dropout(pyasr.Params(backend(column), dtype), "here", 0.3)
    y, factor = layer.forward(x, None, MODE)
    assert (y.shape, factor.shape) == (shape, shape)
    assert factor.tobytes() == want.tobytes()
    assert y.tobytes() == (x * want).tobytes()


def test_an_array_in_another_order_is_dropped_out_by_its_indices():
    x = np.random.default_rng(0).standard_normal((4, 5, 6)).astype("f4")
    layer = Dropout(pyasr.Params(pyasr.backend()), "here", 0.5)
    want, _ = layer.forward(x, None, MODE)
    for other in (np.asfortranarray(x), np.repeat(x, 2, axis=2)[..., ::2]):
        np.testing.assert_array_equal(layer.forward(other, None, MODE)[0], want)


# Rates that are float32 numbers, lie between two, and round to 0 and to 1.
@pytest.mark.parametrize("rate", [0, 0.25, 0.1, 1 / 3, 0.5 + 2**-25, 2**-24, 1e-300, 0.999, 1 - 2**-24, 1 - 1e-9])
@pytest.mark.parametrize("key", [(0, 0), (1, 2**64 - 1), (2**64 - 1, 2**63)], ids=str)
@pytest.mark.parametrize("column", COLUMNS)
def test_every_rate_and_key_gives_numpys_bits(column, key, rate):
    for dtype in ("float32", "float64"):
        x = np.random.default_rng(1).standard_normal(1031).astype(dtype)
        want = numpys(generator(key), rate, x)
        y, factor = backend(column).dropout(x, rate=rate, key=key)
        assert factor.tobytes() == want.tobytes()
        assert y.tobytes() == (x * want).tobytes()


@pytest.mark.parametrize("column", COLUMNS)
def test_a_rate_that_is_one_of_the_numbers_keeps_that_number(column):
    key, x = (5, 6), np.ones(64, "f4")
    for u in np.unique(generator(key).random(64, "float32"))[[3, 30, 60]]:
        _, factor = backend(column).dropout(x, rate=float(u), key=key)
        np.testing.assert_array_equal(factor > 0, generator(key).random(64, "float32") >= u)


@pytest.mark.parametrize("column", COLUMNS)
def test_what_is_dropped_keeps_its_sign_and_its_nan(column):
    x = np.array([-2.0, np.nan, np.inf, 3e38] * 8, "f4")
    y, factor = backend(column).dropout(x, rate=0.5, key=(1, 2))
    assert set(np.unique(factor)) == {0, 2}
    with np.errstate(invalid="ignore", over="ignore"):
        np.testing.assert_array_equal(y, x * factor)
    dropped = np.flatnonzero(factor == 0)
    assert np.signbit(y[dropped[dropped % 4 == 0]]).all()


def test_a_key_is_that_of_its_stream():
    for parts in ((), ("a",), (1, "a"), ("1", "a"), (2**70, -1)):
        key = philox_key(*parts)
        assert all(type(word) is int and 0 <= word < 2**64 for word in key)
        assert generator(key).random(3).tobytes() == stream(*parts).random(3).tobytes()
    assert philox_key(1, "a") != philox_key("1", "a")
    with pytest.raises(TypeError, match=r"^philox_key: key must be made of integers and strings, got float"):
        philox_key(1.0)
    with pytest.raises(TypeError, match=r"^stream: key must be made of integers and strings, got bool"):
        stream(True)
