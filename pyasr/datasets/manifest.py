"""One's own recordings: a folder of recordings beside their texts, a JSONL manifest, or lhotse's CutSet as JSONL.

A manifest may come from anywhere. It names files inside one folder, and nothing else: a path that leaves the folder (by "..", by
an absolute path or by a symbolic link), a URL or a shell command is refused. What is wrong with a line is a reason to skip it,
and the reasons are kept.

Source of the CutSet's fields: https://lhotse.readthedocs.io/en/latest/cuts.html, read here without lhotse.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from pyasr.datasets._utterance import Corpus, Skipped, Utterance, hold_out

MAX_LINE = 1 << 16  # bytes of one line, and of one text file
MAX_LINES = 5_000_000
MAX_TIME = 1e6  # seconds, as in pyasr.load
AUDIO = frozenset((".wav", ".flac", ".ogg", ".mp3", ".sph"))

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # two letters at least: "C:" is a drive
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Manifest:
    """utterances, in the manifest's order, and what was skipped: (line, reason), where the line of a folder is the place of the
    file in sorted order."""

    name: str
    utterances: tuple[Utterance, ...]
    skipped: tuple[tuple[int, str], ...]


def load(
    path: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    strict: bool = False,
    need_text: bool = True,
) -> Manifest:
    """Read a folder or a manifest (`.jsonl`, `.jsonl.gz`).

    A folder is searched at all depths for recordings (wav, flac, ogg, mp3, sph) with a UTF-8 text of the same name and the
    suffix `.txt`. A line of a manifest is a JSON object with `audio` (a path) and `text`, and optional `start`, `duration` (in
    seconds) and `speaker`; or a MonoCut of lhotse with one supervision and a recording in one file of one channel. Relative paths
    start from `root`, by default the manifest's folder, and all recordings must lie below it.

    Skipped, with a reason: paths that leave root, URLs, shell commands, missing files, what is no text, negative or non-finite
    times, lines over 64 KiB, what is no JSON object or has a key twice, and a stretch of a file that comes twice. strict=True
    makes the first of them a ValueError. need_text=False keeps a recording without a text, and a cut without a supervision,
    with the text "".

    Raises FileNotFoundError, and ValueError for a manifest that cannot be unpacked or has more than 5 000 000 lines.

    >>> import pathlib
    >>> from pyasr.datasets import manifest
    >>> _ = pathlib.Path("a.wav").write_bytes(b""), pathlib.Path("my.jsonl").write_text('''
    ... {"audio": "a.wav", "text": "seven"}
    ... {"audio": "../b.wav", "text": "eight"}''')
    >>> mine = manifest.load("my.jsonl")
    >>> mine.utterances[0].text, mine.skipped
    ('seven', ((3, "'../b.wav' leaves the manifest's folder"),))
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no manifest {path}")
    folder = Path(os.path.realpath(root or (path if path.is_dir() else path.parent)))
    items: Iterator[tuple[int, Callable[[], Utterance]]]
    if path.is_dir():
        items = ((place, partial(_pair, folder, file, need_text)) for place, file in enumerate(_files(path), 1))
    else:
        items = ((number, partial(_entry, folder, line, need_text)) for number, line in _lines(path))
    utterances: list[Utterance] = []
    skipped: list[tuple[int, str]] = []
    first: dict[tuple[Path | None, float, float | None] | str, int] = {}  # a stretch or a name -> its line
    for number, read in items:
        try:
            utterance = read()
            stretch = (utterance.path, utterance.start, utterance.duration)
            for key in (stretch, utterance.name):
                if key in first:
                    _refuse(f"repeats line {first[key]}")
            first[stretch] = first[utterance.name] = number
            utterances.append(utterance)
        except _RefusedError as e:
            if strict:
                raise ValueError(f"{path}, line {number}: {e}") from e
            skipped.append((number, str(e)))
    return Manifest(path.stem, tuple(utterances), tuple(skipped))


