"""The features of a corpus of any size, into a folder that pyasr.features.open_store reads."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pyasr
from pyasr._optional import need
from pyasr.datasets import Skipped, Utterance
from pyasr.features.extract import plan_of
from pyasr.ops._door import default_threads
from pyasr.ops._op import native
from pyasr.ops._options import MfccOptions
from pyasr.runs.shards import Extracted, Progress, StoreWriter

SHARD_BYTES = 256 << 20
# Utterances under way: two per thread, and while features wait for the disk up to 32 per thread or 64 MiB of the largest seen.
LEAST, MOST, WAITING_BYTES = 2, 32, 64 << 20


@dataclass(frozen=True)
class Job:
    """What a folder is made of. sample_rate in Hz resamples; None takes recordings of the options' rate only."""

    utterances: Sequence[Utterance]
    kind: str
    options: MfccOptions
    preset: str = "kaldi"
    sample_rate: int | None = None
    shard_bytes: int = SHARD_BYTES
    skipped: Sequence[Skipped] = ()  # when the list of utterances was made

    def settings(self) -> dict[str, Any]:
        """What must match when a stopped command goes on: every byte of the folder follows from these and the recordings."""
        digest = hashlib.sha256()
        for u in self.utterances:
            digest.update(json.dumps([u.name, str(u.path), u.text, u.speaker, u.start, u.duration]).encode())
        digest.update(json.dumps(self.skipped).encode())
        column, cpu = pyasr.backend().column(self.kind), native("_cpu")
        by = {
            "pyasr": pyasr.__version__,
            "backend": column,
            "isa": None if cpu is None or column != "cpp" else cpu.isa(),
        }
        return {
            "kind": self.kind, "preset": self.preset, "options": asdict(self.options), "resample_to": self.sample_rate,
            "shard_bytes": self.shard_bytes, "recordings": {"count": len(self.utterances), "sha256": digest.hexdigest()},
            "computed_by": by,
        }  # fmt: skip


@dataclass(frozen=True)
class Watch:
    """Functions that are called while a folder is filled."""

    on_start: Callable[[int, int], object] = lambda done, recordings: None
    on_recording: Callable[[float], object] = lambda seconds: None  # of sound; 0 for one that was skipped
    on_skip: Callable[[Skipped], object] = lambda skipped: None


class Interrupted(KeyboardInterrupt):
    """Ctrl-C; what was computed is saved."""


def front_end(kind: str, sample_rate: float, preset: str, changes: dict[str, Any]) -> MfccOptions:
    """Every option of a kind of features, from a preset and single changes. Raises as `pyasr.mfcc` does."""
    return plan_of(kind, kind, sample_rate, preset, changes).options


def rate_of(utterances: Sequence[Utterance], strict: bool = False) -> int:
    """Sample rate in Hz of the first recording whose header can be read.

    Raises ValueError when there is none; with strict=True for the first one that cannot be read.
    """
    reason = ""
    for u in utterances:
        try:
            return pyasr.load(_path(u), duration=0.0)[1]
        except (ValueError, OSError) as e:
            if strict:
                raise ValueError(f"{u.name}: {e}") from e
            reason = reason or f", the first of them: {u.name}: {e}"
    raise ValueError(f"none of the recordings could be used; {len(utterances)} were skipped{reason}")


def extract(
    job: Job, folder: Path, *, threads: int | None = None, strict: bool = False, watch: Watch | None = None
) -> Progress:
    """Fill `folder`, or go on where a stopped call of the same job left it; what was done in all.

    Whole utterances are decoded and computed in `threads` threads, a bounded number of them in memory, and written in order, so
    the files have the same bytes for any number. What cannot be used is skipped with its reason: a recording that pyasr.load
    refuses, of another rate, or shorter than a frame.

    Raises ValueError for the first such recording when strict=True, when none is left, and as StoreWriter does; Interrupted
    after Ctrl-C.
    """
    threads, watch = threads or default_threads(), watch or Watch()
    with StoreWriter(folder, job.settings(), job.options, job.skipped) as writer:
        if strict and writer.progress.skipped:
            raise ValueError(
                f"{folder} was begun without strict, and {writer.progress.skipped} recordings were skipped"
            )
        if writer.finished:
            return writer.progress
        watch.on_start(writer.progress.done, len(job.utterances))
        try:
            with closing(_in_order(job, writer.progress.done, threads)) as items:
                for done, item in enumerate(items, writer.progress.done + 1):
                    if isinstance(item, Skipped):
                        if strict:
                            writer.flush()
                            raise ValueError(f"{item.name}: {item.reason}")
                        watch.on_skip(item)
                    writer.add(done, item)
                    watch.on_recording(item.samples / job.options.sample_rate if isinstance(item, Extracted) else 0.0)
            writer.finish()
        except KeyboardInterrupt as e:
            writer.flush()
            if not writer.progress.done:
                raise
            saved = f"{writer.progress.done} of {len(job.utterances)} recordings are done"
            raise Interrupted(f"{saved}; the same command goes on") from e
        return writer.progress


def _in_order(job: Job, done: int, threads: int) -> Generator[Extracted | Skipped, None, None]:
    """What each utterance after the first `done` gave, in their order, with a bounded number under way."""
    rest, largest = islice(job.utterances, done, None), 1
    pool, waiting = ThreadPoolExecutor(threads), deque[Future[Extracted | Skipped]]()
    try:
        waiting.extend(pool.submit(_extracted, job, u) for u in islice(rest, LEAST * threads))
        while waiting:
            item = waiting.popleft().result()
            if isinstance(item, Extracted):
                largest = max(largest, item.features.nbytes)
            room = max(LEAST * threads, min(MOST * threads, WAITING_BYTES // largest))
            waiting.extend(pool.submit(_extracted, job, u) for u in islice(rest, max(0, room - len(waiting))))
            yield item
    finally:
        pool.shutdown(cancel_futures=True)  # after an error or Ctrl-C no other utterance is begun


def _extracted(job: Job, u: Utterance) -> Extracted | Skipped:
    """One utterance, or why it cannot be used."""
    soundfile, options = need("soundfile"), job.options
    try:
        path = _path(u)
        wave, rate = pyasr.load(path, job.sample_rate, start=u.start, duration=u.duration)
        if rate != options.sample_rate:
            raise ValueError(
                f"must have the {options.sample_rate:g} Hz of the others, got {rate}: --sample-rate resamples all"
            )
        features = getattr(pyasr, job.kind)(wave, rate, options, threads=1)
        if len(features) == 0:
            raise ValueError(f"must last at least one frame, got {1000 * len(wave) / rate:.0f} ms")
        header = soundfile.info(str(path))
    except (ValueError, OSError, soundfile.LibsndfileError) as e:
        return Skipped(u.name, str(e))
    return Extracted(u, features, len(wave), header.channels, header.samplerate, header.frames)


def _path(u: Utterance) -> Path:
    if u.path is None:
        raise ValueError(f"{u.name} has no recording")
    return u.path
