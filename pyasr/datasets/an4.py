"""CMU AN4: 1078 utterances of 84 speakers who spell names and say numbers and commands, 16 kHz, 50 minutes, a BSD-like licence.

`etc/an4_train.fileids` names the recordings below `wav/` without their suffix, and `etc/an4_train.transcription` gives their
words; `an4_test.*` are the official test, which an installation may lack. Eight of the 74 training speakers are kept apart as
`dev`. The same layout comes with .wav (git) and with .sph files (the sphere edition).

Source: https://github.com/cmusphinx/an4.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from pyasr.datasets import _folders
from pyasr.datasets._archive import fetch
from pyasr.datasets._utterance import Corpus, Utterance

URL = "https://github.com/cmusphinx/an4/archive/b567d132f43304e70a2b2eca6077f22255311812.tar.gz"
CONTENT_SHA256 = "05824e0d41befbe27cd896cd6616e5632a4f755bc5700b46d7c943c3c48ee715"
SAMPLE_RATE = 16000
DEV_SPEAKERS = frozenset(("fejs", "fmjd", "mbmg", "mdxs", "mjes", "mmkw", "msct", "mwhw"))

_LINE = re.compile(r"(.*)\(([^()\s]+)\)\s*")  # words, name of the utterance
_FILLER = re.compile(r"<[^<>]*>|\+\+[^+]*\+\+")  # <s>, </s>, <sil>, ++noise++


def load(folder: str | os.PathLike[str]) -> Corpus:
    """The corpus in `folder`, which holds `etc` and `wav`: 843, 105 and 130 utterances, or none to test.

    Raises FileNotFoundError for a missing list, ValueError naming the list for an utterance without a transcript, with two, or
    with a name that leaves `wav`. Whether the recordings are there is seen when they are read.
    """
    root = Path(folder)
    training = _part(root, "an4_train")
    test = _part(root, "an4_test") if (root / "etc" / "an4_test.fileids").exists() else []
    return Corpus(
        "an4",
        tuple(u for u in training if u.speaker not in DEV_SPEAKERS),
        tuple(u for u in training if u.speaker in DEV_SPEAKERS),
        tuple(test),
        SAMPLE_RATE,
    )


def _part(root: Path, part: str) -> list[Utterance]:
    """The utterances of one pair of lists, in the order of the fileids."""
    transcription = root / "etc" / f"{part}.transcription"
    texts: dict[str, str] = {}
    for number, line in enumerate(transcription.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line)
        if match is None or match[2] in texts:
            why = "must be words and (name)" if match is None else f"repeats {match[2]}"
            raise ValueError(f"{transcription}, line {number}: {why}, got {line[:80]!r}")
        texts[match[2]] = " ".join(w for w in match[1].split() if not _FILLER.fullmatch(w))
    utterances = []
    fileids = root / "etc" / f"{part}.fileids"
    for file_id in fileids.read_text(encoding="utf-8").split():
        stem = _folders.inside(root / "wav", file_id)
        if stem.name not in texts:
            raise ValueError(f"{fileids}: {file_id} must have a transcript in {transcription.name}, got none")
        sphere = stem.with_name(f"{stem.name}.sph")
        path = sphere if sphere.exists() else stem.with_name(f"{stem.name}.wav")
        utterances.append(Utterance(stem.name, path, texts[stem.name], stem.parent.name))
    if len({u.name for u in utterances}) != len(utterances):
        raise ValueError(f"{fileids} names an utterance twice")
    return utterances


def locate(data: str | os.PathLike[str] | None = None, *, offline: bool = False) -> Path:
    """The folder that holds `etc` and `wav`.

    data may be that folder or the one above. None looks in $PYASR_DATA/an4, then in the cache (~/.cache/pyasr/an4 on Linux),
    and downloads into the cache unless `offline`; the content of a download is checked against a pinned hash.

    Raises FileNotFoundError when there is none.
    """
    return _folders.locate(
        "an4",
        data,
        offline,
        title="AN4",
        layout="list etc/an4_train.fileids",
        url=URL,
        find=_find,
        download=lambda target: fetch({URL: None}, target, _place, ("wav", CONTENT_SHA256)),
    )


def _find(root: Path) -> Path | None:
    return next((f for f in (root, root / "an4") if (f / "etc" / "an4_train.fileids").is_file()), None)


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Where a member of the archive goes: lists, recordings and the licence, without the archive's top folder."""
    inner = PurePosixPath(*member.parts[1:])
    if inner.parts[:1] == ("etc",) or (inner.parts[:1] == ("wav",) and inner.suffix == ".wav"):
        return inner
    return inner if len(inner.parts) == 1 and inner.name.upper().startswith("LICENSE") else None
