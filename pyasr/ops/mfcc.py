"""mfcc, fbank and spectrogram: Kaldi's features of one wave, [T, F] float32.

Per frame: x −= mean; energy = log Σx²; x[i] −= p·x[i−1]; x *= window; |FFT|² or |FFT|; mel filters; log; DCT and lifter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._op import Row
from pyasr.ops._plan import EPSILON, MfccOptions, MfccPlan, largest_sample, make_plan, sample_scale

WAVES = (np.dtype(np.int16), np.dtype(np.float32), np.dtype(np.float64))


def check(op: str, wave: Any, plan: Any, out: Any, threads: Any) -> np.ndarray:
    """Raise for bad arguments; return the array to fill, [T, F] float32."""
    door = Door(op)
    if not isinstance(plan, MfccPlan):
        door.type_error(f"plan must be an MfccPlan, got {type(plan).__name__}")
    if plan.kind != op:
        door.value_error(f"plan must be one for {op}, got one for {plan.kind}")
    door.threads(threads)
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
        check_samples(door, wave, plan.options)
    return out


def check_samples(door: Door, wave: np.ndarray, options: MfccOptions, name: str = "wave", offset: int = 0) -> None:
    """Raise for a sample that is not finite, or too large for its scale; sample 0 is named as the one at offset."""
    limit = largest_sample(options)
    for begin in range(0, wave.size, 1 << 20):
        part = wave[begin : begin + (1 << 20)]
        good = np.abs(part) <= limit
        if good.all():
            continue
        bad = np.flatnonzero(~np.isfinite(part))
        if bad.size:
            door.value_error(f"{name} must be finite, got {float(part[bad[0]])!r} at {offset + begin + int(bad[0])}")
        first = int(np.flatnonzero(~good)[0])
        value, at = float(part[first]), offset + begin + first
        if options.scale is None:
            door.value_error(
                f"{name} must lie in [-1, 1], got {value!r} at {at}: pass scale=1 for samples at int16 scale"
            )
        door.value_error(f"{name} must lie within {limit!r} for scale={float(options.scale)!r}, got {value!r} at {at}")


def reflect(i: np.ndarray, n: int) -> np.ndarray:
    """Indices outside [0, n) mirrored at the ends, the end samples repeated: −1 → 0, n → n−1, as often as it takes."""
    i = i % (2 * n)
    return np.where(i < n, i, 2 * n - 1 - i)


def frame_block(wave: np.ndarray, plan: MfccPlan, first: int, count: int) -> np.ndarray:
    """Frames first … first+count−1 at int16 scale, [count, length] float64."""
    start = 0 if plan.options.snip_edges else plan.shift // 2 - plan.length // 2
    index = start + plan.shift * np.arange(first, first + count)[:, None] + np.arange(plan.length)
    return wave[reflect(index, wave.size)].astype(np.float64) * sample_scale(plan.options, wave.dtype)


def features_of(x: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """Frames x [T, length] at int16 scale → [T, F], all in float64."""
    o = plan.options
    if o.remove_dc:
        x = x - x.mean(axis=1, keepdims=True)
    energy = (x**2).sum(axis=1)
    x = x - o.preemph * np.concatenate([x[:, :1], x[:, :-1]], axis=1)
    x = x * plan.window
    if not o.raw_energy:
        energy = (x**2).sum(axis=1)
    energy = np.log(np.maximum(energy, EPSILON))
    if o.energy_floor > 0:
        energy = np.maximum(energy, np.log(o.energy_floor))

    spectrum = np.fft.rfft(x, plan.fft_size)  # [T, fft_size/2 + 1]
    power = spectrum.real**2 + spectrum.imag**2
    if not o.use_power:
        power = np.sqrt(power)
    if plan.kind == "spectrogram":
        y = np.log(np.maximum(power, EPSILON))
        if o.energy != "none":
            y[:, 0] = energy
        return y

    y = np.empty((len(x), o.num_mels))
    for j, begin in enumerate(plan.mel_begin):
        weight = plan.mel_weight[plan.mel_offset[j] : plan.mel_offset[j + 1]]
        y[:, j] = power[:, begin : begin + weight.size] @ weight
    if o.htk_mode:
        y = np.maximum(y, 1.0)
    if o.use_log_fbank:
        y = np.log(np.maximum(y, EPSILON))
    if plan.kind == "fbank":
        if o.energy == "none":
            return y
        columns = [y, energy[:, None]] if o.htk_compat else [energy[:, None], y]
        return np.concatenate(columns, axis=1)

    c = y @ plan.dct.T
    if o.energy != "none":
        c[:, 0] = energy
    if o.htk_compat:
        c = np.roll(c, -1, axis=1)
        if o.energy == "none":
            c[:, -1] *= np.sqrt(2.0)
    return c


def compute(op: str, wave: Any, plan: Any, out: Any, threads: Any) -> np.ndarray:
    out = check(op, wave, plan, out, threads)
    block = max(1, 2**20 // plan.fft_size)  # frames at a time: memory stays bounded
    for first in range(0, len(out), block):
        count = min(block, len(out) - first)
        out[first : first + count] = features_of(frame_block(wave, plan, first, count), plan)
    return out


def mfcc(wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None) -> np.ndarray:
    return compute("mfcc", wave, plan, out, threads)


def fbank(wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None) -> np.ndarray:
    return compute("fbank", wave, plan, out, threads)


def spectrogram(
    wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None
) -> np.ndarray:
    return compute("spectrogram", wave, plan, out, threads)


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
        numba=numba,
        dtypes=("int16", "float32", "float64"),
    )
    for reference, numba in ((mfcc, "pyasr.ops._numba_mfcc:mfcc"), (fbank, None), (spectrogram, None))
)
