"""Frozen layers: the bits of forward, streams in pieces, and weights stored as bfloat16."""

import numpy as np
import pytest

import pyasr
from pyasr.layers import Gru, Lstm, Rnn
from pyasr.layers.frozen import bfloat16
from pyasr.ops import why_not

COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None]
LAYERS = {
    "lstm": lambda p: Lstm(p, "a", 5, 19),
    "lstm-stacked": lambda p: Lstm(p, "a", 5, 16, num_layers=3),
    "lstm-options": lambda p: Lstm(
        p, "a", 5, 18, num_layers=2, peephole=True, proj_size=7, cell_clip=0.4, recurrent_dropout=0.3, zoneout_h=0.2,
        zoneout_c=0.1,
    ),
    "gru": lambda p: Gru(p, "a", 5, 17, num_layers=2),
    "rnn": lambda p: Rnn(p, "a", 5, 33),  # an odd number of vectors in a row, for every width of register
}  # fmt: skip
CASES = [pytest.param(c, build, id=f"{name}-{c}") for c in COLUMNS for name, build in LAYERS.items()]
both_ways = pytest.mark.parametrize(("column", "build"), CASES)


def built(column, build, seed=0):
    params = pyasr.Params(pyasr.backend(column))
    layer = build(params)
    params.init(seed)
    rng = np.random.default_rng(seed)
    params.value[:] += 0.2 * rng.standard_normal(params.value.shape, np.float32)  # peepholes and biases begin at zero
    return layer, rng


@both_ways
def test_frozen_forward_has_the_bits_of_forward(column, build):
    layer, rng = built(column, build)
    x, lengths = rng.standard_normal((9, 4, 5), np.float32), np.array([9, 0, 4, 7], np.int32)
    y, state = layer.freeze().forward(x, lengths)
    want, _ = layer.forward(x, lengths)
    np.testing.assert_array_equal(y, want)
    assert len(state) == layer.num_layers and all(len(s) == (2 if isinstance(layer, Lstm) else 1) for s in state)


@both_ways
@pytest.mark.parametrize("storage", ["float32", "bfloat16"])
def test_a_stream_in_pieces_is_the_whole(column, build, storage):
    layer, rng = built(column, build)
    frozen, x = layer.freeze(storage), rng.standard_normal((23, 3, 5), np.float32)
    whole, last = frozen.forward(x)
    state, parts = None, []
    for a, b in ((0, 1), (1, 2), (2, 2), (2, 11), (11, 23)):
        part, state = frozen.forward(x[a:b], state=state)
        parts.append(part)
    got, want = [np.concatenate(parts), *sum(state, ())], [whole, *sum(last, ())]
    for g, w in zip(got, want, strict=True):
        if column == "cpp":
            np.testing.assert_array_equal(g, w)
        else:  # float64 inside: what is handed over is rounded
            np.testing.assert_allclose(g, w, rtol=0, atol=2e-6)


@both_ways
def test_bfloat16_weights_are_the_rounded_ones(column, build):
    layer, rng = built(column, build)
    x, lengths = rng.standard_normal((9, 4, 5), np.float32), np.array([9, 0, 4, 7], np.int32)
    y, _ = layer.freeze("bfloat16").forward(x, lengths)
    exact, _ = layer.forward(x, lengths)
    assert 1e-5 < np.linalg.norm(y - exact) / np.linalg.norm(exact) < 2e-2
    for name in layer.params.names():
        if "peephole" not in name:  # three numbers per unit stay float32
            layer.params[name][:] = bfloat16(layer.params[name])
    np.testing.assert_array_equal(layer.forward(x, lengths)[0], y)


def test_rounding_to_bfloat16_is_to_nearest_even():
    cases = {1.00390625: 1.0, 1.01171875: 1.015625, np.float32(1.00390637): 1.0078125, -1.00390625: -1.0, 0.0: 0.0}
    for x, want in cases.items():
        assert bfloat16(np.array([x], np.float32)).tolist() == [want]
    assert np.isnan(bfloat16(np.array([0x7FC00000, 0x7F800001, 0xFFFFFFFF], np.uint32).view(np.float32))).all()
    assert np.isinf(bfloat16(np.array([np.inf, 3.4028235e38], np.float32))).all()


@pytest.mark.parametrize("column", COLUMNS)
def test_weights_are_those_of_the_moment(column):
    layer, rng = built(column, LAYERS["lstm"])
    frozen, x = layer.freeze(), rng.standard_normal((4, 2, 5), np.float32)
    before, _ = frozen.forward(x)
    layer.params.value[:] = 0
    np.testing.assert_array_equal(frozen.forward(x)[0], before)