def corpus(
    path: str | os.PathLike[str],
    *,
    dev: str | os.PathLike[str] | None = None,
    share: float = 0.1,
    seed: int = 0,
    strict: bool = False,
) -> Corpus:
    """A corpus from one's own recordings, without a test part: to choose by, the manifest `dev`, or a share of `path` that the
    seed holds out (see hold_out). Raises as load does, and ValueError when nothing is left to train on or to choose by.
    """
    lists = [load(one, strict=strict) for one in (path, dev) if one is not None]
    skipped = tuple(
        Skipped(f"{file}, line {line}", reason)
        for file, one in zip((path, dev), lists, strict=False)
        for line, reason in one.skipped
    )
    training, held_out = hold_out(lists[0].utterances, share, seed) if dev is None else [m.utterances for m in lists]
    for part, what in ((training, "train on"), (held_out, "choose by")):
        if not part:
            why = f"; {len(skipped)} were skipped, the first of them: {skipped[0].reason}" if skipped else ""
            raise ValueError(f"{path} has no utterances to {what}{why}")
    return Corpus("manifest", training, held_out, (), None, skipped)


class _RefusedError(Exception):
    """Why a line is skipped."""


def _refuse(reason: str) -> NoReturn:
    raise _RefusedError(reason)


def _show(value: Any) -> str:
    """A value for a message, in a line of bounded length."""
    text = ascii(value) if isinstance(value, str) else type(value).__name__
    return text if len(text) <= 80 else f"{text[:77]}..."


# ---- folders


def _files(folder: Path) -> list[Path]:
    """Recordings and texts; symbolic links to folders are not followed."""
    found = (Path(top, name) for top, _, names in os.walk(folder) for name in names)
    return sorted(p for p in found if p.suffix.lower() in AUDIO or _is_lone_text(p))


def _is_lone_text(path: Path) -> bool:
    return path.suffix == ".txt" and not any(path.with_suffix(s).exists() for a in AUDIO for s in (a, a.upper()))


def _pair(root: Path, path: Path, need_text: bool) -> Utterance:
    """A recording and the text beside it."""
    absolute = Path(os.path.realpath(path.parent), path.name)
    if not absolute.is_relative_to(root):
        _refuse(f"{_show(str(path))} leaves the manifest's folder")
    name = absolute.relative_to(root).as_posix()
    if path.suffix == ".txt":
        _refuse(f"{_show(name)} has no recording beside it")
    audio = _inside(root, name)
    text_name = Path(name).with_suffix(".txt").as_posix()
    if not (root / text_name).exists():
        if not need_text:
            return Utterance(name, audio, "")
        _refuse(f"{_show(name)} has no text beside it")
    with _inside(root, text_name).open("rb") as file:
        data = file.read(MAX_LINE + 1)
    if len(data) > MAX_LINE:
        _refuse(f"{_show(text_name)} has more than {MAX_LINE} bytes")
    return Utterance(name, audio, " ".join(_decoded(data).split()))


# ---- lines


