"""lstm, gru and rnn: neighbors in a batch, and inputs at the edge of the number range."""

import subprocess
import sys

import numpy as np
import pytest

from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has

STATES = {"lstm": ("h", "c"), "gru": ("h",), "rnn": ("h",)}
ROWS = {"lstm": (4, 4), "gru": (3, 4), "rnn": (1, 1)}  # of a weight and of the bias, per unit
FAMILY_COLUMNS = [
    (family, column)
    for family in STATES
    for column in ("numpy", "cpp", "numba")
    if why_not(column) is None and has(rows()[f"{family}_forward"], column)
]
CPP = [pytest.param(f, id=f) for f, column in FAMILY_COLUMNS if column == "cpp"]


def ops_of(family, column):
    """(forward, backward) of a family."""
    return (getattr(backend(column), f"{family}_{verb}") for verb in ("forward", "backward"))


def zeros_like(*arrays):
    return {name: np.zeros_like(a) for name, a in zip(("dw_ih", "dw_hh", "dbias"), arrays, strict=True)}


def example(family, T, B, D, H, S, dtype="float32", seed=0):
    """(x, lengths, the weights, the states); every sequence is full."""
    rng = np.random.default_rng(seed)
    gates, bias = (n * H for n in ROWS[family])

    def normal(*shape):
        return (0.5 * rng.standard_normal(shape)).astype(dtype)

    weights = [normal(S, gates, D), normal(S, gates, H), normal(S, bias)]
    return normal(T, B, D), np.full(B, T, np.int32), weights, [normal(S, B, H) for _ in STATES[family]]


@pytest.mark.parametrize("family", CPP)
@pytest.mark.parametrize(("H", "S", "dtype"), [(17, 2, "float32"), (64, 1, "float32"), (13, 2, "float64")])
def test_a_sequence_does_not_see_its_neighbors(family, H, S, dtype):
    forward, backward = ops_of(family, "cpp")
    jvp = getattr(backend("cpp"), f"{family}_jvp")
    T, B, D = 40, 23, 5
    x, lengths, weights, states = example(family, T, B, D, H, S, dtype)
    rng = np.random.default_rng(1)
    lengths[:] = rng.integers(0, T + 1, B)
    dy = rng.standard_normal((T, B, S * H)).astype(dtype)
    dends = [np.ascontiguousarray(s[:, ::-1]) for s in states]

    def run(some, written=None, **threads):
        part = [np.ascontiguousarray(a[:, some]) for a in (x, dy, *states, *dends)]
        px, pdy, pstates, pdends = part[0], part[1], part[2 : 2 + len(states)], part[2 + len(states) :]
        *out, saved = forward(px, lengths[some], *weights, *pstates, **threads)
        back = backward(saved, pdy, *pdends, **(written or zeros_like(*weights)), **threads)
        return [*out, *back, *jvp(saved, px, *weights, *pstates, **threads)]

    together, first = run(slice(None)), zeros_like(*weights)
    run(slice(None), first, threads=1)
    for threads in (2, 4):
        written = zeros_like(*weights)
        again = run(slice(None), written, threads=threads)
        assert [a.tobytes() for a in again] == [a.tobytes() for a in together]
        assert [a.tobytes() for a in written.values()] == [a.tobytes() for a in first.values()]
    for some in (slice(0, 1), slice(7, 9), slice(3, 16)):
        for a, b in zip(run(some), together, strict=True):
            assert a.tobytes() == np.ascontiguousarray(b[:, some]).tobytes()


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
def test_empty_sequences_hand_their_states_through(family, column):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 4, 3, 2, 5, 2)
    lengths[:] = 0
    x[:] = np.nan
    *out, saved = forward(x, lengths, *weights, *states)
    np.testing.assert_array_equal(out[0], np.zeros((4, 3, 10)))
    for got, state in zip(out[1:], states, strict=True):
        np.testing.assert_array_equal(got, state)
    written = zeros_like(*weights)
    dx, *dstates = backward(saved, np.full((4, 3, 10), np.nan, "float32"), *states, **written)
    np.testing.assert_array_equal(dx, np.zeros_like(x))
    for got, state in zip(dstates, states, strict=True):
        np.testing.assert_array_equal(got, state)
    assert all(not a.any() for a in written.values())


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
def test_frames_beyond_a_length_are_not_read(family, column):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 6, 3, 4, 7, 2)
    lengths[:] = (6, 0, 2)
    dy = np.ones((6, 3, 14), "float32")
    for b, n in enumerate(lengths):
        x[n:, b] = dy[n:, b] = np.nan
    y, *_, saved = forward(x, lengths, *weights, *states)
    written = zeros_like(*weights)
    dx, *_ = backward(saved, dy, **written)
    for b, n in enumerate(lengths):
        assert not y[n:, b].any()
        assert not dx[n:, b].any()
    assert all(np.isfinite(a).all() for a in (y, dx, *written.values()))


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_extreme_preactivations_stay_finite(family, column, dtype):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 5, 3, 4, 7, 1, dtype)
    weights[2][:] = np.where(np.arange(weights[2].size) % 3 > 0, 1e30, -1e30)
    *out, saved = forward(x, lengths, *weights, *states)
    written = zeros_like(*weights)
    back = backward(saved, np.ones((5, 3, 7), dtype), **written)
    assert all(np.isfinite(a).all() for a in (*out, *back, *written.values()))
    assert np.abs(out[0]).max() <= (
        max(1, np.abs(states[0]).max()) if family == "gru" else 1
    )  # a GRU may keep its state


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
def test_nan_reaches_its_own_sequence_and_no_other(family, column):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 6, 9, 4, 19, 1)
    x[2, 4, 1] = np.nan
    y, *_, saved = forward(x, lengths, *weights, *states)
    dx, *_ = backward(saved, np.ones_like(y), **zeros_like(*weights))
    assert np.isfinite(y[:2]).all()
    assert np.isnan(y[2:, 4]).all()
    others = np.arange(9) != 4
    assert np.isfinite(y[:, others]).all()
    assert np.isfinite(dx[:, others]).all()
    assert np.isnan(dx[:3, 4]).all()


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
def test_saved_can_be_used_again(family, column):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 9, 5, 4, 20, 2)
    y, *_, saved = forward(x, lengths, *weights, *states)
    for w in weights:  # an update in place must not reach what was saved
        w += 1
    lengths[:] = 1
    y += 1
    results = []
    for _ in range(3):
        written = zeros_like(*weights)
        back = backward(saved, np.ones_like(y), **written)
        results.append([a.tobytes() for a in (*back, *written.values())])
        forward(x, lengths, *weights, *states)
    assert results[0] == results[1] == results[2]


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
def test_backward_adds(family, column):
    forward, backward = ops_of(family, column)
    x, lengths, weights, states = example(family, 5, 4, 3, 6, 1, "float64")
    y, *_, saved = forward(x, lengths, *weights, *states)
    once, twice = zeros_like(*weights), zeros_like(*weights)
    first = backward(saved, np.ones_like(y), **once)
    for _ in range(2):
        no_dx = backward(saved, np.ones_like(y), **twice, need_dx=False)
    assert no_dx[0] is None
    for a, b in zip(no_dx[1:], first[1:], strict=True):
        np.testing.assert_array_equal(a, b)
    for name in once:
        np.testing.assert_allclose(twice[name], 2 * once[name], rtol=1e-12)


