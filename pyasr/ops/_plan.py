"""The plan of a feature: the NumPy tables of its options that every backend receives.

Tables are float64; a kernel rounds them to its own precision.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from pyasr.ops._fft import bluestein_tables, fft_radices, fft_tables, is_smooth, next_smooth
from pyasr.ops._filters import dct_table, filter_table
from pyasr.ops._options import LARGEST_SAMPLE, MfccOptions

_LOG_OF = {"ln": 1.0, "log10": 1.0 / np.log(10.0), "db": 10.0 / np.log(10.0)}


def window_table(o: MfccOptions) -> np.ndarray:
    """[length] float64."""
    if isinstance(o.window, tuple):
        return np.array(o.window, np.float64)
    n = o.frame_length
    i = np.arange(n)
    periodic = o.window == "hann" if o.periodic is None else o.periodic
    a = 2 * np.pi / (n if periodic else n - 1)
    if o.window == "rectangular":
        return np.ones(n)
    if o.window == "hamming":
        return 0.54 - 0.46 * np.cos(a * i)
    if o.window == "blackman":
        return 0.42 - 0.5 * np.cos(a * i) + 0.08 * np.cos(2 * a * i)
    if o.window == "sine":
        return np.sin(0.5 * a * i)
    hann = 0.5 - 0.5 * np.cos(a * i)
    return hann**0.85 if o.window == "povey" else hann


@dataclass(frozen=True, eq=False)
class MfccPlan:
    """The tables of one set of options, read-only; two plans are equal only when they are the same object.

    The real FFT of N = fft_size points is a complex FFT of N/2 points where N/2 is made of 2, 3 and 5 ("packed": chirp is
    empty), else Bluestein's convolution of len(order) points.

    `cache` holds what a backend has derived from the tables (packed or on a device), under the backend's name.
    """

    options: MfccOptions
    kind: str
    length: int  # samples of a frame
    shift: int  # samples from frame to frame
    start: int  # first sample of frame 0
    fft_size: int
    features: int  # F
    gain: float  # int16 scale to full_scale
    spectrum_gain: float  # of the samples that the FFT sees, on top of gain
    log_gain: float  # result = ln(…) log_gain + log_offset
    log_offset: float
    dynamic_range: float  # in units of the result; infinite where there is no limit
    window: np.ndarray  # [length]
    mel_begin: np.ndarray  # [M] int32: first bin of a filter
    mel_offset: np.ndarray  # [M + 1] int32: where a filter's weights start in mel_weight
    mel_weight: np.ndarray  # [mel_offset[M]]
    dct: np.ndarray  # [num_ceps, M], lifter folded in
    radices: np.ndarray  # int32: of the complex FFT, see fft_tables
    twiddle: np.ndarray  # complex128, see fft_tables
    order: np.ndarray  # [points of the complex FFT] int32, see fft_tables
    split: np.ndarray  # [fft_size/4 + 1] complex128: e^{-2πik/fft_size}, turns it into the real FFT; packed alone
    chirp: np.ndarray  # [length] complex128, see bluestein_tables
    response: np.ndarray  # [points] complex128
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple:
        return make_plan, (self.options,)


@functools.lru_cache(maxsize=128)
def make_plan(options: MfccOptions) -> MfccPlan:
    """The plan of these options, built once per process."""
    if not isinstance(options, MfccOptions):
        raise TypeError(f"make_plan: options must be MfccOptions, got {type(options).__name__}")
    n, length = options.fft_size, options.frame_length
    packed = n % 2 == 0 and is_smooth(n // 2)
    points = n // 2 if packed else next_smooth(length + n // 2)
    radices = fft_radices(points)
    twiddle, order = fft_tables(points, radices)
    none = np.zeros(0, np.complex128)
    chirp, response = (none, none) if packed else bluestein_tables(n, length, order)
    begin, offset, weight = np.zeros(0, np.int32), np.zeros(1, np.int32), np.zeros(0)
    if options.num_mels:
        begin, offset, weight = filter_table(options)
    unit = _LOG_OF[options.log] * options.log_gain
    limit = options.dynamic_range
    plan = MfccPlan(
        options=options,
        kind=options.kind,
        length=length,
        shift=options.frame_shift,
        start=options.first_sample,
        fft_size=n,
        features=options.num_features,
        gain=options.full_scale / 32768.0,
        spectrum_gain=1.0 if not options.power_over_fft else n**-0.5 if options.use_power else 1.0 / n,
        log_gain=unit,
        log_offset=float(options.log_offset),
        dynamic_range=np.inf if limit is None else float(limit) * options.log_gain,
        window=window_table(options),
        mel_begin=begin,
        mel_offset=offset,
        mel_weight=weight,
        dct=dct_table(options) if options.kind == "mfcc" else np.zeros((0, options.num_mels)),
        radices=np.array(radices, np.int32),
        twiddle=twiddle,
        order=order,
        split=np.exp(-2j * np.pi * np.arange(n // 4 + 1) / n) if packed else none,
        chirp=chirp,
        response=response,
    )
    for f in fields(plan):
        value = getattr(plan, f.name)
        if isinstance(value, np.ndarray):
            value.flags.writeable = False
    return plan


def sample_scale(options: MfccOptions, dtype: np.dtype) -> float:
    """The factor that brings samples of this dtype to int16 scale."""
    if options.scale is not None:
        return float(options.scale)
    return 1.0 if dtype.kind == "i" else 32768.0


def largest_sample(options: MfccOptions) -> float:
    """The largest magnitude that a floating sample may have."""
    return 16.0 if options.scale is None else LARGEST_SAMPLE / options.scale
