"""Neighboring frames of features [T, F]: derivatives in time, stacking, subsampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.features._check import by_utterance, check_layout, device_of, feature_matrix
from pyasr.ops._deltas import delta_filters as delta_filters
from pyasr.ops._door import Door

STYLES = ("kaldi", "torchaudio")


def _correlate(x: np.ndarray, taps: np.ndarray) -> np.ndarray:
    """Σ_j taps[j]·x[t + j − half] in float64, with the first and last frame repeated beyond the ends."""
    out, half = np.zeros(x.shape, np.float64), len(taps) // 2
    padded = np.pad(x.astype(np.float64), ((half, half), (0, 0)), mode="edge")
    for j, tap in enumerate(taps):
        out += tap * padded[j : j + len(x)]
    return out


def _deltas(x: np.ndarray, window: int, order: int, style: str) -> np.ndarray:
    frames, width = x.shape
    out = np.zeros((frames, order + 1, width), np.float64)
    if frames and style == "kaldi":
        for k, taps in enumerate(delta_filters(window, order)):
            out[:, k] = _correlate(x, taps)
    elif frames:
        taps, out[:, 0] = delta_filters(window, 1)[1], x
        for k in range(order):
            out[:, k + 1] = _correlate(out[:, k], taps)
    return out.reshape(frames, (order + 1) * width).astype(x.dtype)


def deltas(
    features: Any,
    window: int = 2,
    order: int = 2,
    *,
    style: str = "kaldi",
    lengths: Any = None,
    layout: str = "BTF",
) -> Any:
    """Features with their time derivatives appended: [T, F] → [T, F·(order + 1)], a new array of the same dtype.

    The first derivative is Σ_j j·x[t+j] / Σ_j j² over |j| ≤ window, with the first and last frame repeated beyond the ends.
    The styles differ in the next ones, in the first and last window·(order − 1) frames: "kaldi" applies that filter convolved
    with itself to the features (9 taps for window 2); "torchaudio" takes the derivative of the derivative, whose own first
    and last frame are repeated. torchaudio's win_length is 2·window + 1. window 1 to 1000 frames, order 0 to 8.

    Many utterances: features, layout and lengths as `pyasr.features.batch` takes and returns them, [B, T, F], [T, B, F] or
    [ΣT, F] with offsets as lengths. Each has the bits that it has alone; padding is not read, and is zeros in the result.

    features on a CUDA device (float32 or float64, anything with `__cuda_array_interface__` or `__dlpack__`) give an array of
    CuPy there, in one launch on the current stream for which nothing waits. lengths may be on either side. Values there are not
    looked at: a frame that sees a NaN is NaN, lengths on the device are cut to the frames that there are.

    Raises TypeError and ValueError naming the argument, RuntimeError for an array on a device where there are no kernels for it.

    Source: Kaldi, feat/feature-functions.cc (DeltaFeatures); torchaudio.functional.compute_deltas, applied repeatedly.

    >>> x = np.arange(9.0)[:, None]
    >>> pyasr.features.deltas(x)[4].tolist()
    [4.0, 1.0, 0.0]
    >>> pyasr.features.deltas(np.stack([x, x]), order=1, lengths=np.array([9, 2], np.int32))[1, :3].round(1).tolist()
    [[0.0, 0.3], [1.0, 0.3], [0.0, 0.0]]
    """
    door = Door("deltas")
    window, order = door.integer("window", window, 1, 1000), door.integer("order", order, 0, 8)
    style = door.choice("style", style, STYLES)
    layout = check_layout(door, features, lengths, layout)
    if (device := device_of(features)) is not None:
        from pyasr.ops._cuda import _after

        return _after.deltas(device, features, window, order, style == "torchaudio", lengths, layout)
    return by_utterance(
        "deltas", features, lengths, layout, lambda F: F * (order + 1), lambda x: _deltas(x, window, order, style)
    )


def stack(features: np.ndarray, left: int, right: int) -> np.ndarray:
    """Each frame with its `left` earlier and `right` later ones, oldest first: [T, F] → [T, F·(left + 1 + right)].

    The first and last frame are repeated beyond the ends. The result is a new array of the same dtype; with `subsample` it is
    the low frame rate input of many recognizers. left and right 0 to 1000 frames.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, featbin/splice-feats.cc (SpliceFrames).

    >>> x = np.array([[1.0], [2.0], [3.0]])
    >>> pyasr.features.stack(x, 1, 1).tolist()
    [[1.0, 1.0, 2.0], [1.0, 2.0, 3.0], [2.0, 3.0, 3.0]]
    """
    x = feature_matrix("stack", features)
    door = Door("stack")
    left, right = door.integer("left", left, 0, 1000), door.integer("right", right, 0, 1000)
    frames, width = x.shape
    neighbors = np.arange(frames)[:, None] + np.arange(-left, right + 1)
    return x[np.clip(neighbors, 0, max(frames - 1, 0))].reshape(frames, (left + 1 + right) * width)


def subsample(features: np.ndarray, n: int, offset: int = 0) -> np.ndarray:
    """Every n-th frame, from frame `offset` on: [T, F] → [⌈(T − offset) / n⌉, F], a new array of the same dtype.

    No frame is left when offset ≥ T. n is 1 to 1000, offset 0 to 10⁹.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, featbin/subsample-feats.cc.

    >>> x = np.arange(7.0)[:, None]
    >>> pyasr.features.subsample(x, 3, offset=1).ravel().tolist()
    [1.0, 4.0]
    """
    x = feature_matrix("subsample", features)
    door = Door("subsample")
    n, offset = door.integer("n", n, 1, 1000), door.integer("offset", offset, 0, 10**9)
    return x[offset::n].copy()


def resize(features: np.ndarray, frames: int) -> np.ndarray:
    """Stretched or shrunk in time by linear interpolation: [T, F] → [frames, F], a new array of the same dtype.

    The first and the last frame stay what they are; a single frame is repeated. That makes a vector of one length of every
    word, which is what a linear classifier takes. frames 2 to 1000; T at least 1.

    Raises TypeError and ValueError naming the argument.

    Follows numpy.interp over numpy.linspace(0, T - 1, frames).

    >>> pyasr.features.resize(np.array([[0.0, 8.0], [2.0, 4.0], [4.0, 0.0]]), 5)[:, 0]
    array([0., 1., 2., 3., 4.])
    """
    x = feature_matrix("resize", features)
    door = Door("resize")
    frames = door.integer("frames", frames, 2, 1000)
    if not len(x):
        door.value_error(f"features must have at least one frame, got shape {x.shape}")
    at = np.linspace(0, len(x) - 1, frames)
    before = at.astype(np.int64)
    after, share = np.minimum(before + 1, len(x) - 1), (at - before)[:, None]
    return ((1 - share) * x[before] + share * x[after]).astype(x.dtype)
