"""Features of recordings: mfcc, fbank and spectrogram as Kaldi computes them, deltas, and mean and variance normalization."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from pyasr.ops import backend
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._plan import MfccOptions, MfccPlan, make_plan, unknown
from pyasr.ops.mfcc import WAVES

__all__ = ["PRESETS", "MfccOptions", "cmvn", "deltas", "fbank", "mfcc", "spectrogram"]

# What a preset changes. "kaldi" is the defaults of compute-mfcc-feats, compute-fbank-feats and
# compute-spectrogram-feats without dither.
PRESETS: dict[str, dict[str, Any]] = {"kaldi": {}}

LONGEST = 2**40  # samples; two years at 16 kHz

_NAMES = tuple(f.name for f in dataclasses.fields(MfccOptions))
# Where a kind of features stops: no cepstra, no mel filters.
_STOP: dict[str, dict[str, Any]] = {"mfcc": {}, "fbank": {"num_ceps": 0}, "spectrogram": {"num_mels": 0, "num_ceps": 0}}


@functools.lru_cache(maxsize=256)
def _cached_plan(op: str, sample_rate: float, options: Any, changes: tuple[tuple[str, type, Any], ...]) -> MfccPlan:
    door = Door(op)
    values = {name: value for name, _, value in changes}
    for name in values:
        if name not in _NAMES or name == "sample_rate":
            door.type_error(unknown("keyword", name, [n for n in _NAMES if n != "sample_rate"]))
        if name in _STOP[op]:
            door.type_error(f"{name} has no meaning for {op}")
    if isinstance(options, MfccOptions):
        if options.sample_rate != sample_rate:
            door.value_error(
                f"sample_rate must be that of the options, {options.sample_rate:g}, got {sample_rate:g}: resample the "
                "wave or change the options"
            )
        start = options
    else:
        name = "kaldi" if options is None else options
        if name not in PRESETS:
            door.value_error(unknown("options", name, tuple(PRESETS)))
        values = {**PRESETS[name], **values, "sample_rate": sample_rate}
        start = None
    values |= _STOP[op]
    plan = make_plan(MfccOptions(**values) if start is None else dataclasses.replace(start, **values))
    if plan.kind != op:
        door.value_error(f"options must keep num_mels and num_ceps above 0, got {plan.options.num_mels} and "
                         f"{plan.options.num_ceps}")  # fmt: skip
    return plan


def _plan(op: str, sample_rate: Any, options: Any, changes: dict[str, Any]) -> MfccPlan:
    door = Door(op)
    rate = door.real("sample_rate", sample_rate, 10.0, 1e7)
    if not (options is None or isinstance(options, (str, MfccOptions))):
        door.type_error(f"options must be MfccOptions or the name of a preset, got {type(options).__name__}")
    try:
        # 1, 1.0 and True are one key of a dict, but not one option
        key = tuple((name, type(value), value) for name, value in sorted(changes.items()))
        hash((options, key))
    except TypeError:
        for name, value in changes.items():
            if type(value).__hash__ is None:
                door.type_error(f"{name} must be a plain value, got {type(value).__name__}")
        raise
    return _cached_plan(op, rate, options, key)


def _samples(op: str, wave: Any) -> np.ndarray:
    """A 1-D wave of any layout and byte order as a contiguous native one; copied only when it is not one already."""
    door = Door(op)
    if not isinstance(wave, np.ndarray):
        door.type_error(f"wave must be a NumPy array, got {type(wave).__name__}")
    if wave.ndim != 1:
        text = f"wave must be one-dimensional, got shape {wave.shape}"
        if wave.ndim == 2:
            text += ": take wave[0] if that is (channels, samples), wave[:, 0] if it is (samples, channels)"
        door.value_error(text)
    native = wave.dtype.newbyteorder("=")
    if native not in WAVES:
        door.type_error(
            f"wave must have dtype int16, float32 or float64, got {wave.dtype.name}: convert it, with its scale"
        )
    if wave.size > LONGEST:
        door.value_error(f"wave must have at most {LONGEST} samples, got {wave.size}")
    return np.require(wave, native, ["C", "A"])


def _features(op: str, wave: Any, sample_rate: Any, options: Any, out: Any, threads: Any, changes: dict) -> np.ndarray:
    plan = _plan(op, sample_rate, options, changes)
    return getattr(backend(), op)(_samples(op, wave), plan, out=out, threads=threads)


def mfcc(
    wave: np.ndarray,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    **changes: Any,
) -> np.ndarray:
    """Mel-frequency cepstral coefficients, [T, num_ceps] float32.

    wave [N] is int16, or float32 or float64 with samples in [−1, 1]; any stride and byte order. Kaldi's arithmetic is at
    int16 scale, so floating samples are multiplied by 32768; `scale=` overrides. sample_rate is in Hz. options is the
    name of a preset ("kaldi", the default) or MfccOptions, and keywords change single options of it: `num_ceps=20`.
    out [T, num_ceps] float32 receives the result; after an error its contents are undefined.

    T = 1 + (N − length) // shift frames, 0 for a wave shorter than one; with snip_edges=False (N + shift/2) // shift.

    Raises ValueError for a sample that is NaN or infinite (naming it), for floating samples far outside [−1, 1], for a
    sample_rate other than that of the given MfccOptions and for any bad option; TypeError for another dtype, for anything
    but an array, and for an unknown keyword.

    Source: Kaldi, feat/feature-mfcc.cc; Davis and Mermelstein 1980.

    >>> wave = np.sin(2 * np.pi * 440 / 16000 * np.arange(16000)) / 2
    >>> pyasr.mfcc(wave, 16000).shape
    (98, 13)
    >>> pyasr.mfcc(wave, 16000, num_ceps=20, snip_edges=False).shape
    (100, 20)
    """
    return _features("mfcc", wave, sample_rate, options, out, threads, changes)


def fbank(
    wave: np.ndarray,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    **changes: Any,
) -> np.ndarray:
    """Log mel filter-bank energies, [T, num_mels] float32; with use_energy=True a column of log energy before them.

    Arguments and errors are those of `mfcc`; num_ceps and lifter have no part in it. Unless it is given, use_energy is
    False, Kaldi's default here.

    Source: Kaldi, feat/feature-fbank.cc.

    >>> wave = np.zeros(16000, np.int16)
    >>> pyasr.fbank(wave, 16000, num_mels=80).shape
    (98, 80)
    """
    return _features("fbank", wave, sample_rate, options, out, threads, changes)


def spectrogram(
    wave: np.ndarray,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: np.ndarray | None = None,
    threads: int | None = None,
    **changes: Any,
) -> np.ndarray:
    """Log power spectrum, [T, fft_size/2 + 1] float32; column 0 is log energy unless use_energy=False, as in Kaldi.

    Arguments and errors are those of `mfcc`; mel filters and cepstra have no part in it.

    Source: Kaldi, feat/feature-spectrogram.cc.

    >>> pyasr.spectrogram(np.zeros(16000, np.float32), 16000).shape
    (98, 257)
    """
    return _features("spectrogram", wave, sample_rate, options, out, threads, changes)


def _matrix(op: str, features: Any) -> np.ndarray:
    door = Door(op)
    x = door.array("features", features, FLOATS)
    if x.ndim != 2:
        door.value_error(f"features must have shape (T, F), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        door.value_error(f"features must be finite, got a NaN or infinity in frame {bad[0]}")
    return x


def delta_filters(window: int, order: int) -> list[np.ndarray]:
    """The taps that turn features into their 0th … order-th deltas; filter k spans ±k·window frames."""
    taps = np.arange(-window, window + 1) / float(sum(j * j for j in range(-window, window + 1)))
    filters = [np.ones(1)]
    for _ in range(order):
        filters.append(np.convolve(filters[-1], taps))
    return filters


def deltas(features: np.ndarray, window: int = 2, order: int = 2) -> np.ndarray:
    """Features with their time derivatives appended: [T, F] → [T, F·(order + 1)], same dtype.

    The first derivative is Σ_j j·x[t+j] / Σ_j j² over |j| ≤ window; the next one applies that filter convolved with itself
    to the features (9 taps for window 2), with the first and last frame repeated beyond the ends. Derivatives of
    derivatives taken one after the other differ from it in the first and last frames.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, feat/feature-functions.cc (DeltaFeatures).

    >>> x = np.arange(9.0)[:, None]
    >>> pyasr.features.deltas(x)[4].tolist()
    [4.0, 1.0, 0.0]
    """
    x = _matrix("deltas", features)
    door = Door("deltas")
    window, order = door.integer("window", window, 1, 1000), door.integer("order", order, 0, 8)
    frames, width = x.shape
    out = np.zeros((frames, order + 1, width), np.float64)
    if frames:
        for k, taps in enumerate(delta_filters(window, order)):
            half = k * window
            padded = np.pad(x.astype(np.float64), ((half, half), (0, 0)), mode="edge")
            for j, tap in enumerate(taps):
                out[:, k] += tap * padded[j : j + frames]
    return out.reshape(frames, (order + 1) * width).astype(x.dtype)


def cmvn(features: np.ndarray, variance: bool = True) -> np.ndarray:
    """Features with the mean of each column over the utterance removed and, with variance, scaled to unit variance.

    features [T, F] float32 or float64 → a new array of that shape and dtype. Sums are float64; a variance below 1e-20
    counts as 1e-20, so a constant column becomes zeros.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, transform/cmvn.cc.

    >>> pyasr.features.cmvn(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    x = _matrix("cmvn", features)
    variance = Door("cmvn").boolean("variance", variance)
    if len(x) == 0:
        return x.copy()
    centered = x - x.mean(axis=0, dtype=np.float64)
    centered -= centered.mean(axis=0)  # what rounding left
    if variance:
        centered /= np.sqrt(np.maximum((centered**2).mean(axis=0), 1e-20))
    return centered.astype(x.dtype)
