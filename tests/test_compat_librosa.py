"""pyasr.compat.librosa beside librosa: numbers, shapes, dtypes, warnings; errors in its words."""

import inspect
import warnings

import numpy as np
import pytest

import pyasr
from pyasr.compat import librosa as ours
from pyasr.counter import stream


@pytest.fixture(scope="module")
def peer():
    with warnings.catch_warnings():  # of its imports
        warnings.simplefilter("ignore")
        librosa = pytest.importorskip("librosa", reason="librosa is the peer")
        assert librosa.feature.mfcc and librosa.filters.mel and librosa.power_to_db
    return librosa


FUNCTIONS = ("feature.mfcc", "feature.melspectrogram", "feature.delta", "filters.mel", "power_to_db")
NOISE = 0.1 * stream(1, "librosa").standard_normal(9000).astype(np.float32)


def named(module, name):
    for part in name.split("."):
        module = getattr(module, part)
    return module


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_order_and_defaults(peer, name):
    def arguments(module):
        return [(p.name, p.kind, p.default) for p in inspect.signature(named(module, name)).parameters.values()]

    want = [a for a in arguments(peer) if name != "feature.delta" or a[0] != "kwargs"]  # savgol_filter's are left out
    assert arguments(ours) == want


def speech_like(rng, n, dtype, scale):
    """Noise that fades over 60 dB, and a tone: loud and silent frames."""
    i = np.arange(n)
    x = rng.standard_normal(n) * 10.0 ** (-3.0 * i / max(n, 1)) + 0.3 * np.sin(0.1 * i) * (i < n // 3)
    return (scale * x).astype(dtype)


def option_set(seed):
    rng = stream(seed, "librosa options")

    def draw(*choices):
        return choices[rng.integers(len(choices))]

    sr, n_fft = draw(8000, 16000, 22050, 44100), draw(400, 512, 1000, 1024, 2048, 511, 498)
    win_length = draw(None, None, n_fft // 2, 3 * n_fft // 4 + 1)
    length = n_fft if win_length is None else win_length
    window = draw(
        "hann", "hann", "hamming", "blackman", "boxcar", np.hanning, np.hamming(length), list(np.ones(length))
    )
    frames = {
        "n_fft": n_fft,
        "hop_length": draw(n_fft // 4, 160, 77, n_fft // 2),
        "win_length": win_length,
        "window": window,
        "center": draw(True, True, False),
        "pad_mode": draw("constant", "constant", "reflect", "symmetric", "edge"),
        "power": draw(2.0, 2.0, 1.0, 1.5),
        "n_mels": draw(20, 40, 80, 128),
        "fmin": draw(0.0, 0.0, 20.0, 133.3),
        "fmax": draw(None, None, 3700.0, sr / 2),
        "htk": draw(False, True),
    }
    cepstra = {
        "n_mfcc": draw(20, 13, 5, 40),
        "dct_type": draw(2, 2, 3, 1),
        "norm": draw("ortho", "ortho", None),
        "lifter": draw(0, 0, 22, 9.5),
    }
    cepstra["n_mfcc"] = min(cepstra["n_mfcc"], frames["n_mels"]) if cepstra["lifter"] else cepstra["n_mfcc"]
    channels = draw((), (), (), (1,), (2,), (3, 2))
    dtype, scale = draw("float32", "float32", "float64"), draw(1.0, 0.01, 3000.0)
    n = int(rng.integers(n_fft, 6 * n_fft))
    y = np.stack([speech_like(rng, n, dtype, scale) for _ in range(int(np.prod(channels)))]).reshape(*channels, n)
    return sr, y, frames, draw("slaney", "slaney", None, 1.0, 2.0, np.inf), cepstra


def compare(got, want, tolerance):
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    assert np.abs(got - want).max(initial=0) <= tolerance * np.abs(want).max(initial=1e-30)


@pytest.mark.filterwarnings("ignore:Empty filters")
@pytest.mark.parametrize("seed", range(120))
def test_numbers_are_librosas(peer, seed):
    sr, y, frames, norm, cepstra = option_set(seed)
    want = peer.feature.melspectrogram(y=y, sr=sr, norm=norm, **frames)
    compare(ours.feature.melspectrogram(y=y, sr=sr, norm=norm, **frames), want, 5e-6)
    want = peer.feature.mfcc(y=y, sr=sr, mel_norm=norm, **cepstra, **frames)
    compare(ours.feature.mfcc(y=y, sr=sr, mel_norm=norm, **cepstra, **frames), want, 5e-5)


def outcome(function, **arguments):
    try:
        return function(**arguments)
    except Exception as error:
        return error


@pytest.mark.filterwarnings("ignore:n_fft=")
@pytest.mark.parametrize("pad_mode", ["constant", "reflect", "symmetric", "edge"])
@pytest.mark.parametrize("center", [True, False])
@pytest.mark.parametrize("n_fft", [256, 255])
def test_lengths(peer, n_fft, center, pad_mode):
    a = {"sr": 8000, "n_fft": n_fft, "hop_length": 100, "center": center, "pad_mode": pad_mode, "n_mels": 20}
    for n in (0, 1, 2, 99, 100, 101, 127, 128, 129, 254, 255, 256, 257, 355, 356, 357, 456, 500):
        want = outcome(peer.feature.mfcc, y=NOISE[:n], **a)
        got = outcome(ours.feature.mfcc, y=NOISE[:n], **a)
        if isinstance(want, Exception):
            assert isinstance(got, ValueError), n
            assert "mfcc: " in str(got), n
        else:
            compare(got, want, 5e-5)


@pytest.mark.filterwarnings("ignore:n_fft=")
def test_a_hop_above_half_a_frame_mirrors_the_whole_wave(peer):
    """The peer mirrors the rest of the wave that it looks at; constant padding does not tell."""
    a = {"sr": 8000, "n_fft": 256, "hop_length": 250, "n_mels": 20}
    for n in range(256, 900, 7):
        compare(ours.feature.mfcc(y=NOISE[:n], **a), peer.feature.mfcc(y=NOISE[:n], **a), 5e-5)
        padded = np.pad(NOISE[:n], 128, mode="reflect")
        want = ours.feature.melspectrogram(y=padded, center=False, **a)
        compare(ours.feature.melspectrogram(y=NOISE[:n], pad_mode="reflect", **a), want, 5e-6)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(513, 9), (2, 201, 5), (2, 3, 65, 4)])
def test_spectra_that_are_given(peer, shape, dtype):
    S = stream(2, *shape).random(shape).astype(dtype)
    for n_fft in (2048, 2 * (shape[-2] - 1)):
        a = {"S": S, "sr": 16000, "n_fft": n_fft, "n_mels": 20}
        compare(ours.feature.melspectrogram(**a), peer.feature.melspectrogram(**a), 1e-6)
    for a in ({}, {"n_mfcc": 100}, {"dct_type": 1, "lifter": 22}, {"dct_type": 3, "norm": None}, {"norm": "backward"}):
        compare(ours.feature.mfcc(S=S, **a), peer.feature.mfcc(S=S, **a), 1e-6)


@pytest.mark.parametrize("ref", [1.0, 0.5, -2, np.max, np.median])
@pytest.mark.parametrize(("amin", "top_db"), [(1e-10, 80.0), (1e-5, None), (1e-10, 0), (1.0, 20)])
def test_power_to_db(peer, ref, amin, top_db):
    S = stream(3).random((3, 4, 5)) ** 20
    for x in (S, S.astype(np.float32), (9 * S).astype(int), S[0, 0].tolist()):
        a = {"ref": ref, "amin": amin, "top_db": top_db}
        want = np.asarray(peer.power_to_db(x, **a))
        got = ours.power_to_db(x, **a)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got, want)
    assert ours.power_to_db(2.5, ref=3.0, amin=amin) == peer.power_to_db(2.5, ref=3.0, amin=amin)


