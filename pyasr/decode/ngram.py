"""n-gram language models for the beam search."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Self

import numpy as np

from pyasr.decode._arpa import BEGIN, END, read
from pyasr.ops._ngram import NgramLm, Tables
from pyasr.text import Alphabet

UNKNOWN = ("<unk>", "<UNK>")
SPACE = "<space>"


class Ngram:
    r"""A back-off n-gram over words, any order, from an ARPA file. Natural logarithms.

    `order`, and `words` with <s>, </s> and <unk> among them. It has the methods that `ctc_beam` asks of a language model, over
    words as strings; `over` and `over_words` make models over labels, which the search reads without calling Python.

    Source: Katz, "Estimation of probabilities from sparse data" (1987); the ARPA format of SRILM and KenLM.

    >>> from pathlib import Path
    >>> from pyasr.decode import Ngram
    >>> lines = ["\\data\\", "ngram 1=4", "ngram 2=1", "\\1-grams:", "-99 <s> 0", "-0.5 </s>", "-0.3 a -0.2", "-0.9 b",
    ...          "\\2-grams:", "-0.1 a b", "\\end\\"]
    >>> _ = Path("model.arpa").write_text("\n".join(lines))
    >>> lm = Ngram.load("model.arpa")
    >>> lm.order, lm.words, round(lm.score_sentence("a b"), 4)
    (2, ('<s>', '</s>', 'a', 'b'), -2.0723)
    """

    def __init__(self, order: int, words: Sequence[str], tables: Tables) -> None:
        self.order, self.words, self.tables = order, tuple(words), tables
        self._token = {word: k for k, word in enumerate(self.words)}
        self._unknown = next((self._token[w] for w in UNKNOWN if w in self._token), -1)

    def __repr__(self) -> str:
        return f"<{self.order}-gram over {len(self.words)} words, {len(self.tables.arc_token)} n-grams>"

    @property
    def over_characters(self) -> bool:
        """Whether its words are single characters and <space>."""
        return all(len(w) == 1 or w in (BEGIN, END, SPACE, *UNKNOWN) for w in self.words)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read an ARPA file in UTF-8, or one that is packed where its name ends in .gz.

        Raises OSError where it can not be opened, and ValueError with the line for anything that is not a sound model: counts
        that are not those of the n-grams, numbers that are none, probabilities above 1, contexts that are no n-grams, an n-gram
        twice, another encoding, a missing end.
        """
        return cls(*read(path))

    def start(self) -> int:
        """The state behind <s>; that of no context in a model without it."""
        return self.tables.start

    def score(self, state: int, token: str) -> tuple[float, int]:
        """(log p(word | state), the next state). A word that the model lacks is <unk>, or impossible in a model without it.

        Raises TypeError for a token that is no str: for models over labels see `over` and `over_words`.
        """
        if not isinstance(token, str):
            raise TypeError(
                f"score: token must be a str, got {type(token).__name__}; over() and over_words() make models over labels"
            )
        return self.tables.score(state, self._token.get(token, self._unknown))

    def end(self, state: int) -> float:
        """log p(</s> | state); 0 in a model without </s>."""
        return float(self.tables.end[state])

    def score_sentence(self, words: str | Sequence[str]) -> float:
        """log p of words (or a text that white space divides into them), with the end.

        Raises TypeError for anything else.
        """
        if isinstance(words, str):
            words = words.split()
        if not isinstance(words, Sequence) or not all(isinstance(w, str) for w in words):
            raise TypeError(f"score_sentence: words must be a str or a sequence of them, got {type(words).__name__}")
        total, state = 0.0, self.start()
        for word in words:
            log_p, state = self.score(state, word)
            total += log_p
        return total + self.end(state)

    def over(self, symbols: Alphabet | Sequence[str | None], *, space: str = SPACE) -> NgramLm:
        """The model over labels: symbol k, one of the model's words, is label k; None is the blank. An Alphabet stands for its
        characters, whose blank is " " in no ARPA file: `space` is the word for it there. A symbol that the model lacks is <unk>.

        Raises ValueError naming the symbols that the model lacks where it lacks <unk> too.
        """
        names, blank = _symbols("over", symbols)
        names = [space if n == " " else n for n in names]
        lacking = [n for k, n in enumerate(names) if k != blank and n not in self._token]
        if lacking and self._unknown < 0:
            raise ValueError(f"over: symbols must be words of the model, which has no <unk>, got {lacking!r:.200}")
        t = self.tables
        state_of = np.repeat(np.arange(len(t.backoff)), np.diff(t.arc_begin))
        by_token = np.argsort(t.arc_token, kind="stable")
        tokens = np.array([self._token.get(n, self._unknown) for k, n in enumerate(names) if k != blank], np.int64)
        labels = np.array([k for k in range(len(names)) if k != blank], np.int64)
        low, high = (np.searchsorted(t.arc_token[by_token], tokens, side) for side in ("left", "right"))
        arcs = np.concatenate([by_token[a:b] for a, b in zip(low, high, strict=True)] or [np.zeros(0, np.int64)])
        label = np.repeat(labels, high - low)
        order = np.lexsort((label, state_of[arcs]))
        arcs, label = arcs[order], label[order]
        begin = np.searchsorted(state_of[arcs], np.arange(len(t.backoff) + 1))
        tables = Tables(t.backoff, t.suffix, t.end, begin, label, t.arc_log_p[arcs], t.arc_next[arcs], t.start)
        return NgramLm(tables, len(names), blank)

    def over_words(self, symbols: Alphabet | Sequence[str | None], *, oov_penalty: float = 0.0) -> NgramLm:
        """The model over words that labels spell, to be given with `delimiter=`, the label that ends a word: symbol k, a
        character, is label k; None is the blank. Whatever the labels spell that is no word of the model is <unk>, and
        `oov_penalty` (at most 0) is added to its log probability; in a model without <unk> it is all of it.

        Raises ValueError where the symbols spell no word of the model, and for a model without <unk> and a penalty of 0.
        """
        names, blank = _symbols("over_words", symbols)
        if isinstance(oov_penalty, bool) or not isinstance(oov_penalty, (float, int, np.floating, np.integer)):
            raise TypeError(f"over_words: oov_penalty must be a real number, got {type(oov_penalty).__name__}")
        if not -1e9 <= oov_penalty <= 0:
            raise ValueError(f"over_words: oov_penalty must lie in [-1e9, 0], got {oov_penalty!r}")
        if self._unknown < 0 and oov_penalty == 0:
            raise ValueError("over_words: oov_penalty must be below 0 for a model without <unk>, got 0")
        label_of = {n: k for k, n in enumerate(names) if k != blank}
        children: list[dict[int, int]] = [{}]
        tokens = [-1]
        for token, word in enumerate(self.words):
            if word in (BEGIN, END, *UNKNOWN) or not all(c in label_of for c in word):
                continue
            node = 0
            for character in word:
                if (label := label_of[character]) not in children[node]:
                    children[node][label] = len(children)
                    children.append({})
                    tokens.append(-1)
                node = children[node][label]
            tokens[node] = token
        if len(children) == 1:
            raise ValueError(
                f"over_words: symbols must spell words of the model, got {names!r:.200} for {self.words!r:.200}"
            )
        lists = [sorted(c.items()) for c in children]
        flat = np.array([pair for one in lists for pair in one], np.int32).reshape(-1, 2)
        begin = np.cumsum([0, *map(len, lists)])
        return NgramLm(
            self.tables, len(names), blank, begin, flat[:, 0], flat[:, 1], tokens, self._unknown, float(oov_penalty)
        )


def _symbols(function: str, symbols: Alphabet | Sequence[str | None]) -> tuple[list[str], int]:
    """Symbols as strings, and which of them is the blank."""
    names = [None, *symbols.characters] if isinstance(symbols, Alphabet) else list(symbols)
    if (
        names.count(None) != 1
        or not all(n is None or isinstance(n, str) for n in names)
        or len(set(names)) < len(names)
    ):
        raise ValueError(f"{function}: symbols must be different strings and one None, the blank, got {names!r:.200}")
    return [n or "" for n in names], names.index(None)
