"""dropout on the emulated device, beyond its cases: the layer, without a look of the host, and a training step with it."""

import numpy as np
import pytest

import pyasr
from pyasr.counter import generator
from pyasr.layers import Dropout
from pyasr.layers._layer import Mode
from pyasr.losses import Ctc
from pyasr.models import lstm_ctc
from pyasr.ops._op import backend
from pyasr.optim import Adam


def host(x):
    return x.get() if hasattr(x, "get") else x


@pytest.mark.parametrize("shape", [(0, 2, 3), (1,), (5, 3, 2), (7, 3, 41)], ids=str)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_layer_has_the_bits_of_numpy(emulated, dtype, shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(dtype)
    found = []
    for ops in (emulated.backend, backend("numpy")):
        layer = Dropout(pyasr.Params(ops, dtype), "here", 0.3)
        on_device = ops.xp.asarray(x)
        with emulated.arrays["unread"]():
            y, saved = layer.forward(on_device, None, Mode(True, 3, 11))
            dx = layer.backward(saved, on_device)
        found.append([host(a) for a in (y, saved, dx)])
    for got, want in zip(*found, strict=True):
        assert (got.shape, got.dtype) == (want.shape, want.dtype)
        assert got.tobytes() == want.tobytes()


@pytest.mark.parametrize("key", [(0, 0), (2**64 - 1, 1), (2**63, 2**32 - 1)], ids=str)
def test_the_whole_range_of_keys_is_taken(emulated, key):
    x = np.ones(300, "f4")
    factor = host(emulated.dropout(x, rate=0.5, key=key)[1])
    np.testing.assert_array_equal(factor, 2 * (generator(key).random(300, "float32") >= 0.5))


def test_a_model_with_dropout_trains_as_on_the_cpu(emulated):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 2, 5)).astype("f4")
    lengths, labels = np.array([7, 5], "i4"), np.array([[1, 2], [2, -1]], "i4")
    x[5:, 1] = 0
    ends = []
    for ops in (emulated.backend, backend("numpy")):
        params = pyasr.Params(ops)
        model = lstm_ctc(params, 5, 3, hidden=6, layers=2, dropout=0.4, stack=1)
        params.init(seed=1)
        criterion, optimizer = Ctc(ops), Adam(params)
        batch = tuple(map(ops.xp.asarray, (x, lengths, labels)))
        for step in range(3):
            logits, saved = model.forward(*batch[:2], Mode(True, 1, step))
            params.grad[:] = 0
            model.backward(saved, criterion(logits, *batch[1:]).grad, need_dx=False)
            optimizer.step(lr=0.05)
        ends.append(host(params.value))
    np.testing.assert_allclose(*ends, atol=1e-3)  # Adam divides small gradients by their own size
