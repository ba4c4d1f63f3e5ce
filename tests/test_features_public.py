"""The public functions of features: layouts, defaults and bad input."""

import copy

import numpy as np
import pytest

import pyasr
from pyasr.ops import why_not
from pyasr.ops._op import backend
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan

needs_cpp = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
NOISE = np.rint(1000 * np.random.default_rng(0).standard_normal(24000)).astype(np.int16)


def test_any_layout_of_a_wave_is_right():
    wave = (NOISE / 32768).astype(np.float32)
    want = pyasr.mfcc(wave, 16000)
    wide = np.zeros((len(wave), 2), np.float32)
    wide[:, 1] = wave
    read_only = wave.copy()
    read_only.flags.writeable = False
    raw = np.zeros(wave.nbytes + 1, np.uint8)
    raw[1:] = wave.view(np.uint8)
    for other in (wide[:, 1], wave[::-1].copy()[::-1], wave.astype(">f4"), read_only, raw[1:].view(np.float32)):
        np.testing.assert_array_equal(pyasr.mfcc(other, 16000), want)
    np.testing.assert_array_equal(pyasr.mfcc(NOISE.astype(">i2"), 16000), want)


def test_out_is_filled_and_returned():
    out = np.full((148, 13), np.nan, np.float32)
    assert pyasr.mfcc(NOISE, 16000, out=out) is out
    np.testing.assert_array_equal(out, pyasr.mfcc(NOISE, 16000))


@needs_cpp
@pytest.mark.parametrize("features", [1, 3, 13, 17, 23])
@pytest.mark.parametrize("frames", [1, 7, 8, 15, 16, 17, 63, 65])
def test_nothing_is_written_beside_out(features, frames):
    plan = make_plan(MfccOptions(num_ceps=features))
    guarded = np.full(frames * features + 64, 7.0, np.float32)
    out = guarded[32:-32].reshape(frames, features)
    backend("cpp").mfcc(NOISE[: 400 + (frames - 1) * 160].copy(), plan, out=out)
    assert (guarded[:32] == 7).all()
    assert (guarded[-32:] == 7).all()
    assert np.isfinite(out).all()


@pytest.mark.parametrize(
    ("n", "snipped", "whole"), [(0, 0, 0), (1, 0, 0), (79, 0, 0), (80, 0, 1), (399, 0, 2), (400, 1, 3), (560, 2, 4)]
)
def test_number_of_frames(n, snipped, whole):
    wave = NOISE[:n]
    assert pyasr.mfcc(wave, 16000).shape == (snipped, 13)
    assert pyasr.mfcc(wave, 16000, snip_edges=False).shape == (whole, 13)


def test_defaults_are_kaldis():
    wave = NOISE
    assert pyasr.mfcc(wave, 16000).shape[1] == 13
    assert pyasr.fbank(wave, 16000).shape[1] == 23
    assert pyasr.fbank(wave, 16000, use_energy=True).shape[1] == 24
    assert pyasr.spectrogram(wave, 8000).shape[1] == 129
    energy = pyasr.mfcc(wave, 16000)[:, 0]
    np.testing.assert_array_equal(pyasr.fbank(wave, 16000, use_energy=True)[:, 0], energy)
    np.testing.assert_array_equal(pyasr.spectrogram(wave, 16000)[:, 0], energy)
    same = pyasr.mfcc(wave, 16000, MfccOptions(num_ceps=12), num_mels=30)
    np.testing.assert_array_equal(same, pyasr.mfcc(wave, 16000, "kaldi", num_ceps=12, num_mels=30))


def test_copies_of_a_plan_work():
    plan = make_plan(MfccOptions())
    want = pyasr.backend().mfcc(NOISE, plan)
    np.testing.assert_array_equal(pyasr.backend().mfcc(NOISE, copy.deepcopy(plan)), want)
    with pytest.raises(ValueError, match="read-only"):
        plan.window[0] = 1


UNIT = np.zeros(1000, np.float32)


