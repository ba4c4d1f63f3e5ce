"""softmax_cross_entropy: −log softmax(logits)[label] of every row and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row


def check(logits: Any, labels: Any, threads: Any) -> None:
    """Raise for bad arguments."""
    door = Door("softmax_cross_entropy")
    door.array("logits", logits, FLOATS)
    door.read("logits", logits, "N V", logits.dtype)
    door.read("labels", labels, "N", INT32)
    door.threads(threads)
    bad = np.flatnonzero((labels < -1) | (labels >= door["V"]))
    if bad.size:
        door.value_error(f"labels must lie in [-1, V = {door['V']}), got {labels[bad[0]]} at {bad[0]}")


def softmax_cross_entropy(
    logits: np.ndarray, labels: np.ndarray, *, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    check(logits, labels, threads)
    loss = np.zeros(len(labels))
    dlogits = np.zeros(logits.shape)
    rows = np.flatnonzero(labels >= 0)
    if rows.size:
        with np.errstate(all="ignore"):
            x = logits[rows].astype(np.float64)
            x -= x.max(1, keepdims=True)
            y = np.exp(x)
            total = y.sum(1, keepdims=True)
            y /= total
            at = np.arange(len(rows)), labels[rows]
            loss[rows] = np.log(total[:, 0]) - x[at]
            y[at] -= 1.0
            dlogits[rows] = y
    with np.errstate(over="ignore"):
        return loss.astype(logits.dtype), dlogits.astype(logits.dtype)


def example(rng: np.random.Generator, size: tuple[int, int], dtype: np.dtype) -> tuple[tuple, dict]:
    rows, symbols = size
    logits = (3 * rng.standard_normal(size)).astype(dtype)
    return (logits, rng.integers(-1, symbols, rows, np.int32)), {}


ROWS = (
    Row(
        reference=softmax_cross_entropy,
        example=example,
        sizes=((0, 3), (1, 1), (7, 1), (3, 2), (5, 15), (67, 29), (1023, 33), (3, 5003)),
        benchmark_size=(16_000, 1024),
        tolerance={"float32": 1e-6, "float64": 1e-14},
        reason="one exp and a sum of V positive terms per entry",
        bytes=lambda logits, labels, **_: 2.0 * logits.nbytes,
        flops=lambda logits, labels, **_: 20.0 * logits.size,
        numba="pyasr.ops._numba_softmax:softmax_cross_entropy",
    ),
)
