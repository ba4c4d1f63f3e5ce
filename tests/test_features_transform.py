"""Neighboring frames of features: deltas, stacking, subsampling; and the doors of all that is done to features.

The oracles are the definitions, frame by frame, written out here.
"""

import subprocess
import sys

import numpy as np
import pytest

from pyasr.features import Cmvn, cmvn, delta_filters, deltas, resize, sliding_cmvn, stack, subsample


def noise(*shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


# Utterances side by side


@pytest.mark.parametrize("f", [deltas, cmvn])
@pytest.mark.parametrize("layout", ["BTF", "TBF", "concatenated"])
def test_utterances_of_a_batch_do_not_see_each_other(f, layout):
    alone, lengths = [noise(n, 3, seed=n) for n in (4, 0, 7)], np.array([4, 0, 7], np.int32)
    if layout == "concatenated":
        y = f(np.concatenate(alone), lengths=np.array([0, 4, 4, 11]), layout=layout)
        np.testing.assert_array_equal(y, np.concatenate([f(x) for x in alone]))
        return
    padded = np.full((3, 7, 3), np.inf)
    for x, n, row in zip(alone, lengths, padded, strict=True):
        row[:n] = x
    y = f(padded if layout == "BTF" else padded.swapaxes(0, 1), lengths=lengths, layout=layout)
    for x, n, row in zip(alone, lengths, y if layout == "BTF" else y.swapaxes(0, 1), strict=True):
        np.testing.assert_array_equal(row[:n], f(x))
        assert not row[n:].any()


# Neighboring frames


def at(x, t):
    return x[min(max(t, 0), len(x) - 1)].astype(np.float64)


def kaldi_deltas(x, window, order):
    """DeltaFeatures: the filter of each order applied to the features themselves."""
    scales = [{0: 1.0}]
    for _ in range(order):
        wider = {}
        for j in range(-window, window + 1):
            for k, scale in scales[-1].items():
                wider[j + k] = wider.get(j + k, 0.0) + j * scale
        norm = sum(j * j for j in range(-window, window + 1))
        scales.append({j: s / norm for j, s in wider.items()})
    return np.stack(
        [np.concatenate([sum(s * at(x, t + j) for j, s in f.items()) for f in scales]) for t in range(len(x))]
    )


def torchaudio_deltas(x, window, order):
    """compute_deltas(win_length=2·window + 1) of the features, then of its own result."""
    n = window
    denom = n * (n + 1) * (2 * n + 1) / 3
    parts = [x.astype(np.float64)]
    for _ in range(order):
        last = parts[-1]
        parts.append(np.stack([sum(j * at(last, t + j) for j in range(-n, n + 1)) / denom for t in range(len(x))]))
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("frames", [1, 2, 5, 30])
@pytest.mark.parametrize(("window", "order"), [(2, 2), (1, 1), (3, 3), (2, 0)])
@pytest.mark.parametrize(("style", "oracle"), [("kaldi", kaldi_deltas), ("torchaudio", torchaudio_deltas)])
def test_deltas_are_their_definition(style, oracle, window, order, frames, dtype):
    x = noise(frames, 4, dtype=dtype)
    got = deltas(x, window, order, style=style)
    assert got.dtype == dtype
    assert got.flags.c_contiguous
    np.testing.assert_allclose(got, oracle(x, window, order), atol=1e-6 if dtype == np.float32 else 1e-14)


def test_delta_styles_differ_at_the_ends_alone():
    x = noise(30, 4)
    kaldi, torchaudio = deltas(x), deltas(x, style="torchaudio")
    np.testing.assert_array_equal(kaldi[:, :8], torchaudio[:, :8])
    np.testing.assert_allclose(kaldi[2:-2], torchaudio[2:-2], atol=1e-14)
    apart = np.abs(kaldi - torchaudio)[:, 8:].max(axis=1)
    assert (apart[[0, 1, -2, -1]] > 1e-3).all()


def test_delta_filters_are_kaldis():
    taps = [np.array([1.0]), np.arange(-2, 3) / 10, np.convolve(np.arange(-2, 3), np.arange(-2, 3)) / 100]
    for got, want in zip(delta_filters(2, 2), taps, strict=True):
        np.testing.assert_allclose(got, want, atol=1e-15)


def test_savitzky_golay_agrees_away_from_the_ends():
    signal = pytest.importorskip("scipy.signal", reason="the oracle is SciPy")
    x = noise(40, 3)
    want = signal.savgol_filter(x, 5, polyorder=1, deriv=1, axis=0)
    np.testing.assert_allclose(deltas(x, order=1)[2:-2, 3:], want[2:-2], atol=1e-13)


@pytest.mark.parametrize("style", ["kaldi", "torchaudio"])
@pytest.mark.parametrize("frames", [0, 1, 2, 5])
def test_deltas_of_short_features(frames, style):
    x = np.ones((frames, 3), np.float32)
    assert deltas(x, order=1, style=style).shape == (frames, 6)
    np.testing.assert_allclose(deltas(x, style=style)[:, 3:], 0, atol=1e-7)
    np.testing.assert_array_equal(deltas(x, order=0, style=style), x)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("frames", [1, 2, 7])
@pytest.mark.parametrize(("left", "right"), [(0, 0), (4, 4), (0, 3), (9, 1)])
def test_stack_is_splice_feats(left, right, frames, dtype):
    x = noise(frames, 3, dtype=dtype)
    got = stack(x, left, right)
    want = np.stack([np.concatenate([at(x, t + j) for j in range(-left, right + 1)]) for t in range(frames)])
    np.testing.assert_array_equal(got, want)
    assert got.dtype == dtype
    assert not np.shares_memory(got, x)


@pytest.mark.parametrize(("n", "offset"), [(1, 0), (3, 0), (3, 2), (2, 5), (7, 6), (3, 7), (3, 100)])
def test_subsample_takes_every_nth_frame(n, offset):
    x = noise(7, 2)
    got = subsample(x, n, offset)
    np.testing.assert_array_equal(got, x[[t for t in range(7) if t >= offset and (t - offset) % n == 0]])
    assert not np.shares_memory(got, x)


def test_no_frames_stay_no_frames():
    empty = np.zeros((0, 3), np.float32)
    assert stack(empty, 2, 1).shape == (0, 12)
    for got in (subsample(empty, 3), cmvn(empty), sliding_cmvn(empty)):
        assert got.shape == (0, 3)
        assert got.dtype == np.float32


# Doors


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("frames", "wanted"), [(7, 7), (7, 3), (2, 50), (1, 4), (5, 2)])
def test_resize_interpolates_as_numpy(frames, wanted, dtype):
    x = np.random.default_rng(frames).standard_normal((frames, 3)).astype(dtype)
    before = x.copy()
    got, at = resize(x, wanted), np.linspace(0, frames - 1, wanted)
    want = np.stack([np.interp(at, np.arange(frames), column) for column in x.T], axis=1)
    assert got.dtype == dtype and not np.shares_memory(got, x) and (x == before).all()
    np.testing.assert_allclose(got, want, rtol=1e-6 if dtype == "float32" else 1e-12, atol=1e-7)
    assert (got[0] == x[0]).all() and (got[-1] == x[-1]).all()


