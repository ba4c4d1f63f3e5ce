"""The best path through the frames, free or through known labels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyasr.ops import backend, host
from pyasr.ops._door import FLOATS, Door


def ctc_greedy(logits: Any, lengths: Any, *, blank: int = 0, threads: int | None = None) -> list[list[int]]:
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
    logits, lengths = np.ascontiguousarray(logits), np.ascontiguousarray(lengths)
    labels, counts = backend().ctc_greedy(logits, lengths, blank=blank, threads=threads)
    return [row[:n].tolist() for row, n in zip(labels, counts, strict=True)]


class Span(NamedTuple):
    """A label where it was found: frames start … end − 1, and the mean of their log probabilities."""

    label: int
    start: int
    end: int
    score: float


def ctc_align(
    logits: Any, lengths: Any, labels: Any, label_lengths: Any, *, blank: int = 0, threads: int | None = None
) -> list[list[Span] | None]:
    """Where the labels of each utterance lie: forced alignment, the most probable path through the lattice of `pyasr.ctc_loss`.

    logits [T, B, V] float32 or float64 (the softmax is taken here), lengths [B], labels [B, U] and label_lengths [B] int32, of
    labels only the first label_lengths[b] of row b. The result has a list of spans per utterance, one per label in their order;
    frames between spans are blanks. An utterance too short for its labels, or whose labels have probability 0, has None.

    Of equally probable paths it is the one that stays longest in a state, seen from the end.

    Raises TypeError and ValueError naming the argument, and ValueError for a softmax that is NaN.

    Source: Graves et al., ICML 2006; Kürzinger et al., "CTC-segmentation of large corpora" (2020) for its use.

    >>> from pyasr.decode import ctc_align
    >>> said = np.array([0, 3, 3, 0, 0, 1, 1, 1, 0])
    >>> logits = 5 * np.eye(4, dtype="f4")[said][:, None]
    >>> spans = ctc_align(logits, np.array([9], "i4"), np.array([[3, 1]], "i4"), np.array([2], "i4"))[0]
    >>> [(s.label, s.start, s.end) for s in spans]
    [(3, 1, 3), (1, 5, 8)]
    """
    positions, scores, log_p = backend().ctc_align(logits, lengths, labels, label_lengths, blank=blank, threads=threads)
    bad = np.flatnonzero(np.isnan(log_p))
    if bad.size:
        Door("ctc_align").value_error(f"logits must have a softmax in every frame, got NaN in utterance {bad[0]}")
    found: list[list[Span] | None] = []
    for b, count in enumerate(label_lengths):
        if log_p[b] == -np.inf:
            found.append(None)
            continue
        spans, mine = [], positions[: lengths[b], b]
        for u in range(count):
            at = np.flatnonzero(mine == u)
            start, end = int(at[0]), int(at[-1]) + 1
            spans.append(Span(int(labels[b, u]), start, end, float(scores[start:end, b].mean(dtype=np.float64))))
        found.append(spans)
    return found
