"""python_speech_features.base: mfcc, fbank, logfbank, ssc; get_filterbanks, lifter, delta."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr import features
from pyasr.compat._shared import dense_filters, made
from pyasr.compat._words import words_of
from pyasr.compat.python_speech_features.sigproc import length_of, samples, warn_of_truncation, window_of
from pyasr.ops._door import Door
from pyasr.ops._options import LARGEST_FFT, MfccOptions

__all__ = ["delta", "fbank", "get_filterbanks", "hz2mel", "lifter", "logfbank", "mel2hz", "mfcc", "ssc"]

_EPS = 2.0**-52  # what a zero becomes
# our option -> the peer's argument
_NAMES = {
    "sample_rate": "samplerate", "frame_length_ms": "winlen", "frame_shift_ms": "winstep", "n_fft": "nfft", "num_mels": "nfilt",
    "low_freq": "lowfreq", "high_freq": "highfreq", "num_ceps": "numcep", "lifter": "ceplifter", "window": "winfunc",
    "wave": "signal",
}  # fmt: skip


def _mel_options(door: Door, nfilt: Any, nfft: Any, samplerate: Any, lowfreq: Any, highfreq: Any) -> dict[str, Any]:
    rate = door.real("samplerate", samplerate, 10.0, 1e7)
    high = door.real("highfreq", highfreq or rate / 2, 0.0, rate / 2)
    return {
        "sample_rate": rate, "n_fft": door.integer("nfft", nfft, 2, LARGEST_FFT),
        "num_mels": door.integer("nfilt", nfilt, 1, 8192), "low_freq": lowfreq, "high_freq": high, "triangles": "bins",
        "allow_empty": True,
    }  # fmt: skip


def _filters(door: Door, *values: Any) -> np.ndarray:
    """[nfilt, nfft/2 + 1]."""
    a = _mel_options(door, *values)
    with words_of(door.op, _NAMES):
        return dense_filters(made(**a, win_length=a["n_fft"], hop_length=1, num_ceps=0)).copy()


def _features(function: str, kind: str, a: dict[str, Any], **more: Any) -> tuple[np.ndarray, MfccOptions]:
    """Features [T, F] float64 of a kind, of a call with arguments a."""
    door = Door(function)
    x = samples(door, a["signal"])
    mel = _mel_options(door, *(a[name] for name in ("nfilt", "nfft", "samplerate", "lowfreq", "highfreq")))
    rate = mel["sample_rate"]
    length = length_of(door, "winlen", door.real("winlen", a["winlen"]) * rate)
    step = length_of(door, "winstep", door.real("winstep", a["winstep"]) * rate)
    window = window_of(door, a["winfunc"], length)[: mel["n_fft"]]
    warn_of_truncation(length, mel["n_fft"])
    with words_of(function, _NAMES):
        options = made(
            **mel | more,
            scale=1.0,
            win_length=window.size,
            hop_length=step,
            pad_end=True,
            window="rectangular" if (window == 1).all() else tuple(window.tolist()),
            preemph=a["preemph"],
            preemph_signal=True,
            remove_dc=False,
            power_over_fft=True,
            spectral_energy=True,
            log_floor=_EPS,
            floor_mode="zero",
        )
        y = getattr(features, kind)(x, rate, options)
    # the peer counts frames of full length also where the FFT cuts them off
    return y[: 1 + max(0, -(-(x.size - length) // step))].astype(np.float64), options


def mfcc(
    signal: Any,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    numcep: int = 13,
    nfilt: int = 26,
    nfft: int = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    ceplifter: float = 22,
    appendEnergy: bool = True,
    winfunc: Callable[[int], Any] = lambda x: np.ones((x,)),
) -> np.ndarray:
    """Mel-frequency cepstral coefficients [T, numcep] float64; with appendEnergy, column 0 is the log energy.

    signal [N] at any scale, samplerate and frequencies in Hz, winlen and winstep in seconds, nfft in samples: what exceeds it is
    cut off a frame, with a logged warning. highfreq None is samplerate / 2; ceplifter 0 is none; winfunc maps the frame's
    length to the window's values.

    Raises ValueError and TypeError naming the argument; see `pyasr.compat.python_speech_features` for what differs.

    Source: python_speech_features.mfcc.

    >>> from pyasr.compat.python_speech_features import mfcc
    >>> mfcc(np.arange(16000) % 100, 16000, winfunc=np.hamming).shape
    (99, 13)
    """
    door = Door("mfcc")
    more = {
        "num_ceps": min(door.integer("numcep", numcep, 1, 8192), door.integer("nfilt", nfilt, 1, 8192)),
        "lifter": max(0.0, door.real("ceplifter", ceplifter)),
        "use_energy": bool(appendEnergy),
    }
    return _features("mfcc", "mfcc", locals(), **more)[0]


def fbank(
    signal: Any,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    nfilt: int = 26,
    nfft: int = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    winfunc: Callable[[int], Any] = lambda x: np.ones((x,)),
) -> tuple[np.ndarray, np.ndarray]:
    """Mel filter-bank energies [T, nfilt] and each frame's energy [T], both float64 and not logs; zeros become 2⁻⁵².

    Arguments and errors are those of `mfcc`.

    Source: python_speech_features.fbank.

    >>> from pyasr.compat.python_speech_features import fbank
    >>> energies, energy = fbank(np.arange(16000) % 100)
    >>> energies.shape, energy.shape
    ((99, 26), (99,))
    """
    y, _ = _features("fbank", "fbank", locals(), num_ceps=0, use_energy=True, use_log_fbank=False)
    return np.where(y[:, 1:] == 0, _EPS, y[:, 1:]), np.exp(y[:, 0])


def logfbank(
    signal: Any,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    nfilt: int = 26,
    nfft: int = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
) -> np.ndarray:
    """Log mel filter-bank energies [T, nfilt] float64. Arguments and errors are those of `mfcc`.

    Source: python_speech_features.logfbank.

    >>> from pyasr.compat.python_speech_features import logfbank
    >>> logfbank(np.arange(8000) % 100, 8000, nfft=256).shape
    (99, 26)
    """
    a = locals() | {"winfunc": np.ones}
    return _features("logfbank", "fbank", a, num_ceps=0, use_energy=False)[0]


def ssc(
    signal: Any,
    samplerate: float = 16000,
    winlen: float = 0.025,
    winstep: float = 0.01,
    nfilt: int = 26,
    nfft: int = 512,
    lowfreq: float = 0,
    highfreq: float | None = None,
    preemph: float = 0.97,
    winfunc: Callable[[int], Any] = lambda x: np.ones((x,)),
) -> np.ndarray:
    """Spectral subband centroids in Hz, [T, nfilt] float64; NaN for a filter without an FFT bin.

    Arguments and errors are those of `mfcc`.

    Source: python_speech_features.ssc; Paliwal 1998.

    >>> from pyasr.compat.python_speech_features import ssc
    >>> ssc(np.arange(16000) % 100).shape
    (99, 26)
    """
    stop = {"num_ceps": 0, "num_mels": 0, "use_energy": False, "use_log_fbank": False}
    power, _ = _features("ssc", "spectrogram", locals(), **stop)
    power = np.where(power == 0, _EPS, power)
    filters = _filters(Door("ssc"), nfilt, nfft, samplerate, lowfreq, highfreq).T
    with np.errstate(invalid="ignore"):  # 0 / 0 of an empty filter
        return (power * np.linspace(1, samplerate / 2, power.shape[1])) @ filters / (power @ filters)


def get_filterbanks(
    nfilt: int = 20, nfft: int = 512, samplerate: float = 16000, lowfreq: float = 0, highfreq: float | None = None
) -> np.ndarray:
    """The mel filters as a matrix [nfilt, nfft/2 + 1] float64: triangles over FFT bins, with unit peaks.

    Raises ValueError and TypeError naming the argument.

    Source: python_speech_features.get_filterbanks.

    >>> from pyasr.compat.python_speech_features import get_filterbanks
    >>> get_filterbanks(26).shape
    (26, 257)
    """
    return _filters(Door("get_filterbanks"), nfilt, nfft, samplerate, lowfreq, highfreq)


def hz2mel(hz: Any) -> Any:
    """2595 log10(1 + hz / 700), elementwise.

    >>> from pyasr.compat.python_speech_features import hz2mel
    >>> round(float(hz2mel(1000)), 3)
    999.986
    """
    return 2595 * np.log10(1 + hz / 700.0)


def mel2hz(mel: Any) -> Any:
    """The inverse of hz2mel.

    >>> from pyasr.compat.python_speech_features import hz2mel, mel2hz
    >>> round(float(mel2hz(hz2mel(440.0))), 6)
    440.0
    """
    return 700 * (10 ** (mel / 2595.0) - 1)


def lifter(cepstra: Any, L: float = 22) -> np.ndarray:
    """Cepstra [T, C] times 1 + L/2 sin(πn/L), n from 0; unchanged for L ≤ 0.

    >>> from pyasr.compat.python_speech_features import lifter
    >>> lifter(np.ones((1, 3)), 2).round(12).tolist()
    [[1.0, 2.0, 1.0]]
    """
    if L <= 0:
        return cepstra
    x = np.asarray(cepstra)
    if x.ndim != 2:
        Door("lifter").value_error(f"cepstra must have shape (frames, coefficients), got {x.shape}")
    return (1 + (L / 2.0) * np.sin(np.pi * np.arange(x.shape[1]) / L)) * x


def delta(feat: Any, N: int) -> np.ndarray:
    """Derivatives in time of features [T, F], over ±N frames, the end frames repeated: a new array of the same dtype.

    Raises ValueError for N < 1 and for anything but two dimensions.

    Source: python_speech_features.delta; `pyasr.features.deltas` appends them.

    >>> from pyasr.compat.python_speech_features import delta
    >>> delta(np.arange(6.0)[:, None], 2).ravel().round(12).tolist()
    [0.5, 0.8, 1.0, 1.0, 0.8, 0.5]
    """
    door, x = Door("delta"), np.asarray(feat)
    N = door.integer("N", N, 1, 10000)
    if x.ndim != 2:
        door.value_error(f"feat must have shape (frames, features), got {x.shape}")
    taps = features.delta_filters(N, 1)[1]
    y = np.zeros_like(x)
    if len(x):
        padded = np.pad(x, ((N, N), (0, 0)), mode="edge")
        y[...] = np.lib.stride_tricks.sliding_window_view(padded, 2 * N + 1, 0) @ taps
    return y
