"""mfcc, fbank and spectrogram: features of one wave, [T, F] float32.

Per frame: x −= mean; energy = log Σx²; x[i] −= p·x[i−1]; x *= window; |FFT|² or |FFT|; mel filters; log; DCT and lifter.
Over the wave, where an option asks for it: a floor under the logs relative to the largest one; normalization.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._frames import frame_block, noise, padded
from pyasr.ops._op import Row
from pyasr.ops._options import SMALLEST_FLOOR, MfccOptions
from pyasr.ops._plan import MfccPlan, largest_sample, make_plan

NAN = ("raise", "propagate")
WAVES = (np.dtype(np.int16), np.dtype(np.float32), np.dtype(np.float64))


def check_plan(door: Door, plan: Any, threads: Any, nan: Any, first_frame: Any) -> None:
    """Raise for what is no plan of the op, and for bad options of the call."""
    if not isinstance(plan, MfccPlan):
        door.type_error(f"plan must be an MfccPlan, got {type(plan).__name__}")
    if plan.kind != door.op:
        door.value_error(f"plan must be one for {door.op}, got one for {plan.kind}")
    door.threads(threads)
    door.choice("nan", nan, NAN)
    door.integer("first_frame", first_frame, 0, 2**62)


def check(
    op: str, wave: Any, plan: Any, out: Any, threads: Any, nan: Any = "raise", first_frame: Any = 0
) -> np.ndarray:
    """Raise for bad arguments; return the array to fill, [T, F] float32."""
    door = Door(op)
    check_plan(door, plan, threads, nan, first_frame)
    door.array("wave", wave, WAVES)
    door.read("wave", wave, "N", wave.dtype)
    frames = plan.options.num_frames(wave.size)
    if out is None:
        out = np.empty((frames, plan.features), np.float32)
    else:
        door.bind("T", frames)
        door.bind("F", plan.features)
        door.write("out", out, "T F", np.float32)
        door.no_overlap(wave=wave, out=out)
    if wave.dtype.kind == "f":
        check_samples(door, wave, plan.options, nan=nan)
    return out


def check_samples(
    door: Door, wave: np.ndarray, options: MfccOptions, name: str = "wave", offset: int = 0, nan: str = "raise"
) -> None:
    """Raise for a sample that is not finite (unless nan is "propagate") or too large for its scale; sample 0 is named as the
    one at offset."""
    limit = largest_sample(options)
    for begin in range(0, wave.size, 1 << 20):
        part = wave[begin : begin + (1 << 20)]
        good = np.abs(part) <= limit
        if good.all():
            continue
        bad = np.flatnonzero(~np.isfinite(part))
        if bad.size and nan == "raise":
            bad_sample(door, float(part[bad[0]]), offset + begin + int(bad[0]), options, name)
        good[bad] = True
        if good.all():
            continue
        first = int(np.flatnonzero(~good)[0])
        bad_sample(door, float(part[first]), offset + begin + first, options, name)


def bad_sample(door: Door, value: float, at: int, options: MfccOptions, name: str) -> NoReturn:
    """Raise for a sample that is not finite or too large for its scale."""
    if not np.isfinite(value):
        door.value_error(f"{name} must be finite, got {value!r} at {at}")
    if options.scale is None:
        door.value_error(f"{name} must lie in [-1, 1], got {value!r} at {at}: pass scale=1 for samples at int16 scale")
    limit = largest_sample(options)
    door.value_error(f"{name} must lie within {limit!r} for scale={float(options.scale)!r}, got {value!r} at {at}")


def log_of(x: np.ndarray, plan: MfccPlan) -> np.ndarray:
    o = plan.options
    if o.floor_mode == "max":
        x = np.maximum(x, o.floor)
    elif o.floor_mode == "add":
        x = x + o.floor
    else:
        x = np.where(x == 0, o.floor, x)
    return np.log(np.maximum(x, SMALLEST_FLOOR)) * plan.log_gain + plan.log_offset


def spectra(x: np.ndarray, plan: MfccPlan) -> tuple[np.ndarray, np.ndarray]:
    """Frames x [T, length] at full_scale → spectra [T, N/2 + 1] and energies [T], all in float64."""
    o = plan.options
    if o.remove_dc:
        x = x - x.mean(axis=1, keepdims=True)
    energy = (x**2).sum(axis=1)
    if not o.preemph_signal:
        x = x - o.preemph * np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    x = x * plan.window
    if o.energy == "windowed":
        energy = (x**2).sum(axis=1)
    spectrum = np.fft.rfft(x * plan.spectrum_gain, plan.fft_size)
    power = spectrum.real**2 + spectrum.imag**2
    if not o.use_power:
        power = np.sqrt(power)
    return power, power.sum(axis=1) if o.energy == "spectral" else energy


def log_energy(energy: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """Always the natural logarithm; its floor is that of the other logs, and energy_floor."""
    o = plan.options
    if o.floor_mode == "add":
        energy = energy + o.floor
    elif o.floor_mode == "zero":
        energy = np.where(energy == 0, o.floor, energy)
    return np.log(np.maximum(energy, max(o.energy_floor, o.floor if o.floor_mode == "max" else SMALLEST_FLOOR)))


def bands(power: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """Spectra → log spectra or log mel energies, [T, N/2 + 1] or [T, M]."""
    o = plan.options
    if plan.kind == "spectrogram":
        y = power
    else:
        y = np.empty((len(power), o.num_mels))
        for j, begin in enumerate(plan.mel_begin):
            weight = plan.mel_weight[plan.mel_offset[j] : plan.mel_offset[j + 1]]
            y[:, j] = power[:, begin : begin + weight.size] @ weight
        if o.htk_mode:
            y = np.maximum(y, 1.0)
    return log_of(y, plan) if o.use_log_fbank else y


def columns(y: np.ndarray, energy: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """Bands and energies → features [T, F]."""
    o = plan.options
    if plan.kind == "spectrogram":
        if o.energy != "none":
            y[:, 0] = log_energy(energy, plan)
        return y
    if plan.kind == "fbank":
        if o.energy == "none":
            return y
        parts = [log_energy(energy, plan)[:, None], y]
        return np.concatenate(parts[::-1] if o.htk_compat else parts, axis=1)
    c = y @ plan.dct.T
    if o.energy != "none":
        c[:, 0] = log_energy(energy, plan)
    if o.htk_compat:
        c = np.roll(c, -1, axis=1)
        if o.energy == "none":
            c[:, -1] *= np.sqrt(2.0)
    return c


def normalized(y: np.ndarray, how: str | None) -> np.ndarray:
    """NeMo's: the unbiased deviation, plus 10⁻⁵; a single value has none."""
    if how is None or len(y) == 0:
        return y
    axis = 0 if how == "per_feature" else None
    count = y.shape[0] if axis == 0 else y.size
    spread = ((y - y.mean(axis=axis)) ** 2).sum(axis=axis) / max(count - 1, 1)
    return (y - y.mean(axis=axis)) / (np.sqrt(spread) + 1e-5)


