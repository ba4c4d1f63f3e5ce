"""pyasr.compat.whisper beside whisper.audio, and beside a float64 recipe where openai-whisper is not installed."""

import importlib
import importlib.util
import inspect
import sys
import types
import wave

import numpy as np
import pytest

import pyasr
from pyasr.compat import whisper as ours
from pyasr.counter import stream


@pytest.fixture(scope="module")
def peer():
    """whisper.audio alone: the package's own __init__ needs what makes tokens of text."""
    pytest.importorskip("torch", reason="the peer computes with torch")
    spec = importlib.util.find_spec("whisper")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("openai-whisper is the peer")
    with pytest.MonkeyPatch.context() as patch:
        package = types.ModuleType("whisper")
        package.__path__ = list(spec.submodule_search_locations)
        patch.setitem(sys.modules, "whisper", package)
        yield importlib.import_module("whisper.audio")
        for name in [name for name in sys.modules if name.startswith("whisper.")]:
            patch.delitem(sys.modules, name)


def speech_like(seed, n, scale=0.3):
    """Noise that fades over 120 dB: more than the 80 that are kept."""
    i = np.arange(n)
    return (scale * stream(seed, "whisper").standard_normal(n) * 10.0 ** (-6 * i / max(n, 1))).astype(np.float32)


def recipe(x, n_mels, padding=0):
    """whisper.audio's steps once more, in float64 and with dense matrices; shares no code with the package."""
    x = np.pad(np.pad(np.asarray(x, np.float64), (0, padding)), 200, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(x, 400)[::160][:-1]
    power = np.abs(np.fft.rfft(frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)))) ** 2
    step = np.log(6.4) / 27
    mels = np.linspace(0, 15 + np.log(8) / step, n_mels + 2)
    hz = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(step * (mels - 15)))
    up = (np.arange(201) * 40 - hz[:-2, None]) / np.diff(hz)[:-1, None]
    down = (hz[2:, None] - np.arange(201) * 40) / np.diff(hz)[1:, None]
    filters = np.clip(np.minimum(up, down), 0, None) * 2 / (hz[2:] - hz[:-2])[:, None]
    y = np.log10(np.maximum(filters @ power.T, 1e-10))
    return (np.maximum(y, y.max() - 8) + 4) / 4


LENGTHS = (201, 202, 319, 320, 321, 399, 400, 401, 480, 16000, 16080, 16159, 16160, 40001)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n", LENGTHS)
def test_numbers_are_the_recipes(n, n_mels):
    for padding, scale in ((0, 0.3), (0, 1e-4), (0, 3000.0), (777, 0.3)):
        x = speech_like(n, n, scale)
        got, want = ours.log_mel_spectrogram(x, n_mels, padding), recipe(x, n_mels, padding)
        assert got.dtype == np.float32
        assert got.shape == want.shape == (n_mels, (n + padding) // 160)
        assert np.abs(got - want).max() <= 2e-4, (padding, scale)


@pytest.mark.parametrize("n_mels", [80, 128])
@pytest.mark.parametrize("n", LENGTHS)
def test_numbers_are_whispers(peer, n, n_mels):
    for padding, scale in ((0, 0.3), (0, 1e-4), (0, 3000.0), (777, 0.3), (-5, 0.3)):
        x = speech_like(n, n, scale)
        got, want = ours.log_mel_spectrogram(x, n_mels, padding), peer.log_mel_spectrogram(x, n_mels, padding).numpy()
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        assert np.abs(got - want).max() <= 2e-4, (padding, scale)


def test_thirty_seconds(peer):
    x = speech_like(1, 100_000)
    got = ours.log_mel_spectrogram(ours.pad_or_trim(x))
    assert got.shape == (80, ours.N_FRAMES)
    assert got.flags.c_contiguous
    assert np.abs(got - peer.log_mel_spectrogram(peer.pad_or_trim(x)).numpy()).max() <= 2e-4


def test_a_batch_shares_the_loudest_value(peer):
    x = np.stack([speech_like(1, 5000), 1e-4 * speech_like(2, 5000)])
    got = ours.log_mel_spectrogram(x)
    assert np.abs(got - peer.log_mel_spectrogram(x).numpy()).max() <= 2e-4
    np.testing.assert_array_equal(ours.log_mel_spectrogram(x.reshape(2, 1, 5000)), got[:, None])
    assert ours.log_mel_spectrogram(x[1]).min() < got[1].min()


def test_constants_and_filters(peer):
    for name in ours.__all__:
        if name.isupper():
            assert getattr(ours, name) == getattr(peer, name), name
    for n_mels in (80, 128):
        assert np.abs(ours.mel_filters("cpu", n_mels) - peer.mel_filters("cpu", n_mels).numpy()).max() <= 1e-8


@pytest.mark.parametrize("name", ["log_mel_spectrogram", "pad_or_trim", "load_audio", "mel_filters"])
def test_names_order_and_defaults(peer, name):
    mine, theirs = (
        [(p.name, p.kind, p.default) for p in inspect.signature(getattr(m, name)).parameters.values()]
        for m in (ours, peer)
    )
    assert mine == theirs


@pytest.mark.parametrize("length", [0, 1, 4, 5, 6, 99])
def test_pad_or_trim(peer, length):
    x = stream(3).standard_normal((5, 4, 5)).astype(np.float32)
    for axis in (0, 2, -1, -2):
        np.testing.assert_array_equal(ours.pad_or_trim(x, length, axis=axis), peer.pad_or_trim(x, length, axis=axis))


def test_a_tensor_is_taken():
    torch = pytest.importorskip("torch", reason="torch makes tensors")
    x = speech_like(5, 4000)
    got = ours.log_mel_spectrogram(torch.from_numpy(x), device=torch.device("cpu"))
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, ours.log_mel_spectrogram(x))
    np.testing.assert_array_equal(ours.pad_or_trim(torch.from_numpy(x), 100), x[:100])


