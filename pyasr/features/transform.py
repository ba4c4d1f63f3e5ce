"""What is done to features [T, F] after they were extracted: derivatives in time, mean and variance normalization."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, Door


def _matrix(op: str, features: Any) -> np.ndarray:
    door = Door(op)
    x = door.array("features", features, FLOATS)
    if x.ndim != 2:
        door.value_error(f"features must have shape (T, F), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        door.value_error(f"features must be finite, got a NaN or infinity in frame {bad[0]}")
    return x


def delta_filters(window: int, order: int) -> list[np.ndarray]:
    """The taps that turn features into their 0th … order-th deltas; filter k spans ±k·window frames."""
    taps = np.arange(-window, window + 1) / float(sum(j * j for j in range(-window, window + 1)))
    filters = [np.ones(1)]
    for _ in range(order):
        filters.append(np.convolve(filters[-1], taps))
    return filters


def deltas(features: np.ndarray, window: int = 2, order: int = 2) -> np.ndarray:
    """Features with their time derivatives appended: [T, F] → [T, F·(order + 1)], same dtype.

    The first derivative is Σ_j j·x[t+j] / Σ_j j² over |j| ≤ window; the next one applies that filter convolved with itself
    to the features (9 taps for window 2), with the first and last frame repeated beyond the ends. Derivatives of
    derivatives taken one after the other differ from it in the first and last frames.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, feat/feature-functions.cc (DeltaFeatures).

    >>> x = np.arange(9.0)[:, None]
    >>> pyasr.features.deltas(x)[4].tolist()
    [4.0, 1.0, 0.0]
    """
    x = _matrix("deltas", features)
    door = Door("deltas")
    window, order = door.integer("window", window, 1, 1000), door.integer("order", order, 0, 8)
    frames, width = x.shape
    out = np.zeros((frames, order + 1, width), np.float64)
    if frames:
        for k, taps in enumerate(delta_filters(window, order)):
            half = k * window
            padded = np.pad(x.astype(np.float64), ((half, half), (0, 0)), mode="edge")
            for j, tap in enumerate(taps):
                out[:, k] += tap * padded[j : j + frames]
    return out.reshape(frames, (order + 1) * width).astype(x.dtype)


def cmvn(features: np.ndarray, variance: bool = True) -> np.ndarray:
    """Features with the mean of each column over the utterance removed and, with variance, scaled to unit variance.

    features [T, F] float32 or float64 → a new array of that shape and dtype. Sums are float64; a variance below 1e-20
    counts as 1e-20, so a constant column becomes zeros.

    Raises TypeError and ValueError naming the argument.

    Source: Kaldi, transform/cmvn.cc.

    >>> pyasr.features.cmvn(np.array([[1.0, 5.0], [3.0, 5.0]])).tolist()
    [[-1.0, 0.0], [1.0, 0.0]]
    """
    x = _matrix("cmvn", features)
    variance = Door("cmvn").boolean("variance", variance)
    if len(x) == 0:
        return x.copy()
    centered = x - x.mean(axis=0, dtype=np.float64)
    centered -= centered.mean(axis=0)  # what rounding left
    if variance:
        centered /= np.sqrt(np.maximum((centered**2).mean(axis=0), 1e-20))
    return centered.astype(x.dtype)