def test_power_to_db_of_complex_numbers_and_of_nothing():
    with pytest.warns(UserWarning, match="complex input so phase information will be discarded"):
        np.testing.assert_allclose(ours.power_to_db(np.array([10j, -100])), [10, 20])
    assert ours.power_to_db(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("mode", ["interp", "nearest", "mirror", "constant", "wrap"])
@pytest.mark.parametrize(("width", "order"), [(9, 1), (3, 1), (5, 2), (9, 3)])
def test_delta(peer, mode, width, order):
    for dtype in ("float32", "float64"):
        x = stream(4).standard_normal((3, 7, 12)).astype(dtype)
        for axis in (-1, 2) if width > 7 else (-1, 1):
            a = {"width": width, "order": order, "axis": axis, "mode": mode}
            compare(ours.feature.delta(x, **a), peer.feature.delta(x, **a), 1e-6)


@pytest.mark.parametrize("norm", ["slaney", None, 1, 2, np.inf, 3.5])
@pytest.mark.parametrize("htk", [False, True])
def test_filters(peer, htk, norm):
    for sr, n_fft, n_mels, fmin, fmax in (
        (16000, 400, 80, 0, None),
        (22050, 2048, 128, 20.0, 7600),
        (8000, 255, 13, 133, 4000),
    ):
        a = {"sr": sr, "n_fft": n_fft, "n_mels": n_mels, "fmin": fmin, "fmax": fmax, "htk": htk, "norm": norm}
        for dtype in (np.float32, np.float64):
            compare(ours.filters.mel(**a, dtype=dtype), peer.filters.mel(**a, dtype=dtype), 1e-6)


def test_warnings_are_librosas(peer):
    for module in (ours, peer):
        with pytest.warns(UserWarning, match="Empty filters detected in mel frequency basis"):
            module.filters.mel(sr=16000, n_fft=256, n_mels=128)
        with pytest.warns(UserWarning, match="Empty filters detected in mel frequency basis"):
            module.feature.mfcc(y=NOISE, sr=16000, n_fft=256, n_mels=128)
        with pytest.warns(UserWarning, match="n_fft=2048 is too large for input signal of length=2047"):
            module.feature.melspectrogram(y=NOISE[:2047], sr=16000, n_mels=40)


def test_channels_share_the_loudest_value():
    quiet = np.stack([1e4 * NOISE, 1e-2 * NOISE])
    together = ours.feature.mfcc(y=quiet, sr=16000)
    compare(together[0], ours.feature.mfcc(y=quiet[0], sr=16000), 1e-6)
    assert np.ptp(together[1][1:]) < 1e-3 < np.ptp(ours.feature.mfcc(y=quiet[1], sr=16000)[1:])


def test_any_layout_is_right():
    want = ours.feature.mfcc(y=NOISE, sr=16000)
    wide = np.repeat(NOISE[:, None], 2, axis=1)
    for y in (wide[:, 1], NOISE.astype(">f4"), NOISE[::-1].copy()[::-1]):
        np.testing.assert_array_equal(ours.feature.mfcc(y=y, sr=16000), want)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"y": None}, TypeError, "y must be a NumPy array, got NoneType"),
        ({"y": NOISE.tolist()}, TypeError, "y must be a NumPy array, got list"),
        ({"y": NOISE.astype(np.int16)}, TypeError, "y must have dtype float32 or float64, got int16"),
        ({"y": NOISE.astype(np.float16)}, TypeError, "y must have dtype float32 or float64, got float16"),
        ({"y": np.array(1, np.float32)}, ValueError, "y must have shape"),
        ({"y": np.zeros((0, 9000), np.float32)}, ValueError, r"y must have shape .*got \(0, 9000\)"),
        ({"y": NOISE * np.nan}, ValueError, r"y\[0\] must be finite, got nan at 0"),
        ({"sr": -1}, ValueError, "sr must lie in"),
        ({"sr": "16000"}, TypeError, "sr must be a real number"),
        ({"n_fft": 0}, ValueError, "n_fft must lie in"),
        ({"n_fft": 512.0}, TypeError, "n_fft must be an integer"),
        ({"n_fft": 16384, "center": False}, ValueError, "n_fft=16384 is too large for input signal of length=9000"),
        ({"hop_length": 0}, ValueError, "hop_length must lie in"),
        ({"win_length": 4096}, ValueError, r"win_length must lie in \[2, 2048\], got 4096"),
        ({"window": "hanning"}, ValueError, r"window must be one of .* \(did you mean 'hann'\?\)"),
        (
            {"window": ("kaiser", 4.0)},
            TypeError,
            "window must be a name, a callable or an array, got tuple: pass scipy",
        ),
        ({"window": np.ones(5)}, ValueError, r"window must have shape \(2048,\), win_length, got \(5,\)"),
        ({"window": lambda n: np.ones((n, 2))}, ValueError, r"window must have shape \(2048,\)"),
        ({"window": np.full(2048, np.nan)}, ValueError, r"window\[0\] must"),
        ({"center": 1}, TypeError, "center must be True or False"),
        ({"pad_mode": "wrap"}, ValueError, "pad_mode must be one of constant, reflect, symmetric, edge, got 'wrap'"),
        ({"power": 0}, ValueError, "power must lie in"),
        ({"power": None}, TypeError, "power must be a real number"),
        ({"n_mels": 0}, ValueError, "n_mels must lie in"),
        ({"fmin": -1.0}, ValueError, "fmin must be at least"),
        ({"fmin": 5000.0, "fmax": 4000.0}, ValueError, "fmin must be below fmax = 4000 Hz, got 5000"),
        ({"fmax": 0.0}, ValueError, "fmax must be positive, got 0"),
        ({"fmax": 9000.0}, ValueError, "fmax must be at most the Nyquist frequency 8000, got 9000"),
        ({"htk": 1}, TypeError, "htk must be True or False"),
        ({"dtype": "int16"}, TypeError, "dtype must be float32 or float64, got int16"),
        ({"dtype": "nonsense"}, TypeError, "dtype must be float32 or float64"),
        ({"n_mel": 40}, TypeError, r"keyword must be one of .*got 'n_mel' \(did you mean 'n_mels'\?\)"),
    ],
)
@pytest.mark.parametrize("function", ["mfcc", "melspectrogram"])
def test_bad_arguments_are_named(function, changes, error, text):
    with pytest.raises(error, match=f"^{function}: .*{text}"):
        getattr(ours.feature, function)(**({"y": NOISE, "sr": 16000} | changes))


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"n_mfcc": 0}, ValueError, "n_mfcc must lie in"),
        (
            {"n_mfcc": 129, "lifter": 22},
            ValueError,
            "n_mfcc must be at most the 128 mel filters with a lifter, got 129",
        ),
        ({"lifter": -1}, ValueError, "lifter must be at least 0"),
        ({"dct_type": 4}, ValueError, "dct_type must lie in"),
        ({"norm": "forward"}, ValueError, "norm must be .*ortho.*, got 'forward'"),
        ({"mel_norm": "htk"}, ValueError, "norm must be None, 'slaney' or a number p, got 'htk'"),
        ({"mel_norm": 0.5}, ValueError, "norm must lie in"),
        ({"S": np.zeros(5)}, ValueError, r"S must be real with shape .* got float64 \(5,\)"),
        ({"S": np.zeros((5, 5), complex)}, ValueError, "S must be real"),
        ({"S": np.zeros((1, 5)), "dct_type": 1}, ValueError, "dct_type=1 needs n_mels of at least 2"),
        ({"S": np.zeros((5, 5)), "n_mel": 5}, TypeError, "keyword must be one of"),
    ],
)
def test_bad_arguments_of_mfcc_are_named(changes, error, text):
    with pytest.raises(error, match=f"^mfcc: .*{text}"):
        ours.feature.mfcc(**({"y": NOISE, "sr": 16000} | changes))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ours.power_to_db(1.0, amin=0), ValueError, "power_to_db: amin must be positive, got 0"),
        (lambda: ours.power_to_db(1.0, top_db=-1), ValueError, "power_to_db: top_db must be at least 0"),
        (lambda: ours.power_to_db("1"), TypeError, "power_to_db: S must be numbers"),
        (lambda: ours.feature.delta(NOISE, width=4), ValueError, "delta: width must be odd, got 4"),
        (
            lambda: ours.feature.delta(NOISE[:8]),
            ValueError,
            "delta: width must be at most the 8 frames for mode='interp'",
        ),
        (lambda: ours.feature.delta(NOISE, order=0), ValueError, "delta: order must lie in"),
        (lambda: ours.feature.delta(NOISE, width=3, order=3), ValueError, "delta: width must lie in"),
        (lambda: ours.feature.delta(NOISE, mode="edge"), ValueError, "delta: mode must be one of"),
        (lambda: ours.feature.delta(NOISE, axis=1), ValueError, "delta: axis must lie in"),
        (lambda: ours.filters.mel(sr=16000, n_fft=1), ValueError, "mel: n_fft must lie in"),
    ],
)
def test_bad_arguments_of_the_rest_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_our_own_functions_give_the_same():
    """What docs/migration.md says of the preset."""
    a = {"n_fft": 512, "hop_length": 160}
    options = pyasr.features.preset("librosa", 16000, num_ceps=13, **a)
    compare(pyasr.mfcc(NOISE, 16000, options).T, ours.feature.mfcc(y=NOISE, sr=16000, n_mfcc=13, n_mels=128, **a), 1e-6)
    energies = ours.feature.melspectrogram(y=NOISE, sr=16000, **a)
    fbank = pyasr.fbank(NOISE, 16000, "librosa", use_log_fbank=False, dynamic_range=None, **a)
    compare(fbank.T, energies, 1e-6)
    compare(pyasr.fbank(NOISE, 16000, "librosa", **a).T, ours.power_to_db(energies), 1e-6)
