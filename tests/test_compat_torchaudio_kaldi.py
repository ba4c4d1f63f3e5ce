"""pyasr.compat.torchaudio_kaldi: torchaudio's signatures, its numbers by a float64 recipe, errors in its words."""

import functools
import importlib.util
import inspect
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.compat import torchaudio_kaldi as kaldi

# fmt: off
FRAMES = {
    "blackman_coeff": 0.42, "channel": -1, "dither": 0.0, "energy_floor": 1.0, "frame_length": 25.0, "frame_shift": 10.0,
}
REST = {
    "preemphasis_coefficient": 0.97, "raw_energy": True, "remove_dc_offset": True, "round_to_power_of_two": True,
    "sample_frequency": 16000.0, "snip_edges": True, "subtract_mean": False,
}
VTLN = {"vtln_high": -500.0, "vtln_low": 100.0, "vtln_warp": 1.0, "window_type": "povey"}
SIGNATURES = {
    "spectrogram": {**FRAMES, "min_duration": 0.0, **REST, "window_type": "povey"},
    "fbank": {
        **FRAMES, "high_freq": 0.0, "htk_compat": False, "low_freq": 20.0, "min_duration": 0.0, "num_mel_bins": 23, **REST,
        "use_energy": False, "use_log_fbank": True, "use_power": True, **VTLN,
    },
    "mfcc": {
        "blackman_coeff": 0.42, "cepstral_lifter": 22.0, "channel": -1, "dither": 0.0, "energy_floor": 1.0,
        "frame_length": 25.0, "frame_shift": 10.0, "high_freq": 0.0, "htk_compat": False, "low_freq": 20.0, "num_ceps": 13,
        "min_duration": 0.0, "num_mel_bins": 23, **REST, "use_energy": False, **VTLN,
    },
}
# fmt: on
FUNCTIONS = list(SIGNATURES)
EPSILON = 2.0**-23
STEREO = np.rint(1000 * np.random.default_rng(0).standard_normal((2, 9000))).astype(np.float32)
MONO = STEREO[:1]


@functools.cache
def the_peer():
    """torchaudio.compliance.kaldi, from its file: the package around it loads libraries of one build of torch."""
    torch = pytest.importorskip("torch", reason="torch is the peer's")
    package = importlib.util.find_spec("torchaudio")
    if package is None:
        pytest.skip("torchaudio is the peer")
    spec = importlib.util.spec_from_file_location("peer_kaldi", Path(package.origin).parent / "compliance" / "kaldi.py")
    module = importlib.util.module_from_spec(spec)

    def create_dct(n_mfcc, n_mels, norm):  # torchaudio.functional's, whose result is [n_mels, n_mfcc]
        table = np.sqrt(2 / n_mels) * np.cos(np.pi / n_mels * (np.arange(n_mels)[:, None] + 0.5) * np.arange(n_mfcc))
        table[:, 0] /= np.sqrt(2)
        return torch.from_numpy(table.astype(np.float32))

    around = types.SimpleNamespace(functional=types.SimpleNamespace(create_dct=create_dct))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchaudio", around)
        spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", FUNCTIONS)
def test_names_order_and_defaults(name):
    waveform, *rest = inspect.signature(getattr(kaldi, name)).parameters.values()
    assert waveform.name == "waveform"
    assert waveform.default is waveform.empty
    assert [(p.name, p.default) for p in rest] == list(SIGNATURES[name].items())
    assert {p.kind for p in rest} == {inspect.Parameter.POSITIONAL_OR_KEYWORD}


