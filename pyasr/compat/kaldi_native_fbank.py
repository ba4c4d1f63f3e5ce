"""OnlineFbank, OnlineMfcc and OnlineWhisperFbank of kaldi-native-fbank, with checked options and frames that are copies.

    import pyasr.compat.kaldi_native_fbank as knf

Classes, attributes and defaults are those of kaldi_native_fbank 1.22. What differs:

  * A bad option raises ValueError or TypeError when it is set or when the extractor is made; there is no process to lose.
  * Samples are taken at the scale given, as the peer takes them: Kaldi's models expect int16 scale.
  * `dither` adds noise of that deviation, 3e-5 unless it is set, as in the peer. The noise of a frame depends on its number
    alone, so that results repeat, whatever the portions; the peer's comes from rand().
  * Frames are owned copies; a popped frame cannot be asked for. `get_frames(first, last)` returns many at once.
  * Streaming gives the same bits as the whole wave at once, with snip_edges=False too.
  * Every method takes a lock, so threads may share an extractor.

`mel_opts.debug_mel` raises, and so does an `eps` above Kaldi's together with use_energy. Left out are the peer's other classes,
see LEFT_OUT.
"""

from __future__ import annotations

import threading
from typing import Any, NoReturn

import numpy as np

from pyasr.compat._knf_options import (
    FbankOptions,
    FrameExtractionOptions,
    MelBanksOptions,
    MfccOptions,
    WhisperFeatureOptions,
    options_of,
    whisper_options,
)
from pyasr.features import OnlineFeatures
from pyasr.ops._door import Door
from pyasr.ops._options import LARGEST_SAMPLE
from pyasr.ops._options import MfccOptions as PlanOptions

__all__ = [
    "FbankOptions", "FrameExtractionOptions", "MelBanksOptions", "MfccOptions", "OnlineFbank", "OnlineMfcc",
    "OnlineWhisperFbank", "WhisperFeatureOptions",
]  # fmt: skip

# fmt: off
LEFT_OUT = (
    "FeatureWindowFunction", "IStft", "MelBanks", "NemoFbankOptions", "OnlineNemoFbank", "OnlineRawAudioSamples",
    "RawAudioSamplesOptions", "Rfft", "Stft", "StftConfig", "StftResult",
    # since 1.23
    "CmvnAccumulator", "CmvnOptions", "DeltaOptions", "FeatureTransform", "OnlinePitch", "PitchExtractionOptions",
    "ProcessPitchOptions", "SpliceOptions", "apply_cmvn", "apply_cmvn_", "compute_and_process_kaldi_pitch",
    "compute_cmvn_stats", "compute_deltas", "splice_frames", "transform_features",
)
# fmt: on

_BLOCK = 64  # frames that are freed together


def __getattr__(name: str) -> NoReturn:
    more = ": it is left out of this drop-in" if name in LEFT_OUT else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{more}")


def _samples(waveform: Any) -> np.ndarray:
    """[N] float32, finite. Any real numbers, at the scale given; the caller's own array where it is float32 already."""
    door = Door("accept_waveform")
    if isinstance(waveform, (str, bytes)):
        door.type_error(f"waveform must be numbers, got {type(waveform).__name__}")
    try:
        x = np.asarray(waveform)
    except (ValueError, TypeError) as error:
        door.type_error(f"waveform must be a one-dimensional array or list of numbers: {error}")
    if x.dtype.kind not in "fi":
        door.type_error(f"waveform must be floating or signed integers, got {x.dtype.name}")
    if x.ndim != 1:
        text = f"waveform must be one-dimensional, got shape {x.shape}"
        if x.ndim == 2:
            text += ": take waveform[0] if that is (channels, samples), waveform[:, 0] if it is (samples, channels)"
        door.value_error(text)
    if x.size and x.dtype.kind == "f" and not max(x.max(), -x.min()) <= LARGEST_SAMPLE:
        at = int(np.flatnonzero(~(np.abs(x) <= LARGEST_SAMPLE))[0])
        wanted = f"lie within ±{LARGEST_SAMPLE:g}" if np.isfinite(x[at]) else "be finite"
        door.value_error(f"waveform must {wanted}, got {float(x[at])!r} at {at}")
    return np.ascontiguousarray(x, np.float32)


