"""python_speech_features.sigproc in plain NumPy, float64."""

from __future__ import annotations

import decimal
import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import Door

__all__ = ["framesig", "logpowspec", "magspec", "powspec", "preemphasis", "round_half_up"]

_LOG = logging.getLogger(__name__)


def warn_of_truncation(length: int, nfft: int) -> None:
    """What the peer logs where the FFT is shorter than the frame."""
    if length > nfft:
        _LOG.warning(
            "frame length (%d) is greater than FFT size (%d), frame will be truncated. Increase NFFT to avoid.",
            length,
            nfft,
        )


def samples(door: Door, signal: Any, name: str = "signal") -> np.ndarray:
    """[N] of int16, float32 or float64 with N ≥ 1; other integers become float64."""
    x = np.asarray(signal)
    if x.dtype.kind not in "fiu" or x.dtype.itemsize > 8:
        door.type_error(f"{name} must be real numbers, got {x.dtype.name}")
    if x.ndim != 1 or not x.size:
        text = ": pass one channel, signal[:, 0]" if x.ndim == 2 else ""
        door.value_error(f"{name} must have shape (samples,) with a sample, got {x.shape}{text}")
    native = x.dtype.newbyteorder("=")
    return x.astype(native if native in (np.int16, np.float32, np.float64) else np.float64, copy=False)


def round_half_up(number: float) -> int:
    """The nearest integer, halves away from zero; of the number as it is in binary.

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.round_half_up(0.025 * 44100), sigproc.round_half_up(220.5)
    (1103, 221)
    """
    return int(decimal.Decimal(number).quantize(decimal.Decimal(1), rounding=decimal.ROUND_HALF_UP))


def length_of(door: Door, name: str, number: Any) -> int:
    """A length in samples, rounded, at least 1."""
    n = round_half_up(door.real(name, number))
    if n < 1:
        door.value_error(f"{name} must round to 1 sample or more, got {number!r}")
    return n


def window_of(door: Door, winfunc: Any, length: int) -> np.ndarray:
    if not callable(winfunc):
        door.type_error(f"winfunc must be a function of the frame's length, got {type(winfunc).__name__}")
    window = np.asarray(winfunc(length), np.float64)
    if window.shape != (length,):
        door.value_error(f"winfunc({length}) must have shape ({length},), got {window.shape}")
    return window


def preemphasis(signal: Any, coeff: float = 0.95) -> np.ndarray:
    """x[i] − coeff·x[i−1], the first sample as it is: [N] → [N].

    Raises ValueError for a signal without samples.

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.preemphasis(np.array([1.0, 2.0, 3.0]), 0.5)
    array([1. , 1.5, 2. ])
    """
    door = Door("preemphasis")
    door.real("coeff", coeff)
    x = samples(door, signal)
    return np.append(x[:1], x[1:] - coeff * x[:-1])


def framesig(
    sig: Any, frame_len: float, frame_step: float, winfunc: Callable[[int], Any] = lambda x: np.ones((x,))
) -> np.ndarray:
    """Frames [T, frame_len] float64, times winfunc(frame_len); zeros complete the last one. Lengths in samples are rounded.

    Raises ValueError and TypeError naming the argument.

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.framesig(np.arange(5), 2, 2).tolist()
    [[0.0, 1.0], [2.0, 3.0], [4.0, 0.0]]
    """
    door = Door("framesig")
    x = samples(door, sig, "sig").astype(np.float64)
    length, step = length_of(door, "frame_len", frame_len), length_of(door, "frame_step", frame_step)
    count = 1 + max(0, -(-(x.size - length) // step))
    padded = np.zeros(max(x.size, (count - 1) * step + length))
    padded[: x.size] = x
    return padded[step * np.arange(count)[:, None] + np.arange(length)] * window_of(door, winfunc, length)


def magspec(frames: np.ndarray, NFFT: int) -> np.ndarray:
    """Magnitude spectra [T, NFFT/2 + 1] of frames [T, N], of their first NFFT samples.

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.magspec(np.ones((2, 4)), 4).tolist()
    [[4.0, 0.0, 0.0], [4.0, 0.0, 0.0]]
    """
    door = Door("magspec")
    frames = np.asarray(frames)
    if frames.ndim != 2:
        door.value_error(f"frames must have shape (frames, samples), got {frames.shape}")
    warn_of_truncation(frames.shape[1], door.integer("NFFT", NFFT, 1, 2**24))
    return np.absolute(np.fft.rfft(frames, NFFT))


def powspec(frames: np.ndarray, NFFT: int) -> np.ndarray:
    """Power spectra divided by NFFT, [T, NFFT/2 + 1].

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.powspec(np.ones((1, 4)), 4).tolist()
    [[4.0, 0.0, 0.0]]
    """
    return 1.0 / NFFT * np.square(magspec(frames, NFFT))


def logpowspec(frames: np.ndarray, NFFT: int, norm: int = 1) -> np.ndarray:
    """10 log10 of powspec, at least −300 dB; norm=1 makes the largest value of all frames 0.

    >>> from pyasr.compat.python_speech_features import sigproc
    >>> sigproc.logpowspec(np.ones((1, 4)), 4).round().tolist()
    [[0.0, -306.0, -306.0]]
    """
    y = 10 * np.log10(np.maximum(powspec(frames, NFFT), 1e-30))
    return y - np.max(y) if norm else y
