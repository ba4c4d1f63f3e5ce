"""The filters of derivatives in time, which the functions on host and device share."""

from __future__ import annotations

import numpy as np


def delta_filters(window: int, order: int) -> list[np.ndarray]:
    """The taps that turn features into their 0th … order-th deltas; filter k spans ±k·window frames."""
    taps = np.arange(-window, window + 1) / float(sum(j * j for j in range(-window, window + 1)))
    filters = [np.ones(1)]
    for _ in range(order):
        filters.append(np.convolve(filters[-1], taps))
    return filters
