"""What every loader gives: utterances with their words, in the three parts of an experiment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pyasr import audio
from pyasr.counter import stream


class Skipped(NamedTuple):
    """What was left out, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Utterance:
    """A recording, or a stretch of one, and what is said in it.

    name is unique within its corpus, start and duration are in seconds, and duration None goes to the end of the file. path is
    None where nothing was recorded: an utterance of `digits` is synthesized.
    """

    name: str
    path: Path | None
    text: str
    speaker: str = ""
    start: float = 0.0
    duration: float | None = None

    def wave(self, sample_rate: int, longest: float | None = None) -> np.ndarray:
        """[N] float32 at `sample_rate` in Hz; longest is the number of seconds that may be decoded. Raises what pyasr.load
        raises."""
        path = self.path
        assert path is not None
        return audio.load(path, sample_rate, start=self.start, duration=self.duration, longest=longest)[0]


@dataclass(frozen=True)
class Corpus:
    """Utterances to train on, to choose by and to look at once.

    sample_rate in Hz is that of the recordings, or None where the loader cannot know it; `skipped` is what the loader left out.
    """

    name: str
    train: tuple[Utterance, ...]
    dev: tuple[Utterance, ...]
    test: tuple[Utterance, ...]
    sample_rate: int | None
    skipped: tuple[Skipped, ...] = ()


def hold_out(
    utterances: Sequence[Utterance], share: float, seed: int
) -> tuple[tuple[Utterance, ...], tuple[Utterance, ...]]:
    """(train, dev): about `share` of the utterances, chosen by the seed, at least one and never all.

    Where five speakers or more are named, whole speakers go to dev, so that it says something about people who were not heard
    in training; else single utterances do.
    """
    speakers = {u.speaker for u in utterances}
    by_speaker = len(speakers) >= 5 and "" not in speakers
    groups: dict[str, list[int]] = {}
    for i, u in enumerate(utterances):
        groups.setdefault(u.speaker if by_speaker else u.name, []).append(i)
    names = sorted(groups)
    chosen: set[int] = set()
    for k in stream("hold out", seed).permutation(len(names))[: len(names) - 1]:
        if chosen and len(chosen) + len(groups[names[k]]) / 2 > share * len(utterances):
            break
        chosen.update(groups[names[k]])
    return (
        tuple(u for i, u in enumerate(utterances) if i not in chosen),
        tuple(u for i, u in enumerate(utterances) if i in chosen),
    )