@pytest.mark.parametrize("column", COLUMNS)
def test_same_bits_alone_in_a_batch_and_for_any_thread_count(column):
    layer, rng = built(column, LAYERS["lstm-stacked"])
    frozen, x = layer.freeze("bfloat16"), rng.standard_normal((7, 13, 5), np.float32)
    y, _ = frozen.forward(x, threads=1)
    for threads in (2, 4):
        np.testing.assert_array_equal(frozen.forward(x, threads=threads)[0], y)
    if column == "cpp":
        np.testing.assert_array_equal(frozen.forward(np.ascontiguousarray(x[:, 5:6]))[0], y[:, 5:6])


@pytest.mark.parametrize("column", COLUMNS)
def test_two_directions_take_whole_sequences(column):
    layer, rng = built(column, lambda p: Lstm(p, "a", 5, 8, bidirectional=True))
    frozen, x = layer.freeze(), rng.standard_normal((6, 2, 5), np.float32)
    lengths = np.array([6, 3], np.int32)
    y, state = frozen.forward(x, lengths)
    np.testing.assert_array_equal(y, layer.forward(x, lengths)[0])
    with pytest.raises(ValueError, match="state must be None for a layer of two directions"):
        frozen.forward(x, lengths, state)


@pytest.mark.parametrize("column", COLUMNS)
def test_bad_arguments_are_named(column):
    layer, _ = built(column, LAYERS["lstm-stacked"])
    frozen, x = layer.freeze(), np.zeros((4, 2, 5), np.float32)
    _, state = frozen.forward(x)
    gru = built(column, lambda p: Gru(p, "g", 5, 3))[0].freeze()
    _, gru_state = gru.forward(x)
    for error, words, call in (
        (ValueError, 'storage must be "float32" or "bfloat16"', lambda: layer.freeze("float16")),
        (TypeError, "storage must be", lambda: layer.freeze(16)),
        (ValueError, r"x must have shape \(T, B, 5\)", lambda: frozen.forward(x[:, :, :4].copy())),
        (TypeError, "x must have dtype float32", lambda: frozen.forward(x.astype("f8"))),
        (TypeError, "x must be a NumPy array", lambda: frozen.forward(x.tolist())),
        (ValueError, "x must be C-contiguous", lambda: frozen.forward(np.asfortranarray(x))),
        (ValueError, r"lengths must lie in \[0, T = 4\]", lambda: frozen.forward(x, np.array([4, 5], "i4"))),
        (ValueError, "lengths must have shape", lambda: frozen.forward(x, np.array([4], "i4"))),
        (ValueError, "state must have 3 layers, got 1", lambda: frozen.forward(x, state=state[:1])),
        (ValueError, "h0 must have shape", lambda: frozen.forward(np.zeros((4, 3, 5), "f4"), state=state)),
        (ValueError, "threads must lie in", lambda: frozen.forward(x, threads=0)),
        (TypeError, "state must be what an earlier call returned, a list, got int", lambda: frozen.forward(x, state=3)),
        (
            TypeError,
            r"state\[0\] must be a tuple of length 2, got ndarray",
            lambda: frozen.forward(x, state=list(state[0] * 2)[:3]),
        ),
        (
            ValueError,
            r"state\[2\] must be a tuple of length 2, got 1",
            lambda: frozen.forward(x, state=[*state[:2], state[2][:1]]),
        ),
        (
            ValueError,
            r"state\[0\] must be a tuple of length 1, got 2",
            lambda: gru.forward(x, state=[(*gru_state[0], "c")]),
        ),
    ):
        with pytest.raises(error, match=words):
            call()
    params = pyasr.Params(pyasr.backend(column), "float64")
    double = Lstm(params, "a", 5, 3)
    params.init(0)
    with pytest.raises(ValueError, match="float32, got float64"):
        double.freeze()


@pytest.mark.parametrize("column", COLUMNS)
def test_edges(column):
    layer, _ = built(column, LAYERS["lstm"])
    frozen = layer.freeze()
    assert frozen.forward(np.zeros((0, 2, 5), "f4"))[0].shape == (0, 2, 19)
    assert frozen.forward(np.zeros((3, 0, 5), "f4"))[0].shape == (3, 0, 19)
    spoiled = np.zeros((3, 2, 5), "f4")
    spoiled[1, 0, 2] = np.nan
    y, _ = frozen.forward(spoiled)
    assert np.isnan(y[1:, 0]).any() and np.isfinite(y[:, 1]).all() and np.isfinite(y[0]).all()
