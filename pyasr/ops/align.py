"""ctc_align: the most probable alignment of known labels with frames (Viterbi over the lattice of ctc_loss)."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._op import Row
from pyasr.ops.ctc import BENCHMARK_SIZE, SIZES, check, example, lattice_flops, log_softmax, shifted


def best_path(y: np.ndarray, labels: np.ndarray, blank: int) -> np.ndarray | None:
    """The states [T] of the path with the largest Σ y: 2u for the blank before label u, 2u + 1 for label u itself.

    y [T,V] with T ≥ 1. Of equal paths the one that stays longest, seen from the end. None when every path has −inf.
    """
    frames, size = len(y), 2 * len(labels) + 1
    extended = np.full(size, blank)
    extended[1::2] = labels
    may_skip = np.zeros(size, bool)  # from s − 2 to s, over a blank between two different labels
    may_skip[3::2] = labels[1:] != labels[:-1]
    y = y[:, extended]
    value = np.full(size, -np.inf)
    value[:2] = y[0, :2]
    back = np.zeros((frames, size), np.int8)
    for t in range(1, frames):
        ways = np.stack([value, shifted(value, 1), np.where(may_skip, shifted(value, 2), -np.inf)])
        back[t] = ways.argmax(axis=0)
        value = ways.max(axis=0) + y[t]
    state = size - 1 if size == 1 or value[-1] >= value[-2] else size - 2
    if value[state] == -np.inf:
        return None
    path = np.empty(frames, np.int64)
    for t in range(frames - 1, -1, -1):
        path[t] = state
        state -= int(back[t, state])
    return path


def ctc_align(
    logits: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    *,
    blank: int = 0,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    check(logits, lengths, labels, label_lengths, blank, False, threads, op="ctc_align")
    positions = np.full(logits.shape[:2], -1, np.int32)
    scores = np.zeros(logits.shape[:2])
    log_p = np.zeros(len(lengths))
    with np.errstate(all="ignore"):
        for b, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
            label = labels[b, :count]
            if frames == 0:
                log_p[b] = 0.0 if count == 0 else -np.inf
                continue
            y = logits[:frames, b].astype(np.float64)
            y = y - y.max(axis=1, keepdims=True)
            log_y = log_softmax(y)
            if np.isnan(log_y).any():
                log_p[b] = scores[:frames, b] = np.nan
                continue
            path = best_path(y, label, blank)
            if path is None:
                log_p[b] = -np.inf
                continue
            at_label = path % 2 == 1
            positions[:frames, b] = np.where(at_label, path // 2, -1)
            symbols = np.full(frames, blank)
            symbols[at_label] = label[path[at_label] // 2]
            scores[:frames, b] = log_y[np.arange(frames), symbols]
            log_p[b] = scores[:frames, b].sum()
    return positions, scores.astype(logits.dtype), log_p.astype(logits.dtype)


def align_bytes(logits: np.ndarray, *_: Any, **__: Any) -> float:
    return 1.0 * logits.nbytes


def align_flops(
    logits: np.ndarray, lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray, **_: Any
) -> float:
    return lattice_flops(logits, lengths, label_lengths, 4.0)


ROWS = (
    Row(
        reference=ctc_align,
        example=example,
        sizes=SIZES,
        benchmark_size=BENCHMARK_SIZE,
        tolerance={"float32": 2e-6, "float64": 1e-12},
        reason="the path is found in float64 from the logits themselves; a score has the rounding of one softmax",
        bytes=align_bytes,
        flops=align_flops,
    ),
)
