"""A folder of features, as `pyasr features` fills it.

features-00000.npy …  shards: float32 [ΣT, F], the features of many utterances one below the other
index.jsonl           a line per utterance: name, shard, offset (its first row) and frames; sample_rate in Hz, start and
                      duration in seconds; text, speaker; source, the recording: a relative path begins in the folder that
                      holds this one
options.json          format version, kind, every option, what must match when a stopped command goes on; result, when done
skipped.jsonl         what was left out, and why
cuts.jsonl            the same utterances for lhotse, see pyasr.compat.lhotse

A folder may come from anywhere: nothing in it is executed, no file outside it is opened, and index, shards and options
are compared before the first row is read.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints, overload

import numpy as np

from pyasr.features.extract import KINDS
from pyasr.ops._options import MfccOptions

FORMAT, VERSION = "pyasr features", 1
OPTIONS, INDEX, CUTS, SKIPPED = "options.json", "index.jsonl", "cuts.jsonl", "skipped.jsonl"
STORAGE = "pyasr_shards"  # what lhotse knows the shards by
HEADER = 128  # bytes of a shard before its first row, whatever its size: it can grow in place
MAX_LINE = 1 << 20  # bytes
MAX_ROWS = 2**40

SHARD = re.compile(r"features-([0-9]{5,9})\.npy")
_NPY = re.compile(
    rb"\x93NUMPY\x01\x00v\x00\{'descr': '<f4', 'fortran_order': False, "
    rb"'shape': \(([1-9][0-9]{0,12}), ([1-9][0-9]{0,5})\), \} *\n"
)


class Entry(NamedTuple):
    """A line of the index."""

    name: str
    shard: str
    offset: int  # row of the shard
    frames: int
    sample_rate: int  # Hz, of the samples that the features were made of
    start: float  # seconds, within the recording
    duration: float  # seconds
    text: str
    speaker: str
    source: str


def shard_name(number: int) -> str:
    """File name of a shard."""
    return f"features-{number:05d}.npy"


def shard_header(rows: int, features: int) -> bytes:
    """The HEADER bytes that np.save writes before float32 [rows, features].

    Source: NEP 1, version 1.0 of the format.
    """
    text = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {features}), }}"
    return b"\x93NUMPY\x01\x00v\x00" + text.ljust(HEADER - 11).encode() + b"\n"


def open_shard(path: str | os.PathLike[str]) -> np.ndarray:
    """The rows [ΣT, F] float32 of a shard, memory-mapped and read-only.

    Raises ValueError naming the file when it is missing, is no .npy of float32 rows, or is shorter or longer than it says.

    >>> from pyasr.features.store import open_shard
    >>> np.save("a.npy", np.ones((5, 13), np.float32))
    >>> open_shard("a.npy").shape
    (5, 13)
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with path.open("rb") as file:
        head = file.read(HEADER)
        size = file.seek(0, os.SEEK_END)
    found = _NPY.fullmatch(head)
    if found is None:
        raise ValueError(f"{path} must be a .npy file of float32 [rows, features] in C order, got {head[:96]!r}")
    rows, features = int(found[1]), int(found[2])
    if size != HEADER + 4 * rows * features:
        raise ValueError(
            f"{path} must have {HEADER + 4 * rows * features} bytes for its {rows} rows of {features} features, got {size}"
        )
    return np.memmap(path, np.dtype("<f4"), "r", HEADER, (rows, features)).view(np.ndarray)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a small file. Raises ValueError naming it for anything else."""
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    with path.open("rb") as file:
        data = file.read(MAX_LINE + 1)
    return _object(data, str(path))


def _object(data: bytes, what: str) -> dict[str, Any]:
    if len(data) > MAX_LINE:
        raise ValueError(f"{what} must have at most {MAX_LINE} bytes")
    try:
        value = json.loads(data.decode("utf-8"))
    except RecursionError as e:
        raise ValueError(f"{what} is nested too deeply") from e
    except ValueError as e:  # also of what is no UTF-8, and of an integer of too many digits
        raise ValueError(f"{what} must be JSON: {e}") from e
    if not isinstance(value, dict):
        raise ValueError(f"{what} must be a JSON object, got {type(value).__name__}")
    return value


def read_options(folder: Path) -> dict[str, Any]:
    """options.json of a finished folder or of one in the making.

    Raises ValueError naming the file when it is none, or of another format or version.
    """
    path = folder / OPTIONS
    options = read_json(path)
    if options.get("format") != FORMAT:
        raise ValueError(f"{path} must have format {FORMAT!r}, got {options.get('format')!r:.80}")
    if options.get("version") != VERSION:
        raise ValueError(f"{path} must have version {VERSION}, got {options.get('version')!r:.80}")
    return options


class FeatureStore:
    """The utterances of a folder, see `open_store`.

    entries        a tuple of Entry, in order
    names          their names, in order
    lengths        their frames [N] int64
    kind           "mfcc", "fbank" or "spectrogram"
    options        MfccOptions: `getattr(pyasr, kind)(wave, options.sample_rate, options)` makes features of their kind
    num_features   F
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"there is no folder {self.folder}")
        written = read_options(self.folder)
        self.kind, self.options = self._front_end(written)
        self.num_features = self.options.num_features
        self._shards: dict[str, np.ndarray] = {}
        self.entries = tuple(self._read_index())
        self._places = {entry.name: i for i, entry in enumerate(self.entries)}
        self._check_counts(written.get("result"))
        self.names = tuple(self._places)
        self.lengths = np.array([entry.frames for entry in self.entries], np.int64)

    def _front_end(self, written: dict[str, Any]) -> tuple[str, MfccOptions]:
        path, kind, options = self.folder / OPTIONS, written.get("kind"), written.get("options")
        if not isinstance(kind, str) or kind not in KINDS:
            raise ValueError(f"{path}: kind must be one of {', '.join(KINDS)}, got {kind!r:.80}")
        if not isinstance(options, dict):
            raise ValueError(f"{path}: options must be an object, got {type(options).__name__}")
        try:
            made = MfccOptions(**options)
        except (TypeError, ValueError) as e:
            raise ValueError(f"{path}: {e}") from e
        if made.kind != kind:
            raise ValueError(f"{path}: options must be those of {kind}, got those of {made.kind}")
        return kind, made

    def _read_index(self) -> Iterator[Entry]:
        path = self.folder / INDEX
        if not path.is_file():
            raise ValueError(f"there is no file {path}")
        names = set()
        with path.open("rb") as file:
            number = 0
            while line := file.readline(MAX_LINE + 1):
                number += 1
                entry = self._entry(_object(line, f"{path}, line {number}"), f"{path}, line {number}")
                if entry.name in names:
                    raise ValueError(f"{path}, line {number}: name must be new, got {entry.name!r:.80} once more")
                names.add(entry.name)
                yield entry

    def _entry(self, line: dict[str, Any], where: str) -> Entry:
        for key, kind in _TYPES.items():
            value: Any = line.get(key)
            number = type(value) is int or (type(value) is float and kind is float)
            if not (isinstance(value, str) if kind is str else number and 0 <= value < MAX_ROWS):  # nor NaN
                raise ValueError(f"{where}: {key} must be {_WORDS[kind]}, got {value!r:.80}")
        entry = Entry(*(line[key] for key in Entry._fields))
        if not SHARD.fullmatch(entry.shard):
            raise ValueError(f"{where}: shard must be a name like {shard_name(0)}, got {entry.shard!r:.80}")
        rows = self._shard(entry.shard)
        if entry.frames < 1 or entry.offset + entry.frames > len(rows):
            raise ValueError(
                f"{where}: offset and frames must lie within the {len(rows)} rows of {entry.shard}, got "
                f"{entry.offset} and {entry.frames}"
            )
        return entry

    def _shard(self, name: str) -> np.ndarray:
        rows = self._shards.get(name)
        if rows is None:
            rows = self._shards[name] = open_shard(self.folder / name)
            if rows.shape[1] != self.num_features:
                raise ValueError(
                    f"{self.folder / name} must have the {self.num_features} features of {OPTIONS}, got {rows.shape[1]}"
                )
        return rows

    def _check_counts(self, result: Any) -> None:
        if result is None:
            raise ValueError(f"{self.folder} is not finished: the command that began it goes on where it stopped")
        got = {
            "utterances": len(self.entries),
            "frames": sum(entry.frames for entry in self.entries),
            "shards": len(self._shards),
        }
        for key, value in got.items():
            wanted = result.get(key) if isinstance(result, dict) else None
            if wanted != value:
                raise ValueError(f"{self.folder / INDEX} must have the {wanted!r:.80} {key} of {OPTIONS}, got {value}")

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, name: object) -> bool:
        return name in self._places

    @overload
    def __getitem__(self, which: str) -> np.ndarray: ...
    @overload
    def __getitem__(self, which: int) -> np.ndarray: ...
    def __getitem__(self, which: int | str) -> np.ndarray:
        """[T, F] float32, a read-only view into its shard. Raises KeyError for a name and IndexError for a place not there."""
        if isinstance(which, str):
            if which not in self._places:
                raise KeyError(f"{self.folder} has no utterance {which!r:.80}")
            which = self._places[which]
        elif not -len(self) <= which < len(self):
            raise IndexError(f"{self.folder} has {len(self)} utterances, got {which}")
        entry = self.entries[which]
        return self._shards[entry.shard][entry.offset : entry.offset + entry.frames]

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return (
            f"<FeatureStore {str(self.folder)!r}: {len(self)} utterances, {self.kind} of {self.num_features} features>"
        )


