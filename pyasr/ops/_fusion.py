"""What a language model adds to prefixes in ctc_beam: shallow fusion, with a model that is asked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._ngram import LARGEST, NgramLm


def check_model(door: Door, lm: Any, delimiter: Any, blank: int) -> int:
    """Raise for what is no language model; the delimiter, -1 without one. door["V"] is bound."""
    if lm is not None and not all(callable(getattr(lm, name, None)) for name in ("start", "score")):
        door.type_error(f"lm must be None or have start() and score(state, token), got {type(lm).__name__}")
    if delimiter is None:
        mark = -1
    else:
        mark = door.integer("delimiter", delimiter, 0, door["V"] - 1)
        if lm is None or mark == blank:
            door.value_error(f"delimiter must be a label other than blank = {blank}, with an lm, got {mark}")
    if type(lm) is NgramLm:
        if lm.over_words != (mark >= 0):
            got = "words" if lm.over_words else "labels"
            door.value_error(f"lm must be an n-gram over words with a delimiter, else over labels, got one over {got}")
        if (lm.labels, lm.blank) != (door["V"], blank):
            door.value_error(
                f"lm must be over V = {door['V']} labels with blank = {blank}, got one over {lm.labels} with {lm.blank}"
            )
    return mark


class _Known(NamedTuple):
    """Of a prefix: the model's state, the labels of the word that it ends in, what its last label added, and what all did."""

    state: Any
    word: tuple[int, ...]
    added: float
    weight: float
    log_p: float


class Fusion:
    """The weights of one utterance's prefixes. A model is asked once for every prefix and token.

    Without a model every label is a token and adds the bonus.
    """

    def __init__(self, door: Door, lm: Any, weight: float, bonus: float, delimiter: int) -> None:
        self.door, self.lm, self.weight, self.bonus, self.delimiter = door, lm, weight, bonus, delimiter
        self._known: dict[tuple[int, ...], _Known] = {(): _Known(None if lm is None else lm.start(), (), 0.0, 0.0, 0.0)}

    def weigh(self, log_p: float) -> float:
        """What a token adds. One that the model finds impossible stays impossible, unless the model has no say."""
        return (0.0 if self.weight == 0 else self.weight * log_p) + self.bonus

    def step(self, prefix: tuple[int, ...], label: int) -> float:
        """What the label adds behind the prefix."""
        longer = (*prefix, label)
        if longer not in self._known:
            state, word, _, weight, log_p = self._known[prefix]
            added = more = 0.0
            if self.lm is None:
                added = self.bonus
            elif self.delimiter >= 0 and label != self.delimiter:
                word = (*word, label)
            elif self.delimiter < 0 or word:
                more, state = self._ask(state, word or label)
                added, word = self.weigh(more), ()
            self._known[longer] = _Known(state, word, added, weight + added, log_p + more)
        return self._known[longer].added

    def finish(self, prefix: tuple[int, ...]) -> tuple[float, float, float]:
        """(what the end adds, all that the tokens and the end have added, their log probability)"""
        state, word, _, weight, log_p = self._known[prefix]
        added = 0.0
        if word:  # as if it were ended
            added = self.step(prefix, self.delimiter)
            state, log_p = self._known[*prefix, self.delimiter].state, self._known[*prefix, self.delimiter].log_p
        if self.lm is not None and hasattr(self.lm, "end"):
            end = self._number("end", self.lm.end(state))
            added, log_p = added + (0.0 if self.weight == 0 else self.weight * end), log_p + end
        return added, weight + added, log_p

    def _ask(self, state: Any, token: Any) -> tuple[float, Any]:
        got = self.lm.score(state, token)
        if not isinstance(got, tuple) or len(got) != 2:
            self.door.type_error(f"lm.score must return (log probability, state), got {type(got).__name__}")
        return self._number("score", got[0]), got[1]

    def _number(self, method: str, x: Any) -> float:
        if isinstance(x, (bool, np.bool_)) or not isinstance(x, (float, int, np.floating, np.integer)):
            self.door.type_error(f"lm.{method} must give a log probability, got {type(x).__name__}")
        try:
            v = float(x)
        except OverflowError:
            v = np.inf if x > 0 else -np.inf
        if not v <= LARGEST:
            self.door.value_error(f"lm.{method} must give a log probability of at most {LARGEST:.0f}, got {v!r}")
        return v
