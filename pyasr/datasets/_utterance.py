"""What every loader gives: recordings with their words, in the three parts of an experiment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Utterance:
    """A recording, or a stretch of one, and what is said in it.

    name is unique within its corpus, start and duration are in seconds, and duration None goes to the end of the file:
    `pyasr.load(u.path, rate, start=u.start, duration=u.duration)`.
    """

    name: str
    path: Path
    text: str
    speaker: str = ""
    start: float = 0.0
    duration: float | None = None


@dataclass(frozen=True)
class Corpus:
    """Utterances to train on, to choose by and to look at once; sample_rate in Hz is that of the recordings."""

    name: str
    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    sample_rate: int