_TYPES = get_type_hints(Entry)
_WORDS = {str: "text", int: "a whole number of at least 0", float: "a finite number of at least 0"}


def open_store(folder: str | os.PathLike[str]) -> FeatureStore:
    """The features that `pyasr features SOURCE folder` wrote, without reading them: rows are memory-mapped.

    store[name] and store[i] are arrays [T, F] float32, read-only views into the shards; `for features in store` goes through
    them in order; len(store), `name in store`, store.names, store.lengths [N] int64 in frames and store.entries (texts,
    speakers, seconds, recordings) say what is there. store.options computes the same features of other waves.

    Raises FileNotFoundError without such a folder; ValueError naming file and line when the folder is not finished, damaged
    or made up: a missing or cut shard, another dtype or shape, an index that leads outside a shard or lacks lines.

    >>> import wave, pyasr.cli
    >>> with wave.open("a.wav", "wb") as file:
    ...     file.setnchannels(1), file.setsampwidth(2), file.setframerate(16000), file.writeframes(bytes(32000))
    (None, None, None, None)
    >>> pyasr.cli.main(["features", "a.wav", "mel", "--kind", "fbank", "--set", "num_mels=40"])
    wrote 1 utterance to mel
    0
    >>> store = pyasr.features.open_store("mel")
    >>> store.names, store["a.wav"].shape, store.lengths
    (('a.wav',), (98, 40), array([98]))
    """
    return FeatureStore(folder)
