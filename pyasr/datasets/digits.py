"""Synthetic spoken digits: a small seeded formant synthesizer, so that training needs neither a network nor files.

Nobody said these words. Scores on this corpus are scores on synthetic speech and must be labelled so; they say that a program
learns and nothing about how it does on people.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from pyasr.counter import stream
from pyasr.datasets._synthesizer import HOP, Voice, draw_voice, pitch_of, pulses_of, score, speak, tracks_of
from pyasr.datasets.fsdd import WORDS

LOWEST_RATE, HIGHEST_RATE = 8000, 48000
MOST_DIGITS = 100


@dataclass(frozen=True)
class Synthetic:
    """One synthetic utterance."""

    wave: np.ndarray  # [N] float32 in [-1, 1]
    text: str
    phones: tuple[tuple[str, float, float], ...]  # (symbol, begin, end) in seconds, without gaps
    voice: Voice
    sample_rate: int


def synthesize(digits: Sequence[int], key: tuple[int | str, ...], *, sample_rate: int = 8000) -> Synthetic:
    """Synthetic speech: the digits, said by a random voice that is a function of `key` (see pyasr.counter.stream).

    The result depends on the arguments alone. `phones` begin at 0, end with the wave, and have "sil" for pauses.

    Raises TypeError for digits or a rate that are not integers, or a key that is not a tuple of integers and strings; ValueError
    for digits outside 0-9, none or more than 100 of them, or a rate outside 8000-48000 Hz.

    >>> from pyasr.datasets.digits import synthesize
    >>> spoken = synthesize([7, 2], (0, "example"))
    >>> spoken.text, spoken.wave.dtype, [symbol for symbol, _, _ in spoken.phones][:3]
    ('seven two', dtype('float32'), ['sil', 's', 'eh'])
    """
    chosen = _checked(digits, sample_rate)
    if not isinstance(key, tuple) or not key:
        raise TypeError(f"synthesize: key must be a tuple of integers and strings, got {type(key).__name__}")
    person, manner = stream(*key, "digits voice"), stream(*key, "digits speech")
    voice = draw_voice(person)
    symbols, segments, starts, ends = score(chosen, voice, person, manner)
    edges = np.concatenate([[0.0], np.cumsum([s.ms for s in segments])]) / 1000  # [S+1] seconds
    frames = int(np.ceil(edges[-1] / HOP))
    hop = round(HOP * sample_rate)
    edges[-1] = frames * hop / sample_rate
    tracks = tracks_of(segments, edges, frames, voice, person, manner)
    pulses = pulses_of(pitch_of(frames, starts, ends, edges, voice, manner), hop, sample_rate, voice, manner)
    wave = speak(tracks, pulses, hop, sample_rate, voice, person, manner)
    phones, begin = [], 0
    for symbol, count in symbols:
        phones.append((symbol, float(edges[begin]), float(edges[begin + count])))
        begin += count
    return Synthetic(wave, " ".join(WORDS[d] for d in chosen), tuple(phones), voice, sample_rate)


class Part(Sequence[Synthetic]):
    """Synthetic utterances that are made when asked for; utterance i is a function of (seed, name, i) and the options."""

    def __init__(self, seed: int, name: str, size: int, sample_rate: int, longest: int) -> None:
        self.seed, self.name, self.size = seed, name, size
        self.sample_rate, self.longest = sample_rate, longest

    def __len__(self) -> int:
        return self.size

    def digits(self, index: int) -> list[int]:
        """What utterance `index` says, without saying it."""
        rng = stream("digits", self.seed, self.name, index, "text")
        return [int(d) for d in rng.integers(0, 10, int(rng.integers(1, self.longest + 1)))]

    @overload
    def __getitem__(self, index: int) -> Synthetic: ...
    @overload
    def __getitem__(self, index: slice) -> list[Synthetic]: ...
    def __getitem__(self, index: int | slice) -> Synthetic | list[Synthetic]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(self.size))]
        i = index + self.size if index < 0 else index
        if not 0 <= i < self.size:
            raise IndexError(f"{self.name} has {self.size} utterances, got index {index}")
        return synthesize(self.digits(i), ("digits", self.seed, self.name, i), sample_rate=self.sample_rate)

    def __iter__(self) -> Iterator[Synthetic]:
        return (self[i] for i in range(self.size))


@dataclass(frozen=True)
class Corpus:
    """Three parts of synthetic utterances. Every utterance has a voice of its own, so no voice is in two parts."""

    train: Part
    dev: Part
    test: Part


def corpus(
    seed: int, train: int = 2000, dev: int = 200, test: int = 200, sample_rate: int = 8000, longest: int = 5
) -> Corpus:
    """A synthetic corpus of strings of 1 to `longest` digits, of so many utterances, generated when they are asked for.

    A larger part begins with the utterances of a smaller one.

    Raises TypeError for arguments that are not integers; ValueError for negative sizes, a rate outside 8000-48000 Hz or `longest`
    outside 1-100.

    >>> from pyasr.datasets.digits import corpus
    >>> data = corpus(0, train=10, dev=2, test=2)
    >>> len(data.train), data.test[1].text == data.test[1].text
    (10, True)
    """
    for name, value, low, high in (
        ("seed", seed, None, None), ("train", train, 0, None), ("dev", dev, 0, None), ("test", test, 0, None),
        ("sample_rate", sample_rate, LOWEST_RATE, HIGHEST_RATE), ("longest", longest, 1, MOST_DIGITS),
    ):  # fmt: skip
        _integer("corpus", name, value, low, high)
    parts = (Part(seed, n, size, sample_rate, longest) for n, size in (("train", train), ("dev", dev), ("test", test)))
    return Corpus(*parts)


def _integer(function: str, name: str, value: object, low: int | None, high: int | None) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(f"{function}: {name} must be an integer, got {type(value).__name__}")
    if (low is not None and value < low) or (high is not None and value > high):
        wanted = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{function}: {name} must be {wanted}, got {value}")


def _checked(digits: Sequence[int], sample_rate: int) -> list[int]:
    _integer("synthesize", "sample_rate", sample_rate, LOWEST_RATE, HIGHEST_RATE)
    if isinstance(digits, (str, bytes)) or not isinstance(digits, (Sequence, np.ndarray)):
        raise TypeError(f"synthesize: digits must be a sequence of integers, got {type(digits).__name__}")
    if not 1 <= len(digits) <= MOST_DIGITS:
        raise ValueError(f"synthesize: digits must have 1 to {MOST_DIGITS} entries, got {len(digits)}")
    for digit in digits:
        if isinstance(digit, bool) or not isinstance(digit, (int, np.integer)):
            raise TypeError(f"synthesize: digits must be integers, got {type(digit).__name__}")
        _integer("synthesize", "digits", digit, 0, 9)
    return [int(d) for d in digits]
