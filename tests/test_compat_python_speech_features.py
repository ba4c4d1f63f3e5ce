"""pyasr.compat.python_speech_features beside python_speech_features: numbers, frames, dtypes; errors in its words."""

import inspect
import logging
import math

import numpy as np
import pytest

import pyasr
from pyasr.compat import python_speech_features as ours
from pyasr.counter import stream


@pytest.fixture(scope="module")
def peer():
    module = pytest.importorskip("python_speech_features", reason="python_speech_features is the peer")
    assert module.sigproc
    with pytest.MonkeyPatch.context() as patch:  # deprecated, and gone since Python 3.13
        patch.setattr(logging, "warn", logging.getLogger("peer").warning, raising=False)
        yield module


FEATURES = ("mfcc", "fbank", "logfbank", "ssc")
HELPERS = ("get_filterbanks", "lifter", "delta")
SIGPROC = ("framesig", "preemphasis", "magspec", "powspec", "logpowspec", "round_half_up")
NOISE = np.rint(1000 * stream(1, "psf").standard_normal(8000)).astype(np.int16)


@pytest.mark.parametrize("name", [*FEATURES, *HELPERS, *(f"sigproc.{n}" for n in SIGPROC)])
def test_names_order_and_defaults(peer, name):
    def arguments(module):
        for part in name.split("."):
            module = getattr(module, part)
        found = inspect.signature(module).parameters.values()
        return [(p.name, p.kind, p.default if p.name != "winfunc" else p.default(3).tolist()) for p in found]

    assert arguments(ours) == arguments(peer)


