"""Synthetic spoken digits: a small seeded formant synthesizer, so that training needs neither a network nor files.

Nobody said these words. Scores on this corpus are scores on synthetic speech and must be labelled so; they say that a program
learns and nothing about how it does on people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyasr.counter import stream
from pyasr.datasets._synthesizer import HOP, Voice, draw_voice, pitch_of, pulses_of, score, speak, tracks_of
from pyasr.datasets._utterance import Corpus, Utterance
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


@dataclass(frozen=True)
class SyntheticUtterance(Utterance):
    """Digits that are said when they are asked for, by a voice that is a function of the name."""

    digits: tuple[int, ...] = ()
    sample_rate: int = 8000
    seed: int = 0

    def synthesize(self) -> Synthetic:
        """The utterance with its exact phone times."""
        return synthesize(self.digits, ("digits", self.seed, self.name), sample_rate=self.sample_rate)

    def wave(self, sample_rate: int, longest: float | None = None) -> np.ndarray:
        """[N] float32 at `sample_rate` in Hz, which must be the corpus's."""
        if sample_rate != self.sample_rate:
            raise ValueError(f"{self.name} is synthesized at {self.sample_rate} Hz, got {sample_rate}")
        return self.synthesize().wave


def corpus(
    seed: int, train: int = 7500, dev: int = 200, test: int = 400, sample_rate: int = 8000, longest: int = 5,
    singles: float = 0.45,
) -> Corpus:  # fmt: skip
    """A synthetic corpus of strings of 1 to `longest` digits, of so many utterances, synthesized when they are asked for.

    All lengths are equally likely, but `singles` of the training utterances are single digits, which are harder to learn from
    strings than strings from them. Every utterance has a voice of its own, so no voice is in two parts. A larger part begins with
    the utterances of a smaller one.

    Raises TypeError for arguments that are not integers; ValueError for negative sizes, a rate outside 8000-48000 Hz, `longest`
    outside 1-100 or `singles` outside [0, 1].

    >>> from pyasr.datasets.digits import corpus
    >>> data = corpus(0, train=10, dev=2, test=2)
    >>> data.test[1].name, data.test[1].text, data.test[1].wave(8000).dtype
    ('test/1', 'four two eight five', dtype('float32'))
    """
    for name, value, low, high in (
        ("seed", seed, None, None), ("train", train, 0, None), ("dev", dev, 0, None), ("test", test, 0, None),
        ("sample_rate", sample_rate, LOWEST_RATE, HIGHEST_RATE), ("longest", longest, 1, MOST_DIGITS),
    ):  # fmt: skip
        _integer("corpus", name, value, low, high)
    if not 0 <= singles <= 1:
        raise ValueError(f"corpus: singles must lie in [0, 1], got {singles}")

    def part(kind: str, size: int, singles: float) -> tuple[SyntheticUtterance, ...]:
        return tuple(_utterance(f"{kind}/{i}", seed, singles, longest, sample_rate) for i in range(size))

    return Corpus("digits", part("train", train, singles), part("dev", dev, 0), part("test", test, 0), sample_rate)


def _utterance(name: str, seed: int, singles: float, longest: int, sample_rate: int) -> SyntheticUtterance:
    """What is said is a function of (seed, name), and so is, later, how."""
    rng = stream("digits", seed, name, "text")
    count = 1 if rng.random() < singles else int(rng.integers(1, longest + 1))
    digits = tuple(int(d) for d in rng.integers(0, 10, count))
    text = " ".join(WORDS[d] for d in digits)
    return SyntheticUtterance(name, None, text, f"voice {name}", 0.0, None, digits, sample_rate, seed)


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
