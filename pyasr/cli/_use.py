"""`pyasr evaluate` and `pyasr transcribe`."""

from __future__ import annotations

import importlib
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pyasr
from pyasr._optional import need
from pyasr.cli._shared import (
    backend_of,
    json_option,
    note,
    offline_option,
    runs_ops,
    score_line,
    search_options,
    show_json,
    strict_option,
    use_search,
)  # fmt: skip

if TYPE_CHECKING:
    from pyasr.datasets import Corpus, Utterance

run_argument = click.argument("run", type=click.Path(path_type=Path))


def checkpoint_of(run: Path) -> Path:
    """A checkpoint, or the best one in the folder of a run."""
    from pyasr.runs.folder import RunFolder

    return RunFolder(run).recognizer() if run.is_dir() else run


@click.command()
@run_argument
@click.option(
    "--corpus", help="A data set: digits, fsdd, an4, librispeech, speech_commands.  [default: that of the run]"
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="Recordings to judge on, or where the data set lies.  [default: as for train]",
)
@click.option("--part", type=click.Choice(["train", "dev", "test"]), help="[default: test, or dev where there is none]")
@search_options
@runs_ops
@offline_option
@strict_option
@json_option
def evaluate(
    run: Path, corpus: str | None, data: Path | None, part: str | None, backend: str | None, threads: int | None,
    offline: bool, strict: bool, as_json: bool, search: dict[str, Any] | None,
) -> None:  # fmt: skip
    """Judge RUN (its folder or a checkpoint) on its own corpus, on another data set, or on recordings of yours: with --data
    MANIFEST, a folder of recordings with texts or a JSONL file, all of which is then the test."""
    need("msgspec")
    from pyasr.recognizer import load
    from pyasr.runs.evaluation import evaluate as judge
    from pyasr.runs.material import material

    recognizer = load(checkpoint_of(run), backend_of(backend, threads))
    use_search(recognizer, search)
    name, part, utterances, skipped = _to_judge(run, corpus, data, part, offline, strict)
    read = material(utterances, recognizer.front_end, strict=strict)
    skipped += len(read.skipped)
    for one in read.skipped:
        note(f"skipped {one.name}: {one.reason}")
    if not read.utterances:
        raise ValueError(
            f"{name} has no {part} utterances to judge by" + (f"; {skipped} were skipped" if skipped else "")
        )
    score = judge(recognizer, read, intervals=True)
    if as_json:
        figures = {"corpus": name, "part": part, "model": recognizer.KIND, "synthetic": name == "digits"}
        show_json({**figures, **score.as_json(recognizer.KIND), "skipped": skipped})
    else:
        print(f"{name} {part}: {score_line(score, recognizer.KIND, synthetic=name == 'digits')}")
        if skipped:
            print(f"skipped {skipped} recordings")


def _to_judge(
    run: Path, name: str | None, data: Path | None, part: str | None, offline: bool, strict: bool
) -> tuple[str, str, Sequence[Utterance], int]:
    """(corpus, part, utterances, how many lines were skipped)."""
    from pyasr.datasets import LAYOUTS, NAMES, find, manifest
    from pyasr.runs.folder import RunFolder

    if name is not None and name not in NAMES:
        raise click.UsageError(f"--corpus must be one of {', '.join(NAMES)}, got {name}")
    corpus: Corpus
    if name is None and data is not None:
        own = _own_layout(run)
        if own not in LAYOUTS or not _has_layout(own, data):
            if part is not None:
                raise click.UsageError(f"all of {data} is the test: --part {part} goes with a data set")
            mine = manifest.load(data, strict=strict)
            for line, reason in mine.skipped:
                note(f"skipped {data}, line {line}: {reason}")
            return mine.name, "test", mine.utterances, len(mine.skipped)
    if name is None:
        if not run.is_dir():
            raise click.UsageError(f"{run} is a checkpoint alone: say what to judge it on with --corpus or --data")
        corpus = RunFolder(run).corpus(data, offline=offline, strict=strict)
    else:
        corpus = find(name, data, offline=offline)
    part = part or ("test" if corpus.test else "dev")
    return corpus.name, part, getattr(corpus, part), len(corpus.skipped)


def _own_layout(run: Path) -> str | None:
    from pyasr.runs.folder import RunFolder

    return RunFolder(run).config()[1].get("source") if (run / "config.toml").is_file() else None


def _has_layout(name: str, data: Path) -> bool:
    try:
        importlib.import_module(f"pyasr.datasets.{name}").locate(data)
    except FileNotFoundError:
        return False
    return True


@click.command()
@run_argument
@search_options
@runs_ops
@json_option
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path, allow_dash=True))
def transcribe(
    run: Path, backend: str | None, threads: int | None, as_json: bool, files: tuple[Path, ...],
    search: dict[str, Any] | None,
) -> None:  # fmt: skip
    """What is said in each recording, as RUN (its folder or a checkpoint) hears it; "-" reads a recording from the input.
    A file that cannot be read is named, and the exit code is then 1."""
    from pyasr.recognizer import load

    recognizer = load(checkpoint_of(run), backend_of(backend, threads))
    use_search(recognizer, search)
    failed = 0
    for file in files:
        try:
            sound = io.BytesIO(sys.stdin.buffer.read()) if str(file) == "-" else file
            text, probability = recognizer.transcribe(*pyasr.load(sound, recognizer.config.sample_rate))
        except (ValueError, OSError) as e:
            note(f"{file}: {e}")
            failed += 1
            continue
        if as_json:
            show_json({"file": str(file), "text": text, "probability": round(probability, 6)})
        else:
            print(text if len(files) == 1 else f"{file}\t{text}")
    if failed:
        raise OSError(f"{failed} of {len(files)} files could not be transcribed")
