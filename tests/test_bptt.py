"""Truncated backpropagation through time: outputs of the whole, gradients of the windows."""

from itertools import pairwise

import numpy as np
import pytest

import pyasr
from pyasr.layers import EVAL, Gru, Linear, Lstm, Mode, Rnn, chain
from pyasr.ops import why_not

T = 7
LENGTHS = np.array([7, 1, 4, 0, 6], np.int32)
BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None and pyasr.backend(b).column("lstm_forward")]
KINDS = {"lstm": Lstm, "gru": Gru, "rnn": Rnn}

every_layer = pytest.mark.parametrize(
    ("backend", "kind", "layers"), [(b, kind, layers) for b in BACKENDS for kind in KINDS for layers in (1, 2)]
)


def built(backend, kind, layers, dtype="float64"):
    params = pyasr.Params(pyasr.backend(backend), dtype)
    layer = KINDS[kind](params, "r", 5, 3, num_layers=layers)
    params.init(1)
    rng = np.random.default_rng(2)
    for name in params.names():
        params[name][...] = 0.8 * rng.standard_normal(params[name].shape)
    return params, layer, padded(rng, 5).astype(dtype), rng


def padded(rng, features):
    x = rng.standard_normal((T, len(LENGTHS), features))
    x[np.arange(T)[:, None] >= LENGTHS] = 0
    return x


def passes(params, layer, x, dy, mode):
    """y, dx and the gradient of one pass there and back."""
    y, saved = layer.forward(x, LENGTHS, mode)
    grad = params.zeros()
    return y, layer.backward(saved, dy, grad), grad


def by_hand(params, kind, layers, x, dy, size):
    """y, dx and the gradient from the ops, layer after layer, each in a loop over its windows."""
    ops, bounds, grad = params.ops, [*range(0, T, size), T], params.zeros()
    views = [[f"r.{w}_l{k}" for w in ("weight_ih", "weight_hh", "bias")] for k in range(layers)]
    kept = []
    for names in views:
        states, parts = (), []
        for begin, end in pairwise(bounds):
            within = np.minimum(np.maximum(LENGTHS - begin, 0), end - begin).astype(np.int32)
            forward = getattr(ops, f"{kind}_forward")
            y, *states, saved = forward(x[begin:end].copy(), within, *(params[n] for n in names), *states)
            parts.append((y, saved))
        x = np.concatenate([y for y, _ in parts])
        kept.append([saved for _, saved in parts])
    for names, of_layer in zip(reversed(views), reversed(kept), strict=True):
        into = dict(zip(("dw_ih", "dw_hh", "dbias"), (params.view(grad, n) for n in names), strict=True))
        backward = getattr(ops, f"{kind}_backward")
        windows = zip(of_layer, pairwise(bounds), strict=True)
        dy = np.concatenate([backward(saved, dy[begin:end].copy(), **into)[0] for saved, (begin, end) in windows])
    return x, dy, grad


@every_layer
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bptt", [T, T + 1, 2**31 - 1])
def test_windows_as_long_as_the_input_change_no_bit(backend, kind, layers, dtype, bptt):
    params, layer, x, rng = built(backend, kind, layers, dtype)
    dy = rng.standard_normal((T, len(LENGTHS), 3)).astype(dtype)
    for got, want in zip(
        passes(params, layer, x, dy, Mode(bptt=bptt)), passes(params, layer, x, dy, EVAL), strict=True
    ):
        np.testing.assert_array_equal(got, want)


@every_layer
@pytest.mark.parametrize("bptt", [1, 2, 3, 6])
def test_gradients_are_those_of_a_loop_over_windows(backend, kind, layers, bptt):
    params, layer, x, rng = built(backend, kind, layers)
    dy = rng.standard_normal((T, len(LENGTHS), 3))
    whole, cut = passes(params, layer, x, dy, EVAL), passes(params, layer, x, dy, Mode(bptt=bptt))
    np.testing.assert_allclose(cut[0], whole[0], rtol=0, atol=1e-12)
    for b, n in enumerate(LENGTHS):
        assert not cut[0][n:, b].any()
        assert not cut[1][n:, b].any()
    for got, want, uncut in zip(cut[1:], by_hand(params, kind, layers, x, dy, bptt)[1:], whole[1:], strict=True):
        np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
        assert np.abs(got - uncut).max() > 1e-3


@every_layer
@pytest.mark.parametrize("bptt", [1, 3, 5])
def test_backward_is_the_transpose_of_jvp(backend, kind, layers, bptt):
    params, layer, x, rng = built(backend, kind, layers)
    y, saved = layer.forward(x, LENGTHS, Mode(bptt=bptt))
    for _ in range(2):  # saved can be used again
        dx, dy, dw, grad = padded(rng, 5), rng.standard_normal(y.shape), params.zeros(), params.zeros()
        for name in params.names():
            params.view(dw, name)[...] = rng.standard_normal(params[name].shape)
        forward, back = layer.jvp(saved, dx, dw), layer.backward(saved, dy, grad)
        left, right = np.vdot(forward, dy), np.vdot(dx, back) + np.vdot(dw, grad)
        assert abs(left - right) <= 1e-12 * np.linalg.norm(forward) * np.linalg.norm(dy)
        both = layer.jvp(saved, dx, None) + layer.jvp(saved, None, dw)
        np.testing.assert_allclose(forward, both, rtol=0, atol=1e-12)
    assert not params.grad.any()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bptt", [2, 3, T])
