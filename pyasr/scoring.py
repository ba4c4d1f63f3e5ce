"""How sure a measured rate is."""

from __future__ import annotations

import numpy as np

from pyasr.counter import stream


def bootstrap_interval(
    scores: np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of the mean of scores [N]: percentiles of the means of `resamples` draws with replacement.

    With N right answers out of N the interval has no width; that says that N is small, not that the rate is certain.

    Raises ValueError when scores is empty.

    Source: Efron, 1979; for word error rates Bisani and Ney, ICASSP 2004.

    >>> from pyasr.scoring import bootstrap_interval
    >>> low, high = bootstrap_interval(np.array([1.0] * 95 + [0.0] * 5))
    >>> round(low, 2), round(high, 2)
    (0.9, 0.99)
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"bootstrap_interval: scores must be a non-empty vector, got shape {scores.shape}")
    drawn = stream("bootstrap", seed).integers(0, scores.size, (resamples, scores.size))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(scores[drawn].mean(axis=1), (tail, 100 - tail))
    return float(low), float(high)
