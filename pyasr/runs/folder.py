"""The folder of a run.

config.toml           every option, and in [run] where the recordings are, the backend, how often is saved and looked at a GPU
metrics.jsonl         a line per update ("step") and per epoch ("epoch")
last.safetensors      weights, optimizer and progress; previous.safetensors is the one before
best.safetensors      the weights of the best epoch
skipped.jsonl         what was left out, and why
result.json           the scores of the best epoch
plots/                loss, error rate, one utterance, confusions, as PNG and SVG
"""

from __future__ import annotations

import json
import os
import shlex
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pyasr import checkpoint
from pyasr._optional import need
from pyasr.checkpoint import Checkpoint, CheckpointError, write_atomically
from pyasr.datasets import NAMES, Corpus, Skipped, find
from pyasr.runs.options import options_for

LAST, PREVIOUS, BEST = "last.safetensors", "previous.safetensors", "best.safetensors"


class RunFolder:
    """Paths and files of one run. Raises what the disk raises."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.last, self.previous, self.best = (self.path / name for name in (LAST, PREVIOUS, BEST))
        self.metrics = self.path / "metrics.jsonl"
        self.plots = self.path / "plots"

    def must_be_new(self) -> None:
        """As must_be_new of this module: a run is never overwritten."""
        resume = f"go on with `pyasr train --resume {shlex.quote(str(self.path))}`, or "
        must_be_new(self.path, (resume if (self.path / "config.toml").exists() else "") + "choose another with --out")

    def begin(self, options: Mapping[str, Any], run: Mapping[str, Any], skipped: Iterable[Skipped]) -> None:
        """Make the folder; write config.toml and, where anything was left out, skipped.jsonl."""
        lines = "".join(json.dumps(s._asdict(), ensure_ascii=False) + "\n" for s in skipped)
        if lines:
            write_atomically(self.path / "skipped.jsonl", lines.encode("utf-8", "backslashreplace"))
        text = need("tomli_w").dumps({**options, "run": dict(run)})
        write_atomically(self.path / "config.toml", text.encode())

    def config(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """(options, run) of config.toml. Raises FileNotFoundError, and ValueError for what is no TOML or no run."""
        file = self.path / "config.toml"
        if not file.is_file():
            raise FileNotFoundError(f"{self.path} holds no run: there is no {file}")
        options = read_toml(file)
        run = options.pop("run", {})
        if not isinstance(run, dict) or not isinstance(run.get("source"), str):
            raise ValueError(f"{file} must have run.source, got {run!r:.80}")
        for name, value in run.items():
            if name in ("checkpoint_every", "log_every"):
                if type(value) is not int or value < 1:
                    raise ValueError(f"{file}: run.{name} must be a whole number of updates, got {value!r:.80}")
            elif not isinstance(value, str):
                raise ValueError(f"{file}: run.{name} must be text, got {value!r:.80}")
        return options, run

    def corpus(
        self, data: str | os.PathLike[str] | None = None, *, offline: bool = False, strict: bool = False
    ) -> Corpus:
        """The corpus that the run was trained on, found again; `data` says where the data set or the manifest lies now. Raises
        what find raises."""
        chosen, run = self.config()
        options = options_for("", "lstm_ctc", chosen)
        source, place = run["source"], data or run.get("data")
        if data is not None and source not in NAMES:
            source, place = data, None
        return find(
            source, place, dev=run.get("dev"), share=options.dev_share, seed=options.seed,
            size=options.size, offline=offline, strict=strict,
        )  # fmt: skip

    def checkpoint(self) -> tuple[Checkpoint | None, str]:
        """The last checkpoint that can be read, None before the first, and what is wrong with a newer one, or "".

        Temporary files that a killed process left are removed. Raises CheckpointError when there are checkpoints but none can
        be read.
        """
        for file in (*self.path.glob(".*.tmp"), *self.plots.glob(".*.tmp")):
            file.unlink()
        wrong: list[str] = []
        for path in (self.last, self.previous):
            if path.exists():
                try:
                    return checkpoint.load(path), "".join(wrong)
                except CheckpointError as e:
                    wrong.append(str(e))
        if wrong:
            raise CheckpointError("; ".join(wrong))
        return None, ""

    def recognizer(self) -> Path:
        """The checkpoint to recognize with: the best, before the first epoch's end the last."""
        for path in (self.best, self.last, self.previous):
            if path.exists():
                return path
        raise FileNotFoundError(f"{self.path} holds no checkpoint yet")

    def write_result(self, result: Mapping[str, Any]) -> None:
        """result.json."""
        write_atomically(self.path / "result.json", (json.dumps(result, indent=1) + "\n").encode())


def must_be_new(folder: Path, instead: str = "choose another folder") -> None:
    """Raise FileExistsError unless the folder is missing or empty, and the OSError of a folder that could not be made or written.

    It is not made: what is wrong later leaves nothing behind.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise FileExistsError(f"{folder} is there already and is not overwritten: {instead}")
    there = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not there.is_dir():
        raise NotADirectoryError(f"{folder} cannot be made: {there} is no folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise PermissionError(f"{folder} cannot be written: no permission for {there}")


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file. Raises FileNotFoundError, and ValueError naming it for what is no TOML or no UTF-8."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    try:
        with file.open("rb") as f:
            return tomllib.load(f)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ValueError(f"{file} is not TOML: {e}") from e


class Metrics:
    """metrics.jsonl, cut to the `size` bytes that a checkpoint knows of, then appended to."""

    def __init__(self, path: Path, size: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")
        if self._file.seek(0, os.SEEK_END) < size:
            self._file.close()
            raise ValueError(f"{path} must hold the {size} bytes of its checkpoint, got {path.stat().st_size}")
        self._file.truncate(size)
        self._file.seek(size)

    def add(self, record: Mapping[str, Any]) -> None:
        """One line."""
        self._file.write((json.dumps(record) + "\n").encode())

    def sync(self) -> int:
        """Everything is on the disk after this; the size of the file in bytes."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return self._file.tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_metrics(path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """(steps, epochs) of a metrics.jsonl; a last line that is not finished is left out. Raises ValueError naming any other line
    that holds neither."""
    steps: list[dict[str, Any]] = []
    epochs: list[dict[str, Any]] = []
    for number, line in enumerate(path.read_bytes().splitlines(keepends=True), 1):
        if line.endswith(b"\n"):
            try:
                record = json.loads(line)
            except ValueError as e:
                raise ValueError(f"{path}, line {number} is no JSON: {e}") from e
            if not isinstance(record, dict) or not record.keys() & {"step", "epoch"}:
                raise ValueError(f"{path}, line {number} must be an update or an epoch, got {record!r:.80}")
            (steps if "step" in record else epochs).append(record)
    return steps, epochs
