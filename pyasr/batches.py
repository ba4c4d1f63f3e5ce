"""Utterances of different lengths side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pyasr.counter import stream


def pad(features: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Features [T_b, F] of B utterances -> (x [T, B, F] time-major with zeros as padding, lengths int32 [B]).

    Raises ValueError when there are none or their F differ, TypeError when they are not arrays of one dtype.

    >>> from pyasr.batches import pad
    >>> x, lengths = pad([np.ones((2, 3), "f4"), np.ones((1, 3), "f4")])
    >>> x.shape, lengths, x[1, 1]
    ((2, 2, 3), array([2, 1], dtype=int32), array([0., 0., 0.], dtype=float32))
    """
    for f in features:
        if not isinstance(f, np.ndarray) or f.dtype != features[0].dtype:
            got = f.dtype.name if isinstance(f, np.ndarray) else type(f).__name__
            raise TypeError(f"pad: features must be NumPy arrays of one dtype, got {got}")
    widths = {f.shape[1:] for f in features}
    if len(widths) != 1 or len(next(iter(widths))) != 1:
        raise ValueError(f"pad: features must be arrays [T, F] with one F, got widths {sorted(widths)}")
    lengths = np.array([len(f) for f in features], np.int32)
    x = np.zeros((int(lengths.max()), len(features), features[0].shape[1]), features[0].dtype)
    for b, f in enumerate(features):
        x[: len(f), b] = f
    return x, lengths


def bucketed(lengths: Sequence[int], batch_size: int, seed: int, epoch: int, *, pool: int = 16) -> list[np.ndarray]:
    """Every index once, in batches of similar length: little padding, yet other neighbors in every epoch.

    A shuffle keyed by (seed, epoch) is cut into pools of `pool` batches; each is sorted by length and cut into batches, and the
    batches are shuffled.

    >>> from pyasr.batches import bucketed
    >>> sorted(np.concatenate(bucketed([5, 9, 7, 6, 8], 2, seed=0, epoch=3)).tolist())
    [0, 1, 2, 3, 4]
    """
    if batch_size < 1:
        raise ValueError(f"bucketed: batch_size must be at least 1, got {batch_size}")
    rng = stream("batches", seed, epoch)
    order, size = rng.permutation(len(lengths)), batch_size * pool
    batches = []
    for begin in range(0, len(order), size):
        part = order[begin : begin + size]
        part = part[np.argsort(np.asarray(lengths)[part], kind="stable")]
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    return [batches[i] for i in rng.permutation(len(batches))]
