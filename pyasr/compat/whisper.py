"""openai-whisper's audio functions, with NumPy arrays: log_mel_spectrogram, pad_or_trim, load_audio, mel_filters.

    from pyasr.compat.whisper import N_FRAMES, log_mel_spectrogram, pad_or_trim

Names, order, defaults and numbers are those of whisper.audio of openai-whisper 20250625. What differs:

  * Results are NumPy arrays, float32; a tensor on the CPU is taken where the peer takes one. device is None or "cpu".
  * audio of 200 samples or less raises ValueError: the peer's torch.stft cannot mirror it. So does a NaN, which spreads there.
  * load_audio decodes with libsndfile and resamples with soxr where the peer runs ffmpeg, whose samples are rounded to int16.
"""

from __future__ import annotations

import functools
import math
import os
from typing import Any, BinaryIO

import numpy as np

from pyasr import audio as _audio
from pyasr import features
from pyasr.compat._shared import PLAIN, dense_filters, made
from pyasr.compat._words import words_of
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._options import MfccOptions

__all__ = [
    "CHUNK_LENGTH",
    "FRAMES_PER_SECOND",
    "HOP_LENGTH",
    "N_FFT",
    "N_FRAMES",
    "N_SAMPLES",
    "N_SAMPLES_PER_TOKEN",
    "SAMPLE_RATE",
    "TOKENS_PER_SECOND",
    "load_audio",
    "log_mel_spectrogram",
    "mel_filters",
    "pad_or_trim",
]

SAMPLE_RATE = 16000
N_FFT = 400
HOP_LENGTH = 160
CHUNK_LENGTH = 30  # seconds
N_SAMPLES = CHUNK_LENGTH * SAMPLE_RATE
N_FRAMES = N_SAMPLES // HOP_LENGTH
N_SAMPLES_PER_TOKEN = HOP_LENGTH * 2
FRAMES_PER_SECOND = SAMPLE_RATE // HOP_LENGTH
TOKENS_PER_SECOND = SAMPLE_RATE // N_SAMPLES_PER_TOKEN

_DYNAMIC_RANGE = 8.0  # decades below the loudest value
_GAIN = 0.25


def _options(door: Door, n_mels: Any, device: Any) -> MfccOptions:
    if n_mels not in (80, 128):
        door.value_error(f"n_mels must be 80 or 128, got {n_mels!r}")
    if device is not None and str(device) != "cpu":
        door.value_error(f'device must be None or "cpu", got {device!r}: the result is a NumPy array')
    return _preset(int(n_mels))


@functools.cache
def _preset(n_mels: int) -> MfccOptions:
    return features.preset("whisper", **PLAIN, full_scale=32768.0, num_mels=n_mels, num_ceps=0)


def _array(door: Door, name: str, x: Any) -> np.ndarray:
    """An array, or a tensor that the array protocol reads."""
    if not isinstance(x, np.ndarray) and hasattr(x, "__array__"):
        x = np.asarray(x)
    if not isinstance(x, np.ndarray):
        door.type_error(f"{name} must be a NumPy array or a CPU tensor, got {type(x).__name__}")
    return x


def load_audio(file: str | os.PathLike[str] | BinaryIO, sr: int = SAMPLE_RATE) -> np.ndarray:
    """A recording as [N] float32 in [−1, 1]: the mean of its channels at sr Hz.

    Errors are those of `pyasr.load`; resampling needs soxr, decoding soundfile.

    Source: whisper.audio.load_audio.

    >>> import io, wave
    >>> from pyasr.compat.whisper import load_audio
    >>> file = io.BytesIO()
    >>> with wave.open(file, "wb") as w:
    ...     w.setnchannels(1), w.setsampwidth(2), w.setframerate(16000), w.writeframes(np.array([0, 16384], "<i2").tobytes())
    (None, None, None, None)
    >>> _ = file.seek(0)
    >>> load_audio(file)
    array([0. , 0.5], dtype=float32)
    """
    return _audio.load(file, sr)[0]


