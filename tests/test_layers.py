"""Every layer: the way back is the transpose of the derivative, and the derivative is that of finite differences."""

import numpy as np
import pytest

import pyasr
from pyasr.layers import (
    EVAL,
    Dropout,
    FrameStack,
    Gru,
    Linear,
    Lstm,
    MeanOverTime,
    Mode,
    Relu,
    Rnn,
    Sigmoid,
    Tanh,
    chain,
)
from pyasr.ops import why_not

LENGTHS = np.array([6, 1, 4, 0], np.int32)
TRAIN = Mode(train=True, seed=3, step=11)


def classifier(params):
    return pyasr.models.word_classifier(params, 5, 4, hidden=3, layers=2, dropout=0.3)


def ctc(params):
    return pyasr.models.lstm_ctc(params, 5, 4, hidden=3, layers=2, dropout=0.3, stack=2)


def one_way_classifier(params):
    return pyasr.models.word_classifier(params, 5, 4, hidden=3, layers=2, bidirectional=False)


def one_way_ctc(params):
    return pyasr.models.lstm_ctc(params, 5, 4, hidden=3, layers=2, stack=2, bidirectional=False)


def lstm_with_all(params):
    options = {"recurrent_dropout": 0.3, "zoneout_h": 0.4, "zoneout_c": 0.2, "cell_clip": 0.7}
    return Lstm(params, "lstm", 5, 4, num_layers=2, bidirectional=True, peephole=True, proj_size=3, **options)


def tagger(params):
    return chain(Lstm(params, "a", 5, 3), Dropout(params, "drop", 0.5), Linear(params, "out", 3, 4))


# To add a layer: one line, a builder for inputs of 5 features.
LAYERS = {
    "linear": lambda p: Linear(p, "linear", 5, 4),
    "lstm": lambda p: Lstm(p, "lstm", 5, 3),
    "lstm-both-directions-two-layers": lambda p: Lstm(p, "lstm", 5, 3, num_layers=2, bidirectional=True),
    "lstm-peephole": lambda p: Lstm(p, "lstm", 5, 3, peephole=True),
    "lstm-projection-two-layers": lambda p: Lstm(p, "lstm", 5, 4, num_layers=2, proj_size=2),
    "lstm-every-option": lstm_with_all,
    "gru": lambda p: Gru(p, "gru", 5, 3),
    "gru-both-directions-two-layers": lambda p: Gru(p, "gru", 5, 3, num_layers=2, bidirectional=True),
    "rnn": lambda p: Rnn(p, "rnn", 5, 3),
    "rnn-both-directions-two-layers": lambda p: Rnn(p, "rnn", 5, 3, num_layers=2, bidirectional=True),
    "mean-over-time": lambda p: MeanOverTime(p),
    "relu": Relu,
    "tanh": Tanh,
    "sigmoid": Sigmoid,
    "frame-stack": lambda p: FrameStack(p, 4),
    "dropout": lambda p: Dropout(p, "dropout", 0.4),
    "chain-tagger": tagger,
    "chain-word-classifier": classifier,
    "chain-lstm-ctc": ctc,
    "chain-word-classifier-of-rnns": lambda p: pyasr.models.word_classifier(p, 5, 4, hidden=3, cell="rnn"),
    "chain-lstm-ctc-of-grus": lambda p: pyasr.models.lstm_ctc(p, 5, 4, hidden=3, stack=2, dropout=0.3, cell="gru"),
    "chain-word-classifier-one-direction": one_way_classifier,
    "chain-lstm-ctc-one-direction": one_way_ctc,
}
BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None and pyasr.backend(b).column("lstm_forward")]
CASES = [pytest.param(b, build, id=f"{name}-{b}") for b in BACKENDS for name, build in LAYERS.items()]


def built(backend, build, dtype="float64"):
    params = pyasr.Params(pyasr.backend(backend), dtype)
    layer = build(params)
    params.init(1)
    rng = np.random.default_rng(2)
    for name in params.names():
        params[name][...] = 0.5 * rng.standard_normal(params[name].shape)
    x = rng.standard_normal((6, 4, 5)).astype(dtype)
    for b, n in enumerate(LENGTHS):
        x[n:, b] = 0
    return params, layer, x, rng


