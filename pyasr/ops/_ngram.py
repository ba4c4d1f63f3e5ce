"""Back-off n-grams as tables: what ctc_beam takes without calling Python.

A state is a context of tokens, 0 the empty one. It has arcs for the tokens that were seen behind it; any other token is looked up
in its suffix, the longest shorter context, at the price of its back-off weight (Katz, 1987). Natural logarithms.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

LONGEST_CONTEXT = 31  # tokens: n-grams up to order 32
LARGEST = 1e9  # that any model may give: sums stay finite


DTYPES = {
    "backoff": np.float64, "suffix": np.int32, "end": np.float64,
    "arc_begin": np.int64, "arc_token": np.int32, "arc_log_p": np.float64, "arc_next": np.int32,
    "spell_begin": np.int64, "spell_label": np.int32, "spell_next": np.int32, "spell_token": np.int32,
}  # fmt: skip


class _Frozen:
    """Its arrays are copies that nobody can make writable: kernels trust what was checked once."""

    def __post_init__(self) -> None:
        for name in DTYPES.keys() & vars(self).keys():
            copy = np.ascontiguousarray(getattr(self, name), DTYPES[name]).tobytes()
            object.__setattr__(self, name, np.frombuffer(copy, DTYPES[name]))


def _require(what: str, holds: Any) -> None:
    if not holds:
        raise ValueError(f"NgramLm: {what}")


def _within(x: np.ndarray, low: int, end: Any) -> bool:
    return bool(((x >= low) & (x < end)).all())


def _require_lists(name: str, begin: np.ndarray, sorted_items: np.ndarray, count: int) -> None:
    """`begin` cuts the items into `count` lists, each of which is sorted without repeats."""
    fits = len(begin) == count + 1 and begin[0] == 0 and begin[-1] == len(sorted_items) and (np.diff(begin) >= 0).all()
    _require(f"{name}_begin must cut the arrays into {count} lists", fits)
    begins_one = np.isin(np.arange(1, len(sorted_items)), begin)
    _require(f"{name}_begin must cut sorted lists", ((np.diff(sorted_items) > 0) | begins_one).all())


@dataclass(frozen=True, eq=False)
class Tables(_Frozen):
    """The states' back-off weights [S], suffixes [S] (-1 at 0) and log p(end | state) [S]; the arcs of state s are arc_begin[s] …
    arc_begin[s + 1] − 1 of tokens [A], sorted within a state, log probabilities [A] and next states [A]."""

    backoff: np.ndarray
    suffix: np.ndarray
    end: np.ndarray
    arc_begin: np.ndarray
    arc_token: np.ndarray
    arc_log_p: np.ndarray
    arc_next: np.ndarray
    start: int

    def __post_init__(self) -> None:
        super().__post_init__()
        states, arcs = len(self.backoff), len(self.arc_token)
        _require("suffix and end must be as long as backoff", 0 < states == len(self.suffix) == len(self.end))
        _require(
            "arc_log_p and arc_next must be as long as arc_token", arcs == len(self.arc_log_p) == len(self.arc_next)
        )
        _require_lists("arc", self.arc_begin, self.arc_token, states)
        _require(
            "suffix must be a state before",
            (self.suffix == -1)[0] and _within(self.suffix[1:], 0, np.arange(1, states)),
        )
        _require("arc_next and start must be states", _within(np.append(self.arc_next, self.start), 0, states))
        finite = np.isfinite(self.backoff).all() and not np.isnan(self.arc_log_p).any() and not np.isnan(self.end).any()
        _require("backoff must be finite and no logarithm NaN", finite)
        # with 31 back-offs and unknown_log_p a score is at most LARGEST
        small = (self.backoff <= LARGEST / 64).all() and (self.arc_log_p <= LARGEST / 2).all()
        _require(
            f"backoff must be at most {LARGEST / 64:.0f} and no probability above e^{LARGEST / 2:.0f}",
            small and (self.end <= LARGEST).all(),
        )
        longer = self.suffix
        for _ in range(LONGEST_CONTEXT):
            longer = np.where(longer > 0, self.suffix[longer], -1)
        _require(f"contexts must have at most {LONGEST_CONTEXT} tokens", (longer <= 0).all())

    def __reduce__(self) -> tuple:  # through the checks
        return Tables, tuple(vars(self).values())

    def arc(self, state: int, token: int) -> int:
        """The arc of a token, or -1."""
        low, high = int(self.arc_begin[state]), int(self.arc_begin[state + 1])
        at = low + int(self.arc_token[low:high].searchsorted(token))
        return at if at < high and self.arc_token[at] == token else -1

    def score(self, state: int, token: int) -> tuple[float, int]:
        """(log p(token | state), the next state); -inf for a token that no context has."""
        passed = []
        while (arc := self.arc(state, token)) < 0:
            passed.append(state)
            if state == 0:
                return -np.inf, 0
            state = int(self.suffix[state])
        log_p = float(self.arc_log_p[arc])
        for one in reversed(passed):
            log_p += float(self.backoff[one])
        return log_p, int(self.arc_next[arc])


@dataclass(frozen=True, eq=False)
class NgramLm(_Frozen):
    """An n-gram for `pyasr.decode.ctc_beam`, made by `Ngram.over` (its tokens are labels) or `Ngram.over_words` (labels spell
    its tokens). It may also be asked as any other model is: start, score and end.

    `labels` counts the symbols, the blank included. Of a model over words spell_* is the tree of their spellings, node 0 the
    empty word, whose children are stored as the arcs of Tables are; spell_token is the word that ends at a node, or -1.
    """

    tables: Tables
    labels: int
    blank: int
    spell_begin: Any = ()
    spell_label: Any = ()
    spell_next: Any = ()
    spell_token: Any = ()
    unknown: int = -1  # the token of words that are not spelled, or -1: they have unknown_log_p alone, and no context
    unknown_log_p: float = 0.0
    cache: dict[str, Any] = field(default_factory=dict, init=False, repr=False)  # as that of a plan

    def __post_init__(self) -> None:
        super().__post_init__()
        words, first = len(self.spell_token), self.tables.arc_token[: self.tables.arc_begin[1]]
        _require("blank must be one of the labels", 0 <= self.blank < self.labels)
        if not self.over_words:
            tokens = np.setdiff1d(np.arange(self.labels), [self.blank])
            _require("the empty context must have an arc for every label but the blank", np.array_equal(first, tokens))
            _require("tokens must be labels", _within(self.tables.arc_token, 0, self.labels))
            return
        _require("spell_next must be as long as spell_label", len(self.spell_next) == len(self.spell_label))
        _require_lists("spell", self.spell_begin, self.spell_label, words)
        _require("spell_label must be labels", _within(self.spell_label, 0, self.labels))
        _require("spell_next must be nodes", _within(self.spell_next, 0, words))
        tokens = np.append(self.spell_token, self.unknown)
        _require("spelled words must be tokens of the empty context", np.isin(tokens[tokens != -1], first).all())
        _require(
            "unknown_log_p must be finite, and small",
            np.isfinite(self.unknown_log_p) and self.unknown_log_p <= LARGEST / 64,
        )

    @property
    def over_words(self) -> bool:
        return len(self.spell_begin) > 0

    def __reduce__(self) -> tuple:
        spelling = (self.spell_begin, self.spell_label, self.spell_next, self.spell_token)
        return NgramLm, (self.tables, self.labels, self.blank, *spelling, self.unknown, self.unknown_log_p)

    def start(self) -> int:
        """The state of an utterance that begins."""
        return self.tables.start

    def word(self, labels: tuple[int, ...]) -> int:
        """The token that the labels spell, or -1."""
        node = 0
        for label in labels:
            low, high = int(self.spell_begin[node]), int(self.spell_begin[node + 1])
            at = low + int(self.spell_label[low:high].searchsorted(label))
            if at == high or self.spell_label[at] != label:
                return -1
            node = int(self.spell_next[at])
        return int(self.spell_token[node])

    def score(self, state: int, token: Any) -> tuple[float, int]:
        """(log p(token | state), the next state) of a label, or of a word as the tuple of its labels."""
        if not self.over_words:
            return self.tables.score(state, token)
        word = self.word(token)
        if word >= 0:
            return self.tables.score(state, word)
        if self.unknown < 0:
            return self.unknown_log_p, 0
        log_p, state = self.tables.score(state, self.unknown)
        return log_p + self.unknown_log_p, state

    def end(self, state: int) -> float:
        """log p(the utterance ends | state)"""
        return float(self.tables.end[state])
