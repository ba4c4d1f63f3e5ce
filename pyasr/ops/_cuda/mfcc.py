"""mfcc, fbank and spectrogram on a device: one wave, or many that lie behind each other (Ragged).

The host waits only where it is asked to look at samples: floating ones with nan="raise". With "propagate" nothing waits, and
frames that see a sample which is too large are NaN too. The first call of a plan uploads its tables, and waits for that.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._cuda._device import Device
from pyasr.ops._cuda._door import CudaDoor, DeviceArray
from pyasr.ops._cuda._mfcc_tables import uploaded
from pyasr.ops._plan import MfccPlan, largest_sample, sample_scale
from pyasr.ops.mfcc import WAVES, bad_sample, check_plan

LAYOUTS = ("concatenated", "BTF", "TBF")


class Ragged:
    """Where the waves of a batch lie in one array of samples, and their frames in the result: all that a launch has to know of
    them, on the device. Made once for a batch of these sizes, it may be used any number of times, in a CUDA graph too.

    offsets [B+1]: wave b is samples offsets[b] … offsets[b+1]−1. layout: of the result, "concatenated" [sum of frames, F],
    "BTF" [B,T,F] or "TBF" [T,B,F], padded with zeros. `frames` [B] int64 holds how many each wave has.
    """

    def __init__(self, device: Device, plan: MfccPlan, offsets: Any, layout: str = "concatenated") -> None:
        door = CudaDoor(device, "Ragged")
        if not isinstance(plan, MfccPlan):
            door.type_error(f"plan must be an MfccPlan, got {type(plan).__name__}")
        door.choice("layout", layout, LAYOUTS)
        offsets = np.asarray(offsets)
        if offsets.dtype.kind not in "iu" or offsets.ndim != 1 or offsets.size < 2:
            door.value_error(f"offsets must be integers (B+1,) with B > 0, got {offsets.dtype.name} {offsets.shape}")
        begin, n = offsets[:-1].astype(np.int64), np.diff(offsets.astype(np.int64))
        if begin[0] < 0 or (n < 0).any():
            door.value_error(f"offsets must not decrease, nor begin below 0, got {offsets.tolist()[:8]}")
        self._lay(device, plan, begin, n, layout)
        device.host(self.pieces[:1])  # waits: any stream may read them from now on

    @classmethod
    def of(cls, device: Device, plan: MfccPlan, begin: np.ndarray, n: np.ndarray, layout: str) -> Ragged:
        """Wave b is the n[b] samples from begin[b] on [B] int64, for the current stream."""
        self = cls.__new__(cls)
        self._lay(device, plan, begin, n, layout)
        return self

    def _lay(self, device: Device, plan: MfccPlan, begin: np.ndarray, n: np.ndarray, layout: str) -> None:
        self.plan, self.layout, self.begin, self.end = plan, layout, begin, begin + n
        self.samples = int(self.end.max(initial=0))
        self.frames = np.array([plan.options.num_frames(int(k)) for k in n], np.int64)
        tiles = -(-self.frames // device.native.mfcc_frames_each(plan.fft_size))
        before, longest = np.cumsum(self.frames) - self.frames, int(self.frames.max(initial=0))
        number = np.arange(n.size, dtype=np.int64)
        row = {"concatenated": before, "BTF": number * longest, "TBF": number}[layout]
        self.step = n.size if layout == "TBF" else 1
        self.shape = {"concatenated": (int(self.frames.sum()),), "BTF": (n.size, longest), "TBF": (longest, n.size)}[
            layout
        ]
        self.padded = layout != "concatenated" and bool((self.frames < longest).any())
        self.sizes = (n.size, 0, int(self.frames.sum()), int(tiles.sum()))
        columns = (begin, n, self.frames, before, np.cumsum(tiles) - tiles, row, number)
        self.pieces = device.upload("features.batch", np.stack(columns, axis=1))


def _check_dither(door: CudaDoor, plan: MfccPlan) -> None:
    if plan.options.dither:
        door.value_error(f"plan must be one without dither on a CUDA device, got dither = {plan.options.dither!r}")


def _run(
    device: Device, op: str, wave: Any, plan: Any, out: Any, threads: Any, nan: Any, first_frame: Any,
    waves: Ragged | None = None,
) -> Any:  # fmt: skip
    door = CudaDoor(device, op)
    check_plan(door, plan, threads, nan, first_frame)
    _check_dither(door, plan)
    wave = door.array("wave", wave, WAVES)
    wave = door.read("wave", wave, "N", wave.dtype)
    if waves is not None and waves.plan is not plan:
        door.value_error("plan must be the one that waves was made for")
    if waves is not None and waves.samples > wave.size:
        door.value_error(f"wave must have at least the {waves.samples} samples of waves, got {wave.size}")
    return _launch(door, op, {"wave": wave}, wave.address, plan, waves, out, nan)


def _launch(
    door: CudaDoor, op: str, given: dict[str, DeviceArray], begin: int, plan: MfccPlan, waves: Ragged | None, out: Any,
    nan: str,
) -> Any:  # fmt: skip
    """The features of one wave, or of `waves` at the address `begin`; given are the arrays that hold their samples."""
    device, wave = door.device, next(iter(given.values()))
    if waves is None:
        frames = plan.options.num_frames(wave.size)
        sizes, step, pieces = (
            (1, wave.size, frames, -(-frames // device.native.mfcc_frames_each(plan.fft_size))),
            1,
            None,
        )
        shape: tuple[int, ...] = (frames, plan.features)
    else:
        sizes, step, pieces, shape = waves.sizes, waves.step, waves.pieces, (*waves.shape, plan.features)
        frames = sizes[2]
    padded = waves is not None and waves.padded
    if out is None:
        result = (device.zeros if padded else device.empty)(shape, np.float32)
        target = device.address(result)
    else:
        view = door.array("out", out, np.float32)
        door.shape("out", view, shape)
        view = door.write("out", view, " ".join(map(str, shape)), np.float32)
        for name, array in given.items():
            door.no_overlap(**{name: array, "out": view})
        result, target = out, view.address
    stream, o = door.stream(), plan.options
    if padded and out is not None:
        device.native.mfcc_clear(target, view.nbytes, stream)
    tables = uploaded(device, plan)
    scale, limit = sample_scale(o, wave.dtype), np.inf if wave.dtype.kind == "i" else largest_sample(o)
    what = {
        "op": op, "samples": begin, "type": WAVES.index(wave.dtype), "largest": limit, "sizes": sizes,
        "pieces": 0 if pieces is None else device.address(pieces), "stream": stream,
    }  # fmt: skip
    worst = None
    if wave.dtype.kind == "f" and nan == "raise" and any(array.size for array in given.values()):
        worst = device.empty((sizes[0], 2), np.uint64)
        device.native.mfcc_check(worst=device.address(worst), **what)
    needs_peaks = np.isfinite(plan.dynamic_range)
    apart = needs_peaks and op == "mfcc"
    scratch = [
        device.workspace(nbytes)
        for nbytes in (-(-frames // 16) * 16, 4 * frames * len(plan.mel_begin) * apart, 4 * sizes[0] * needs_peaks,
                       tables.memory_bytes)
    ]  # fmt: skip
    weak, bands, peaks, memory = map(device.address, scratch)
    exact = not o.preemph_signal and wave.dtype != np.float64 and np.frexp(scale)[0] == 0.5
    device.native.mfcc(
        plan=tables.native, scale=scale, exact=bool(exact), step=step, out=target, weak=weak, bands=bands, peaks=peaks,
        memory=memory, **what,
    )  # fmt: skip
    if worst is not None:
        _look(door, wave, begin, plan, waves, device.host(worst, stream), stream)
    return result


def _look(
    door: CudaDoor, wave: DeviceArray, first: int, plan: MfccPlan, waves: Ragged | None, worst: np.ndarray, stream: int
) -> None:
    """Raise for the first sample that is not finite, or else for the first one that is too large."""
    begin, end = (np.zeros(1, np.int64), np.array([wave.size])) if waves is None else (waves.begin, waves.end)
    for b, too_large in np.argwhere(worst != 0):
        at = int(end[b]) - int(worst[b, too_large])
        one = door.device.empty(1, wave.dtype)
        place = first + at * wave.dtype.itemsize
        door.device.native.mfcc_fetch(door.device.address(one), place, wave.dtype.itemsize, stream)
        bad_sample(door, float(door.device.host(one, stream)[0]), at - int(begin[b]), plan.options,
                   "wave" if waves is None else f"waves[{b}]")  # fmt: skip


def batch(
    device: Device, kind: str, waves: Any, plan: MfccPlan, lengths: Any, layout: str, out: Any, nan: str
) -> tuple[Any, Any]:
    """pyasr.features.batch of waves on the device: one launch, whatever addresses they have. Counts lie there too."""
    door = CudaDoor(device, "features.batch")
    _check_dither(door, plan)
    if isinstance(waves, (list, tuple)):
        given: dict[str, DeviceArray] = {}
        for b, wave in enumerate(waves):
            dtypes = WAVES if b == 0 else given["waves[0]"].dtype
            given[f"waves[{b}]"] = door.read(f"waves[{b}]", door.array(f"waves[{b}]", wave, dtypes), f"N{b}", dtypes)
        first = next(iter(given.values()))
        # Places relative to the lowest address: all arrays of one dtype lie whole samples apart.
        lowest = min((w.address for w in given.values() if w.size), default=0)
        begin = [(w.address - lowest) // w.dtype.itemsize if w.size else 0 for w in given.values()]
        places, n = np.array(begin, np.int64), np.array([w.size for w in given.values()], np.int64)
    else:
        view = door.array("waves", waves, WAVES)
        first = door.read("waves", view, "B N", view.dtype)
        given, lowest, size = {"waves": first}, first.address, first.shape[1]
        places = np.arange(first.shape[0], dtype=np.int64) * size
        n = np.full(places.shape, size, np.int64) if lengths is None else lengths.astype(np.int64)
    table = Ragged.of(device, plan, places, n, layout)
    features = _launch(door, kind, given, lowest, plan, table, out, nan)
    if layout == "concatenated":
        return features, device.upload(door.op, np.append(0, np.cumsum(table.frames)))
    return features, device.upload(door.op, table.frames.astype(np.int32))


def ragged(
    device: Device, op: str, wave: Any, plan: MfccPlan, waves: Ragged, *, out: Any = None, nan: str = "raise"
) -> Any:
    """The features of all waves in one launch: op "mfcc", "fbank" or "spectrogram", wave [N] with the samples of all.

    Returns features in the layout of `waves`, float32, on the device. Each wave has the bits that it has by itself.
    """
    if not isinstance(waves, Ragged):
        raise TypeError(f"{op}: waves must be a Ragged, got {type(waves).__name__}")
    return _run(device, op, wave, plan, out, None, nan, 0, waves)


def mfcc(
    device: Device,
    wave: Any,
    plan: Any,
    *,
    out: Any = None,
    threads: Any = None,
    nan: Any = "raise",
    first_frame: Any = 0,
) -> Any:
    """Cepstra of one wave. first_frame numbers frames for dither, which a device does not take."""
    return _run(device, "mfcc", wave, plan, out, threads, nan, first_frame)


def fbank(
    device: Device,
    wave: Any,
    plan: Any,
    *,
    out: Any = None,
    threads: Any = None,
    nan: Any = "raise",
    first_frame: Any = 0,
) -> Any:
    """Mel filters of one wave."""
    return _run(device, "fbank", wave, plan, out, threads, nan, first_frame)


def spectrogram(
    device: Device,
    wave: Any,
    plan: Any,
    *,
    out: Any = None,
    threads: Any = None,
    nan: Any = "raise",
    first_frame: Any = 0,
) -> Any:
    """Spectra of one wave."""
    return _run(device, "spectrogram", wave, plan, out, threads, nan, first_frame)
