"""Small changes to features and waves in training, each a function of its random stream.

What draws takes an `rng`, such as pyasr.counter.stream(seed, epoch, utterance), and depends on nothing else.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.audio import MAX_RATE, MIN_RATE
from pyasr.features._check import feature_matrix
from pyasr.ops._door import FLOATS, Door

WAVES = (np.dtype(np.int16), *FLOATS)


def add_noise(features: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """features [T, F] plus Gaussian noise of this standard deviation; a new array of the same dtype."""
    return features + features.dtype.type(deviation) * rng.standard_normal(features.shape, features.dtype)


def _mask(rows: np.ndarray, rng: np.random.Generator, count: int, longest: int, value: float) -> None:
    """`count` spans of 0 to `longest` rows at `value`, in place: a width, then a begin is drawn for each."""
    for _ in range(count):
        width = int(rng.integers(0, longest + 1))
        begin = int(rng.integers(0, len(rows) - width + 1))
        rows[begin : begin + width] = value


def mask_times(features: np.ndarray, rng: np.random.Generator, count: int, longest: int) -> np.ndarray:
    """`count` spans of up to `longest` frames, and at most a quarter of the utterance, at zero, the mean of normalized features;
    features [T, F] are changed in place and returned.

    Source: Park et al., "SpecAugment", Interspeech 2019, on its time axis.
    """
    _mask(features, rng, count, min(longest, len(features) // 4), 0)
    return features


def spec_augment(
    features: np.ndarray,
    rng: np.random.Generator,
    *,
    time_masks: int,
    longest_time: int,
    share: float,
    freq_masks: int,
    widest_freq: int,
    value: float = 0.0,
) -> np.ndarray:
    """Features [T, F] with spans of frames and bands of columns at `value`, as a new array of the same dtype.

    time_masks spans of 0 to min(longest_time, ⌊share·T⌋) frames, then freq_masks bands of 0 to min(widest_freq, F) columns;
    widths and places are uniform, and masks may overlap. share is the paper's p, in [0, 1]. value 0 is the mean of normalized
    features. The paper's policy LD is time_masks=2, longest_time=100, share=1.0, freq_masks=2, widest_freq=27. Its time warp,
    which it finds to matter least, is not done.

    Raises TypeError and ValueError naming the argument.

    Source: Park et al., "SpecAugment: A simple data augmentation method for automatic speech recognition", Interspeech 2019.

    >>> from pyasr.augment import spec_augment
    >>> from pyasr.counter import stream
    >>> policy = dict(time_masks=1, longest_time=2, share=0.5, freq_masks=1, widest_freq=1)
    >>> spec_augment(np.ones((5, 3)), stream(0), **policy).shape
    (5, 3)
    """
    x = feature_matrix("spec_augment", features).copy()
    door = Door("spec_augment")
    _generator(door, rng)
    time_masks = door.integer("time_masks", time_masks, 0, 1000)
    longest_time = door.integer("longest_time", longest_time, 0, 10**9)
    share = door.real("share", share, 0.0, 1.0)
    freq_masks = door.integer("freq_masks", freq_masks, 0, 1000)
    widest_freq = door.integer("widest_freq", widest_freq, 0, 10**9)
    largest = float(np.finfo(x.dtype).max)
    value = door.real("value", value, -largest, largest)
    frames, width = x.shape
    _mask(x, rng, time_masks, min(longest_time, int(share * frames)), value)
    _mask(x.T, rng, freq_masks, min(widest_freq, width), value)
    return x


def perturb_speed(wave: np.ndarray, sample_rate: int, factor: float) -> np.ndarray:
    """A wave [N] played `factor` times as fast: [round(N / factor) ± 1] of the same dtype, a new array.

    Pitch and tempo change together, as with a record player; 0.9 and 1.1 are the usual factors (0.25 to 4 are taken). wave is
    int16, float32 or float64, sample_rate in Hz that of the input and of the result. What would lie above the Nyquist
    frequency is filtered out. int16 is computed in float32, rounded and clipped to its range.

    Raises TypeError and ValueError naming the argument; ImportError naming the extra when soxr is missing.

    Source: Ko et al., "Audio augmentation for speech recognition", Interspeech 2015; sox's effect `speed`, by soxr's "HQ".

    >>> from pyasr.augment import perturb_speed
    >>> perturb_speed(np.zeros(9000, np.float32), 16000, 0.9).shape
    (10000,)
    """
    door = Door("perturb_speed")
    x = _wave(door, "wave", wave)
    sample_rate = door.integer("sample_rate", sample_rate, MIN_RATE, MAX_RATE)
    factor = door.real("factor", factor, 0.25, 4.0)
    # soxr dithers int16, so that silence would not stay silent: it gets float32.
    samples = np.ascontiguousarray(x, np.float32 if x.dtype == np.int16 else x.dtype)
    return _as(x.dtype, need("soxr").resample(samples, sample_rate * factor, sample_rate, quality="HQ"))


def perturb_volume(wave: np.ndarray, rng: np.random.Generator, low_db: float, high_db: float) -> np.ndarray:
    """A wave [N] with a gain drawn uniformly from low_db to high_db, in dB: a new array of the same dtype.

    wave is int16, float32 or float64; int16 is rounded and clipped to its range. −120 ≤ low_db ≤ high_db ≤ 120.

    Raises TypeError and ValueError naming the argument.

    Source: the gain of sox's effect `vol`, in dB.

    >>> from pyasr.augment import perturb_volume
    >>> from pyasr.counter import stream
    >>> perturb_volume(np.array([100, -30000], np.int16), stream(0), 20, 20).tolist()
    [1000, -32768]
    """
    door = Door("perturb_volume")
    x = _wave(door, "wave", wave)
    _generator(door, rng)
    low_db = door.real("low_db", low_db, -120.0, 120.0)
    high_db = door.real("high_db", high_db, low_db, 120.0)
    return _as(x.dtype, x * 10.0 ** (rng.uniform(low_db, high_db) / 20))


def add_noise_at(wave: np.ndarray, noise: np.ndarray, snr_db: float, rng: np.random.Generator) -> np.ndarray:
    """A wave [N] plus a stretch of `noise` [M], scaled to the signal-to-noise ratio snr_db: a new array of the wave's dtype.

    The stretch begins at a drawn sample; a noise shorter than the wave is repeated without end. The ratio is that of the mean
    squares of wave and stretch, in dB, within −120 to 120, and holds up to the rounding of the result's dtype; int16 is also
    clipped to its range. Both are int16, float32 or float64, of one sample rate but of any scale.

    Raises TypeError and ValueError naming the argument; ValueError also when the wave or the stretch that was drawn is silent:
    no scale gives them a ratio.

    Source: Kaldi, featbin/wav-reverberate.cc (AddNoise), which takes the mean square of all the noise instead.

    >>> from pyasr.augment import add_noise_at
    >>> from pyasr.counter import stream
    >>> wave, noise = np.ones(100), np.ones(7)
    >>> add_noise_at(wave, noise, 20.0, stream(0))[:3]
    array([1.1, 1.1, 1.1])
    """
    door = Door("add_noise_at")
    x, other = _wave(door, "wave", wave), _wave(door, "noise", noise)
    snr_db = door.real("snr_db", snr_db, -120.0, 120.0)
    _generator(door, rng)
    if len(x) == 0:
        return x.copy()
    if len(other) == 0:
        door.value_error("noise must hold at least one sample, got 0")
    begin = int(rng.integers(0, len(other) - len(x) + 1 if len(other) >= len(x) else len(other)))
    stretch = np.take(other, np.arange(begin, begin + len(x)), mode="wrap").astype(np.float64)
    signal = x.astype(np.float64)
    rms, noise_rms = _rms(signal), _rms(stretch)
    if rms == 0:
        door.value_error("wave must not be silent, got zeros alone")
    if noise_rms == 0:
        door.value_error(f"noise must not be silent, got zeros alone from sample {begin} on")
    return _as(x.dtype, signal + stretch / noise_rms * (rms / 10.0 ** (snr_db / 20)))


def _generator(door: Door, rng: Any) -> None:
    if not isinstance(rng, np.random.Generator):
        door.type_error(f"rng must be a numpy.random.Generator, got {type(rng).__name__}")


def _wave(door: Door, name: str, wave: Any) -> np.ndarray:
    x = door.array(name, wave, WAVES)
    if x.ndim != 1:
        door.value_error(f"{name} must have shape (N,), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x))
    if bad.size:
        door.value_error(f"{name} must be finite, got {float(x[bad[0]])!r} at {bad[0]}")
    return x


def _rms(x: np.ndarray) -> float:
    """Root of the mean square; the division keeps squares of the very large and the very small within range."""
    peak = float(np.abs(x).max())
    return peak * float(np.sqrt(np.mean((x / peak) ** 2))) if peak else 0.0


def _as(dtype: np.dtype, samples: np.ndarray) -> np.ndarray:
    """The samples in this dtype; int16 is rounded to nearest and clipped to its range."""
    if dtype == np.int16:
        samples = np.clip(np.rint(samples), -32768, 32767)
    return samples.astype(dtype, copy=False)