class _Frames:
    """Frames from `first` on, [size, F]; they lie in blocks, and a block whose frames were all dropped is freed."""

    def __init__(self, features: int) -> None:
        self.features = features
        self.first = self.size = 0
        self.blocks: dict[int, np.ndarray] = {}

    def append(self, frames: np.ndarray) -> None:
        while len(frames):
            block, row = divmod(self.size, _BLOCK)
            if block not in self.blocks:
                self.blocks[block] = np.empty((_BLOCK, self.features), np.float32)
            n = min(len(frames), _BLOCK - row)
            self.blocks[block][row : row + n] = frames[:n]
            self.size += n
            frames = frames[n:]

    def copy(self, first: int, last: int) -> np.ndarray:
        """[last − first, F]"""
        out = np.empty((last - first, self.features), np.float32)
        at = first
        while at < last:
            block, row = divmod(at, _BLOCK)
            n = min(last - at, _BLOCK - row)
            out[at - first : at - first + n] = self.blocks[block][row : row + n]
            at += n
        return out

    def drop(self, n: int) -> None:
        old, self.first = self.first, self.first + n
        for block in range(old // _BLOCK, self.first // _BLOCK):
            del self.blocks[block]


class _Online:
    """One extractor: samples in, frames out, both in any portions."""

    def __init__(self, options: PlanOptions) -> None:
        self._options = options
        self._stream = OnlineFeatures(self._options.sample_rate, self._options, kind=self._options.kind)
        self._lock = threading.Lock()
        self._frames = _Frames(self._options.num_features)
        self._finished = False

    @property
    def dim(self) -> int:
        """F: numbers in a frame."""
        return self._frames.features

    @property
    def frame_shift_in_seconds(self) -> float:
        """Seconds from frame to frame."""
        return self._options.frame_shift_ms * 0.001

    @property
    def num_frames_ready(self) -> int:
        """Frames computed so far, popped ones too."""
        with self._lock:
            return self._frames.size

    def accept_waveform(self, sampling_rate: float, waveform: Any) -> None:
        """Take the next samples [N]: an array or list of floating or signed integer numbers, at the scale given.

        Raises ValueError for another sampling_rate than the options', NaN, infinity and a shape that is not [N], TypeError
        for what is no number, and RuntimeError after input_finished(). After an error the extractor is as before.
        """
        rate = Door("accept_waveform").real("sampling_rate", sampling_rate)
        if rate != self._options.sample_rate:
            raise ValueError(
                f"accept_waveform: sampling_rate must be that of the options, {self._options.sample_rate:g}, got {rate:g}: "
                "resample the wave or set frame_opts.samp_freq"
            )
        samples = _samples(waveform)
        with self._lock:
            if self._finished:
                raise RuntimeError("accept_waveform: no samples are taken after input_finished()")
            self._frames.append(self._stream.accept(samples))

    def input_finished(self) -> None:
        """No more samples will come: with snip_edges=False the last frames, mirrored at the end, are computed."""
        with self._lock:
            if not self._finished:
                self._frames.append(self._stream.finish())
                self._finished = True

    def is_last_frame(self, frame: int) -> bool:
        """Whether this is the last frame of a finished input."""
        frame = Door("is_last_frame").integer("frame", frame, -(2**63), 2**63 - 1)
        with self._lock:
            return self._finished and frame == self._frames.size - 1

    def get_frame(self, frame: int) -> np.ndarray:
        """A copy of one frame, [F] float32. Raises ValueError for a frame that is not ready or was popped."""
        with self._lock:
            if self._frames.size == self._frames.first:
                raise ValueError(f"get_frame: no frame is ready, got frame = {frame!r}")
            frame = Door("get_frame").integer("frame", frame, self._frames.first, self._frames.size - 1)
            return self._frames.copy(frame, frame + 1)[0]

    def get_frames(self, first: int | None = None, last: int | None = None) -> np.ndarray:
        """A copy of the frames first … last − 1, [t, F] float32; by default of all that are ready and not popped.

        Raises ValueError for a range outside those. The peer has no such method.
        """
        door = Door("get_frames")
        with self._lock:
            low, high = self._frames.first, self._frames.size
            end = high if last is None else door.integer("last", last, low, high)
            begin = low if first is None else door.integer("first", first, low, end)
            return self._frames.copy(begin, end)

    def pop(self, n: int) -> None:
        """Free the n oldest frames. Frames keep their numbers. Raises ValueError when there are fewer."""
        with self._lock:
            self._frames.drop(Door("pop").integer("n", n, 0, self._frames.size - self._frames.first))


class OnlineMfcc(_Online):
    """MFCC of a stream, frame by frame or in blocks; the bits of `pyasr.mfcc(wave, rate, scale=1.0, dither=3e-5)`.

    opts is copied. Raises ValueError for options that make no sense or are not supported, naming the option.

    Source: kaldi-native-fbank, OnlineMfcc; Kaldi, feat/online-feature.cc.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> mfcc = knf.OnlineMfcc(knf.MfccOptions())
    >>> mfcc.accept_waveform(16000, np.sin(np.arange(8000)) * 1000)
    >>> mfcc.num_frames_ready, mfcc.get_frame(3).shape, mfcc.get_frames().shape
    (48, (13,), (48, 13))
    """

    def __init__(self, opts: MfccOptions) -> None:
        if not isinstance(opts, MfccOptions):
            raise TypeError(f"OnlineMfcc: opts must be MfccOptions of this module, got {type(opts).__name__}")
        super().__init__(options_of("OnlineMfcc", opts))


class OnlineFbank(_Online):
    """Log mel energies of a stream; the bits of `pyasr.fbank(wave, rate, scale=1.0, dither=3e-5)`.

    opts is copied. Raises ValueError for options that make no sense or are not supported, naming the option.

    Source: kaldi-native-fbank, OnlineFbank; Kaldi, feat/online-feature.cc.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> fbank = knf.OnlineFbank(knf.FbankOptions())
    >>> fbank.accept_waveform(16000, [0] * 400)
    >>> fbank.input_finished()
    >>> fbank.is_last_frame(0)
    True
    """

    def __init__(self, opts: FbankOptions) -> None:
        if not isinstance(opts, FbankOptions):
            raise TypeError(f"OnlineFbank: opts must be FbankOptions of this module, got {type(opts).__name__}")
        super().__init__(options_of("OnlineFbank", opts))


class OnlineWhisperFbank(_Online):
    """Mel energies of a stream with Whisper's window and filters, 16 kHz, without a log: that, its floor and its scaling are the
    caller's. Frames are Kaldi's with snip_edges=False, 100 a second, mirrored at the ends as Kaldi does and not as Whisper;
    `pyasr.fbank(wave, 16000, "whisper")` is Whisper's own log mel spectrogram.

    opts is copied; samples are expected in [−1, 1]. Raises ValueError for a dim that leaves a filter without an FFT bin.

    Source: kaldi-native-fbank, OnlineWhisperFbank.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> whisper = knf.OnlineWhisperFbank(knf.WhisperFeatureOptions())
    >>> whisper.accept_waveform(16000, np.sin(np.arange(8000)))
    >>> whisper.input_finished()
    >>> whisper.get_frames().shape
    (50, 80)
    """

    def __init__(self, opts: WhisperFeatureOptions) -> None:
        if not isinstance(opts, WhisperFeatureOptions):
            what = type(opts).__name__
            raise TypeError(f"OnlineWhisperFbank: opts must be WhisperFeatureOptions of this module, got {what}")
        super().__init__(whisper_options("OnlineWhisperFbank", opts))
