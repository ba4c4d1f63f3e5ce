"""ctc_greedy: the labels of the best path."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row


def check_frames(door: Door, logits: Any, lengths: Any, blank: Any) -> int:
    """Raise for bad arrays or a blank that is none of their symbols; the blank."""
    door.array("logits", logits, FLOATS)
    door.read("logits", logits, "T B V", logits.dtype)
    door.read("lengths", lengths, "B", INT32)
    if door["V"] == 0:
        door.value_error("logits must have at least one symbol, got V = 0")
    return door.integer("blank", blank, 0, door["V"] - 1)


def ctc_greedy(
    logits: np.ndarray, lengths: np.ndarray, *, blank: int = 0, threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    door = Door("ctc_greedy")
    blank = check_frames(door, logits, lengths, blank)
    door.threads(threads)
    door.lengths_within("lengths", lengths, door["T"], "T")
    labels = np.full((door["B"], door["T"]), -1, np.int32)
    counts = np.zeros(door["B"], np.int32)
    for b, n in enumerate(lengths):
        path = logits[:n, b].argmax(axis=1)
        starts = np.ones(n, bool)
        starts[1:] = path[1:] != path[:-1]
        said = path[starts & (path != blank)]
        counts[b] = len(said)
        labels[b, : len(said)] = said
    return labels, counts


def example(rng: np.random.Generator, size: tuple[int, int, int], dtype: np.dtype) -> tuple[tuple, dict]:
    frames, batch, symbols = size
    logits = np.round(2 * rng.standard_normal((frames, batch, symbols)), 1).astype(dtype)  # some are equal
    lengths = rng.integers(frames // 2, frames, batch, np.int32, endpoint=True)
    if batch > 1:
        lengths[0], lengths[-1] = frames, 0
    return (logits, lengths), {"blank": symbols // 3}


def greedy_bytes(logits: np.ndarray, lengths: np.ndarray, **_: Any) -> float:
    return float(lengths.sum()) * logits.shape[2] * logits.itemsize + 4.0 * logits.shape[0] * logits.shape[1]


def greedy_flops(logits: np.ndarray, lengths: np.ndarray, **_: Any) -> float:
    return 1.0 * float(lengths.sum()) * logits.shape[2]


ROWS = (
    Row(
        reference=ctc_greedy,
        example=example,
        sizes=((1, 1, 1), (3, 0, 4), (0, 3, 5), (7, 2, 2), (31, 3, 17), (67, 5, 29), (5, 3, 5000), (300, 2, 64)),
        benchmark_size=(500, 32, 32),
        tolerance={"float32": 0.0, "float64": 0.0},
        reason="comparisons round nothing",
        bytes=greedy_bytes,
        flops=greedy_flops,
    ),
)