def finished(y: np.ndarray, energy: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """Bands and energies of all frames → features, with what depends on the whole wave."""
    if plan.options.dynamic_range is not None and len(y):
        y = np.maximum(y, y.max() - plan.dynamic_range)
    return normalized(columns(y, energy, plan), plan.options.normalize)


def touched(wave: np.ndarray, plan: MfccPlan, frames: int) -> np.ndarray | None:
    """The frames [T] bool that see a sample that is not finite; None when all samples are."""
    o = plan.options
    if wave.dtype.kind != "f" or not (bad := ~np.isfinite(wave)).any():
        return None
    if o.preemph_signal:
        bad[1:] |= bad[:-1].copy()
    out = np.zeros(frames, bool)
    for f in range(frames):
        at = padded(plan.start + plan.shift * f + np.arange(plan.length), wave.size, o.padding)
        out[f] = (bad[at] & (at >= 0)).any()
    whole = o.dynamic_range is not None or o.normalize is not None
    return np.ones(frames, bool) if whole and out.any() else out


def compute(
    op: str, wave: Any, plan: Any, out: Any, threads: Any, nan: str = "raise", first_frame: int = 0
) -> np.ndarray:
    out = check(op, wave, plan, out, threads, nan, first_frame)
    o, frames = plan.options, len(out)
    marked = touched(wave, plan, frames)
    if marked is not None:
        wave = np.where(np.isfinite(wave), wave, 0).astype(wave.dtype)
    whole = o.dynamic_range is not None or o.normalize is not None
    kept = []
    block = max(1, 2**20 // plan.fft_size)  # frames at a time: memory stays bounded
    for first in range(0, frames, block):
        count = min(block, frames - first)
        x = frame_block(wave, plan, first, count)
        if o.dither:
            x = x + o.dither * noise(first_frame + np.arange(first, first + count), plan.length, o.dither_seed)
        power, energy = spectra(x, plan)
        y = bands(power, plan)
        if whole:
            kept.append((y, energy))
        else:
            out[first : first + count] = columns(y, energy, plan)
    if kept:
        y, energy = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        out[...] = finished(y, energy, plan)
    if marked is not None:
        out[marked] = np.nan
    return out


def mfcc(
    wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None, nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray:  # fmt: skip
    """Cepstra of one wave [N]. nan="propagate": frames that see a sample that is not finite are NaN. first_frame: the number of
    the first frame, for dither."""
    return compute("mfcc", wave, plan, out, threads, nan, first_frame)


def fbank(
    wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None, nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray:  # fmt: skip
    return compute("fbank", wave, plan, out, threads, nan, first_frame)


def spectrogram(
    wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None, nan: str = "raise",
    first_frame: int = 0,
) -> np.ndarray:  # fmt: skip
    return compute("spectrogram", wave, plan, out, threads, nan, first_frame)


# The plans of the examples, by row and name.
EXAMPLES: dict[str, dict[str, MfccOptions]] = {
    "mfcc": {
        "kaldi": MfccOptions(),
        "edges": MfccOptions(snip_edges=False, use_energy=False),
        "8k": MfccOptions(sample_rate=8000, num_mels=15, htk_compat=True),
        "44k": MfccOptions(sample_rate=44100, num_mels=40, num_ceps=20, window="hamming"),
        "fft400": MfccOptions(round_to_power_of_two=False, raw_energy=False, window="hann"),
    },
    "fbank": {
        "80": MfccOptions(num_mels=80, num_ceps=0, high_freq=-400),
        "edges": MfccOptions(num_mels=40, num_ceps=0, snip_edges=False, use_energy=True, use_log_fbank=False),
        "22k": MfccOptions(sample_rate=22050, num_ceps=0, use_power=False, remove_dc=False),
    },
    "spectrogram": {
        "kaldi": MfccOptions(num_mels=0, num_ceps=0),
        "edges": MfccOptions(sample_rate=8000, num_mels=0, num_ceps=0, snip_edges=False, use_energy=False),
    },
}
# First frame starts, ends and hops of 16 kHz on both sides, and a size of several work items.
SIZES = (0, 1, 79, 80, 399, 400, 401, 559, 560, 16001)


def example_of(row: str) -> Any:
    def example(rng: np.random.Generator, size: tuple[str, int], dtype: np.dtype) -> tuple[tuple, dict]:
        name, n = size
        wave = 3000.0 * rng.standard_normal(n) + 100.0
        if dtype.kind == "f":
            wave /= 32768.0
        return (wave.astype(dtype), make_plan(EXAMPLES[row][name])), {}

    return example


def feature_bytes(wave: np.ndarray, plan: MfccPlan, **_: Any) -> float:
    return wave.nbytes + 4.0 * plan.options.num_frames(wave.size) * plan.features


def feature_flops(wave: np.ndarray, plan: MfccPlan, **_: Any) -> float:
    """Sums, preemphasis, window; a real FFT of 2 N log2 N − 4 N + 6; power; sparse mel; log of 15 each; DCT."""
    n, mels = plan.fft_size, len(plan.mel_begin)
    per_frame = 4.0 * plan.shift + 2.0 * plan.length + (2.0 * np.log2(n) - 4.0) * n + 6 + 1.5 * n
    per_frame += 2.0 * plan.mel_weight.size + 15.0 * (mels or n / 2) + 2.0 * plan.dct.size
    return plan.options.num_frames(wave.size) * per_frame


TOLERANCE = {"int16": 2e-6, "float32": 2e-6, "float64": 2e-6}
REASON = "a float32 FFT: 1e-7 of the frame's largest bin, seen by the logarithm of a small one; features are about 10"

ROWS = tuple(
    Row(
        reference=reference,
        example=example_of(reference.__name__),
        sizes=tuple((name, n) for name in EXAMPLES[reference.__name__] for n in SIZES),
        benchmark_size=(next(iter(EXAMPLES[reference.__name__])), 160_000),
        tolerance=TOLERANCE,
        reason=REASON,
        bytes=feature_bytes,
        flops=feature_flops,
        writes=("out",),
        numba=f"pyasr.ops._numba_mfcc:{reference.__name__}",
        dtypes=("int16", "float32", "float64"),
    )
    for reference in (mfcc, fbank, spectrogram)
)
