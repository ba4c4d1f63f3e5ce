"""The numba column of softmax_cross_entropy: one row after the other, in float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from pyasr.ops.softmax import check


@numba.njit(nogil=True, cache=True)
def _rows(
    logits: np.ndarray,  # [N,V]
    labels: np.ndarray,  # [N], -1 leaves a row out
    loss: np.ndarray,  # [N]
    dlogits: np.ndarray,  # [N,V]
) -> None:
    for n in range(labels.size):
        label = labels[n]
        if label < 0:
            loss[n] = 0.0
            dlogits[n] = 0.0
            continue
        largest = -math.inf
        for x in logits[n]:
            largest = x if x > largest or math.isnan(x) else largest
        total = 0.0
        for x in logits[n]:
            total += math.exp(x - largest)
        loss[n] = math.log(total) - (logits[n, label] - largest)
        for v in range(logits.shape[1]):
            dlogits[n, v] = math.exp(logits[n, v] - largest) / total - (1.0 if v == label else 0.0)


def softmax_cross_entropy() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The twin; the arguments are checked by the door of the reference."""

    def twin(logits: Any, labels: Any, *, threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        check(logits, labels, threads)
        loss, dlogits = np.empty(len(labels), logits.dtype), np.empty_like(logits)
        _rows(logits, labels, loss, dlogits)
        return loss, dlogits

    return twin
