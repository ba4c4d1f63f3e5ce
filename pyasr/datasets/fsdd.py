"""The Free Spoken Digit Dataset: 3000 recordings of the digits by six speakers, 8 kHz, CC BY-SA 4.0.

Files are `recordings/{digit}_{speaker}_{index}.wav`. The official split takes indices 0–4 of each speaker and digit for the test
and 5–49 for training; the same speakers are on both sides.

Source: https://github.com/Jakobovski/free-spoken-digit-dataset, release 1.0.10.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from pyasr.counter import stream
from pyasr.datasets import _folders
from pyasr.datasets._archive import fetch
from pyasr.datasets._utterance import Corpus, Utterance

URL = "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz"
CONTENT_SHA256 = "dbd573d7cafe79c4b49f65718115e1304e24e067fa39eff18a660dc6cb9c360f"
WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
SAMPLE_RATE = 8000
TEST_INDICES = range(5)

_NAME = re.compile(r"(\d)_([^_]+)_(\d+)\.wav")


@dataclass(frozen=True, order=True)
class Recording:
    """One file and what its name says."""

    digit: int
    speaker: str
    index: int
    path: Path


def load(folder: str | os.PathLike[str], *, seed: int = 0) -> Corpus:
    """The corpus in a folder of recordings: the official split, and as dev 4 % of the training part, chosen by the seed."""
    training, test = split(recordings(Path(folder)))
    training, dev = hold_out(training, seed)

    def utterances(part: Sequence[Recording]) -> tuple[Utterance, ...]:
        return tuple(Utterance(r.path.stem, r.path, WORDS[r.digit], r.speaker) for r in part)

    return Corpus("fsdd", utterances(training), utterances(dev), utterances(test), SAMPLE_RATE)


def recordings(folder: Path) -> list[Recording]:
    """The recordings in a folder of `{digit}_{speaker}_{index}.wav`, in a fixed order; other files are passed over."""
    matches = ((_NAME.fullmatch(path.name), path) for path in folder.iterdir())
    return sorted(Recording(int(m[1]), m[2], int(m[3]), path) for m, path in matches if m)


def split(items: Sequence[Recording]) -> tuple[list[Recording], list[Recording]]:
    """(train, test) of the official split."""
    test = [r for r in items if r.index in TEST_INDICES]
    return [r for r in items if r.index not in TEST_INDICES], test


def hold_out(train: Sequence[Recording], seed: int, share: float = 0.04) -> tuple[list[Recording], list[Recording]]:
    """(train, validation): `share` of each speaker's recordings of each digit, at least one, chosen by the seed.

    A cell with a single recording stays in training.
    """
    cells: dict[tuple[int, str], list[Recording]] = {}
    for r in train:
        cells.setdefault((r.digit, r.speaker), []).append(r)
    chosen: set[Recording] = set()
    for (digit, speaker), cell in cells.items():
        count = max(1, round(share * len(cell))) if len(cell) > 1 else 0
        order = stream("fsdd hold out", seed, digit, speaker).permutation(len(cell))
        chosen.update(cell[i] for i in order[:count])
    return [r for r in train if r not in chosen], [r for r in train if r in chosen]


def locate(data: str | os.PathLike[str] | None = None, *, offline: bool = False) -> Path:
    """The folder that holds the recordings.

    data may be the data set or its folder `recordings`. None looks in $PYASR_DATA/fsdd, then in the cache
    (~/.cache/pyasr/fsdd on Linux), and downloads into the cache unless `offline`; the content of a download is checked
    against a pinned hash.

    Raises FileNotFoundError when there is none.
    """
    return _folders.locate(
        "fsdd",
        data,
        offline,
        title="FSDD",
        layout="recordings such as recordings/7_jackson_0.wav",
        url=URL,
        find=_find,
        download=lambda target: fetch({URL: None}, target, _place, ("recordings", CONTENT_SHA256)),
    )


def _find(root: Path) -> Path | None:
    folders = (root / "recordings", root)
    return next((folder for folder in folders if folder.is_dir() and recordings(folder)), None)


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Where a member of the archive goes: only the recordings and the licence are kept, without the archive's top folder."""
    inner = PurePosixPath(*member.parts[1:])
    if len(inner.parts) == 2 and inner.parts[0] == "recordings" and inner.suffix == ".wav":
        return inner
    return inner if len(inner.parts) == 1 and inner.name.upper().startswith("LICENSE") else None
