"""Error rates, and how sure a measured rate is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyasr._optional import need
from pyasr.counter import stream
from pyasr.ops._door import Door


class WordErrors(NamedTuple):
    """The fewest edits that turn a reference into a hypothesis."""

    errors: int
    rate: float  # errors per reference word
    substitutions: int
    insertions: int
    deletions: int


def wer(reference: str | Sequence[str], hypothesis: str | Sequence[str]) -> WordErrors:
    """Word error rate: words are what white space separates; case and punctuation count.

    reference and hypothesis are two sentences, or two sequences of as many sentences, whose errors and words are then summed. An
    empty reference counts as one word, so two inserted words give a rate of 2.

    Raises TypeError when either is neither a string nor a sequence of strings, ValueError when the sequences differ in length,
    ImportError naming the extra [train] without rapidfuzz, which aligns the words.

    Follows jiwer 4.

    >>> pyasr.wer("call me at two", "me at two or ten")
    WordErrors(errors=3, rate=0.75, substitutions=0, insertions=2, deletions=1)
    """
    pair = []
    for name, text in (("reference", reference), ("hypothesis", hypothesis)):
        sentences = [text] if isinstance(text, str) else text
        if not isinstance(sentences, Sequence) or not all(isinstance(s, str) for s in sentences):
            raise TypeError(f"wer: {name} must be a string or a sequence of strings, got {type(text).__name__}")
        pair.append([s.split() for s in sentences])
    if len(pair[0]) != len(pair[1]):
        raise ValueError(f"wer: hypothesis must have {len(pair[0])} sentences like reference, got {len(pair[1])}")
    levenshtein = need("rapidfuzz.distance").Levenshtein
    counts = dict.fromkeys(("replace", "insert", "delete"), 0)
    for wanted, got in zip(*pair, strict=True):
        for edit in levenshtein.editops(wanted, got):
            counts[edit.tag] += 1
    errors = sum(counts.values())
    words = sum(map(len, pair[0]))
    return WordErrors(errors, errors / max(words, 1), counts["replace"], counts["insert"], counts["delete"])


def bootstrap_interval(
    scores: np.ndarray, *, confidence: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> tuple[float, float]:
    """(low, high) of the mean of scores [N]: percentiles of the means of `resamples` draws with replacement.

    With N right answers out of N the interval has no width; that says that N is small, not that the rate is certain.

    Raises ValueError when scores is empty or not finite, TypeError and ValueError naming any other bad argument.

    Source: Efron, 1979; for word error rates Bisani and Ney, ICASSP 2004.

    >>> from pyasr.scoring import bootstrap_interval
    >>> low, high = bootstrap_interval(np.array([1.0] * 95 + [0.0] * 5))
    >>> round(low, 2), round(high, 2)
    (0.9, 0.99)
    """
    door = Door("bootstrap_interval")
    confidence = door.real("confidence", confidence, 0.0, 1.0)
    resamples = door.integer("resamples", resamples, 1, 10**7)
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "bif":
        door.type_error(
            f"scores must be a NumPy array of numbers, got {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    if scores.ndim != 1 or scores.size == 0:
        door.value_error(f"scores must be a non-empty vector, got shape {scores.shape}")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        door.value_error("scores must be finite, got a NaN or infinity")
    drawn = stream("bootstrap", seed).integers(0, scores.size, (resamples, scores.size))
    tail = 50 * (1 - confidence)
    low, high = np.percentile(scores[drawn].mean(axis=1), (tail, 100 - tail))
    return float(low), float(high)