@pytest.mark.parametrize(("family", "column"), FAMILY_COLUMNS)
@pytest.mark.parametrize("S", [1, 2])
def test_stacked_layers_and_their_gradients_agree_with_torch(family, column, S):
    """Two layers over packed sequences of unsorted lengths, from states of their own, in float32 against float64."""
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    T, B, D, H = 37, 6, 11, 21
    forward, backward = ops_of(family, column)
    x, lengths, lower, low_states = example(family, T, B, D, H, S)
    _, _, upper, high_states = example(family, T, B, S * H, H, S, seed=1)
    lower[1] /= 2  # else the RNN is chaotic and grows every rounding
    upper[0] /= 2
    upper[1] /= 2
    lengths[:] = (29, 37, 1, 2, 37, 18)
    rng = np.random.default_rng(2)
    dy = rng.standard_normal((T, B, S * H)).astype("float32")
    dends = [rng.standard_normal((2 * S, B, H)).astype("float32") for _ in low_states]

    module = getattr(torch.nn, family.upper())(D, H, 2, bidirectional=S == 2).double()
    leaves = [[torch.from_numpy(w.astype("f8")).requires_grad_() for w in layer] for layer in (lower, upper)]
    named = {}
    for k, layer in enumerate(leaves):
        for s, suffix in enumerate(("", "_reverse")[:S]):
            bias, zeros = layer[2][s], torch.zeros_like(layer[2][s])
            biases = (bias, zeros)
            if family == "gru":  # hn stays apart
                biases = (bias[: 3 * H], torch.cat([zeros[: 2 * H], bias[3 * H :]]))
            for name, w in zip(
                ("weight_ih", "weight_hh", "bias_ih", "bias_hh"), (layer[0][s], layer[1][s], *biases), strict=True
            ):
                named[f"{name}_l{k}{suffix}"] = w
    there = torch.from_numpy(x.astype("f8")).requires_grad_()
    starts = [
        torch.from_numpy(np.concatenate(pair).astype("f8")).requires_grad_()
        for pair in zip(low_states, high_states, strict=True)
    ]
    packed = torch.nn.utils.rnn.pack_padded_sequence(there, torch.from_numpy(lengths).long(), enforce_sorted=False)
    start = tuple(starts) if len(starts) == 2 else starts[0]
    out, ends = torch.func.functional_call(module, named, (packed, start))
    ends = ends if len(starts) == 2 else (ends,)
    want_y, _ = torch.nn.utils.rnn.pad_packed_sequence(out, total_length=T)
    (
        (want_y * torch.from_numpy(dy)).sum()
        + sum((e * torch.from_numpy(d)).sum() for e, d in zip(ends, dends, strict=True))
    ).backward()

    middle, *low_ends, low_saved = forward(x, lengths, *lower, *low_states)
    y, *high_ends, high_saved = forward(middle, lengths, *upper, *high_states)
    low_written, high_written = zeros_like(*lower), zeros_like(*upper)
    dmiddle, *high_starts = backward(high_saved, dy, *(d[S:] for d in dends), **high_written)
    dx, *low_starts = backward(low_saved, dmiddle, *(d[:S] for d in dends), **low_written)
    pairs = {"y": (y, want_y), "dx": (dx, there.grad)}
    for letter, low, high, want in zip(STATES[family], low_ends, high_ends, ends, strict=True):
        pairs[f"{letter}n"] = (np.concatenate([low, high]), want)
    for letter, low, high, want in zip(STATES[family], low_starts, high_starts, starts, strict=True):
        pairs[f"d{letter}0"] = (np.concatenate([low, high]), want.grad)
    for k, (written, layer) in enumerate(zip((low_written, high_written), leaves, strict=True)):
        pairs |= {f"{name}_l{k}": (a, w.grad) for (name, a), w in zip(written.items(), layer, strict=True)}
    for name, (got, want) in pairs.items():
        want = want.detach().numpy()
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error <= 5e-6, f"{name} differs by {error:.1e}"


