"""Transcripts as symbols."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np


def normalize(text: str) -> str:
    """NFC, white space as single spaces, nothing around."""
    return " ".join(unicodedata.normalize("NFC", text).split())


_JOINERS = {0x200C: None, 0x200D: None}  # part of words in Persian and the scripts of India, invisible by themselves


def is_printable(text: str) -> bool:
    """Whether the text can stand in a checkpoint and be shown: no control characters, nothing that turns the line around, but the
    joiners U+200C and U+200D, with which words are spelled.

    >>> from pyasr.text import is_printable
    >>> is_printable("می\u200cروم"), is_printable("a\x07b"), is_printable("\u202eabc")
    (True, False, False)
    """
    return text.translate(_JOINERS).isprintable()


class Alphabet:
    """The characters of a model, any script; index 0 is the blank of CTC, character k has index k + 1.

    >>> from pyasr.text import Alphabet
    >>> alphabet = Alphabet.of(["go  on", "no"])
    >>> alphabet.characters, alphabet.encode("no go").tolist(), alphabet.decode([3, 4, 1, 2, 4])
    (' gno', [3, 4, 1, 2, 4], 'no go')
    """

    def __init__(self, characters: str) -> None:
        """Raises ValueError when a character comes twice or there are none."""
        if not characters or len(set(characters)) < len(characters):
            raise ValueError(f"Alphabet: characters must be different and at least one, got {characters!r:.200}")
        self.characters = characters
        self._index = {c: k + 1 for k, c in enumerate(characters)}

    @classmethod
    def of(cls, texts: Iterable[str]) -> Alphabet:
        """The characters of the normalized transcripts, in code point order."""
        return cls("".join(sorted(set("".join(map(normalize, texts))))))

    def __len__(self) -> int:
        """Symbols, the blank counted."""
        return len(self.characters) + 1

    def encode(self, text: str) -> np.ndarray:
        """Indices [U] int32 of the normalized text. Raises ValueError naming the characters that the alphabet lacks."""
        text = normalize(text)
        unknown = sorted(set(text) - self._index.keys())
        if unknown:
            raise ValueError(
                f"text must be of the alphabet {self.characters!r}, got {''.join(unknown)!r} too: {text!r:.80}"
            )
        return np.array([self._index[c] for c in text], np.int32)

    def decode(self, indices: Sequence[int]) -> str:
        """The text of indices without blanks, normalized."""
        return normalize("".join(self.characters[i - 1] for i in indices))


def pad_labels(labels: Sequence[np.ndarray]) -> np.ndarray:
    """Labels [U_b] int32 of B utterances -> [B, U], −1 behind the end.

    >>> from pyasr.text import pad_labels
    >>> pad_labels([np.array([3, 1], "i4"), np.array([2], "i4")])
    array([[ 3,  1],
           [ 2, -1]], dtype=int32)
    """
    out = np.full((len(labels), max(map(len, labels), default=0)), -1, np.int32)
    for row, one in zip(out, labels, strict=True):
        row[: len(one)] = one
    return out
