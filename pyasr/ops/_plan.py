"""The plan of a feature: options, checked once, and the NumPy tables that every backend receives.

Semantics are Kaldi's (feat/feature-window.cc, mel-computations.cc, feature-mfcc.cc, feature-fbank.cc,
feature-spectrogram.cc). Tables are float64; a kernel rounds them to its own precision.
"""

from __future__ import annotations

import difflib
import functools
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from pyasr.ops._door import Door

EPSILON = 2.0**-23  # Kaldi's floor under every logarithm: FLT_EPSILON
WINDOWS = ("povey", "hamming", "hanning", "hann", "blackman", "rectangular", "sine")
LARGEST_FFT = 65536
LARGEST_UNROUNDED = 16384  # a prime factor p of such a length costs p² per frame
LARGEST_SAMPLE = 2.0**40  # times scale; the float32 power of 65536 such samples does not overflow


def unknown(what: str, got: Any, known: Any) -> str:
    """'<what> must be one of …, got …' with the nearest match."""
    near = difflib.get_close_matches(str(got), known, 1, 0.5)
    return f"{what} must be one of {', '.join(known)}, got {got!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


@dataclass(frozen=True, kw_only=True)
class MfccOptions:
    """Options of mfcc, fbank and spectrogram; names, meaning and defaults are Kaldi's, dither apart.

    sample_rate           Hz
    frame_length_ms, frame_shift_ms
                          milliseconds; samples are truncated, as Kaldi does: 25 ms at 44100 Hz are 1102
    window                povey, hamming, hanning, blackman, sine (symmetric), rectangular, or hann (periodic)
    preemph               x[i] − preemph·x[i−1] inside each frame, in [0, 1]
    remove_dc             subtract each frame's mean
    snip_edges            True: only frames that fit; False: one per shift, the wave mirrored at both ends
    num_mels              mel filters; 0 stops at the power spectrum (what `spectrogram` does)
    low_freq, high_freq   Hz; high_freq ≤ 0 counts from the Nyquist frequency
    num_ceps              coefficients; 0 stops at the mel filters (what `fbank` does)
    lifter                cepstral lifter, 0 for none
    use_energy            log energy in place of coefficient 0 (mfcc) and bin 0 (spectrogram), or as a column of its
                          own (fbank). None is Kaldi's default: True, False for fbank
    raw_energy            energy before preemphasis and window
    energy_floor          smallest energy; 0 for Kaldi's floor of 2⁻²³ alone
    htk_compat            energy or c0 last, c0 times √2
    htk_mode              HTK's mel filters: energies at least 1, weight 0 at the first bin of the first filter
    use_power             power spectrum; False: magnitudes
    use_log_fbank         log of the mel energies (fbank only)
    round_to_power_of_two zero-pad the frame to a power of two; False: an FFT of the frame length, which must be even
    dither                0: noise is not added
    scale                 factor that brings samples to int16 scale. None: 1 for int16 arrays, 32768 for floating ones,
                          whose samples lie in [−1, 1]

    Everything is checked here: TypeError and ValueError name the option, what it got and what it wants.

    >>> pyasr.MfccOptions(sample_rate=8000, num_mels=15).fft_size
    256
    """

    sample_rate: float = 16000.0
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    window: str = "povey"
    preemph: float = 0.97
    remove_dc: bool = True
    snip_edges: bool = True
    num_mels: int = 23
    low_freq: float = 20.0
    high_freq: float = 0.0
    num_ceps: int = 13
    lifter: float = 22.0
    use_energy: bool | None = None
    raw_energy: bool = True
    energy_floor: float = 0.0
    htk_compat: bool = False
    htk_mode: bool = False
    use_power: bool = True
    use_log_fbank: bool = True
    round_to_power_of_two: bool = True
    dither: float = 0.0
    scale: float | None = None

    def __post_init__(self) -> None:
        door = Door("MfccOptions")
        door.real("sample_rate", self.sample_rate, 10.0, 1e7)
        door.real("frame_length_ms", self.frame_length_ms, 0.0, 1e6)
        door.real("frame_shift_ms", self.frame_shift_ms, 0.0, 1e6)
        if not isinstance(self.window, str):
            door.type_error(f"window must be a string, got {type(self.window).__name__}")
        if self.window not in WINDOWS:
            door.value_error(unknown("window", self.window, WINDOWS))
        door.real("preemph", self.preemph, 0.0, 1.0)
        for name in ("remove_dc", "snip_edges", "raw_energy", "htk_compat", "htk_mode", "use_power", "use_log_fbank",
                     "round_to_power_of_two"):  # fmt: skip
            door.boolean(name, getattr(self, name))
        if self.use_energy is not None:
            door.boolean("use_energy", self.use_energy)
        door.integer("num_mels", self.num_mels, 0, 8192)
        door.integer("num_ceps", self.num_ceps, 0, 8192)
        door.real("low_freq", self.low_freq, 0.0)
        door.real("high_freq", self.high_freq)
        door.real("lifter", self.lifter, 0.0, 1e6)
        door.real("energy_floor", self.energy_floor, 0.0, 1e30)
        if door.real("dither", self.dither, 0.0) != 0:
            door.value_error(f"dither must be 0, got {self.dither!r}: noise is not supported yet")
        if self.scale is not None:
            door.real("scale", self.scale, 2.0**-24, 2.0**24)
        self._check_sizes(door)
        if self.num_mels:
            self._check_mels(door)
        if not self.use_log_fbank and self.kind != "fbank":
            door.value_error(f"use_log_fbank=False is for fbank only, got options of {self.kind}")

    def _check_sizes(self, door: Door) -> None:
        rate = f"at sample_rate = {self.sample_rate:g}"
        if not 1 <= self.frame_shift <= LARGEST_FFT:
            door.value_error(f"frame_shift_ms must give 1 to {LARGEST_FFT} samples, got {self.frame_shift} {rate}")
        most = LARGEST_FFT if self.round_to_power_of_two else LARGEST_UNROUNDED
        if not 2 <= self.frame_length <= most:
            door.value_error(f"frame_length_ms must give 2 to {most} samples, got {self.frame_length} {rate}")
        if not self.round_to_power_of_two and self.frame_length % 2:
            door.value_error(
                f"round_to_power_of_two=False needs an even frame length, got {self.frame_length} samples {rate}"
            )

    def _check_mels(self, door: Door) -> None:
        if self.num_mels < 3:
            door.value_error(f"num_mels must be 0 or at least 3, got {self.num_mels}")
        if self.num_ceps > self.num_mels:
            door.value_error(f"num_ceps must be at most num_mels = {self.num_mels}, got {self.num_ceps}")
        nyquist, high = self.sample_rate / 2, self.highest_freq
        if high > nyquist:
            door.value_error(f"high_freq must be at most the Nyquist frequency {nyquist:g}, got {high:g}")
        if self.low_freq >= high:
            door.value_error(f"low_freq must be below high_freq = {high:g} Hz, got {self.low_freq:g}")
        _, begin, end, _ = mel_edges(self)
        empty = np.flatnonzero(begin >= end)
        if empty.size:
            listed = ", ".join(map(str, empty[:12])) + (", …" if empty.size > 12 else "")
            door.value_error(
                f"num_mels must leave every mel filter an FFT bin, got {self.num_mels}: filters {listed} have none "
                f"(bins are {self.sample_rate / self.fft_size:g} Hz apart): use fewer filters or longer frames"
            )

    @property
    def kind(self) -> str:
        """The row that takes these options: "mfcc", "fbank" or "spectrogram"."""
        return "spectrogram" if self.num_mels == 0 else "fbank" if self.num_ceps == 0 else "mfcc"

    @property
    def frame_length(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate * 0.001 * self.frame_length_ms)

    @property
    def frame_shift(self) -> int:
        """Samples from frame to frame."""
        return int(self.sample_rate * 0.001 * self.frame_shift_ms)

    @property
    def fft_size(self) -> int:
        n = self.frame_length
        return 1 << (n - 1).bit_length() if self.round_to_power_of_two else n

    @property
    def highest_freq(self) -> float:
        """Hz, with a high_freq ≤ 0 resolved."""
        return self.high_freq if self.high_freq > 0 else self.sample_rate / 2 + self.high_freq

    @property
    def energy(self) -> str:
        """ "none", "raw" or "windowed"."""
        used = self.kind != "fbank" if self.use_energy is None else self.use_energy
        return "none" if not used else "raw" if self.raw_energy else "windowed"

    @property
    def num_features(self) -> int:
        """F: columns of the result."""
        if self.kind == "spectrogram":
            return self.fft_size // 2 + 1
        return self.num_ceps if self.kind == "mfcc" else self.num_mels + (self.energy != "none")

    def num_frames(self, n: int) -> int:
        """T: frames of a wave of n samples."""
        length, shift = self.frame_length, self.frame_shift
        if self.snip_edges:
            return 0 if n < length else 1 + (n - length) // shift
        return (n + shift // 2) // shift


def window_table(o: MfccOptions) -> np.ndarray:
    """[length] float64."""
    n = o.frame_length
    i = np.arange(n)
    a = 2 * np.pi / (n if o.window == "hann" else n - 1)
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


def mel(hz: Any) -> Any:
    """Kaldi's and HTK's mel scale."""
    return 1127.0 * np.log(1.0 + np.asarray(hz, np.float64) / 700.0)


def mel_edges(o: MfccOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """Mel of each bin below Nyquist, first and last-but-one bin of each filter, and the spacing of the filters."""
    low, high = mel(o.low_freq), mel(o.highest_freq)
    step = float(high - low) / (o.num_mels + 1)
    m = mel(np.arange(o.fft_size // 2) * (o.sample_rate / o.fft_size))
    left = low + np.arange(o.num_mels) * step
    return m, np.searchsorted(m, left, "right"), np.searchsorted(m, left + 2 * step, "left"), step


def mel_table(o: MfccOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """begin [M], offset [M+1], weight: triangles with straight sides in mel; the Nyquist bin has no part in them."""
    m, begin, end, step = mel_edges(o)
    weights = []
    for j, (b, e) in enumerate(zip(begin, end, strict=True)):
        left = mel(o.low_freq) + j * step
        weights.append(np.minimum((m[b:e] - left) / step, (left + 2 * step - m[b:e]) / step))
    if o.htk_mode and o.low_freq != 0:
        weights[0][0] = 0.0
    return begin.astype(np.int32), np.cumsum([0, *(end - begin)]).astype(np.int32), np.concatenate(weights)


def dct_table(o: MfccOptions) -> np.ndarray:
    """[num_ceps, num_mels] float64: orthonormal DCT-II with the lifter folded in."""
    k, n = np.arange(o.num_ceps)[:, None], np.arange(o.num_mels)
    table = np.sqrt(2.0 / o.num_mels) * np.cos(np.pi / o.num_mels * (n + 0.5) * k)
    table[0] = np.sqrt(1.0 / o.num_mels)
    if o.lifter:
        table *= 1.0 + 0.5 * o.lifter * np.sin(np.pi * k / o.lifter)
    return table


def fft_radices(n: int) -> tuple[int, ...]:
    """Fours first, at most one two, then odd primes, so that a power of two starts with a four."""
    out = []
    for r in (4, 2):
        while n % r == 0:
            out.append(r)
            n //= r
    r = 3
    while n > 1:
        while n % r == 0:
            out.append(r)
            n //= r
        r += 2
    return tuple(out)


def fft_tables(n: int, radices: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An in-place complex FFT of n points by decimation in frequency.

    Stage s splits blocks of m points (m = n at first) by r = radices[s]: for j < m/r the points j + q·m/r become
    W_m^{jq} Σ_p x_p W_r^{pq}. Returns the twiddles W_m^{jq}, stage after stage as [m/r, r−1] with q = 1 … r−1, followed by
    the roots W_r^k [r] where r is not 2 or 4 (complex128); and order [n] int32: X[k] ends at index order[k].
    """
    twiddles, m = [], n
    order = np.zeros(n, np.int64)
    rest = np.arange(n)
    for r in radices:
        j, q = np.arange(m // r)[:, None], np.arange(1, r)[None, :]
        twiddles.append(np.exp(-2j * np.pi * ((j * q) % m) / m).ravel())
        m //= r
        if r not in (2, 4):
            twiddles.append(np.exp(-2j * np.pi * np.arange(r) / r))
        order += rest % r * m
        rest //= r
    return np.concatenate(twiddles) if twiddles else np.zeros(0, np.complex128), order.astype(np.int32)


@dataclass(frozen=True, eq=False)
class MfccPlan:
    """The tables of one set of options, read-only; two plans are equal only when they are the same object.

    `cache` holds what a backend has derived from the tables (packed or on a device), under the backend's name.
    """

    options: MfccOptions
    kind: str
    length: int  # samples of a frame
    shift: int  # samples from frame to frame
    fft_size: int
    features: int  # F
    window: np.ndarray  # [length]
    mel_begin: np.ndarray  # [M] int32: first bin of a filter
    mel_offset: np.ndarray  # [M + 1] int32: where a filter's weights start in mel_weight
    mel_weight: np.ndarray  # [mel_offset[M]]
    dct: np.ndarray  # [num_ceps, M], lifter folded in
    radices: np.ndarray  # int32: of the complex FFT of fft_size/2 points, see fft_tables
    twiddle: np.ndarray  # complex128, see fft_tables
    order: np.ndarray  # [fft_size/2] int32, see fft_tables
    split: np.ndarray  # [fft_size/4 + 1] complex128: e^{-2πik/fft_size}, turns it into the real FFT
    cache: dict[str, Any] = field(default_factory=dict, repr=False)

    def __reduce__(self) -> tuple:
        return make_plan, (self.options,)


@functools.lru_cache(maxsize=128)
def make_plan(options: MfccOptions) -> MfccPlan:
    """The plan of these options, built once per process."""
    if not isinstance(options, MfccOptions):
        raise TypeError(f"make_plan: options must be MfccOptions, got {type(options).__name__}")
    half = options.fft_size // 2
    radices = fft_radices(half)
    twiddle, order = fft_tables(half, radices)
    begin, offset, weight = np.zeros(0, np.int32), np.zeros(1, np.int32), np.zeros(0)
    if options.num_mels:
        begin, offset, weight = mel_table(options)
    plan = MfccPlan(
        options=options,
        kind=options.kind,
        length=options.frame_length,
        shift=options.frame_shift,
        fft_size=options.fft_size,
        features=options.num_features,
        window=window_table(options),
        mel_begin=begin,
        mel_offset=offset,
        mel_weight=weight,
        dct=dct_table(options) if options.kind == "mfcc" else np.zeros((0, options.num_mels)),
        radices=np.array(radices, np.int32),
        twiddle=twiddle,
        order=order,
        split=np.exp(-2j * np.pi * np.arange(half // 2 + 1) / options.fft_size),
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
