"""Speech Commands: 105 829 clips of one second, 35 English words by 2618 speakers, 16 kHz wav, CC BY 4.0 (version 2).

Files are `<word>/<speaker>_nohash_<n>.wav`. `validation_list.txt` and `testing_list.txt` name the two smaller parts, which share
no speaker with the rest; `_background_noise_` is no word and is left out.

Source: Warden 2018, https://arxiv.org/abs/1804.03209.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath

from pyasr.datasets import _folders
from pyasr.datasets._archive import fetch
from pyasr.datasets._utterance import Corpus, Utterance

URL = "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz"
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
SAMPLE_RATE = 16000
LISTS = {"dev": "validation_list.txt", "test": "testing_list.txt"}

_NAME = re.compile(r"([^_]+)_nohash_\d+\.wav")


def load(folder: str | os.PathLike[str]) -> Corpus:
    """The corpus in `folder`, which holds the words' folders and the two lists, in the order of words and file names.

    An utterance is named "word/file" without suffix. Files with other names are passed over, as are names in the lists that
    are not there, so that a selection of words is a corpus too.

    Raises FileNotFoundError for a missing list, ValueError for a recording that is in both.
    """
    root = Path(folder)
    listed = {part: set((root / name).read_text(encoding="utf-8").split()) for part, name in LISTS.items()}
    both = listed["dev"] & listed["test"]
    if both:
        raise ValueError(f"{root}: {min(both)} must be in one of {' and '.join(LISTS.values())}, got both")
    parts: dict[str, list[Utterance]] = {"train": [], "dev": [], "test": []}
    for word in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(("_", "."))):
        for path in sorted(word.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match:
                name = f"{word.name}/{path.name}"
                part = next((part for part in LISTS if name in listed[part]), "train")
                parts[part].append(Utterance(name.removesuffix(".wav"), path, word.name, match[1]))
    return Corpus("speech_commands", tuple(parts["train"]), tuple(parts["dev"]), tuple(parts["test"]), SAMPLE_RATE)


def locate(data: str | os.PathLike[str] | None = None, *, offline: bool = False) -> Path:
    """The folder that holds the words' folders and the lists.

    None looks in $PYASR_DATA/speech_commands, then in the cache (~/.cache/pyasr/speech_commands on Linux), and downloads
    version 2 (2.4 GB) into the cache unless `offline`; the archive is checked against a pinned hash.

    Raises FileNotFoundError when there is none.
    """
    return _folders.locate(
        "speech_commands",
        data,
        offline,
        title="Speech Commands",
        layout="lists validation_list.txt and testing_list.txt",
        url=URL,
        find=lambda root: root if all((root / name).is_file() for name in LISTS.values()) else None,
        download=lambda target: fetch({URL: f"sha256:{SHA256}"}, target, _place),
    )


def _place(member: PurePosixPath) -> PurePosixPath | None:
    """Words, lists and the licence; the archive has no top folder."""
    if len(member.parts) == 2 and member.suffix == ".wav" and not member.parts[0].startswith("_"):
        return member
    return member if len(member.parts) == 1 and member.name in {*LISTS.values(), "LICENSE", "README.md"} else None
