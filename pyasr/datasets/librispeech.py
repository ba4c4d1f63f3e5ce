"""LibriSpeech: read English books, 16 kHz FLAC, CC BY 4.0; mini LibriSpeech is a small part of it in the same layout.

Files are `<set>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac`, and each chapter's `.trans.txt` has a line "name WORDS"
per recording. Sets whose names begin with train, dev and test are the three parts of the corpus. A set alone is one too.

Source: https://www.openslr.org/12, mini LibriSpeech https://www.openslr.org/31.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from pyasr.datasets import _folders
from pyasr.datasets._archive import fetch
from pyasr.datasets._utterance import Corpus, Utterance, hold_out

URL = "https://www.openslr.org/resources/31/"
ARCHIVES: dict[str, str | None] = {
    URL + "train-clean-5.tar.gz": "md5:5df7d4e78065366204ca6845bb08f490",
    URL + "dev-clean-2.tar.gz": "md5:6d7ab67ac6a1d2c993d050e16d61080d",
}
SAMPLE_RATE = 16000
PARTS = ("train", "dev", "test")
_CHAPTERS = "*/*/*.trans.txt"  # below a set


def load(folder: str | os.PathLike[str], *, seed: int = 0, share: float = 0.1) -> Corpus:
    """The corpus in `folder`, which holds the sets (`train-clean-5`, `dev-clean-2`, …) or is one; sets, speakers and chapters
    are in the order of their names.

    A set whose name says no part is training. Where no set is dev, a share of the training part is, chosen by the seed (see
    hold_out).

    Raises ValueError naming the file for a line that is not "name WORDS", for a name that comes twice or does not begin with
    its speaker and chapter. Whether the recordings are there is seen when they are read.
    """
    root = Path(folder)
    parts: dict[str, list[Utterance]] = {part: [] for part in PARTS}
    for part in PARTS:
        seen: set[str] = set()
        for transcript in sorted(_transcripts(root, part)):
            for utterance in _chapter(transcript):
                if utterance.name in seen:
                    raise ValueError(f"{transcript} repeats {utterance.name}")
                seen.add(utterance.name)
                parts[part].append(utterance)
    training, dev = tuple(parts["train"]), tuple(parts["dev"])
    if not dev:
        training, dev = hold_out(training, share, seed)
    return Corpus("librispeech", training, dev, tuple(parts["test"]), SAMPLE_RATE)


def _transcripts(root: Path, part: str) -> Iterator[Path]:
    """Those of the sets of a part below root, or of root itself where that is a set."""
    name = root.resolve().name
    if next((p for p in PARTS if name.startswith(p)), "train") == part:
        yield from root.glob(_CHAPTERS)
    yield from root.glob(f"{part}*/{_CHAPTERS}")


def _chapter(transcript: Path) -> list[Utterance]:
    chapter = transcript.parent
    speaker = chapter.parent.name
    utterances = []
    for number, line in enumerate(transcript.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        name, _, text = line.strip().partition(" ")
        index = name.removeprefix(f"{speaker}-{chapter.name}-")
        if index == name or not index.isalnum():
            raise ValueError(
                f"{transcript}, line {number}: must begin with a name such as {speaker}-{chapter.name}-0000, got {name[:80]!r}"
            )
        utterances.append(Utterance(name, chapter / f"{name}.flac", " ".join(text.split()), speaker))
    return utterances


def locate(data: str | os.PathLike[str] | None = None, *, offline: bool = False) -> Path:
    """The folder that holds the sets.

    data may be that folder, one of its sets, or the folder above its `LibriSpeech`. None looks in $PYASR_DATA/librispeech, then
    in the cache (~/.cache/pyasr/librispeech on Linux), and downloads *mini* LibriSpeech (0.45 GB) into the cache unless
    `offline`, checked against pinned hashes. The large sets are never downloaded: name their folder.

    Raises FileNotFoundError when there is none.
    """
    return _folders.locate(
        "librispeech",
        data,
        offline,
        title="LibriSpeech",
        layout="transcripts such as train-clean-5/1088/134315/1088-134315.trans.txt",
        url=" and ".join(ARCHIVES),
        find=_find,
        download=lambda target: fetch(ARCHIVES, target, _place),
    )


def _find(root: Path) -> Path | None:
    def has_sets(folder: Path) -> bool:
        return any(transcript for part in PARTS for transcript in _transcripts(folder, part))

    return next((folder for folder in (root, root / "LibriSpeech") if has_sets(folder)), None)


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Recordings and transcripts, without the top folder `LibriSpeech`."""
    inner = PurePosixPath(*member.parts[1:])
    kept = len(inner.parts) == 4 and (inner.suffix == ".flac" or inner.name.endswith(".trans.txt"))
    return inner if kept else None
