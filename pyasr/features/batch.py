"""Features of waves of different lengths, padded for a model or one after the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pyasr.features._check import LAYOUTS, device_of
from pyasr.features.extract import plan_of, samples_of
from pyasr.ops import backend
from pyasr.ops._door import Door
from pyasr.ops._op import native
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import MfccPlan
from pyasr.ops.mfcc import NAN, check_samples

_OP = "features.batch"
_NO_LENGTHS = "lengths are those of an array (B, N); the waves of a list have their own"


def _check_lengths(door: Door, waves: Any, lengths: Any) -> None:
    """Those of an array (B, N), on host or device; on the host themselves, because shapes depend on them."""
    if len(waves.shape) != 2:
        door.value_error(f"waves must be a sequence of waves or an array (B, N), got shape {tuple(waves.shape)}")
    if lengths is not None:
        integers = (np.dtype(np.int32), np.dtype(np.int64))
        door.shape("lengths", door.array("lengths", lengths, integers), (waves.shape[0],))
        door.lengths_within("lengths", lengths, waves.shape[1], "N")


def _waves(door: Door, waves: Any, lengths: Any) -> list[np.ndarray]:
    if isinstance(waves, np.ndarray):
        _check_lengths(door, waves, lengths)
        if lengths is not None:
            waves = [wave[:n] for wave, n in zip(waves, lengths, strict=True)]
    elif not isinstance(waves, (list, tuple)):
        door.type_error(f"waves must be a list, a tuple or an array (B, N), got {type(waves).__name__}")
    elif lengths is not None:
        door.value_error(_NO_LENGTHS)
    return [samples_of(_OP, wave, f"waves[{b}]") for b, wave in enumerate(waves)]


def _fill(
    waves: list[np.ndarray], plan: MfccPlan, rows: np.ndarray, first: np.ndarray, step: int, threads: int, nan: str
) -> None:
    """Frame f of wave b becomes row first[b] + f * step of rows [R, F]."""
    ops = backend()
    if ops.column(plan.kind) == "cpp":  # one call: its work items are pieces of all the waves
        cpu = native("_cpu")
        assert cpu is not None
        cpu._batch(plan.kind, waves, plan, rows, first, step, threads, nan)
        return
    row = getattr(ops, plan.kind)
    for b, wave in enumerate(waves):
        try:
            y = row(wave, plan, threads=threads, nan=nan)
        except ValueError:
            check_samples(Door(_OP), wave, plan.options, f"waves[{b}]", nan=nan)
            raise
        rows[first[b] : first[b] + len(y) * step : step] = y


def _own(door: Door, out: Any, shape: tuple[int, ...], waves: Sequence[Any]) -> np.ndarray:
    """out, if the features may be written there."""
    door.shape("out", door.array("out", out, np.float32), shape)
    for b, wave in enumerate(waves):
        if np.may_share_memory(wave, out):
            door.value_error(f"out and waves[{b}] must not share memory")
    return door.write("out", out, " ".join(map(str, shape)), np.float32)


def batch(
    waves: Sequence[Any] | Any,
    sample_rate: float,
    options: str | MfccOptions | None = None,
    *,
    kind: str = "mfcc",
    lengths: np.ndarray | None = None,
    layout: str = "BTF",
    out: Any = None,
    threads: int | None = None,
    nan: str = "raise",
    **changes: Any,
) -> tuple[Any, Any]:
    """Features of B waves: what `pyasr.mfcc`, `fbank` or `spectrogram` (`kind`) gives for each, the same bits.

    waves is a list or tuple of waves [N_b], or one array [B, N] whose wave b has lengths[b] samples (int32 or int64; N
    without it). sample_rate (Hz), options, nan and further keywords are those of `pyasr.mfcc`. Waves are spread over threads.

    layout    → features, counts
    "BTF"     [B, T, F] float32, T the longest wave's; zeros behind the end of the others; frames of each wave [B] int32
    "TBF"     [T, B, F], what models take, and the same counts
    "concatenated"
              [ΣT, F] without padding; offsets [B + 1] int64: wave b has rows offsets[b] to offsets[b + 1]

    A wave too short for a frame has none. No waves give B = T = 0. out, an array of that very shape, receives the features;
    after an error its contents are undefined.

    Waves on a CUDA device, all of one dtype, and an out there: features and counts are arrays of CuPy, in one launch on the
    current stream, whatever addresses the waves have. The host waits only for floating samples with nan="raise", to look at
    them; lengths are a NumPy array there too, because shapes depend on them.

    Raises ValueError and TypeError as `pyasr.mfcc` does, naming the first wave that is wrong, and RuntimeError for waves on a
    device where there are no kernels for it.

    Source: the padded layout and int32 lengths are torch.nn.utils.rnn.pad_sequence's and those of `pyasr.ctc_loss`.

    >>> waves = [np.zeros(16000, np.int16), np.zeros(8000, np.int16)]
    >>> features, lengths = pyasr.features.batch(waves, 16000, layout="TBF")
    >>> features.shape, lengths.tolist()
    ((98, 2, 13), [98, 48])
    >>> features, offsets = pyasr.features.batch(waves, 16000, kind="fbank", num_mels=80, layout="concatenated")
    >>> features.shape, offsets.tolist()
    ((146, 80), [0, 98, 146])
    """
    door = Door(_OP)
    plan = plan_of(_OP, kind, sample_rate, options, changes)
    door.choice("layout", layout, LAYOUTS)
    door.choice("nan", nan, NAN)
    threads = door.threads(threads)
    listed = isinstance(waves, (list, tuple))
    if (device := device_of((waves[0] if waves else None) if listed else waves)) is not None:
        from pyasr.ops._cuda import mfcc as column

        if not listed:
            _check_lengths(door, waves, lengths)
        elif lengths is not None:
            door.value_error(_NO_LENGTHS)
        return column.batch(device, kind, waves, plan, lengths, layout, out, nan)
    given = [waves] if isinstance(waves, np.ndarray) else waves
    waves = _waves(door, waves, lengths)
    frames = np.array([plan.options.num_frames(wave.size) for wave in waves], np.int64)
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(frames)])
    total, longest, size = int(offsets[-1]), int(frames.max(initial=0)), len(waves)
    shape: tuple[int, ...]
    if layout == "concatenated":
        shape, first, step = (total,), offsets[:-1].copy(), 1
    elif layout == "TBF":
        shape, first, step = (longest, size), np.arange(size), max(size, 1)
    else:
        shape, first, step = (size, longest), np.arange(size) * longest, 1
    shape = (*shape, plan.features)
    features = np.empty(shape, np.float32) if out is None else _own(door, out, shape, given)
    if len(shape) == 3 and total < longest * size:
        features[...] = 0
    if size:
        _fill(waves, plan, features.reshape(-1, plan.features), first, step, threads, nan)
    return features, offsets if layout == "concatenated" else frames.astype(np.int32)
