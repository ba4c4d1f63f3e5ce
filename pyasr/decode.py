"""From scores to symbols."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.batches import host
from pyasr.ops._door import FLOATS, Door


def ctc_greedy(logits: Any, lengths: Any, *, blank: int = 0) -> list[list[int]]:
    """The symbols of the best path of each utterance: the best symbol per frame, repeats merged, blanks removed.

    logits [T, B, V] float32 or float64, lengths [B] int32; frames from lengths[b] on are not read. At equal scores the lower
    index wins, and a frame with a NaN counts as that symbol.

    Raises TypeError and ValueError naming the argument.

    Source: Graves et al., ICML 2006, section 3.2.

    >>> from pyasr.decode import ctc_greedy
    >>> best = np.array([0, 1, 1, 0, 1, 2, 2])
    >>> ctc_greedy(np.eye(3, dtype="f4")[best][:, None], np.array([7], "i4"))
    [[1, 1, 2]]
    """
    door, logits, lengths = Door("ctc_greedy"), host(logits), host(lengths)
    if door.instance("logits", logits, np, FLOATS).ndim != 3 or logits.shape[2] == 0:
        door.value_error(f"logits must have shape (T, B, V) with V > 0, got {logits.shape}")
    door.sequence_lengths(lengths, np, *logits.shape[:2])
    blank = door.integer("blank", blank, 0, logits.shape[2] - 1)
    best = logits.argmax(axis=2)
    texts = []
    for b, n in enumerate(lengths):
        path = best[:n, b]
        starts = np.ones(len(path), bool)
        starts[1:] = path[1:] != path[:-1]
        texts.append(path[starts & (path != blank)].tolist())
    return texts
