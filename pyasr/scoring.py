"""Error rates, and how sure a measured rate is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from pyasr._optional import need
from pyasr.counter import stream
from pyasr.ops._door import Door

Sentences = str | Sequence[str]
# unit -> what a sentence is compared by
_UNITS: dict[str, Callable[[str], Sequence[str]]] = {"word": str.split, "character": str.strip}


class WordErrors(NamedTuple):
    """The fewest edits that turn a reference into a hypothesis."""

    errors: int
    rate: float  # errors per reference word
    substitutions: int
    insertions: int
    deletions: int


class CharacterErrors(NamedTuple):
    """The fewest edits that turn a reference into a hypothesis."""

    errors: int
    rate: float  # errors per reference character
    substitutions: int
    insertions: int
    deletions: int


def _counts(door: Door, unit: str, references: tuple[str, Sentences], hypotheses: tuple[str, Sentences]) -> np.ndarray:
    """[N, 4] substitutions, insertions, deletions and units of the reference, per sentence; both sides come with their names."""
    pair = []
    for name, text in (references, hypotheses):
        sentences = [text] if isinstance(text, str) else text
        if not isinstance(sentences, Sequence) or not all(isinstance(s, str) for s in sentences):
            door.type_error(f"{name} must be a string or a sequence of strings, got {type(text).__name__}")
        pair.append([_UNITS[unit](s) for s in sentences])
    if len(pair[0]) != len(pair[1]):
        name, like = hypotheses[0], references[0]
        door.value_error(f"{name} must have {len(pair[0])} sentences like {like}, got {len(pair[1])}")
    levenshtein = need("rapidfuzz.distance").Levenshtein
    rows = []
    for wanted, got in zip(*pair, strict=True):
        tags = [edit.tag for edit in levenshtein.editops(wanted, got)]
        rows.append([*(tags.count(tag) for tag in ("replace", "insert", "delete")), len(wanted)])
    return np.array(rows, np.int64).reshape(-1, 4)


def _total(counts: np.ndarray) -> tuple[int, float, int, int, int]:
    substitutions, insertions, deletions, units = counts.sum(axis=0).tolist()
    errors = substitutions + insertions + deletions
    return errors, errors / max(units, 1), substitutions, insertions, deletions


def wer(reference: Sentences, hypothesis: Sentences) -> WordErrors:
    """Word error rate: words are what white space separates; case and punctuation count.

    reference and hypothesis are two sentences, or two sequences of as many sentences, whose errors and words are then summed. An
    empty reference counts as one word, so two inserted words give a rate of 2.

    Raises TypeError when either is neither a string nor a sequence of strings, ValueError when the sequences differ in length,
    ImportError naming the extra [train] without rapidfuzz, which aligns the words.

    Follows jiwer 4.

    >>> pyasr.wer("call me at two", "me at two or ten")
    WordErrors(errors=3, rate=0.75, substitutions=0, insertions=2, deletions=1)
    """
    return WordErrors(*_total(_counts(Door("wer"), "word", ("reference", reference), ("hypothesis", hypothesis))))


def cer(reference: Sentences, hypothesis: Sentences) -> CharacterErrors:
    """Character error rate: code points of the sentences as they are, white space inside counted, white space around not.

    Nothing is normalized: two spaces are two characters, and é as one code point is not e with an accent behind it (pyasr.text
    has normalize). Arguments, errors raised and the rule for empty references are those of wer.

    Follows jiwer 4.

    >>> from pyasr.scoring import cer
    >>> cer("at two", " a two ")
    CharacterErrors(errors=1, rate=0.16666666666666666, substitutions=0, insertions=0, deletions=1)
    """
    counts = _counts(Door("cer"), "character", ("reference", reference), ("hypothesis", hypothesis))
    return CharacterErrors(*_total(counts))


def error_interval(
    references: Sentences, hypotheses: Sentences, *, unit: str = "word", confidence: float = 0.95,
    resamples: int = 10_000, seed: int = 0,
) -> tuple[float, float]:  # fmt: skip
    """(low, high) of the rate that wer or cer (unit "character") gives: percentiles of Σ errors / Σ units over `resamples` draws
    of as many utterances with replacement.

    Utterances are taken to be independent; those of one speaker are not, so with few speakers the interval is too narrow. A draw
    without a single unit counts as one unit, as in wer.

    Raises what wer raises, ValueError when there are no utterances, TypeError and ValueError naming any other bad argument.

    Source: Bisani and Ney, "Bootstrap estimates for confidence intervals in ASR performance evaluation", ICASSP 2004.

    >>> from pyasr.scoring import error_interval
    >>> low, high = error_interval(["one two three four"] * 90 + ["five six"] * 10, ["one two three four"] * 90 + ["five"] * 10)
    >>> round(low, 3), round(high, 3)
    (0.013, 0.043)
    """
    door = Door("error_interval")
    unit = door.choice("unit", unit, tuple(_UNITS))
    confidence, resamples = _options(door, confidence, resamples)
    counts = _counts(door, unit, ("references", references), ("hypotheses", hypotheses))
    if not len(counts):
        door.value_error("references must hold at least one sentence, got none")
    return _percentiles(counts[:, :3].sum(axis=1), counts[:, 3], confidence, resamples, seed)


def _options(door: Door, confidence: float, resamples: int) -> tuple[float, int]:
    return door.real("confidence", confidence, 0.0, 1.0), door.integer("resamples", resamples, 1, 10**7)


def _percentiles(
    parts: np.ndarray, wholes: np.ndarray, confidence: float, resamples: int, seed: int
) -> tuple[float, float]:
    """Percentiles of Σ parts / max(Σ wholes, 1) over resamples of the pairs [N]."""
    rng, size = stream("bootstrap", seed), len(parts)
    ratios = np.empty(resamples)
    block = max(2**20 // size, 1)  # resamples at a time: 8 MB of indices, and the same draws as all at once
    for begin in range(0, resamples, block):
        drawn = rng.integers(0, size, (min(block, resamples - begin), size))
        ratios[begin : begin + block] = parts[drawn].sum(axis=1) / np.maximum(wholes[drawn].sum(axis=1), 1)
    tail = 50 * (1 - confidence)
    low, high = np.percentile(ratios, (tail, 100 - tail))
    return float(low), float(high)


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
    confidence, resamples = _options(door, confidence, resamples)
    if not isinstance(scores, np.ndarray) or scores.dtype.kind not in "bif":
        door.type_error(
            f"scores must be a NumPy array of numbers, got {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    if scores.ndim != 1 or scores.size == 0:
        door.value_error(f"scores must be a non-empty vector, got shape {scores.shape}")
    scores = scores.astype(np.float64)
    if not np.isfinite(scores).all():
        door.value_error("scores must be finite, got a NaN or infinity")
    return _percentiles(scores, np.ones(scores.size), confidence, resamples, seed)