@pytest.mark.parametrize(
    ("arguments", "changes", "error", "text"),
    [
        ((UNIT, 16000), {"num_cep": 3}, TypeError, r"^mfcc: keyword .*got 'num_cep' \(did you mean 'num_ceps'\?\)"),
        ((UNIT, 16000, "kadli"), {}, ValueError, r"options must be one of .* \(did you mean 'kaldi'\?\)"),
        ((UNIT, 16000), {"window": "haming"}, ValueError, r"^MfccOptions: window .*did you mean 'hamming'"),
        ((UNIT[None], 16000), {}, ValueError, r"got shape \(1, 1000\): take wave\[0\] .*wave\[:, 0\]"),
        (([0.0] * 1000, 16000), {}, TypeError, "wave must be a NumPy array, got list"),
        ((UNIT.astype(np.uint8), 16000), {}, TypeError, "int16, float32 or float64, got uint8"),
        ((UNIT + 17, 16000), {}, ValueError, r"got 17\.0 at 0: pass scale=1"),
        ((UNIT + 1e13, 16000), {"scale": 1}, ValueError, r"wave must lie within .* at 0"),
        ((UNIT, 8000, MfccOptions()), {}, ValueError, "sample_rate must be that of the options, 16000, got 8000"),
        ((UNIT, np.nan), {}, ValueError, "sample_rate"),
        ((UNIT, 16000), {"num_mels": 200}, ValueError, "an FFT bin, got 200: filters 2, 5, 8,"),
        ((UNIT, 16000), {"num_ceps": 24}, ValueError, "num_ceps must be at most num_mels = 23, got 24"),
        ((UNIT, 16000), {"num_ceps": 0}, ValueError, "num_mels and num_ceps above 0"),
        ((UNIT, 16000), {"num_mels": 2}, ValueError, "num_mels must be 0 or at least 3, got 2"),
        ((UNIT, 16000), {"high_freq": 8001}, ValueError, "at most the Nyquist frequency 8000, got 8001"),
        ((UNIT, 16000), {"low_freq": 5000, "high_freq": 1000}, ValueError, "low_freq must be below high_freq = 1000"),
        ((UNIT, 16000), {"high_freq": np.inf}, ValueError, "high_freq must be finite"),
        ((UNIT, 16000), {"preemph": 2}, ValueError, "preemph must lie in"),
        ((UNIT, 16000), {"dither": -1.0}, ValueError, "dither must lie in"),
        ((UNIT, 16000), {"scale": 0}, ValueError, "scale must lie in"),
        ((UNIT, 16000), {"remove_dc": 1}, TypeError, "remove_dc must be True or False, got int"),
        ((UNIT, 16000), {"num_mels": [23]}, TypeError, "num_mels must be a plain value, got list"),
        ((UNIT, 16000), {"frame_length_ms": 5000}, ValueError, "2 to 65536 samples, got 80000"),
        ((UNIT, 16000), {"frame_shift_ms": 0.01}, ValueError, "frame_shift_ms must give 1 to 65536 samples, got 0"),
        ((UNIT, 16000), {"n_fft": 399}, ValueError, "n_fft must be at least the frame's 400 samples, got 399"),
        ((UNIT, 16000), {"use_log_fbank": False}, ValueError, "for fbank and spectrogram only, got options of mfcc"),
        ((UNIT, 16000), {"out": np.zeros((3, 13), np.float32)}, ValueError, r"with T = 4, F = 13, got \(3, 13\)"),
        ((UNIT, 16000), {"threads": 0}, ValueError, "threads must lie in"),
    ],
)  # fmt: skip
def test_bad_input(arguments, changes, error, text):
    with pytest.raises(error, match=text):
        pyasr.mfcc(*arguments, **changes)


def test_options_without_a_part_are_refused():
    with pytest.raises(TypeError, match="num_ceps has no meaning for fbank"):
        pyasr.fbank(UNIT, 16000, num_ceps=3)
    plan = make_plan(MfccOptions(num_ceps=0))
    for column in COLUMNS:
        with pytest.raises(ValueError, match=r"^mfcc: plan must be one for mfcc, got one for fbank$"):
            backend(column).mfcc(UNIT, plan)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("at", [0, 159, 12345, 23998, 23999])
def test_a_sample_that_is_not_finite_is_named(at, dtype, column):
    for value in (np.nan, np.inf, -np.inf):
        wave = (NOISE / 32768).astype(dtype)
        wave[at] = value
        with pytest.raises(ValueError, match=f"^mfcc: wave must be finite, got {value!r} at {at}$"):
            backend(column).mfcc(wave, make_plan(MfccOptions()))