def test_a_file_is_taken(tmp_path):
    samples = np.rint(32767 * speech_like(6, 16000)).astype("<i2")
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(samples.tobytes())
    np.testing.assert_array_equal(ours.load_audio(tmp_path / "a.wav"), samples / np.float32(32768))
    got = ours.log_mel_spectrogram(str(tmp_path / "a.wav"), 128)
    np.testing.assert_array_equal(got, ours.log_mel_spectrogram(samples / np.float32(32768), 128))
    assert ours.load_audio(tmp_path / "a.wav", 8000).shape == (8000,)


NOISE = speech_like(7, 1000)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (
            lambda: ours.log_mel_spectrogram(NOISE[:200]),
            ValueError,
            "audio must have more than 200 samples, got 200: pad_or",
        ),
        (lambda: ours.log_mel_spectrogram(NOISE[:0]), ValueError, "audio must have more than 200 samples, got 0"),
        (lambda: ours.log_mel_spectrogram(np.float32(0)), ValueError, r"audio must have shape .*got \(\)"),
        (
            lambda: ours.log_mel_spectrogram(np.zeros((0, 500), np.float32)),
            ValueError,
            r"audio must have shape .* \(0, 500\)",
        ),
        (
            lambda: ours.log_mel_spectrogram(NOISE.tolist()),
            TypeError,
            "audio must be a NumPy array or a CPU tensor, got list",
        ),
        (
            lambda: ours.log_mel_spectrogram(NOISE.astype(np.int16)),
            TypeError,
            "audio must have dtype float32 or float64",
        ),
        (lambda: ours.log_mel_spectrogram(NOISE * np.nan), ValueError, "audio must be finite, got nan at 0"),
        (lambda: ours.log_mel_spectrogram(NOISE, 40), ValueError, "n_mels must be 80 or 128, got 40"),
        (lambda: ours.log_mel_spectrogram(NOISE, padding=1.0), TypeError, "padding must be an integer"),
        (
            lambda: ours.log_mel_spectrogram(NOISE, device="cuda"),
            ValueError,
            "device must be None or \"cpu\", got 'cuda'",
        ),
        (lambda: ours.mel_filters("cpu", 81), ValueError, "n_mels must be 80 or 128, got 81"),
        (lambda: ours.pad_or_trim(NOISE, -1), ValueError, "length must lie in"),
        (lambda: ours.pad_or_trim(NOISE, axis=1), ValueError, "axis must lie in"),
        (lambda: ours.pad_or_trim([1.0]), TypeError, "array must be a NumPy array or a CPU tensor, got list"),
        (lambda: ours.load_audio("no such file.wav"), FileNotFoundError, "there is no file"),
    ],
)
def test_bad_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_our_own_functions_give_the_same():
    """What docs/migration.md says of the preset."""
    got = pyasr.fbank(NOISE, 16000, "whisper", num_mels=128).T
    assert np.abs(got - ours.log_mel_spectrogram(NOISE, 128)).max() <= 1e-6