FUNCTIONS = {
    "deltas": deltas,
    "cmvn": cmvn,
    "sliding_cmvn": sliding_cmvn,
    "stack": lambda x: stack(x, 1, 1),
    "subsample": lambda x: subsample(x, 2),
    "resize": lambda x: resize(x, 2),
    "Cmvn.add": lambda x: Cmvn(1).add(x),
    "Cmvn.apply": lambda x: Cmvn.from_kaldi(np.ones((2, 2))).apply(x),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bad_features(name):
    for bad, error, text in (
        ([[1.0]], TypeError, "features must be a NumPy array, got list"),
        (np.zeros(3), ValueError, r"features must have shape \(T, F\), got \(3,\)"),
        (np.zeros((3, 2), int), TypeError, "features must have dtype"),
        (np.array([[0.0], [np.nan]]), ValueError, "NaN or infinity in frame 1"),
    ):
        with pytest.raises(error, match=f"^{name}: .*{text}"):
            FUNCTIONS[name](bad)


X = np.zeros((4, 2))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: deltas(X, style="htk"), ValueError, '^deltas: style must be "kaldi" or "torchaudio", got \'htk\''),
        (lambda: deltas(X, 0), ValueError, r"^deltas: window must lie in \[1, 1000\], got 0"),
        (lambda: stack(X, -1, 0), ValueError, r"^stack: left must lie in \[0, 1000\], got -1"),
        (lambda: stack(X, 0, 1.0), TypeError, "^stack: right must be an integer, got float"),
        (lambda: resize(X, 1), ValueError, r"^resize: frames must lie in \[2, 1000\], got 1"),
        (lambda: resize(X, 2.0), TypeError, "^resize: frames must be an integer, got float"),
        (lambda: resize(X[:0], 2), ValueError, "^resize: features must have at least one frame"),
        (lambda: subsample(X, 0), ValueError, "^subsample: n must lie in"),
        (lambda: subsample(X, 2, -1), ValueError, "^subsample: offset must lie in"),
        (lambda: sliding_cmvn(X, 0), ValueError, "^sliding_cmvn: window must lie in"),
        (lambda: sliding_cmvn(X, center=1), TypeError, "^sliding_cmvn: center must be True or False, got int"),
        (lambda: Cmvn(0), ValueError, "^Cmvn: width must lie in"),
        (lambda: Cmvn(3).add(X), ValueError, r"^Cmvn.add: features must have shape \(4, 3\), got \(4, 2\)"),
        (lambda: Cmvn(2).apply(X), ValueError, "^Cmvn.apply: at least one frame must have been added, got 0"),
        (lambda: Cmvn(2).mean, ValueError, "^Cmvn.mean: at least one frame"),
        (lambda: Cmvn(2).merge(X), TypeError, "^Cmvn.merge: other must be a Cmvn, got ndarray"),
        (lambda: Cmvn(2) + Cmvn(3), ValueError, "^Cmvn.merge: other must have width 2, got 3"),
        (lambda: Cmvn(2) + 1, TypeError, "unsupported operand"),
        (lambda: Cmvn.from_kaldi(np.zeros((3, 4))), ValueError, r"stats must have shape \(2, F \+ 1\), got \(3, 4\)"),
        (lambda: Cmvn.from_kaldi(np.full((2, 2), -1.0)), ValueError, "count"),
        (lambda: Cmvn.from_kaldi(np.array([[1.0, 2.0], [np.inf, 0.0]])), ValueError, "must be finite"),
    ],
)
def test_bad_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_features_import_no_extras():
    code = (
        "import sys, pyasr.features, pyasr.augment; "
        "bad = {'soxr', 'soundfile', 'scipy', 'numba'} & set(sys.modules); assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