def option_set(seed):
    """A signal and arguments of fbank; those of mfcc beside them."""
    rng = stream(seed, "psf options")

    def draw(*choices):
        return choices[rng.integers(len(choices))]

    rate = draw(8000, 16000, 22050, 44100, 16000.0)
    a = {
        "samplerate": rate,
        "winlen": draw(0.025, 0.02, 0.032, 0.0123),
        "winstep": draw(0.01, 0.0125, 0.04, 0.00731),
        "nfilt": draw(26, 40, 13, 1, 80),
        "nfft": draw(512, 512, 1024, 2048, 400, 511, 256, 100),
        "lowfreq": draw(0, 0, 20, 133.3, 1000),
        "highfreq": draw(None, None, 3700, rate / 2),
        "preemph": draw(0.97, 0.97, 0, 0.5, 1),
        "winfunc": draw(lambda x: np.ones((x,)), np.hamming, np.hanning, np.blackman),
    }
    more = {"numcep": draw(13, 5, 26, 40), "ceplifter": draw(22, 22, 0, -1, 7.5), "appendEnergy": draw(True, False)}
    n = draw(int(rng.integers(1, 3000)), int(rng.integers(3000, 9000)))
    x = 3000 * rng.standard_normal(n) * 10.0 ** (-2 * np.arange(n) / n)
    x[: draw(0, n // 2)] = 0
    dtype = draw("int16", "float64", "float32", "int32")
    return (x / 32768 if dtype[0] == "f" and draw(True, False) else np.rint(x)).astype(dtype), a, more


def compare(
    got,
    want,
    tolerance,
):
    """Of the peer's own scale."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
    scale = np.nanmax(np.abs(want), initial=1e-30)
    assert (np.nan_to_num(np.abs(got - want)) <= tolerance * np.nan_to_num(scale)).all()


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # the peer divides 0 by 0 in ssc
@pytest.mark.parametrize("seed", range(120))
def test_numbers_are_the_peers(peer, seed):
    signal, a, more = option_set(seed)
    compare(ours.mfcc(signal, **a, **more), peer.mfcc(signal, **a, **more), 5e-5)
    for got, want in zip(ours.fbank(signal, **a), peer.fbank(signal, **a), strict=True):
        compare(got, want, 5e-6)
    compare(ours.ssc(signal, **a), peer.ssc(signal, **a), 1e-4)
    del a["winfunc"]
    compare(ours.logfbank(signal, **a), peer.logfbank(signal, **a), 2e-5)
    a = {name: a[name] for name in ("nfilt", "nfft", "samplerate", "lowfreq", "highfreq")}
    compare(ours.get_filterbanks(**a), peer.get_filterbanks(**a), 1e-12)


@pytest.mark.parametrize("nfft", [512, 400, 250])
def test_lengths(peer, nfft):
    for n in (1, 2, 3, 249, 250, 251, 399, 400, 401, 559, 560, 561, 720, 721):
        for signal in (NOISE[:n], NOISE[:n] / 32768):
            compare(ours.mfcc(signal, nfft=nfft), peer.mfcc(signal, nfft=nfft), 1e-5)
            compare(ours.fbank(signal, nfft=nfft)[0], peer.fbank(signal, nfft=nfft)[0], 5e-6)


def test_silence_is_the_smallest_number(peer):
    signal = np.zeros(1000)
    compare(ours.mfcc(signal), peer.mfcc(signal), 1e-6)
    for got, want in zip(ours.fbank(signal), peer.fbank(signal), strict=True):
        compare(got, want, 5e-6)  # the energy has been through a float32 log
        assert math.isclose(got.flat[0], 2.0**-52, rel_tol=5e-6)


def test_corners_on_a_bin_round_as_the_peers(peer):
    for nfft, rate in ((255, 8000), (511, 16000), (639, 16000), (799, 8000)):
        for low in range(0, 2000, 125):
            a = {"nfilt": 20, "nfft": nfft, "samplerate": rate, "lowfreq": low, "highfreq": low + 1500}
            compare(ours.get_filterbanks(**a), peer.get_filterbanks(**a), 1e-12)


def test_a_frame_that_is_cut_off_is_logged(caplog):
    with caplog.at_level(logging.WARNING, "pyasr.compat.python_speech_features.sigproc"):
        ours.mfcc(NOISE, 44100)
    assert caplog.messages == [
        "frame length (1103) is greater than FFT size (512), frame will be truncated. Increase NFFT to avoid."
    ]


def test_helpers(peer):
    x = stream(2).standard_normal((30, 7))
    for N in (1, 2, 5, 40):
        compare(ours.delta(x, N), peer.delta(x, N), 1e-12)
        compare(ours.delta(x.astype(np.float32), N), peer.delta(x.astype(np.float32), N), 1e-6)
    for L in (22, 7.5, 0, -1):
        compare(ours.lifter(x, L), peer.lifter(x, L), 1e-12)
    hz = np.linspace(0, 8000, 50)
    compare(ours.hz2mel(hz), peer.hz2mel(hz), 1e-15)
    compare(ours.mel2hz(hz), peer.mel2hz(hz), 1e-15)


def test_sigproc(peer):
    x = stream(3).standard_normal(1000)
    for coeff in (0.95, 0, 1.5):
        compare(ours.sigproc.preemphasis(x, coeff), peer.sigproc.preemphasis(x, coeff), 0)
    for length, step in ((400, 160), (400.5, 10.49), (1200, 3), (3, 7)):
        for a in ({}, {"winfunc": np.hamming}):
            frames = peer.sigproc.framesig(x, length, step, **a)
            compare(ours.sigproc.framesig(x, length, step, **a), frames, 0)
    for name in ("magspec", "powspec", "logpowspec"):
        for n in (512, 3, 2):
            compare(getattr(ours.sigproc, name)(frames, n), getattr(peer.sigproc, name)(frames, n), 1e-12)
    compare(ours.sigproc.logpowspec(frames, 8, norm=0), peer.sigproc.logpowspec(frames, 8, norm=0), 1e-12)
    for number in (0.5, 1.5, 2.4999, 2.5, -0.5, 1102.5):
        assert ours.sigproc.round_half_up(number) == peer.sigproc.round_half_up(number)


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        ({"signal": NOISE[:0]}, ValueError, r"signal must have shape \(samples,\) with a sample, got \(0,\)"),
        ({"signal": NOISE[:, None]}, ValueError, r"got \(8000, 1\): pass one channel, signal\[:, 0\]"),
        ({"signal": "noise"}, TypeError, "signal must be real numbers"),
        ({"signal": NOISE * 1j}, TypeError, "signal must be real numbers, got complex128"),
        ({"signal": NOISE * np.nan}, ValueError, "signal must be finite, got nan at 0"),
        ({"samplerate": 0}, ValueError, "samplerate must lie in"),
        ({"samplerate": "16000"}, TypeError, "samplerate must be a real number, got str"),
        ({"winlen": 0}, ValueError, "winlen must round to 1 sample or more"),
        ({"winlen": 1e-9}, ValueError, "winlen must round to 1 sample or more"),
        ({"winstep": -0.01}, ValueError, "winstep must round to 1 sample or more"),
        ({"nfilt": 0}, ValueError, "nfilt must lie in"),
        ({"nfft": 512.0}, TypeError, "nfft must be an integer, got float"),
        ({"nfft": 0}, ValueError, "nfft must lie in"),
        ({"lowfreq": -1}, ValueError, "lowfreq must be at least"),
        ({"lowfreq": 5000, "highfreq": 4000}, ValueError, "lowfreq must be below highfreq = 4000 Hz, got 5000"),
        ({"highfreq": 9000}, ValueError, r"highfreq must lie in \[0\.0, 8000\.0\], got 9000"),
        ({"highfreq": -100}, ValueError, "highfreq must lie in"),
        ({"preemph": 1.5}, ValueError, "preemph must lie in"),
        ({"winfunc": "hamming"}, TypeError, "winfunc must be a function of the frame's length, got str"),
        ({"winfunc": lambda n: np.ones(3)}, ValueError, r"winfunc\(400\) must have shape \(400,\), got \(3,\)"),
        ({"winfunc": lambda n: np.full(n, np.nan)}, ValueError, r"winfunc\[0\] must"),
    ],
)
@pytest.mark.parametrize("function", ["mfcc", "fbank", "ssc"])
def test_bad_arguments_are_named(function, changes, error, text):
    with pytest.raises(error, match=f"^{function}: .*{text}"):
        getattr(ours, function)(**({"signal": NOISE} | changes))


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: ours.mfcc(NOISE, numcep=0), ValueError, "mfcc: numcep must lie in"),
        (lambda: ours.mfcc(NOISE, ceplifter="22"), TypeError, "mfcc: ceplifter must be a real number"),
        (lambda: ours.delta(np.zeros((3, 3)), 0), ValueError, "delta: N must lie in"),
        (
            lambda: ours.delta(np.zeros(3), 1),
            ValueError,
            r"delta: feat must have shape \(frames, features\), got \(3,\)",
        ),
        (lambda: ours.lifter(np.zeros(3)), ValueError, "lifter: cepstra must have shape"),
        (lambda: ours.sigproc.preemphasis([]), ValueError, "preemphasis: signal must have shape"),
        (lambda: ours.sigproc.framesig(NOISE, 0, 1), ValueError, "framesig: frame_len must round to 1 sample or more"),
        (
            lambda: ours.sigproc.framesig(NOISE, 1, 0.3),
            ValueError,
            "framesig: frame_step must round to 1 sample or more",
        ),
        (lambda: ours.sigproc.magspec(NOISE, 8), ValueError, "magspec: frames must have shape"),
        (lambda: ours.get_filterbanks(highfreq=9000), ValueError, "get_filterbanks: highfreq must lie in"),
    ],
)
def test_bad_arguments_of_the_rest_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_our_own_functions_give_the_same():
    """What docs/migration.md says of the preset."""
    options = pyasr.features.preset("python_speech_features", 16000, scale=1.0, window="hamming")
    np.testing.assert_array_equal(
        pyasr.mfcc(NOISE, 16000, options), ours.mfcc(NOISE, winfunc=np.hamming).astype(np.float32)
    )
    log_energy = pyasr.fbank(NOISE, 16000, options, use_log_fbank=False, use_energy=True)
    np.testing.assert_array_equal(log_energy[:, 1:], ours.fbank(NOISE, winfunc=np.hamming)[0].astype(np.float32))
