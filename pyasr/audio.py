"""Recordings in: decode, mix down, resample."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyasr._optional import need
from pyasr.ops._door import Door

# What a header may ask for. It is checked before anything is decoded or allocated: a header is a claim, not a fact.
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 384_000  # Hz
MAX_SECONDS = 2 * 3600
BLOCK = 1 << 18  # frames that are decoded at a time


def load(path: str | os.PathLike[str] | BinaryIO, sample_rate: int | None = None) -> tuple[np.ndarray, int]:
    """Decode a recording: wav, flac, ogg, mp3 and whatever else libsndfile reads.

    path is a file name or a binary file object. Channels are averaged. sample_rate in Hz resamples to it (soxr, "HQ"); None keeps
    the file's own.

    Returns (wave [N] float32, sample rate in Hz). Integer formats land in [−1, 1); floating formats keep their values.

    Raises FileNotFoundError; ValueError naming the file when it is not a recording, is damaged, holds NaN or infinity, or when
    its header claims more than 8 channels, a rate outside 1–384 kHz or more than two hours (checked before decoding);
    ImportError naming the extra when soundfile or soxr is missing.

    >>> import io, wave
    >>> file = io.BytesIO()
    >>> with wave.open(file, "wb") as w:
    ...     w.setnchannels(1), w.setsampwidth(2), w.setframerate(8000), w.writeframes(np.array([0, 16384], "<i2").tobytes())
    (None, None, None, None)
    >>> _ = file.seek(0)
    >>> pyasr.load(file)
    (array([0. , 0.5], dtype=float32), 8000)
    """
    if sample_rate is not None:
        sample_rate = Door("load").integer("sample_rate", sample_rate, MIN_RATE, MAX_RATE)
    source: Any = path
    if isinstance(path, (str, os.PathLike)):
        source = Path(path)
        if source.is_dir():
            raise IsADirectoryError(f"load: {source} is a directory, not a recording")
        if not source.exists():
            raise FileNotFoundError(f"load: there is no file {source}")
        if not source.is_file():
            raise ValueError(f"load: {source} is not a regular file")
    elif not hasattr(path, "read") or isinstance(path, io.TextIOBase):
        raise TypeError(f"load: path must be a file name or a binary file object, got {type(path).__name__}")
    elif getattr(path, "closed", False):
        raise ValueError("load: path must be an open file object, got a closed one")
    name = str(source) if isinstance(source, Path) else str(getattr(path, "name", "the file object"))
    if name.lower().endswith(".raw"):
        raise ValueError(f"load: {name} must have a header that says its sample rate, got headerless samples")
    wave, rate = _decode(source, name)
    if not np.isfinite(wave).all():
        raise ValueError(f"load: {name} holds NaN or infinite samples")
    if sample_rate is not None and rate != sample_rate:
        wave = np.ascontiguousarray(need("soxr").resample(wave, rate, sample_rate, quality="HQ"), np.float32)
        rate = sample_rate
    return wave, rate


def _decode(source: Any, name: str) -> tuple[np.ndarray, int]:
    """The file's mean over channels [N] float32 and its sample rate, decoded block by block."""
    soundfile = need("soundfile")
    try:
        with soundfile.SoundFile(source) as file:
            channels, rate, frames = file.channels, file.samplerate, file.frames
            if not 1 <= channels <= MAX_CHANNELS:
                raise ValueError(f"load: {name} must have 1 to {MAX_CHANNELS} channels, got {channels}")
            if not MIN_RATE <= rate <= MAX_RATE:
                raise ValueError(f"load: {name} must have a sample rate in [{MIN_RATE}, {MAX_RATE}] Hz, got {rate}")
            if not 0 <= frames <= MAX_SECONDS * rate:
                raise ValueError(f"load: {name} must last at most {MAX_SECONDS} s, got {frames / rate:.0f} s")
            blocks = [np.zeros(0, np.float32)]
            while (block := file.read(BLOCK, dtype="float32", always_2d=True)).shape[0]:
                blocks.append(block[:, 0] if channels == 1 else block.mean(axis=1, dtype=np.float32))
    except soundfile.LibsndfileError as e:
        raise ValueError(f"load: {name} is not a recording that libsndfile can read: {e.error_string}") from e
    return np.concatenate(blocks), int(rate)
