"""Layers, criteria and recognizers on the emulated device, whose arrays are as strict as CuPy's: the numbers of a CPU."""

import gc
import weakref

import numpy as np
import pytest

import pyasr
from pyasr import checkpoint
from pyasr.layers import FrameStack, Linear, Lstm, MeanOverTime, Mode, Relu, Sigmoid, Tanh
from pyasr.losses import Ctc, Hinge, SoftmaxCrossEntropy
from pyasr.ops import backend, host
from pyasr.optim import Adam
from pyasr.recognizer import CtcConfig, CtcRecognizer, FrontEnd

LAYERS = {
    "linear": lambda p: Linear(p, "a", 5, 3),
    "relu": Relu,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "mean": MeanOverTime,
    "stack": lambda p: FrameStack(p, 3),
    "lstm": lambda p: Lstm(p, "a", 5, 4, num_layers=2),
    "lstm with masks": lambda p: Lstm(p, "a", 5, 4, recurrent_dropout=0.5, zoneout_h=0.1, zoneout_c=0.1),
    "both ways": lambda p: Lstm(p, "a", 5, 4, bidirectional=True, peephole=True, cell_clip=1.0),
}
WITHOUT_TIME = ("linear", "relu", "tanh", "sigmoid")


def passes(ops, kind, time, mode):
    """y, dx, the gradient, and a jvp of a layer, on the host."""
    rng, xp = np.random.default_rng(3), ops.xp
    params = pyasr.Params(ops)
    layer = LAYERS[kind](params)
    params.init(seed=1)
    x = rng.standard_normal((7, 2, 5) if time else (2, 5)).astype("f4")
    lengths = xp.asarray(np.array([7, 4], "i4")) if time else None
    y, saved = layer.forward(xp.asarray(x), lengths, mode)
    dy = xp.asarray(rng.standard_normal(y.shape).astype("f4"))
    dx = layer.backward(saved, dy)
    along = xp.asarray(rng.standard_normal(params.value.size).astype("f4"))
    tangent = layer.jvp(saved, xp.asarray(rng.standard_normal(x.shape).astype("f4")), along)
    out = layer.out_lengths(lengths) if time else None
    return [host(a) for a in (y, dx, params.grad, tangent, *(() if out is None else (out,)))]


MODES = {"eval": Mode(), "train": Mode(train=True, seed=2), "bptt": Mode(train=True, bptt=3)}
TRIED = [
    pytest.param(kind, time, mode, id=f"{kind}, {'time' if time else 'no time'}, {name}")
    for kind in LAYERS
    for time in (True, False)
    for name, mode in MODES.items()
    if (time or kind in WITHOUT_TIME) and not (mode.bptt and kind == "both ways")
]


@pytest.mark.parametrize(("kind", "time", "mode"), TRIED)
def test_layers_do_as_on_the_cpu(emulated, kind, time, mode):
    for got, want in zip(*(passes(ops, kind, time, mode) for ops in (emulated.backend, backend("numpy"))), strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


FRAMES = (np.array([4, 2], "i4"), np.array([[1, 0], [-1, 2], [1, 0], [2, 0]], "i4"))
CRITERIA = {
    "softmax, frames": (SoftmaxCrossEntropy, *FRAMES),
    "softmax, utterances": (SoftmaxCrossEntropy, None, np.array([2, -1], "i4")),
    "hinge, frames": (Hinge, *FRAMES),
    "hinge, utterances": (Hinge, None, np.array([0, 1], "i4")),
    "ctc": (Ctc, np.array([4, 2], "i4"), np.array([[1, 2], [2, -1]], "i4")),
    "ctc, one that does not fit": (Ctc, np.array([4, 1], "i4"), np.array([[1, 2], [2, 1]], "i4")),
}


@pytest.mark.parametrize("name", CRITERIA)
def test_criteria_do_as_on_the_cpu(emulated, name):
    kind, lengths, labels = CRITERIA[name]
    logits = np.random.default_rng(0).standard_normal((4, 2, 3) if lengths is not None else (2, 3)).astype("f4")
    found = []
    for ops in (emulated.backend, backend("numpy")):
        asarray = ops.xp.asarray
        loss = kind(ops)(asarray(logits), None if lengths is None else asarray(lengths), asarray(labels))
        assert type(loss.value) is float and type(loss.count) is int
        curved = [] if kind is Hinge else [host(loss.curvature(asarray(logits[::-1].copy())))]
        found.append([np.array([loss.value, loss.sum, loss.count]), host(loss.grad), *curved])
    for got, want in zip(*found, strict=True):
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, Hinge])
def test_an_infinite_loss_takes_no_part_on_a_device_either(emulated, kind):
    logits, labels = np.zeros((3, 4), "f4"), np.array([1, 2, 3], "i4")
    logits[1, 2] = -np.inf
    found = []
    for ops in (emulated.backend, backend("numpy")):
        loss = kind(ops)(ops.xp.asarray(logits), None, ops.xp.asarray(labels))
        found.append([loss.value, loss.count, host(loss.losses).tolist(), host(loss.grad).tolist()])
    assert found[0][:2] == pytest.approx(found[1][:2], rel=1e-6)
    assert found[0][1] == 2
    np.testing.assert_allclose(found[0][3], found[1][3], rtol=1e-5)
    np.testing.assert_array_equal(found[0][3][1], 0)
    assert found[0][2][1] == np.inf


