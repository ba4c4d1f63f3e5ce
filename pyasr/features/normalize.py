"""Mean and variance normalization of features [T, F]: over the utterance, over a corpus, over a sliding window."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.features._check import by_utterance, check_layout, device_of, feature_matrix
from pyasr.ops._door import FLOATS, Door

VARIANCE_FLOOR = 1e-20  # Kaldi's, of cmvn and Cmvn
SLIDING_FLOOR = 1e-10  # Kaldi's, of sliding_cmvn

# The .npy header of Cmvn.save. NumPy's own reader of headers raises whatever Python's parser raises.
_HEADER = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '<f8', 'fortran_order': False, 'shape': \(3, ([1-9][0-9]{0,4})\), \} *\n", re.S
)
_MOST_BYTES = 24 * 100_000


def _cmvn(x: np.ndarray, variance: bool) -> np.ndarray:
    if len(x) == 0:
        return x.copy()
    centered = x - x.mean(axis=0, dtype=np.float64)
    centered -= centered.mean(axis=0)  # what rounding left
    if variance:
        centered /= np.sqrt(np.maximum((centered**2).mean(axis=0), VARIANCE_FLOOR))
    return centered.astype(x.dtype)


def cmvn(features: Any, variance: bool = True, *, lengths: Any = None, layout: str = "BTF") -> Any:
    """Features with the mean of each column over the utterance removed and, with variance, scaled to unit variance.

    features [T, F] float32 or float64 → a new array of that shape and dtype. Sums are float64; a variance below 1e-20
    counts as 1e-20, so a constant column becomes zeros. Many utterances, and features on a CUDA device: as in
    `pyasr.features.deltas`.

    Raises TypeError and ValueError naming the argument, RuntimeError for an array on a device where there are no kernels for it.

    Source: Kaldi, transform/cmvn.cc.

    >>> pyasr.features.cmvn(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    >>> offsets = np.array([0, 2, 3])
    >>> pyasr.features.cmvn(np.array([[1.0], [3.0], [7.0]]), lengths=offsets, layout="concatenated").ravel().tolist()
    [-1.0, 1.0, 0.0]
    """
    door = Door("cmvn")
    variance = door.boolean("variance", variance)
    layout = check_layout(door, features, lengths, layout)
    if (device := device_of(features)) is not None:
        from pyasr.ops._cuda import _after

        return _after.cmvn(device, features, variance, lengths, layout)
    return by_utterance("cmvn", features, lengths, layout, lambda F: F, lambda x: _cmvn(x, variance))


class Cmvn:
    """Mean and variance of each feature over a corpus, gathered in any number of parts, and normalization by them.

    Cmvn(width) starts without frames; add(features) takes the frames of an utterance in, a + b and a.merge(b) those of
    another part, such as that of another process. Order and grouping change the result by rounding only. All is float64; kept
    are the mean, with the digits that float64 has no room for, and the squared deviations from it, so that a large mean does
    not swallow a small variance.

    count: frames, a float because Kaldi's may be weighted; mean, variance [F] float64: per column, of what was added.

    Source: Kaldi, transform/cmvn.cc. Merging: Chan, Golub, LeVeque, "Algorithms for computing the sample variance",
    The American Statistician 37, 1983.

    >>> stats = pyasr.features.Cmvn(1)
    >>> for utterance in (np.array([[1.0], [2.0]]), np.array([[6.0]])):
    ...     stats.add(utterance)
    >>> stats.mean.tolist(), stats.apply(np.array([[5.0]]), variance=False).tolist()
    ([3.0], [[2.0]])
    """

    __slots__ = ("_mean", "_rest", "_spread", "count")

    def __init__(self, width: int) -> None:
        """width: the number of features F, 1 to 65536. Raises TypeError and ValueError naming it."""
        width = Door("Cmvn").integer("width", width, 1, 65536)
        self.count = 0.0
        self._mean = np.zeros(width)
        self._rest = np.zeros(width)  # what rounding left out of _mean
        self._spread = np.zeros(width)  # Σ (x − mean)²

    @property
    def width(self) -> int:
        return len(self._mean)

    @property
    def mean(self) -> np.ndarray:
        self._filled("mean")
        return self._mean + self._rest

    @property
    def variance(self) -> np.ndarray:
        self._filled("variance")
        return self._spread / self.count

    def __repr__(self) -> str:
        return f"Cmvn(width={self.width}, count={self.count:g})"

    def _filled(self, method: str) -> None:
        if self.count < 1:
            Door(f"Cmvn.{method}").value_error(f"at least one frame must have been added, got {self.count:g}")

    def _features(self, method: str, features: Any) -> np.ndarray:
        x = feature_matrix(f"Cmvn.{method}", features)
        Door(f"Cmvn.{method}").shape("features", x, (len(x), self.width))
        return x

    def add(self, features: np.ndarray) -> None:
        """Take in the frames of features [T, F] float32 or float64; T may be 0. Raises TypeError and ValueError."""
        x = self._features("add", features)
        if len(x) == 0:
            return
        part = Cmvn(self.width)
        part.count = float(len(x))
        part._mean = x.mean(axis=0, dtype=np.float64)
        centered = x - part._mean
        part._rest = centered.mean(axis=0)
        part._spread = ((centered - part._rest) ** 2).sum(axis=0)
        self.merge(part)

    def merge(self, other: Cmvn) -> Cmvn:
        """Take in all that `other` has seen, which stays as it is; returns self. Raises TypeError and ValueError."""
        door = Door("Cmvn.merge")
        if not isinstance(other, Cmvn):
            door.type_error(f"other must be a Cmvn, got {type(other).__name__}")
        if other.width != self.width:
            door.value_error(f"other must have width {self.width}, got {other.width}")
        if other.count == 0:
            return self
        if self.count == 0:  # the formulas below would round other._rest away; no array is ever changed in place
            self._mean, self._rest, self._spread, self.count = other._mean, other._rest, other._spread, other.count
            return self
        count = self.count + other.count
        apart = (other._mean - self._mean) + (other._rest - self._rest)
        move = self._rest + apart * (other.count / count)
        self._spread = self._spread + other._spread + apart**2 * (self.count * other.count / count)
        mean = self._mean + move
        self._mean, self._rest, self.count = mean, move - (mean - self._mean), count
        return self

    def __add__(self, other: Cmvn) -> Cmvn:
        """What both have seen, as a new object; sum(parts, Cmvn(width)) adds up any number of them."""
        if not isinstance(other, Cmvn):
            return NotImplemented
        return Cmvn(self.width).merge(self).merge(other)

    def apply(self, features: np.ndarray, variance: bool = True) -> np.ndarray:
        """features [T, F] with the mean removed and, with variance, divided by the standard deviation, as a new array.

        A variance below 1e-20 counts as 1e-20. Raises TypeError and ValueError naming the argument, and ValueError when no
        frame was added.
        """
        x = self._features("apply", features)
        variance = Door("Cmvn.apply").boolean("variance", variance)
        self._filled("apply")
        centered = (x - self._mean) - self._rest
        if variance:
            centered /= np.sqrt(np.maximum(self.variance, VARIANCE_FLOOR))
        return centered.astype(x.dtype)

    def to_kaldi(self) -> np.ndarray:
        """Kaldi's matrix of statistics [2, F + 1] float64: sums and count, then sums of squares and 0.

        Where the mean is large and the variance small, sums of squares lose digits of it that save() keeps.
        """
        out = np.zeros((2, self.width + 1))
        mean = self._mean + self._rest
        out[0, :-1] = self.count * mean
        out[1, :-1] = self._spread + self.count * mean**2
        out[0, -1] = self.count
        return out

    @classmethod
    def from_kaldi(cls, stats: np.ndarray) -> Cmvn:
        """From Kaldi's matrix of statistics [2, F + 1], float32 or float64, as compute-cmvn-stats writes it.

        Raises TypeError and ValueError naming the argument.

        >>> pyasr.features.Cmvn.from_kaldi(np.array([[6.0, 3.0], [14.0, 0.0]])).mean.tolist()
        [2.0]
        """
        door = Door("Cmvn.from_kaldi")
        x = door.array("stats", stats, FLOATS).astype(np.float64)
        if x.ndim != 2 or len(x) != 2 or x.shape[1] < 2:
            door.value_error(f"stats must have shape (2, F + 1), got {x.shape}")
        out = cls(x.shape[1] - 1)
        count = door.real("stats[0, F], the count,", x[0, -1], 0.0)
        if not np.isfinite(x).all() or (x[1, :-1] < 0).any():
            door.value_error("stats must be finite with sums of squares of at least 0")
        if count:
            out.count = count
            out._mean = x[0, :-1] / count
            out._spread = np.maximum(x[1, :-1] - x[0, :-1] * out._mean, 0.0)
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an .npy file with one float64 array [3, F + 1], whatever the name ends in: means and count, what rounding left
        out of them and 0, sums of squared deviations and 0. Raises OSError when it cannot be written.
        """
        rows = np.zeros((3, self.width + 1), "<f8")
        rows[:, :-1] = self._mean, self._rest, self._spread
        rows[0, -1] = self.count
        with Path(path).open("wb") as file:
            np.save(file, rows, allow_pickle=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Cmvn:
        """What save() wrote, bit for bit. Nothing in the file is executed or believed without a check.

        Raises FileNotFoundError, and ValueError naming the file when it is not one of save()'s.

        >>> stats = pyasr.features.Cmvn(2)
        >>> stats.add(np.ones((5, 2)))
        >>> stats.save("cmvn.npy")
        >>> pyasr.features.Cmvn.load("cmvn.npy")
        Cmvn(width=2, count=5)
        """
        door = Door("Cmvn.load")
        with Path(path).open("rb") as file:
            content = file.read(_MOST_BYTES)
        header = _HEADER.match(content)
        if header is None or int(header[1]) < 2 or len(content) - header.end() != 24 * int(header[1]):
            door.value_error(f"{path} must be a whole .npy file of float64 (3, F + 1)")
        rows = np.frombuffer(content, "<f8", offset=header.end()).reshape(3, -1).astype(np.float64)
        if not np.isfinite(rows).all() or rows[0, -1] < 0 or (rows[2] < 0).any():
            door.value_error(f"{path} must hold finite numbers with a count and sums of squares of at least 0")
        out = cls(rows.shape[1] - 1)
        out.count = float(rows[0, -1])
        out._mean, out._rest, out._spread = rows[:, :-1].copy()
        return out


def _windows(frames: int, window: int, min_window: int, center: bool) -> tuple[np.ndarray, np.ndarray]:
    """First frame and one past the last of the window of each frame, as Kaldi places them."""
    t = np.arange(frames)
    if center:
        begin = np.maximum(t - window // 2, 0)
        end = begin + window
    else:
        begin = np.maximum(t - window, 0)  # so that a window in the middle holds window + 1 frames
        end = np.maximum(t + 1, min_window)
    beyond = np.maximum(end - frames, 0)
    return np.maximum(begin - beyond, 0), end - beyond


def _window_sums(x: np.ndarray, begin: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Σ x[begin[t] : end[t]] for each t, in O(T·F) and by additions alone: what left the window leaves no rounding behind.

    Windows that begin at 0 are prefix sums, those that end where the first one does suffix sums; all others have one length L,
    and each is the end of a block of L frames and the begin of the next.
    """
    sums = np.empty_like(x)
    early, late = begin == 0, end == end[0]
    full = ~(early | late)
    sums[early] = np.cumsum(x[: end[early][-1]], axis=0)[end[early] - 1]
    late &= ~early
    if late.any():
        sums[late] = np.cumsum(x[: end[0]][::-1], axis=0)[::-1][begin[late]]
    if full.any():
        length = int((end - begin)[full][0])
        blocks = np.zeros((-(-len(x) // length), length, x.shape[1]))
        blocks.reshape(-1, x.shape[1])[: len(x)] = x
        heads = np.cumsum(blocks, axis=1).reshape(-1, x.shape[1])
        tails = np.cumsum(blocks[:, ::-1], axis=1)[:, ::-1].reshape(-1, x.shape[1])
        b = begin[full]
        sums[full] = tails[b] + np.where((b % length == 0)[:, None], 0.0, heads[b + length - 1])
    return sums


def sliding_cmvn(
    features: np.ndarray, window: int = 600, min_window: int = 100, center: bool = False, variance: bool = False
) -> np.ndarray:
    """Features with the mean of a window around each frame removed and, with variance, scaled to unit variance in it.

    features [T, F] float32 or float64 → a new array of that shape and dtype. The window of frame t is t − window … t, which is
    window + 1 frames; near the begin it holds fewer, but at least the first min_window frames or, of fewer, all. With center it
    is the window frames from t − ⌊window/2⌋ on, moved to lie within the utterance, or all of fewer; min_window then has no
    meaning. A variance below 1e-10 counts as 1e-10, and a window of one frame gives 0. window and min_window 1 to 10⁶ frames;
    time and memory are O(T·F) for any window.

    torchaudio.functional.sliding_window_cmn places the windows alike, but sums in the dtype of its input and has no floor of
    the variance: a constant feature becomes NaN.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, feat/feature-functions.cc (SlidingWindowCmn).

    >>> x = np.array([[1.0], [3.0], [8.0]])
    >>> pyasr.features.sliding_cmvn(x, window=1, min_window=1).ravel().tolist()
    [0.0, 1.0, 2.5]
    """
    x = feature_matrix("sliding_cmvn", features)
    door = Door("sliding_cmvn")
    window = door.integer("window", window, 1, 10**6)
    min_window = door.integer("min_window", min_window, 1, 10**6)
    center, variance = door.boolean("center", center), door.boolean("variance", variance)
    if len(x) == 0:
        return x.copy()
    begin, end = _windows(len(x), window, min_window, center)
    count = (end - begin)[:, None]
    # A shift changes nothing but rounding: it keeps the squares small. The median, because loud frames do not move it.
    y = x - np.median(x, axis=0).astype(np.float64)
    mean = _window_sums(y, begin, end) / count
    out = y - mean
    if variance:
        spread = np.maximum(_window_sums(y * y, begin, end) / count - mean * mean, SLIDING_FLOOR)
        out /= np.sqrt(spread)
    return out.astype(x.dtype)