def direction_of(params, rng):
    """A random vector laid out like the weights, with zeros in the gaps."""
    v = params.zeros()
    for name in params.names():
        params.view(v, name)[...] = rng.standard_normal(params[name].shape)
    return v


def along_time(rng, shape):
    """A random change of the input, zero at padding."""
    dx = rng.standard_normal(shape)
    for b, n in enumerate(LENGTHS):
        dx[n:, b] = 0
    return dx


@pytest.mark.parametrize(("backend", "build"), CASES)
@pytest.mark.parametrize("mode", [EVAL, TRAIN], ids=["eval", "train"])
def test_jvp_is_the_finite_difference(backend, build, mode):
    params, layer, x, rng = built(backend, build)
    dx, dw = along_time(rng, x.shape), direction_of(params, rng)
    y, saved = layer.forward(x, LENGTHS, mode)
    value, step = params.value.copy(), 1e-5

    def at(t, vary_x, vary_w):
        params.value[:] = value + t * dw if vary_w else value
        out, _ = layer.forward(x + t * dx if vary_x else x, LENGTHS, mode)
        params.value[:] = value
        return out

    for vary_x, vary_w in ((True, False), (False, True), (True, True)):
        want = (at(step, vary_x, vary_w) - at(-step, vary_x, vary_w)) / (2 * step)
        got = layer.jvp(saved, dx if vary_x else None, dw if vary_w else None)
        got = np.zeros_like(y) if got is None else got
        assert got.shape == y.shape
        assert np.linalg.norm(got - want) <= 1e-8 * max(np.linalg.norm(want), 1e-2)


@pytest.mark.parametrize(("backend", "build"), CASES)
def test_without_need_dx_the_weights_get_the_same_gradient(backend, build):
    params, layer, x, rng = built(backend, build)
    y, saved = layer.forward(x, LENGTHS, TRAIN)
    dy = rng.standard_normal(y.shape)
    grads = [params.zeros(), params.zeros()]
    assert layer.backward(saved, dy, grads[0]).shape == x.shape
    layer.backward(saved, dy, grads[1], need_dx=False)
    assert np.array_equal(*grads)
    assert layer.has_weights == (params.size > 0)


def test_nothing_runs_back_below_the_lowest_weights(monkeypatch):
    params, layer, x, rng = built("numpy", lambda p: chain(Tanh(p), FrameStack(p, 2), Lstm(p, "a", 10, 3), Relu(p)))
    y, saved = layer.forward(x, LENGTHS)
    for below in layer.layers[:2]:
        monkeypatch.setattr(below, "backward", None)
    assert layer.backward(saved, rng.standard_normal(y.shape), need_dx=False) is None
    assert np.abs(params.grad).max() > 0


@pytest.mark.parametrize(("backend", "build"), CASES)
@pytest.mark.parametrize("mode", [EVAL, TRAIN], ids=["eval", "train"])
def test_backward_is_the_transpose_of_jvp(backend, build, mode):
    params, layer, x, rng = built(backend, build)
    y, saved = layer.forward(x, LENGTHS, mode)
    for _ in range(2):  # saved can be used again
        dx, dw, dy = along_time(rng, x.shape), direction_of(params, rng), rng.standard_normal(y.shape)
        forward = layer.jvp(saved, dx, dw)
        grad = params.zeros()
        back = layer.backward(saved, dy, grad)
        left, right = np.vdot(forward, dy), np.vdot(dx, back) + np.vdot(dw, grad)
        norm = np.linalg.norm(forward)
        assert norm > 0.1
        assert abs(left - right) <= 1e-10 * norm * np.linalg.norm(dy)
    assert not params.grad.any()