@pytest.mark.parametrize("bad", [-2, 4, 2**31 - 1])
@pytest.mark.parametrize("kind", [SoftmaxCrossEntropy, Hinge])
def test_labels_that_nobody_looks_at_make_their_row_and_the_value_nan(emulated, kind, bad):
    """On a device, where looking would wait; the others are what they are."""
    xp = emulated.backend.xp
    loss = kind(emulated.backend)(xp.zeros((3, 4)), None, xp.asarray(np.array([1, bad, -1], "i4")))
    losses, grad = host(loss.losses), host(loss.sum_grad)
    assert np.isfinite(losses).tolist() == np.isfinite(grad).all(1).tolist() == [True, False, True]
    assert np.isnan(grad[1]).all()
    assert np.isnan(loss.value)


def test_what_a_layer_keeps_for_the_way_back_is_not_given_to_others(emulated):
    """The input of a layer dies with the layer below it, unless `saved` holds it: here nobody else does."""
    rng, ops = np.random.default_rng(0), emulated.backend
    sizes = [(4, 2, 3), (1, 20, 3), (1, 20, 5), (1, 20)]
    x, *weights = (rng.standard_normal(size).astype("f4") for size in sizes)
    lengths = ops.xp.asarray(np.array([4, 3], "i4"))
    weights = [ops.xp.asarray(w) for w in weights]
    gradients = {n: ops.xp.zeros(w.shape, w.dtype) for n, w in zip(("dw_ih", "dw_hh", "dbias"), weights, strict=True)}
    given = ops.xp.asarray(x)
    alive = weakref.ref(given)
    y, _, _, saved = ops.lstm_forward(given, lengths, *weights)
    del given
    gc.collect()
    assert alive() is not None
    ops.lstm_backward(saved, y, **gradients)
    del saved
    gc.collect()
    assert alive() is None


def test_a_recognizer_is_saved_and_loaded(emulated, tmp_path):
    pytest.importorskip("safetensors", reason="safetensors is not installed")
    rng, path, found = np.random.default_rng(0), tmp_path / "file.safetensors", []
    features = [rng.standard_normal((n, FrontEnd.SIZE)).astype("f4") for n in (9, 20)]
    for ops in (emulated.backend, backend("numpy")):
        made = CtcRecognizer(ops, CtcConfig("ab", hidden=4, layers=1, sample_rate=8000), seed=1)
        optimizer = Adam(made.params)
        made.params.grad[:] = made.params.value
        optimizer.step(0.1)
        made.save(path, optimizer=optimizer.state)
        there = CtcRecognizer.load(path, ops)
        state = Adam(there.params).state
        checkpoint.load(path).restore_optimizer(there.params, state)
        assert host(there.params.value).tobytes() == host(made.params.value).tobytes()
        assert [host(v).tobytes() for v in state.values()] == [host(v).tobytes() for v in optimizer.state.values()]
        assert there.texts(features) == made.texts(features)
        found.append(np.concatenate([host(logits).ravel() for _, logits, _ in there.batches(features)]))
    np.testing.assert_allclose(*found, rtol=1e-3, atol=1e-4)