def recipe(function, waveform, **changes):
    """torchaudio's steps once more, in float64 and with dense matrices; shares no code with the package."""
    a = SIGNATURES[function] | changes
    x = np.asarray(waveform, np.float64)[max(a["channel"], 0)]
    length, shift = (int(a["sample_frequency"] * a[name] * 0.001) for name in ("frame_length", "frame_shift"))
    count = 1 + (len(x) - length) // shift
    if not a["snip_edges"]:
        count, pad = (len(x) + shift // 2) // shift, length // 2 - shift // 2
        x = np.concatenate([x[:pad][::-1], x, x[::-1]]) if pad > 0 else np.concatenate([x[-pad:], x[::-1]])
    frames = np.stack([x[f * shift : f * shift + length] for f in range(count)])
    if a["remove_dc_offset"]:
        frames = frames - frames.mean(axis=1, keepdims=True)

    def log_energy(frames):
        energy = np.log(np.maximum((frames**2).sum(axis=1), EPSILON))
        return np.maximum(energy, np.log(a["energy_floor"])) if a["energy_floor"] else energy

    energy = log_energy(frames)
    frames = frames - a["preemphasis_coefficient"] * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    turn = 2 * np.pi * np.arange(length) / (length - 1)
    hann = 0.5 - 0.5 * np.cos(turn)
    frames = (
        frames
        * {
            "povey": hann**0.85,
            "hanning": hann,
            "hamming": 0.54 - 0.46 * np.cos(turn),
            "blackman": a["blackman_coeff"] - 0.5 * np.cos(turn) + (0.5 - a["blackman_coeff"]) * np.cos(2 * turn),
            "rectangular": np.ones(length),
        }[a["window_type"]]
    )
    if not a["raw_energy"]:
        energy = log_energy(frames)
    size = 2 ** (length - 1).bit_length() if a["round_to_power_of_two"] else length
    spectrum = np.abs(np.fft.rfft(frames, size))
    if function == "spectrogram":
        y = np.log(np.maximum(spectrum**2, EPSILON))
        y[:, 0] = energy
        return y - a["subtract_mean"] * y.mean(axis=0)

    high = a["high_freq"] + (a["high_freq"] <= 0) * a["sample_frequency"] / 2
    low, high, bins = (
        1127 * np.log(1 + np.asarray(hz) / 700)
        for hz in (a["low_freq"], high, np.arange((size + 1) // 2) * a["sample_frequency"] / size)
    )
    corners = warp(np.linspace(low, high, a["num_mel_bins"] + 2), a)[:, None]
    left, center, right = corners[:-2], corners[1:-1], corners[2:]
    filters = np.clip(np.minimum((bins - left) / (center - left), (right - bins) / (right - center)), 0, None)
    y = (spectrum ** (2 if a.get("use_power", True) else 1))[:, : len(bins)] @ filters.T
    if a.get("use_log_fbank", True):
        y = np.log(np.maximum(y, EPSILON))
    if function == "mfcc":
        k = np.arange(a["num_ceps"])[:, None]
        basis = np.cos(np.pi / a["num_mel_bins"] * (np.arange(a["num_mel_bins"]) + 0.5) * k)
        y = y @ (basis * np.where(k == 0, 1, np.sqrt(2)) / np.sqrt(a["num_mel_bins"])).T
        if a["cepstral_lifter"]:
            y = y * (1 + a["cepstral_lifter"] / 2 * np.sin(np.pi * k[:, 0] / a["cepstral_lifter"]))
        if a["use_energy"]:
            y[:, 0] = energy
        elif a["htk_compat"]:
            y[:, 0] *= np.sqrt(2)
        y = np.roll(y, -1, axis=1) if a["htk_compat"] else y
    elif a["use_energy"]:
        y = np.column_stack([y, energy] if a["htk_compat"] else [energy, y])
    return y - a["subtract_mean"] * y.mean(axis=0)


def warp(mels, a):
    """vtln_warp_mel_freq: three straight pieces in Hz."""
    nyquist, factor = a["sample_frequency"] / 2, a["vtln_warp"]
    if factor == 1:
        return mels
    low, high = a["low_freq"], a["high_freq"] + (a["high_freq"] <= 0) * nyquist
    l = a["vtln_low"] * max(1.0, factor)
    h = (a["vtln_high"] + (a["vtln_high"] < 0) * nyquist) * min(1.0, factor)
    hz = 700 * (np.exp(mels / 1127) - 1)
    pieces = [
        low + (l / factor - low) / (l - low) * (hz - low),
        hz / factor,
        high + (high - h / factor) / (high - h) * (hz - high),
    ]
    return 1127 * np.log(1 + np.select([hz < l, hz < h], pieces[:2], pieces[2]) / 700)


def option_set(seed):
    """A function, a waveform and changes; drawn again where a filter has no bin, an FFT is odd or VTLN has no room."""
    rng = np.random.default_rng([11, seed])

    def draw(*choices):
        return choices[rng.integers(len(choices))]

    while True:
        function, rate = FUNCTIONS[seed % 3], draw(8000.0, 16000.0, 22050.0, 44100.0)
        changes = {
            "channel": draw(0, 1),
            "energy_floor": draw(0.0, 1.0, 1e8),
            "frame_length": draw(25.0, 20.0, 32.0),
            "frame_shift": draw(10.0, 12.5),
            "preemphasis_coefficient": draw(0.97, 0.0, 0.5),
            "raw_energy": draw(True, False),
            "remove_dc_offset": draw(True, False),
            "round_to_power_of_two": draw(True, True, False),
            "sample_frequency": rate,
            "snip_edges": draw(True, False),
            "subtract_mean": draw(False, True),
            "window_type": draw("povey", "hamming", "hanning", "blackman", "rectangular"),
        }
        if function != "spectrogram":
            changes |= {
                "high_freq": draw(0.0, -200.0, 3700.0),
                "low_freq": draw(20.0, 0.0, 100.0),
                "num_mel_bins": draw(15, 23, 40),
                "htk_compat": draw(True, False),
                "use_energy": draw(True, False),
            }
        if function == "mfcc":
            changes |= {"cepstral_lifter": draw(22.0, 0.0), "num_ceps": draw(13, 5, changes["num_mel_bins"])}
            if rng.random() < 0.4:
                changes |= {
                    "vtln_warp": draw(0.85, 1.15),
                    "vtln_low": draw(100.0, 150.0),
                    "vtln_high": draw(-500.0, 3000.0),
                }
        if changes["window_type"] == "blackman":
            changes["blackman_coeff"] = draw(0.42, 0.3, 0.5)
        if function == "fbank":
            changes |= {"use_log_fbank": draw(True, True, False), "use_power": draw(True, False)}
        waveform = np.rint(800 * rng.standard_normal((2, int(rate) // 3))).astype(np.float32)
        try:
            getattr(kaldi, function)(waveform, **changes)
        except ValueError as error:
            known = ("an FFT bin", "an even frame length", "vtln_low and vtln_high must rise")
            assert any(text in str(error) for text in known), str(error)
            continue
        return function, waveform, changes


def distance(got, want, function, changes):
    """Largest difference; of a spectrum, whose single bins may be as weak as rounding, in proportion to power."""
    off = np.abs(np.asarray(got, np.float64) - want)
    if not changes.get("use_log_fbank", True):
        off /= np.abs(want).max()
    return off.max() if function != "spectrogram" else np.quantile(off, 0.999)


@pytest.mark.parametrize("seed", range(90))
def test_numbers_are_the_recipes(seed):
    function, waveform, changes = option_set(seed)
    got, want = getattr(kaldi, function)(waveform, **changes), recipe(function, waveform, **changes)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert distance(got, want, function, changes) <= 5e-4, changes


@pytest.mark.parametrize("seed", range(90))
def test_numbers_are_torchaudios(seed):
    peer, torch = the_peer(), pytest.importorskip("torch")
    function, waveform, changes = option_set(seed)
    want = getattr(peer, function)(torch.from_numpy(waveform).double(), **changes).numpy()
    got = getattr(kaldi, function)(waveform, **changes)
    assert got.shape == want.shape
    assert distance(got, want, function, changes) <= 1e-3, changes  # its mel and DCT tables are float32


@pytest.mark.parametrize("function", FUNCTIONS)
def test_samples_are_taken_at_the_scale_given(function):
    call = getattr(kaldi, function)
    want = call(MONO)
    for dtype in ("int16", "float64", ">f4"):
        np.testing.assert_array_equal(call(MONO.astype(dtype)), want)
    np.testing.assert_array_equal(call(np.asfortranarray(STEREO), channel=0), want)
    np.testing.assert_array_equal(getattr(pyasr, function)(MONO[0], 16000, scale=1.0, energy_floor=1.0, use_energy=
                                  function == "spectrogram"), want)  # fmt: skip


def test_dither_repeats_and_is_as_strong_as_torchs():
    silence = np.zeros((1, 400 * 2500), np.float32)
    changes = {"dither": 2.0, "frame_shift": 25.0, "energy_floor": 0.0}
    got = kaldi.fbank(silence, **changes).astype(np.float64)
    np.testing.assert_array_equal(got, kaldi.fbank(silence, **changes))
    np.testing.assert_allclose(got - kaldi.fbank(silence, **changes | {"dither": 1.0}), 2 * np.log(2), atol=1e-4)
    peer, torch = the_peer(), pytest.importorskip("torch")
    torch.manual_seed(0)
    want = peer.fbank(torch.from_numpy(silence).double(), **changes).numpy()
    error = np.sqrt((got.var(axis=0) + want.var(axis=0)) / len(got))
    assert (np.abs(got.mean(axis=0) - want.mean(axis=0)) <= 5 * error).all()


def test_a_tensor_is_taken():
    torch = pytest.importorskip("torch", reason="torch makes tensors")
    got = kaldi.mfcc(torch.from_numpy(MONO))
    assert type(got) is np.ndarray
    np.testing.assert_array_equal(got, kaldi.mfcc(MONO))


def test_short_waves():
    assert kaldi.mfcc(MONO[:, :399]).shape == (0, 13)
    assert kaldi.fbank(MONO[:, :0], subtract_mean=True).shape == (0, 23)
    assert kaldi.mfcc(MONO[:, :100], snip_edges=False).shape == (1, 13)
    assert kaldi.spectrogram(MONO, min_duration=0.6).shape == (0,)
    assert kaldi.spectrogram(MONO, min_duration=0.5).shape == (54, 257)


@pytest.mark.parametrize(
    ("function", "waveform", "changes", "error", "text"),
    [
        ("mfcc", MONO, {"dither": -1.0}, ValueError, r"dither must lie in \[0\.0, 1000000\.0\], got -1\.0"),
        ("fbank", MONO, {"vtln_warp": 0.0}, ValueError, r"vtln_warp must lie in"),
        (
            "fbank",
            MONO,
            {"vtln_warp": 1.1, "vtln_low": 10.0},
            ValueError,
            "vtln_low and vtln_high must rise between low_freq",
        ),
        (
            "mfcc",
            MONO,
            {"vtln_warp": 9.0, "vtln_low": 1000.0},
            ValueError,
            "vtln_warp must leave room between 1000 and",
        ),
        ("fbank", MONO, {"vtln_low": "100"}, TypeError, "vtln_low must be a real number"),
        ("spectrogram", MONO, {"blackman_coeff": np.inf}, ValueError, "blackman_coeff must lie in"),
        ("mfcc", MONO, {"window_type": "blackman", "blackman_coeff": 1e9}, ValueError, "blackman_coeff must lie in"),
        (
            "mfcc",
            MONO,
            {"window_type": "hann"},
            ValueError,
            r"window_type must be one of .* \(did you mean 'hanning'\?\)",
        ),
        ("mfcc", MONO, {"num_ceps": 24}, ValueError, "num_ceps must be at most num_mel_bins = 23, got 24"),
        ("mfcc", MONO, {"num_ceps": 0}, ValueError, "num_ceps must lie in"),
        ("fbank", MONO, {"num_mel_bins": 0}, ValueError, "num_mel_bins must lie in"),
        ("fbank", MONO, {"num_mel_bins": 200}, ValueError, "num_mel_bins must leave every mel filter an FFT bin"),
        ("fbank", MONO, {"low_freq": 5000.0, "high_freq": 1000.0}, ValueError, "low_freq must be below high_freq"),
        ("fbank", MONO, {"use_energy": None}, TypeError, "use_energy must be True or False"),
        ("mfcc", MONO, {"preemphasis_coefficient": 2.0}, ValueError, "preemphasis_coefficient must lie in"),
        ("mfcc", MONO, {"sample_frequency": -1.0}, ValueError, "sample_frequency must lie in"),
        ("mfcc", MONO, {"frame_shift": 0.0}, ValueError, "frame_shift must give 1 to"),
        ("mfcc", MONO, {"frame_length": "25"}, TypeError, "frame_length must be a real number, got str"),
        ("mfcc", MONO, {"subtract_mean": 1}, TypeError, "subtract_mean must be True or False"),
        ("mfcc", MONO, {"channel": 1}, ValueError, r"channel must lie in \[-1, 0\], got 1"),
        ("mfcc", STEREO, {}, ValueError, r"channel=-1 expects one channel, got waveform of shape \(2, 9000\)"),
        ("mfcc", MONO.T, {}, ValueError, r"got waveform of shape \(9000, 1\): .* pass waveform\.T"),
        ("mfcc", MONO[0], {}, ValueError, r"shape \(channels, samples\), got \(9000,\): pass waveform\[None\]"),
        ("mfcc", MONO[:0], {}, ValueError, "waveform must have a channel"),
        ("mfcc", MONO.tolist(), {}, TypeError, "waveform must be a NumPy array or a CPU tensor, got list"),
        ("mfcc", MONO.astype(np.uint8), {}, TypeError, "waveform must have dtype int16, float32 or float64, got uint8"),
        ("mfcc", MONO * np.nan, {}, ValueError, "waveform must be finite, got nan at 0"),
    ],
)
def test_bad_arguments_are_named(function, waveform, changes, error, text):
    with pytest.raises(error, match=f"^{function}: .*{text}"):
        getattr(kaldi, function)(waveform, **changes)