def test_torch_with_detached_states_gives_the_same(backend, kind, bptt):
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    params, layer, x, rng = built(backend, kind, 2)
    module = getattr(torch.nn, kind.upper())(5, 3, num_layers=2).double()
    layer.load_state_dict({k: v.detach() for k, v in module.state_dict().items()})
    lengths = np.full(len(LENGTHS), T, np.int32)
    dy = rng.standard_normal((T, len(LENGTHS), 3))
    there, state, parts = torch.from_numpy(x.copy()).requires_grad_(), None, []
    for part in there.split(bptt):
        out, state = module(part, state)
        state = tuple(s.detach() for s in state) if kind == "lstm" else state.detach()
        parts.append(out)
    want = torch.cat(parts)
    want.backward(torch.from_numpy(dy))
    y, saved = layer.forward(x, lengths, Mode(bptt=bptt))
    np.testing.assert_allclose(y, want.detach().numpy(), rtol=0, atol=1e-12)
    np.testing.assert_allclose(layer.backward(saved, dy), there.grad.numpy(), rtol=0, atol=1e-12)
    for k in range(2):
        for ours, theirs in (("weight_ih", "weight_ih"), ("weight_hh", "weight_hh"), ("bias", "bias_ih")):
            grad = getattr(module, f"{theirs}_l{k}").grad.numpy()
            if (kind, ours) == ("gru", "bias"):  # hn, what r multiplies
                grad = np.concatenate([grad, getattr(module, f"bias_hh_l{k}").grad.numpy()[-3:]])
            np.testing.assert_allclose(params.grad_of(f"r.{ours}_l{k}")[0], grad, rtol=0, atol=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_frames_and_no_utterances(backend):
    _, layer, _, _ = built(backend, "lstm", 2)
    for frames, batch in ((0, 2), (T, 0), (0, 0)):
        y, saved = layer.forward(np.zeros((frames, batch, 5)), np.zeros(batch, np.int32), Mode(bptt=3))
        assert y.shape == (frames, batch, 3)
        assert layer.backward(saved, y).shape == (frames, batch, 5)
        assert layer.jvp(saved, None, None).shape == (frames, batch, 3)


def test_layers_without_time_between_frames_take_no_notice():
    params = pyasr.Params(pyasr.backend("numpy"), "float64")
    layer = chain(Linear(params, "in", 5, 4), Linear(params, "out", 4, 3))
    params.init(0)
    rng = np.random.default_rng(0)
    x, dy = padded(rng, 5), padded(rng, 3)
    for got, want in zip(passes(params, layer, x, dy, Mode(bptt=2)), passes(params, layer, x, dy, EVAL), strict=True):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", [Lstm, Gru, Rnn])
def test_two_directions_are_refused(kind):
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = kind(params, "r", 5, 3, bidirectional=True)
    params.init(0)
    with pytest.raises(
        ValueError, match=f"^{kind.__name__}: bptt needs a layer of one direction, got bptt = 9 with two"
    ):
        layer.forward(np.zeros((T, 5, 5), "f4"), LENGTHS, Mode(bptt=9))
    with pytest.raises(TypeError, match=f"^{kind.__name__}: bidirectional must be True or False, got int"):
        kind(params, "r", 5, 3, bidirectional=2)


@pytest.mark.parametrize("bptt", [-1, 2.0, None, True, "3", 2**31])
def test_bptt_is_checked(bptt):
    with pytest.raises((TypeError, ValueError), match=r"^Mode: bptt must"):
        Mode(bptt=bptt)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_does_not_fit_is_named_although_windows_would(backend):
    _, layer, x, _ = built(backend, "lstm", 1)
    mode = Mode(bptt=3)
    for lengths in (LENGTHS + 1, LENGTHS - 1, LENGTHS.astype("i8"), LENGTHS.tolist(), LENGTHS[:1]):
        with pytest.raises((TypeError, ValueError), match=r"^Lstm: lengths must .*got"):
            layer.forward(x, lengths, mode)
    y, saved = layer.forward(x, LENGTHS, mode)
    for verb, name, good in ((layer.backward, "dy", y), (lambda s, dx: layer.jvp(s, dx, None), "dx", x)):
        for bad in (good[:-1], np.concatenate([good, good]), good.astype("f4"), good.tolist()):
            with pytest.raises((TypeError, ValueError), match=f"^Lstm: {name} must .*got"):
                verb(saved, bad)