@pytest.mark.parametrize("family", CPP)
def test_float32_drifts_little_over_a_thousand_frames(family):
    forward, backward = ops_of(family, "cpp")
    x, lengths, weights, states = example(family, 1000, 2, 16, 64, 1)
    weights = [w / 4 for w in weights]
    dy = np.random.default_rng(2).standard_normal((1000, 2, 64)).astype("float32")
    results = []
    for dtype in ("float32", "float64"):
        w, s = [a.astype(dtype) for a in weights], [a.astype(dtype) for a in states]
        *out, saved = forward(x.astype(dtype), lengths, *w, *s)
        written = zeros_like(*w)
        results.append([*out, *backward(saved, dy.astype(dtype), **written), *written.values()])
    for got, want in zip(*results, strict=True):
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error <= 5e-6, f"{error:.1e}"


INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
import pyasr

verb, threads = sys.argv[1], int(sys.argv[2])
ops = pyasr.backend("cpp")
T, B, D, H = 1500, 32, 8, 256
x, lengths = np.ones((T, B, D), "f"), np.full(B, T, np.int32)
w = [np.full(s, 1e-3, "f") for s in ((1, 4 * H, D), (1, 4 * H, H), (1, 4 * H))]
saved, dy, sent = ops.lstm_forward(x, lengths, *w)[-1], np.ones((T, B, H), "f"), []

def backward(threads):
    ops.lstm_backward(saved, dy, dw_ih=dw[0], dw_hh=dw[1], dbias=dw[2], threads=threads)

dw = [np.ones_like(a) for a in w]
backward(None)
whole = [a.copy() for a in dw]

def interrupt():
    sent.append(time.monotonic())
    os.kill(os.getpid(), signal.SIGINT)

threading.Timer(0.1, interrupt).start()
try:
    while True:
        dw = [np.ones_like(a) for a in w]
        if verb == "forward":
            ops.lstm_forward(x, lengths, *w, threads=threads)
        elif verb == "jvp":
            ops.lstm_jvp(saved, x, *w, threads=threads)
        else:
            backward(threads)
except KeyboardInterrupt:
    took = time.monotonic() - sent[0]
    untouched = all((a == 1).all() for a in dw)
    assert untouched or all(np.array_equal(a, b) for a, b in zip(dw, whole)), "an update was cut in half"
    print(took)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("verb", ["forward", "backward", "jvp"])
@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
def test_interrupts_are_answered_and_leave_gradients_alone(verb, threads):
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPT, verb, str(threads)],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert float(done.stdout) < 1.0  # 0.2 s on a quiet machine
