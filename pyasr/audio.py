"""Recordings in: decode, mix down, resample."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from pyasr._optional import need
from pyasr.ops._door import Door

# What a header may ask for. It is checked before anything is decoded or allocated: a header is a claim, not a fact.
MAX_CHANNELS = 8
MIN_RATE, MAX_RATE = 1_000, 384_000  # Hz
MAX_SECONDS = 2 * 3600  # that are decoded at once
MAX_START = 1e6  # seconds
BLOCK = 1 << 18  # frames that are decoded at a time
UNFINISHED = 0x7FFFF000  # bytes and more are what a header says that was written before its length was known
_CUT = re.compile(r"^data : (\d+) \(should be (\d+)\)|^Ogg : File ended unexpectedly", re.M)  # in libsndfile's log


def load(
    path: str | os.PathLike[str] | BinaryIO,
    sample_rate: int | None = None,
    *,
    start: float = 0.0,
    duration: float | None = None,
    longest: float | None = None,
) -> tuple[np.ndarray, int]:
    """Decode a recording: wav, flac, ogg, mp3, NIST sphere and whatever else libsndfile reads.

    path is a file name or a binary file object. Channels are averaged. sample_rate in Hz resamples to it (soxr, "HQ"); None keeps
    the file's own. start and duration in seconds choose a stretch of the file, at its nearest samples, and the rest is not
    decoded; duration None goes to the end, and one that passes the end by less than 10 ms, as rounded times do, is cut there.
    longest is the number of seconds that may be decoded, by default two hours.

    Returns (wave [N] float32, sample rate in Hz). Integer formats land in [−1, 1); floating formats keep their values.

    Raises FileNotFoundError; ValueError naming the file when it is not a recording, is damaged or cut short, holds NaN or
    infinity, or when its header claims more than 8 channels, a rate outside 1–384 kHz or more than `longest` in the stretch asked
    for (checked before decoding), or when the stretch is not within the file;
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
    door = Door("load")
    if sample_rate is not None:
        sample_rate = door.integer("sample_rate", sample_rate, MIN_RATE, MAX_RATE)
    start = door.real("start", start, 0.0, MAX_START)
    longest = MAX_SECONDS if longest is None else door.real("longest", longest, 0.0, MAX_SECONDS)
    if duration is not None:
        duration = door.real("duration", duration, 0.0, MAX_SECONDS)
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
    wave, rate = _decode(source, name, start, duration, longest)
    if not np.isfinite(wave).all():
        raise ValueError(f"load: {name} holds NaN or infinite samples")
    if sample_rate is not None and rate != sample_rate:
        wave = np.ascontiguousarray(need("soxr").resample(wave, rate, sample_rate, quality="HQ"), np.float32)
        rate = sample_rate
    return wave, rate


def _decode(source: Any, name: str, start: float, duration: float | None, longest: float) -> tuple[np.ndarray, int]:
    """The mean over channels [N] float32 of a stretch of the file, and its sample rate, decoded block by block."""
    soundfile = need("soundfile")
    try:
        with soundfile.SoundFile(source) as file:
            channels, rate, frames = file.channels, file.samplerate, file.frames
            if not 1 <= channels <= MAX_CHANNELS:
                raise ValueError(f"load: {name} must have 1 to {MAX_CHANNELS} channels, got {channels}")
            if not MIN_RATE <= rate <= MAX_RATE:
                raise ValueError(f"load: {name} must have a sample rate in [{MIN_RATE}, {MAX_RATE}] Hz, got {rate}")
            _check_whole(source, name, file)
            first = round(start * rate)
            if start and first >= frames:
                raise ValueError(f"load: {name} must be longer than start = {start} s, got {frames / rate:.3f} s")
            count = frames - first
            if duration is not None:
                if round(duration * rate) > count + rate // 100:
                    raise ValueError(
                        f"load: {name} must last until start + duration = {start + duration} s, got {frames / rate:.3f} s"
                    )
                count = min(count, round(duration * rate))
            if not 0 <= count <= longest * rate:
                raise ValueError(f"load: {name} must last at most longest = {longest:g} s, got {count / rate:.1f} s")
            if first:
                file.seek(first)
            blocks = [np.zeros(0, np.float32)]
            while (block := file.read(min(BLOCK, count), dtype="float32", always_2d=True)).shape[0]:
                blocks.append(block[:, 0] if channels == 1 else block.mean(axis=1, dtype=np.float32))
                count -= block.shape[0]
    except soundfile.LibsndfileError as e:
        raise ValueError(f"load: {name} is not a recording that libsndfile can read: {e.error_string}") from e
    return np.concatenate(blocks), int(rate)


def _check_whole(source: Any, name: str, file: Any) -> None:
    """Raise for a file that is cut short: libsndfile reads what is there, though the header promised more.

    Of flac and mp3 the decoder notices.
    """
    cut = _CUT.search(file.extra_info)
    if cut and (cut[1] is None or int(cut[2]) < int(cut[1]) < UNFINISHED):
        raise ValueError(f"load: {name} is cut short" + (f": {cut[2]} of {cut[1]} bytes of sound" if cut[1] else ""))
    if file.format == "NIST":
        header = _beginning(source, 1024)
        promised = re.search(rb"^sample_count -i (\d{1,12})\s*$", header, re.M)
        if promised and file.frames < int(promised[1]):
            raise ValueError(f"load: {name} is cut short: {file.frames} of {int(promised[1])} frames")


def _beginning(source: Any, count: int) -> bytes:
    """The first bytes of a file; an open one stays where it is."""
    if isinstance(source, Path):
        with source.open("rb") as file:
            return file.read(count)
    place = source.tell()
    source.seek(0)
    data: bytes = source.read(count)
    source.seek(place)
    return data
