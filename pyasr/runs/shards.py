"""Fills a folder of features (pyasr/features/store.py) so that it may be stopped at any moment.

What was computed waits in memory until `flush` writes it: shards, then the lines that name them, then progress.json, each on the
disk before the next. progress.json knows how long every file was; what lies behind that is cut off when the work goes on. So a
stop between any two instructions costs what was not flushed, and the files of a finished folder do not tell how often it was
stopped. progress.json goes when options.json has its result.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np

from pyasr.checkpoint import write_atomically
from pyasr.datasets import Skipped, Utterance
from pyasr.features.store import (
    CUTS,
    FORMAT,
    HEADER,
    INDEX,
    MAX_ROWS,
    OPTIONS,
    SHARD,
    SKIPPED,
    STORAGE,
    VERSION,
    Entry,
    open_shard,
    read_json,
    read_options,
    shard_header,
    shard_name,
)  # fmt: skip
from pyasr.ops._options import MfccOptions
from pyasr.runs.folder import must_be_new

PROGRESS, LOCK = "progress.json", ".lock"
FLUSH_SECONDS, FLUSH_BYTES = 2.0, 8 << 20  # what a killed process may lose


class Extracted(NamedTuple):
    """Features of an utterance, and of which recording."""

    utterance: Utterance
    features: np.ndarray  # [T, F] float32
    samples: int  # that they were made of, at the rate of the options
    channels: int  # of the recording
    rate: int  # Hz, of the recording
    length: int  # samples of the recording, at its own rate


@dataclass(frozen=True)
class Progress:
    """What is on the disk."""

    done: int = 0  # recordings of the list, used or skipped
    utterances: int = 0
    frames: int = 0
    skipped: int = 0
    shard: int = 0
    rows: int = 0  # of that shard
    index_bytes: int = 0
    cuts_bytes: int = 0
    skipped_bytes: int = 0

    def sizes(self) -> dict[str, int]:
        """Bytes of each file of lines."""
        return {INDEX: self.index_bytes, CUTS: self.cuts_bytes, SKIPPED: self.skipped_bytes}


class StoreWriter:
    """Writes one folder; a context manager that holds its lock.

    settings go into options.json; a folder that was begun with others is not touched. before is what was left out already when
    the list of recordings was made. `progress` says what is on the disk, `finished` that there is nothing to do.

    Raises FileExistsError for a folder that holds something else, ValueError for one that was begun with other settings (naming
    them), is damaged or is being written by another process.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, Any], options: MfccOptions, before: Iterable[Skipped] = ()
    ) -> None:
        self.folder, self.options = folder, options
        self._settings = {"format": FORMAT, "version": VERSION, **settings, "folder": str(folder)}
        self._shard_rows = max(1, settings["shard_bytes"] // (4 * options.num_features))
        self._lock: int | None = None
        self._pending: list[tuple[int, Extracted | Skipped]] = []  # with the recordings done after each
        self._bytes, self._flushed = 0, time.monotonic()
        self.progress, self.finished = Progress(), False
        try:
            if (folder / OPTIONS).exists():
                self._take_up()
            elif folder.is_dir() and {path.name for path in folder.iterdir()} <= {f".{OPTIONS}.tmp", LOCK}:
                self._hold()  # killed before it began
            else:
                must_be_new(folder)
        except BaseException:
            self.close()
            raise
        if self.progress == Progress():
            self._pending = [(0, skipped) for skipped in before]

    # ---- what lies there

    def _take_up(self) -> None:
        there = read_options(self.folder)
        folder = there.get("folder")
        if not isinstance(folder, str):
            raise ValueError(f"{self.folder / OPTIONS}: folder must be text, got {folder!r:.80}")
        self._settings["folder"] = folder  # paths are spelled as they were at first
        self._compare(there)
        self._hold()
        progress = self.folder / PROGRESS
        result = read_options(self.folder).get("result")
        if result is not None:
            if not isinstance(result, dict):
                raise ValueError(f"{self.folder / OPTIONS}: result must be an object, got {result!r:.80}")
            self.progress, self.finished = _progress({**asdict(Progress()), **result}, self.folder / OPTIONS), True
            progress.unlink(missing_ok=True)  # killed at the very end
            return
        if progress.exists():
            self.progress = _progress(read_json(progress), progress)
        self._cut_back()

    def _compare(self, there: dict[str, Any]) -> None:
        """Raise unless the folder was begun with the same settings; who computed them does not matter when all is done."""
        if isinstance(there.get("options"), dict):  # an option that came later had its default
            there = there | {"options": {f.name: f.default for f in fields(MfccOptions)} | there["options"]}
        left_out = {"result", "computed_by"} if "result" in there else {"result"}
        ours, theirs = ({k: v for k, v in _flat(s) if k.split(".")[0] not in left_out} for s in (self._settings, there))
        wrong = [k for k in (*ours, *(theirs.keys() - ours.keys())) if ours.get(k) != theirs.get(k)]
        if wrong:
            words = ", ".join(f"{k} was {theirs.get(k)!r:.80}, now {ours.get(k)!r:.80}" for k in wrong)
            raise ValueError(f"{self.folder} was begun with other settings: {words}; choose another folder")

    def _cut_back(self) -> None:
        """Leave what progress.json knows of, and nothing else of ours."""
        p, features = self.progress, self.options.num_features
        ends: dict[str, dict[int, list[bytes]]] = {name: {size: []} for name, size in p.sizes().items()}
        if p.rows:
            header = shard_header(p.rows, features)
            ends[shard_name(p.shard)] = {0: [header], HEADER + 4 * features * p.rows: []}
        for name, end in ends.items():
            path, size = self.folder / name, max(end)
            got = path.stat().st_size if path.is_file() else 0
            if got < size:
                raise ValueError(f"{path} must hold the {size} bytes that {PROGRESS} knows of, got {got}")
        for shard in range(p.shard):
            open_shard(self.folder / shard_name(shard))
        for name, end in ends.items():
            _write(self.folder / name, end)
        for path in (*self.folder.glob("features-*.npy"), *self.folder.glob(".*.tmp")):
            number = SHARD.fullmatch(path.name)
            if path.name.startswith(".") or (number and int(number[1]) >= p.shard + (p.rows > 0)):
                path.unlink()

    def _hold(self) -> None:
        """Take the lock. Raises ValueError when somebody else has it."""
        lock = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.fstat(lock).st_nlink:  # its holder has just removed it
                raise BlockingIOError
        except BlockingIOError as e:
            os.close(lock)
            raise ValueError(f"{self.folder} is being written by another process") from e
        self._lock = lock

    # ---- writing

    def add(self, done: int, item: Extracted | Skipped) -> None:
        """Take the next recording in order, the `done`-th of the list; written at the latest when some seconds or megabytes have
        gathered."""
        self._pending.append((done, item))
        self._bytes += item.features.nbytes if isinstance(item, Extracted) else 0
        if self._bytes >= FLUSH_BYTES or time.monotonic() - self._flushed >= FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Everything that was added is on the disk after this; before the first utterance nothing is made.

        May be called again after it was interrupted: it writes the same bytes to the same places.
        """
        used = [item for _, item in self._pending if isinstance(item, Extracted)]
        if not self._pending or not (used or self.progress.utterances):
            return
        self._begin()
        p, lines = self.progress, {INDEX: bytearray(), CUTS: bytearray(), SKIPPED: bytearray()}
        blocks: dict[int, list[np.ndarray]] = {}
        for done, item in self._pending:
            if isinstance(item, Skipped):
                lines[SKIPPED] += _line(item._asdict())
                p = replace(p, done=done, skipped=p.skipped + 1)
                continue
            frames = len(item.features)
            if p.rows and p.rows + frames > self._shard_rows:
                p = replace(p, shard=p.shard + 1, rows=0)
            entry = self._entry(item, shard_name(p.shard), p.rows)
            lines[INDEX] += _line(entry._asdict())
            lines[CUTS] += _line(cut_of(item, entry, self.options, self._settings["folder"]))
            blocks.setdefault(p.shard, []).append(item.features)
            p = replace(
                p, done=done, utterances=p.utterances + 1, frames=p.frames + frames, rows=p.rows + frames
            )  # fmt: skip
        for shard, arrays in blocks.items():
            self._append_rows(shard, arrays)
        for name, size in self.progress.sizes().items():
            _write(self.folder / name, {size: [lines[name]]})
        new = {name: size + len(lines[name]) for name, size in self.progress.sizes().items()}
        p = replace(p, index_bytes=new[INDEX], cuts_bytes=new[CUTS], skipped_bytes=new[SKIPPED])
        write_atomically(self.folder / PROGRESS, _line(asdict(p)))
        self.progress, self._pending, self._bytes, self._flushed = p, [], 0, time.monotonic()

    def _begin(self) -> None:
        if self._lock is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._hold()
            if (self.folder / OPTIONS).exists():
                raise ValueError(f"{self.folder} was begun by another process meanwhile")
        if not (self.folder / OPTIONS).exists():
            self._write_options({})

    def _append_rows(self, shard: int, arrays: list[np.ndarray]) -> None:
        features = self.options.num_features
        before = self.progress.rows if shard == self.progress.shard else 0
        header = shard_header(before + sum(map(len, arrays)), features)
        data = [np.ascontiguousarray(a, "<f4").data for a in arrays]
        _write(self.folder / shard_name(shard), {0: [header], HEADER + 4 * features * before: data})

    def _entry(self, item: Extracted, shard: str, offset: int) -> Entry:
        u, rate = item.utterance, int(self.options.sample_rate)
        home, source = Path(os.path.abspath(self.folder)).parent, Path(os.path.abspath(u.path or ""))
        name = source.relative_to(home).as_posix() if source.is_relative_to(home) else str(source)
        return Entry(
            u.name, shard, offset, len(item.features), rate, u.start, item.samples / rate, u.text, u.speaker, name
        )

    def _write_options(self, more: dict[str, Any]) -> None:
        text = json.dumps({**self._settings, **more}, indent=1, ensure_ascii=False) + "\n"
        write_atomically(self.folder / OPTIONS, text.encode("utf-8", "backslashreplace"))

    def finish(self) -> None:
        """Write the result; the folder can be opened after this. Raises ValueError when there is nothing in it."""
        self.flush()
        p = self.progress
        if not p.utterances:
            skipped = sum(isinstance(item, Skipped) for _, item in self._pending)
            raise ValueError(f"none of the recordings could be used; {skipped} were skipped")
        counts = {"done": p.done, "utterances": p.utterances, "frames": p.frames, "skipped": p.skipped}
        self._write_options({"result": {**counts, "shards": p.shard + 1}})
        (self.folder / PROGRESS).unlink()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the lock back."""
        if self._lock is not None:
            (self.folder / LOCK).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None


def _flat(settings: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from ((f"{key}.{name}", inner) for name, inner in value.items())
        else:
            yield key, value


def _progress(values: dict[str, Any], path: Path) -> Progress:
    known = {f.name: values.get(f.name) for f in fields(Progress)}
    for name, value in known.items():
        if type(value) is not int or not 0 <= value < MAX_ROWS:
            raise ValueError(f"{path}: {name} must be a whole number of at least 0, got {value!r:.80}")
    return Progress(**known)  # type: ignore[arg-type]


def _line(value: dict[str, Any]) -> bytes:
    """JSON; half of a surrogate pair, which a file name may hold, becomes JSON's own escape."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace") + b"\n"


def _write(path: Path, parts: Mapping[int, Iterable[Any]]) -> None:
    """Write at places of a file, which ends behind the last of them, and wait for the disk."""
    with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o644), "r+b") as file:
        for place, data in parts.items():
            file.seek(place)
            file.writelines(data)
        file.truncate()
        file.flush()
        os.fsync(file.fileno())


def cut_of(item: Extracted, entry: Entry, options: MfccOptions, folder: str) -> dict[str, Any]:
    """lhotse's MonoCut. It lasts as long as its frames do, since lhotse computes the one from the other: without
    snip_edges the whole utterance, else up to a frame less.

    A recording of several channels is left out, because the features are those of their mean.

    Source: lhotse 1.33, cut/mono.py, features/base.py and audio/recording.py.
    """
    u, rate, shift = item.utterance, entry.sample_rate, options.frame_shift
    recording, start = str(u.path), u.start
    length = (2 * item.length * rate + item.rate) // (2 * item.rate)  # as lhotse rounds it after resampling
    samples = min(item.samples, length - round(start * rate))
    if (samples + shift // 2) // shift != entry.frames:
        samples = entry.frames * shift
    duration = samples / rate
    features = {
        "type": options.kind, "num_frames": entry.frames, "num_features": options.num_features, "frame_shift": shift / rate,
        "sampling_rate": rate, "start": start, "duration": duration, "storage_type": STORAGE,
        "storage_path": str(Path(folder, entry.shard)), "storage_key": f"{entry.offset}:{entry.frames}",
        "recording_id": recording, "channels": 0,
    }  # fmt: skip
    said = {"id": u.name, "recording_id": recording, "start": 0.0, "duration": duration, "channel": 0, "text": u.text}
    said |= {"speaker": u.speaker} if u.speaker else {}
    cut = {"id": u.name, "start": start, "duration": duration, "channel": 0, "type": "MonoCut", "features": features}
    cut["supervisions"] = [said] if u.text or u.speaker else []
    if item.channels == 1:
        source = {"type": "file", "channels": [0], "source": recording}
        whole: dict[str, Any] = {"id": recording, "sources": [source], "sampling_rate": rate, "num_samples": length}
        whole |= {"duration": length / rate, "channel_ids": [0]}
        if rate != item.rate:
            rates = {"source_sampling_rate": item.rate, "target_sampling_rate": rate}
            whole["transforms"] = [{"name": "Resample", "kwargs": rates}]
        cut["recording"] = whole
    return cut
