"""Features of a stream that arrives in chunks: the same bits as those of the whole wave."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np

from pyasr.features.extract import plan_of, samples_of
from pyasr.ops import backend
from pyasr.ops._door import Door
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan
from pyasr.ops.mfcc import NAN, check_samples

_CHUNK = 1024  # samples, 20 ms at 48 kHz; a longer chunk takes memory of its own for the time of its call


class OnlineFeatures:
    """mfcc, fbank or spectrogram (`kind`) of a wave that arrives in chunks.

    `accept(chunk)` returns the frames [t, F] float32 that the chunk completes, `finish()` those that only the end of the
    stream completes (none where snip_edges=True says all). Together they are the bits of the whole wave's features however
    it is cut. sample_rate in Hz, options, nan and further keywords are those of `pyasr.mfcc`.

    Options that need the whole wave are refused: a dynamic_range, normalize, and center with a pad_mode other than
    "constant", so the presets librosa, whisper and nemo; `center=True` with "constant" streams.

    A stream keeps its first frame and what the next one needs, however long it is. It can be pickled at any point (the
    bits go on to be the same on the same kind of processor), and threads may share it: calls take turns.

    Raises ValueError and TypeError for bad options as `pyasr.mfcc` does.

    Source: Kaldi, feat/online-feature.h.

    >>> wave = np.sin(np.arange(16000) / 7.0) / 2
    >>> stream = pyasr.OnlineFeatures(16000)
    >>> parts = [stream.accept(wave[i : i + 320]) for i in range(0, 16000, 320)] + [stream.finish()]
    >>> bool((np.concatenate(parts) == pyasr.mfcc(wave, 16000)).all())
    True
    """

    # The kernel centers samples by the mean of the wave's first frame, so every call shows it that frame. The buffer:
    #
    #     0         first frame           _resume − 1                          _end
    #     | head of the stream | filler | sample before | samples of the next frame … |
    #
    # _resume is where frame number _repeated begins, the first one behind the head; those before it are computed and
    # dropped. They share a tile with the new ones and cost little. Until there is something to drop, the buffer is the
    # stream. A frame that is shorter than the shift may leave _end in the filler: samples between frames go there.

    def __init__(
        self, sample_rate: float, options: str | MfccOptions | None = None, *, kind: str = "mfcc", nan: str = "raise",
        **changes: Any,
    ) -> None:  # fmt: skip
        door = Door("OnlineFeatures")
        chosen = plan_of(door.op, kind, sample_rate, options, changes).options
        if chosen.whole_wave is not None:
            name = chosen.whole_wave
            other = "'constant'" if name == "pad_mode" else "None"
            door.value_error(
                f"{name} must be {other} in a stream, got {getattr(chosen, name)!r}: every frame would wait for the last sample"
            )
        self._open(chosen, door.choice("nan", nan, NAN))

    def _open(self, options: MfccOptions, nan: str) -> None:
        self.options, self._nan = options, nan
        self._plan = make_plan(options)
        self._row = getattr(backend(), options.kind)
        length, shift = self._plan.length, self._plan.shift
        self._before = -self._plan.start  # samples of frame 0 that lie before the stream
        self._repeated = length // shift + 1
        self._resume = self._repeated * shift - self._before
        self._drops_last = options.drop_last
        self._plain = nan == "raise" and not options.dither
        self._lock = threading.Lock()
        self._clear()

    def _clear(self) -> None:
        self._buffer = np.zeros(0, np.float32)
        self._dtype: np.dtype | None = None  # of the stream; None at its start and after its end
        self._end = 0  # samples in the buffer
        self._done = 0  # frames in the buffer that were returned
        self._skipped = 0  # frames of the stream that are not in the buffer
        self._samples = 0  # of the stream
        self._finished = False

    def _admit(self, chunk: Any) -> np.ndarray:
        """A chunk that may be the first, or of another byte order, or wrong."""
        op = "OnlineFeatures.accept"
        if self._finished:
            raise RuntimeError(f"{op}: the stream is finished; reset() starts another")
        x = samples_of(op, chunk, "chunk")
        if self._dtype is None or x.dtype != self._dtype:
            if self._samples:
                Door(op).type_error(f"chunk must have the dtype of the stream, {self._dtype}, got {x.dtype.name}")
            self._allocate(x.dtype)
        return x

    def _allocate(self, dtype: np.dtype) -> None:
        self._dtype = dtype
        self._buffer = np.zeros(self._resume + self._plan.length + _CHUNK, dtype)

    def _compute(self, wave: np.ndarray, chunk: np.ndarray) -> np.ndarray:
        try:
            if self._plain:  # half a microsecond of keywords less
                return self._row(wave, self._plan, threads=1)
            return self._row(wave, self._plan, threads=1, nan=self._nan, first_frame=self._skipped)
        except ValueError:
            check_samples(Door("OnlineFeatures.accept"), chunk, self.options, "chunk", self._samples, self._nan)
            raise

    def accept(self, chunk: np.ndarray) -> np.ndarray:
        """The frames that the chunk [n] completes, [t, F] float32; n and t may be 0.

        A chunk is int16, float32 or float64, of any stride and byte order; those of one stream have one dtype. It is not
        kept.

        Raises ValueError for a sample that is NaN, infinite (unless nan="propagate") or too large, naming its place in the
        stream; the stream then is as it was before the chunk. TypeError for anything but such an array, RuntimeError after
        finish().

        >>> pyasr.OnlineFeatures(16000).accept(np.zeros(560, np.int16)).shape
        (2, 13)
        """
        with self._lock:
            if type(chunk) is not np.ndarray or chunk.dtype is not self._dtype or chunk.ndim != 1:
                chunk = self._admit(chunk)
            plan, buffer, old = self._plan, self._buffer, self._end
            end = old + len(chunk)
            if end > len(buffer):
                buffer = np.empty(end, buffer.dtype)
                buffer[:old] = self._buffer[:old]
            buffer[old:end] = chunk
            ready = 1 + (end + self._before - plan.length) // plan.shift  # whole frames
            if self._drops_last:
                ready = min(ready, self.options.num_frames(end))
            if ready <= self._done:
                self._compute(buffer[old:end], chunk)  # for its check of the samples
                self._end = end
                self._samples += len(chunk)
                return np.zeros((0, plan.features), np.float32)
            out = self._compute(buffer[:end], chunk)[self._done : ready].copy()
            self._keep(buffer, end, ready)
            self._samples += len(chunk)
            return out

    def _keep(self, buffer: np.ndarray, end: int, ready: int) -> None:
        """Head and what the next frame needs; one sample more, which the mirrored end of a frame of odd length needs."""
        begin, resume = ready * self._plan.shift - self._before, self._resume
        if begin <= resume:
            if buffer is not self._buffer:
                self._buffer[:end] = buffer[:end]
            self._end, self._done = end, ready
            return
        if buffer is not self._buffer:
            self._buffer[: resume - 1] = buffer[: resume - 1]
        self._end, self._done = resume + end - begin, self._repeated
        self._skipped += ready - self._repeated
        self._buffer[resume - 1 : self._end] = buffer[begin - 1 : end]

    def finish(self) -> np.ndarray:
        """End the stream: the frames [t, F] that reach beyond it, mirrored as with snip_edges=False; else t = 0.

        Raises RuntimeError when it was finished before.

        >>> pyasr.OnlineFeatures(16000, snip_edges=False).finish().shape
        (0, 13)
        """
        with self._lock:
            if self._finished:
                raise RuntimeError("OnlineFeatures.finish: the stream is finished; reset() starts another")
            out = self._compute(self._buffer[: self._end], self._buffer[:0])[self._done :].copy()
            self._clear()
            self._finished = True
            return out

    def reset(self) -> None:
        """Forget the stream and begin another one, of any dtype."""
        with self._lock:
            self._clear()

    def __getstate__(self) -> dict[str, Any]:
        with self._lock:
            counts = (self._end, self._done, self._skipped, self._samples, self._finished)
            kept = None if self._dtype is None else self._buffer[: self._end].copy()
            return {"options": self.options, "nan": self._nan, "kept": kept, "counts": counts}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._open(state["options"], state["nan"])
        kept = state["kept"]
        if kept is not None:
            self._allocate(
                np.dtype(kept.dtype.name)
            )  # an unpickled dtype is another object, and accept() compares objects
            self._buffer[: len(kept)] = kept
        self._end, self._done, self._skipped, self._samples, self._finished = state["counts"]