def pad_or_trim(array: Any, length: int = N_SAMPLES, *, axis: int = -1) -> np.ndarray:
    """The array with `length` entries along an axis: zeros after the end, or the end cut off.

    Raises ValueError and TypeError naming the argument.

    Source: whisper.audio.pad_or_trim.

    >>> from pyasr.compat.whisper import pad_or_trim
    >>> pad_or_trim(np.ones(2), 3).tolist(), pad_or_trim(np.ones(2), 1).tolist()
    ([1.0, 1.0, 0.0], [1.0])
    """
    door = Door("pad_or_trim")
    x = _array(door, "array", array)
    length = door.integer("length", length, 0, 2**40)
    axis = door.integer("axis", axis, -x.ndim, x.ndim - 1) % max(x.ndim, 1)
    x = x[(slice(None),) * axis + (slice(length),)]
    if x.shape[axis] < length:
        ends = [(0, 0)] * x.ndim
        ends[axis] = (0, length - x.shape[axis])
        x = np.pad(x, ends)
    return x


def mel_filters(device: Any, n_mels: int) -> np.ndarray:
    """The mel filters as a matrix [n_mels, 201] float32. device is None or "cpu", n_mels 80 or 128.

    Source: whisper.audio.mel_filters; librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels).

    >>> from pyasr.compat.whisper import mel_filters
    >>> mel_filters("cpu", 80).shape
    (80, 201)
    """
    return dense_filters(_options(Door("mel_filters"), n_mels, device)).astype(np.float32)


def log_mel_spectrogram(audio: Any, n_mels: int = 80, padding: int = 0, device: Any = None) -> np.ndarray:
    """What Whisper's encoder takes: log mel energies (…, n_mels, frames) float32, one frame per 160 samples.

    audio is a file's name or float32 or float64 samples (…, N) at 16 kHz, N > 200 with the `padding` zeros that are put after
    them; n_mels 80 or 128 (large-v3). Logs are clipped 8 decades below the loudest value of the whole array.

    Raises ValueError and TypeError naming the argument.

    Source: whisper.audio.log_mel_spectrogram; Radford et al. 2022.

    >>> from pyasr.compat.whisper import N_SAMPLES, log_mel_spectrogram
    >>> log_mel_spectrogram(np.zeros(16000, np.float32), padding=N_SAMPLES).shape
    (80, 3100)
    """
    door = Door("log_mel_spectrogram")
    options = _options(door, n_mels, device)
    padding = door.integer("padding", padding, -(2**40), 2**40)
    x = load_audio(audio) if isinstance(audio, (str, os.PathLike)) else _array(door, "audio", audio)
    if x.dtype.newbyteorder("=") not in FLOATS:
        door.type_error(
            f"audio must have dtype float32 or float64, got {x.dtype.name}: divide integers by their full scale"
        )
    if x.ndim == 0 or 0 in x.shape[:-1]:
        door.value_error(f"audio must have shape (…, samples), got {x.shape}")
    if padding > 0:  # the peer takes a negative one for none
        x = np.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, padding)])
    if x.shape[-1] <= N_FFT // 2:
        door.value_error(
            f"audio must have more than {N_FFT // 2} samples, got {x.shape[-1]}: pad_or_trim it, or use padding="
        )
    with words_of("log_mel_spectrogram", {"wave": "audio", "waves": "audio"}):
        if x.ndim == 1:
            return np.ascontiguousarray(features.fbank(x, SAMPLE_RATE, options).T)
        waves = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
        free = made(options, dynamic_range=None)
        y, _ = features.batch(waves, SAMPLE_RATE, free, kind="fbank")
    y = np.maximum(y, y.max() - np.float32(_DYNAMIC_RANGE * _GAIN)).swapaxes(1, 2)
    return np.ascontiguousarray(y).reshape(*x.shape[:-1], *y.shape[1:])