@pytest.mark.parametrize(("backend", "build"), CASES)
def test_backward_adds_into_the_gradient_and_changes_nothing_else(backend, build):
    params, layer, x, rng = built(backend, build)
    y, saved = layer.forward(x, LENGTHS, TRAIN)
    dy = rng.standard_normal(y.shape)
    x_before, dy_before, value_before = x.copy(), dy.copy(), params.value.copy()
    once = params.zeros()
    layer.backward(saved, dy, once)
    layer.backward(saved, dy)
    layer.backward(saved, dy)
    np.testing.assert_allclose(params.grad, 2 * once, rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(x, x_before)
    np.testing.assert_array_equal(dy, dy_before)
    np.testing.assert_array_equal(params.value, value_before)


@pytest.mark.parametrize(("backend", "build"), CASES)
def test_saved_state_outlives_an_update_of_the_weights(backend, build):
    params, layer, x, rng = built(backend, build)
    y, saved = layer.forward(x, LENGTHS, TRAIN)
    dy, before, after = rng.standard_normal(y.shape), params.zeros(), params.zeros()
    dx = layer.backward(saved, dy, before)
    params.value[:] = 9
    np.testing.assert_array_equal(layer.backward(saved, dy, after), dx)
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(("backend", "build"), CASES)
def test_padding_is_zeros_and_is_not_read_on_the_way_back(backend, build):
    params, layer, x, rng = built(backend, build)
    y, saved = layer.forward(x, LENGTHS)
    if y.ndim == 2:
        return  # no time, no padding
    dy = rng.standard_normal(y.shape)
    for b, n in enumerate(LENGTHS):
        assert not y[n:, b].any()
    clean = dy.copy()
    for b, n in enumerate(LENGTHS):
        clean[n:, b] = 0
    if isinstance(layer, Dropout):
        return  # a factor per entry: zeros stay zeros
    first, second = params.zeros(), params.zeros()
    np.testing.assert_array_equal(layer.backward(saved, dy, first), layer.backward(saved, clean, second))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", [(0, 2, 5), (6, 0, 5), (0, 0, 5)], ids=["no-frames", "no-utterances", "neither"])
@pytest.mark.parametrize(("backend", "build"), CASES)
def test_nothing_in_is_nothing_out(backend, build, shape):
    params, layer, _, _ = built(backend, build)
    x, lengths = np.zeros(shape), np.zeros(shape[1], "i4")
    y, saved = layer.forward(x, lengths, TRAIN)
    assert layer.jvp(saved, x, params.zeros()).shape == y.shape
    assert layer.backward(saved, np.ones_like(y)).shape == shape
    assert shape[1] or not params.grad.any()


@pytest.mark.parametrize(("backend", "build"), CASES)
def test_float32_stays_float32(backend, build):
    params, layer, x, _ = built(backend, build, "float32")
    y, saved = layer.forward(x, LENGTHS, TRAIN)
    dx = layer.backward(saved, np.ones_like(y))
    dy = layer.jvp(saved, x, params.zeros())
    assert y.dtype == dx.dtype == dy.dtype == np.float32
    assert dx.shape == x.shape


def test_mean_over_time_masks_padding_and_gives_zeros_for_no_frames():
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = MeanOverTime(params)
    params.init(0)
    x = np.full((3, 3, 2), np.nan, np.float32)
    x[:2, 0], x[0, 1] = [[1, 2], [3, 6]], [5, 7]
    y, _ = layer.forward(x, np.array([2, 1, 0], np.int32))
    np.testing.assert_array_equal(y, [[2, 4], [5, 7], [0, 0]])
    assert layer.out_lengths(LENGTHS) is None


def test_dropout_masks_are_a_function_of_seed_step_and_name():
    params = pyasr.Params(pyasr.backend("numpy"))
    one, other = Dropout(params, "one", 0.5), Dropout(params, "other", 0.5)
    x = np.ones((50, 4, 5), np.float32)
    lengths = np.full(4, 50, np.int32)
    first = one.forward(x, lengths, TRAIN)[0]
    np.testing.assert_array_equal(first, one.forward(x, lengths, TRAIN)[0])
    for layer, mode in (
        (other, TRAIN),
        (one, Mode(True, 3, 12)),
        (one, Mode(True, 4, 11)),
        (one, Mode(True, 3, 11, rank=1)),
        (one, Mode(True, 3, 11, micro_batch=1)),
    ):
        assert (layer.forward(x, lengths, mode)[0] != first).any()
    assert set(np.unique(first)) == {0, 2}
    assert 0.4 < (first == 0).mean() < 0.6
    np.testing.assert_array_equal(one.forward(x, lengths)[0], x)
    with pytest.raises(ValueError, match="Dropout: rate must be below 1, got 1"):
        Dropout(params, "bad", 1)


@pytest.mark.parametrize(("build", "last"), [(one_way_classifier, 5), (one_way_ctc, 10)])
def test_models_of_one_direction_have_its_sizes_and_do_not_look_ahead(build, last):
    params, model, x, _ = built("numpy", build)
    hidden, first = (12, 3), (12, last)  # 4·H gates of H = 3 units
    assert {n: s[1:] for n, s in params.shapes().items() if "weight_" in n} == {
        "lstm0.weight_ih_l0": first, "lstm0.weight_hh_l0": hidden,
        "lstm1.weight_ih_l0": hidden, "lstm1.weight_hh_l0": hidden,
    }  # fmt: skip
    assert {shape[0] for name, shape in params.shapes().items() if name.startswith("lstm")} == {1}
    assert params.shapes()["out.weight"] == (4, 3)
    y, saved = model.forward(x, LENGTHS, Mode(bptt=2))
    assert model.backward(saved, y).shape == x.shape
    if y.ndim == 3:
        x[4:] += 1  # later frames
        np.testing.assert_array_equal(model.forward(x, LENGTHS)[0][:2], y[:2])


def test_bad_sizes_and_shapes_are_named():
    params = pyasr.Params(pyasr.backend("numpy"))
    with pytest.raises(ValueError, match=r"Lstm: hidden_size must lie in \[1, 2147483647\], got 0"):
        Lstm(params, "lstm", 5, 0)
    for kind in (Rnn, Gru):
        with pytest.raises(ValueError, match=rf"{kind.__name__}: num_layers must lie in \[1, 2147483647\], got 0"):
            kind(params, "rnn", 5, 3, num_layers=0)
    for model in (pyasr.models.word_classifier, pyasr.models.lstm_ctc):
        with pytest.raises(ValueError, match=f'^{model.__name__}: cell must be "lstm", "gru" or "rnn", got \'qrnn\''):
            model(params, 5, 4, cell="qrnn")
    with pytest.raises(ValueError, match="chain: layers must hold at least one layer"):
        chain()
    linear, mean = Linear(params, "linear", 5, 4), MeanOverTime(params)
    params.init(0)
    with pytest.raises(ValueError, match=r"x of 'linear' must have shape \(T, B, 5\) or \(B, 5\), got \(2, 3\)"):
        linear.forward(np.zeros((2, 3), "f4"), LENGTHS)
    with pytest.raises(ValueError, match=r"MeanOverTime: x must have shape \(T, B, F\), got \(2, 3\)"):
        mean.forward(np.zeros((2, 3), "f4"), LENGTHS)


@pytest.mark.parametrize("kind", [Relu, Tanh, Sigmoid, MeanOverTime, lambda p: FrameStack(p, 4)])
def test_no_verb_reads_the_padding_of_its_argument(kind):
    _, layer, x, rng = built("numpy", kind, "float32")
    outside = np.arange(6)[:, None] >= LENGTHS
    y, saved = layer.forward(x, LENGTHS)
    dx, dy = (rng.standard_normal(a.shape).astype("f4") for a in (x, y))
    want = y, layer.backward(saved, dy), layer.jvp(saved, dx, None)
    assert not want[1][outside].any()
    for garbage in (np.nan, np.inf, -np.inf):
        x[outside] = dx[outside] = garbage
        if y.shape == x.shape:
            dy[outside] = garbage
        y, saved = layer.forward(x, LENGTHS)
        for got, wanted in zip((y, layer.backward(saved, dy), layer.jvp(saved, dx, None)), want, strict=True):
            np.testing.assert_array_equal(got, wanted)


@pytest.mark.parametrize("kind", [Relu, Tanh, Sigmoid])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_activations_equal_torch(kind, dtype):
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    params = pyasr.Params(pyasr.backend("numpy"), dtype)
    layer = kind(params)
    params.init(0)
    x = np.concatenate([np.linspace(-9, 9, 181), [-1e30, -700, -50, -0.0, 1e-30, 50, np.inf, -np.inf, np.nan]])
    x = x.astype(dtype)[None]
    dy = np.linspace(-2, 3, x.size).astype(dtype)[None]
    there = torch.from_numpy(x.copy()).requires_grad_()
    out = {Relu: torch.relu, Tanh: torch.tanh, Sigmoid: torch.sigmoid}[kind](there)
    out.backward(torch.from_numpy(dy))
    y, saved = layer.forward(x, None)
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(y, out.detach().numpy(), rtol=rounding, atol=np.finfo(dtype).tiny)
    finite = slice(None, -1)  # of a NaN the slope is whatever
    np.testing.assert_allclose(layer.backward(saved, dy)[0, finite], there.grad.numpy()[0, finite], atol=2 * rounding)


X = np.zeros((5, 2, 3), "f4")
GOOD = np.array([5, 4], np.int32)
GUARDED = [lambda p: Linear(p, "linear", 3, 4), MeanOverTime, Relu]


@pytest.mark.parametrize(
    ("x", "lengths", "message"),
    [
        (X.tolist(), GOOD, "x must be a NumPy array, got list"),
        (X.astype("f8"), GOOD, "x must have dtype float32, got float64"),
        (X.astype("c8"), GOOD, "x must have dtype float32, got complex64"),
        (X[:, :, 0, None, None], GOOD, "x must have shape"),
        (X, None, "lengths must be a NumPy array, got NoneType"),
        (X, [5, 4], "lengths must be a NumPy array, got list"),
        (X, GOOD.astype("i8"), "lengths must have dtype int32, got int64"),
        (X, GOOD.astype("f4"), "lengths must have dtype int32, got float32"),
        (X, GOOD[:1], r"lengths must have shape \(2,\), got \(1,\)"),
        (X, GOOD + 1, r"lengths must lie in \[0, T = 5\], got 6 at 0"),
        (X, GOOD - 5, r"lengths must lie in \[0, T = 5\], got -1 at 1"),
    ],
)
@pytest.mark.parametrize("build", GUARDED, ids=["Linear", "MeanOverTime", "Relu"])
def test_layers_without_an_op_guard_their_own_door(build, x, lengths, message):
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = build(params)
    params.init(0)
    with pytest.raises((TypeError, ValueError), match=f"^{type(layer).__name__}: {message}"):
        layer.forward(x, lengths)


@pytest.mark.parametrize("build", GUARDED, ids=["Linear", "MeanOverTime", "Relu"])
def test_ways_back_and_derivatives_guard_their_door(build):
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = build(params)
    params.init(0)
    y, saved = layer.forward(X, GOOD)
    for good, verb, name in ((y, layer.backward, "dy"), (X, lambda s, dx: layer.jvp(s, dx, None), "dx")):
        for bad in (good[:-1], good.swapaxes(0, 1), good[None], good.astype("f8"), good.tolist()):
            with pytest.raises((TypeError, ValueError), match=f"^{type(layer).__name__}: {name} must .*got"):
                verb(saved, bad)


@pytest.mark.parametrize("size", [0, -1, 2.0, "3", None, True, 10**400])
def test_sizes_of_layers_are_checked(size):
    params = pyasr.Params(pyasr.backend("numpy"))
    for build, name in ((Linear, "input_size"), (Lstm, "input_size"), (Gru, "input_size"), (Rnn, "input_size")):
        with pytest.raises((TypeError, ValueError), match=f"^{build.__name__}: {name} must"):
            build(params, "a", size, 4)
    for rate in ("x", None, np.nan, -0.1, True):
        with pytest.raises((TypeError, ValueError), match=r"^Dropout: rate must"):
            Dropout(params, "a", rate)
    with pytest.raises(TypeError, match="chain: layers must be layers, got int"):
        chain(3)