def _lines(path: Path) -> Iterator[tuple[int, bytes | None]]:
    """(line number, line), without empty lines; None for a line that is too long, whose rest is read and dropped."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        try:
            for number in range(1, MAX_LINES + 2):
                line = file.readline(MAX_LINE + 1)
                if not line:
                    return
                if number > MAX_LINES:
                    break
                too_long = len(line) > MAX_LINE
                while too_long and line and not line.endswith(b"\n"):
                    line = file.readline(MAX_LINE)
                if too_long or line.strip():
                    yield number, None if too_long else line
        except (gzip.BadGzipFile, zlib.error, EOFError) as e:
            raise ValueError(f"{path} cannot be unpacked: {e}") from e
    raise ValueError(f"{path} has more than {MAX_LINES} lines")


def _entry(root: Path, line: bytes | None, need_text: bool) -> Utterance:
    if line is None:
        _refuse(f"the line has more than {MAX_LINE} bytes")
    entry = _object(line)
    if "audio" in entry:
        return _plain(root, entry, need_text)
    if "recording" in entry or "type" in entry:
        return _cut(root, entry, need_text)
    _refuse('must have "audio" or be a MonoCut, got neither')


def _plain(root: Path, entry: dict[str, Any], need_text: bool) -> Utterance:
    audio = entry["audio"]
    path = _inside(root, audio)
    start, duration = _times(entry)
    name = audio if duration is None and not start else f"{audio}@{start:.15g}+{duration}"
    text = _text(entry, "text", None if need_text else "")
    return Utterance(name, path, text, _text(entry, "speaker", ""), start, duration)


def _cut(root: Path, entry: dict[str, Any], need_text: bool) -> Utterance:
    """A MonoCut. Anything that would make its sound or words other than a stretch of one file and its text is refused."""
    if entry.get("type") != "MonoCut":
        _refuse(f'type must be "MonoCut", got {_show(entry.get("type"))}')
    recording = _member(entry, "recording", dict)
    sources = _member(recording, "sources", list)
    if len(sources) != 1 or not isinstance(sources[0], dict):
        _refuse(f"recording must have one source, got {len(sources)}")
    if sources[0].get("type") != "file":
        _refuse(f'the source must have type "file", got {_show(sources[0].get("type"))}')
    if sources[0].get("channels", [0]) != [0]:
        _refuse("the recording must have one channel, got others")
    if recording.get("transforms"):
        _refuse("the recording must be as in its file, got transforms")
    if not need_text and entry.get("supervisions") in (None, []):
        entry = {**entry, "supervisions": [{}]}
    supervisions = _member(entry, "supervisions", list)
    if len(supervisions) != 1 or not isinstance(supervisions[0], dict):
        _refuse(f"the cut must have one supervision, got {len(supervisions)}")
    path = _inside(root, sources[0].get("source"))
    start, duration = _times(entry)
    speaker = _text(supervisions[0], "speaker", "")
    return Utterance(
        _text(entry, "id"), path, _text(supervisions[0], "text", None if need_text else ""), speaker, start, duration
    )


# ---- checks


def _object(line: bytes) -> dict[str, Any]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) != len(pairs):
            _refuse("a key comes twice")
        return out

    try:
        entry = json.loads(_decoded(line), object_pairs_hook=unique)
    except RecursionError:
        _refuse("the JSON is nested too deeply")
    except ValueError as e:  # also an integer of too many digits
        _refuse(f"not JSON: {e}")
    if not isinstance(entry, dict):
        _refuse(f"must be a JSON object, got {_show(entry)}")
    return entry


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        _refuse(f"not UTF-8: {e.reason} at byte {e.start}")


def _member(entry: dict[str, Any], key: str, kind: type) -> Any:
    value = entry.get(key)
    if not isinstance(value, kind):
        _refuse(f"{key} must be {'an object' if kind is dict else 'a list'}, got {_show(value)}")
    return value


def _text(entry: dict[str, Any], key: str, default: str | None = None) -> str:
    value = entry.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        _refuse(f"{key} must be text, got {_show(value)}")
    if not value.isascii() and any("\ud800" <= c <= "\udfff" for c in value):
        _refuse(f"{key} must be text, got half of a surrogate pair")
    return " ".join(value.split())


def _times(entry: dict[str, Any]) -> tuple[float, float | None]:
    """start and duration in seconds, finite, not negative, and not an empty stretch."""
    times: list[float | None] = []
    for key in ("start", "duration"):
        value = entry.get(key)
        if value is None:
            times.append(None)
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            _refuse(f"{key} must be a number, got {_show(value)}")
        if not 0 <= value <= MAX_TIME or (key == "duration" and value == 0):  # also NaN and integers beyond any float
            got = f"{value:.6g}" if isinstance(value, float) else "another integer"
            _refuse(
                f"{key} must be {'above' if key == 'duration' else 'at least'} 0 and at most {MAX_TIME:.0f} s, got {got}"
            )
        times.append(float(value))
    start, duration = times
    return start or 0.0, duration


def _inside(root: Path, name: Any) -> Path:
    """The regular file `name`, below root (a real path) also after its links are followed."""
    if not isinstance(name, str) or not name.strip():
        _refuse(f"the path must be text, got {_show(name)}")
    if name.strip().startswith("|") or name.strip().endswith("|"):
        _refuse(f"{_show(name)} is a shell command")
    if _URL.match(name):
        _refuse(f"{_show(name)} is a URL")
    if _CONTROL.search(name) or any("\ud800" <= c <= "\udfff" for c in name):
        _refuse(f"{_show(name)} is not a path")
    path = root / name  # an absolute name replaces root
    if ".." in re.split(r"[/\\]", name) or not path.is_relative_to(root):
        _refuse(f"{_show(name)} leaves the manifest's folder")
    try:
        real = Path(os.path.realpath(path, strict=True))
    except FileNotFoundError:
        _refuse(f"there is no file {_show(name)}")
    except OSError as e:
        _refuse(f"{_show(name)} cannot be opened: {e.strerror}")
    if not real.is_relative_to(root):
        _refuse(f"{_show(name)} leaves the manifest's folder")
    if not real.is_file():
        _refuse(f"{_show(name)} is not a regular file")
    return real
