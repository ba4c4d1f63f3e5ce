"""mfcc, fbank and spectrogram of a wave, in the dialect of a preset or of single options."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from pyasr.features._check import device_of
from pyasr.features.presets import PRESETS, check_names, preset, with_changes
from pyasr.ops import backend
from pyasr.ops._door import Door
from pyasr.ops._options import MfccOptions, unknown
from pyasr.ops._plan import MfccPlan, make_plan
from pyasr.ops.mfcc import WAVES

LONGEST = 2**40  # samples; two years at 16 kHz

# Where a kind of features stops: no cepstra, no mel filters.
_STOP: dict[str, dict[str, Any]] = {"mfcc": {}, "fbank": {"num_ceps": 0}, "spectrogram": {"num_mels": 0, "num_ceps": 0}}
KINDS = tuple(_STOP)


@functools.lru_cache(maxsize=256)
def _cached_plan(
    op: str, kind: str, sample_rate: float, options: Any, changes: tuple[tuple[str, type, Any], ...]
) -> MfccPlan:
    door = Door(op)
    values = {name: value for name, _, value in changes}
    for name in values:
        if name in _STOP[kind]:
            door.type_error(f"{name} has no meaning for {kind}")
    values |= _STOP[kind]
    if isinstance(options, MfccOptions):
        if options.sample_rate != sample_rate:
            door.value_error(
                f"sample_rate must be that of the options, {options.sample_rate:g}, got {sample_rate:g}: resample the "
                "wave or change the options"
            )
        chosen = dataclasses.replace(options, **with_changes({}, values))
    else:
        name = "kaldi" if options is None else options
        if name not in PRESETS:
            door.value_error(unknown("options", name, PRESETS))
        chosen = preset(name, sample_rate, **values)
    plan = make_plan(chosen)
    if plan.kind != kind:
        door.value_error(f"options must keep num_mels and num_ceps above 0, got {plan.options.num_mels} and "
                         f"{plan.options.num_ceps}")  # fmt: skip
    return plan


def plan_of(op: str, kind: str, sample_rate: Any, options: Any, changes: dict[str, Any]) -> MfccPlan:
    """The plan of a kind of features, "mfcc", "fbank" or "spectrogram"; op is the function that errors name."""
    door = Door(op)
    door.choice("kind", kind, KINDS)
    rate = door.real("sample_rate", sample_rate, 10.0, 1e7)
    if not (options is None or isinstance(options, (str, MfccOptions))):
        door.type_error(f"options must be MfccOptions or the name of a preset, got {type(options).__name__}")
    check_names(op, changes)
    try:
        # 1, 1.0 and True are one key of a dict, but not one option
        key = tuple((name, type(value), value) for name, value in sorted(changes.items()))
        hash((options, key))
    except TypeError:
        for name, value in changes.items():
            if type(value).__hash__ is None:
                door.type_error(f"{name} must be a plain value, got {type(value).__name__}")
        raise
    return _cached_plan(op, kind, rate, options, key)


def samples_of(op: str, wave: Any, name: str = "wave") -> np.ndarray:
    """A 1-D wave of any layout and byte order as a contiguous native one; copied only when it is not one already."""
    door = Door(op)
    if isinstance(wave, np.ma.MaskedArray):
        door.type_error(f"{name} must be a plain NumPy array, got a masked one: fill it first")
    if not isinstance(wave, np.ndarray):
        door.type_error(f"{name} must be a NumPy array, got {type(wave).__name__}")
    if wave.ndim != 1:
        text = f"{name} must be one-dimensional, got shape {wave.shape}"
        if wave.ndim == 2:
            text += f": take {name}[0] if that is (channels, samples), {name}[:, 0] if it is (samples, channels)"
        door.value_error(text)
    native = wave.dtype.newbyteorder("=")
    if native not in WAVES:
        door.type_error(
            f"{name} must have dtype int16, float32 or float64, got {wave.dtype.name}: convert it, with its scale"
        )
    if wave.size > LONGEST:
        door.value_error(f"{name} must have at most {LONGEST} samples, got {wave.size}")
    return np.require(wave, native, ["C", "A"])


def _features(
    op: str, wave: Any, sample_rate: Any, options: Any, out: Any, threads: Any, nan: Any, changes: dict
) -> Any:
    plan = plan_of(op, op, sample_rate, options, changes)
    if (device := device_of(wave)) is not None:
        from pyasr.ops._cuda import mfcc as column

        return getattr(column, op)(device, wave, plan, out=out, threads=threads, nan=nan)
    samples = samples_of(op, wave)
    if samples is not wave and isinstance(out, np.ndarray) and np.shares_memory(wave, out):
        Door(op).value_error("wave and out must not share memory")  # the row sees a copy
    return getattr(backend(), op)(samples, plan, out=out, threads=threads, nan=nan)


def mfcc(
    wave: Any,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: Any = None,
    threads: int | None = None,
    nan: str = "raise",
    **changes: Any,
) -> Any:
    """Mel-frequency cepstral coefficients, [T, num_ceps] float32.

    wave [N] is int16, or float32 or float64 with samples in [−1, 1]; any stride and byte order. Kaldi's arithmetic is at
    int16 scale, so floating samples are multiplied by 32768; `scale=` overrides. sample_rate is in Hz. options is the
    name of a preset of `pyasr.features.PRESETS` ("kaldi" is the default) or MfccOptions, and keywords change single
    options of it: `num_ceps=20`. out [T, num_ceps] float32 receives the result; after an error its contents are undefined.

    T = 1 + (N − length) // shift frames, 0 for a wave shorter than one; with snip_edges=False (N + shift/2) // shift, with
    center=True 1 + N // shift.

    nan="raise" (the default) refuses samples that are NaN or infinite; with "propagate" the frames that see one are NaN.

    A wave on a CUDA device, C-contiguous, gives an array of CuPy there, queued on the current stream; what waits is to look at
    floating samples with nan="raise".

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
    return _features("mfcc", wave, sample_rate, options, out, threads, nan, changes)


def fbank(
    wave: Any,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: Any = None,
    threads: int | None = None,
    nan: str = "raise",
    **changes: Any,
) -> Any:
    """Log mel filter-bank energies, [T, num_mels] float32; with use_energy=True a column of log energy before them.

    Arguments and errors are those of `mfcc`; num_ceps and lifter have no part in it. Unless it is given, use_energy is
    False, Kaldi's default here.

    Source: Kaldi, feat/feature-fbank.cc.

    >>> wave = np.zeros(16000, np.int16)
    >>> pyasr.fbank(wave, 16000, num_mels=80).shape
    (98, 80)
    """
    return _features("fbank", wave, sample_rate, options, out, threads, nan, changes)


def spectrogram(
    wave: Any,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    out: Any = None,
    threads: int | None = None,
    nan: str = "raise",
    **changes: Any,
) -> Any:
    """Log power spectrum, [T, fft_size/2 + 1] float32; column 0 is log energy unless use_energy=False, as in Kaldi.

    Arguments and errors are those of `mfcc`; mel filters and cepstra have no part in it.

    Source: Kaldi, feat/feature-spectrogram.cc.

    >>> pyasr.spectrogram(np.zeros(16000, np.float32), 16000).shape
    (98, 257)
    """
    return _features("spectrogram", wave, sample_rate, options, out, threads, nan, changes)
