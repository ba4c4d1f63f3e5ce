"""`pyasr features`, `pyasr download` and `pyasr plot`."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click
import numpy as np

import pyasr
from pyasr._optional import need
from pyasr.cli._shared import (
    backend_of,
    data_option,
    json_option,
    note,
    offline_option,
    runs_ops,
    show_json,
    strict_option,
)  # fmt: skip
from pyasr.cli._use import checkpoint_of

if TYPE_CHECKING:
    from pyasr.datasets import Utterance

KINDS = ("mfcc", "fbank", "spectrogram")


@click.command()
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), default="mfcc", show_default=True)
@click.option("--sample-rate", type=click.IntRange(1000, 384_000), help="Resample to it.  [default: the recording's]")
@strict_option
@json_option
def features(
    source: tuple[Path, ...], out: Path, kind: str, sample_rate: int | None, strict: bool, as_json: bool
) -> None:
    """The features of recordings: SOURCE is recordings, a folder of them with texts, or a manifest; OUT is a new folder that
    gets an array [T, F] per utterance and index.jsonl, which names them."""
    from pyasr.runs.folder import must_be_new

    must_be_new(out)
    extract, skipped = getattr(pyasr, kind), []
    lines: list[str] = []

    def skip(name: str, reason: object) -> None:
        note(f"skipped {name}: {reason}")
        skipped.append(name)

    for utterance in _utterances(source, strict, skip):
        try:
            path = utterance.path
            assert path is not None
            wave, rate = pyasr.load(path, sample_rate, start=utterance.start, duration=utterance.duration)
            array = extract(wave, rate)
            if len(array) == 0:
                raise ValueError(f"must last at least one frame, got {1000 * len(wave) / rate:.0f} ms")
        except (ValueError, OSError) as e:
            if strict:
                raise ValueError(f"{utterance.name}: {e}") from e
            skip(utterance.name, e)
            continue
        out.mkdir(parents=True, exist_ok=True)
        name = f"{len(lines):06d}.npy"
        np.save(out / name, array, allow_pickle=False)
        entry = {"features": name, "name": utterance.name, "frames": len(array), "sample_rate": rate}
        entry |= {"text": utterance.text, "speaker": utterance.speaker}
        lines.append(json.dumps(entry, ensure_ascii=False) + "\n")
    if not lines:
        raise ValueError(f"none of the recordings could be used; {len(skipped)} were skipped")
    (out / "index.jsonl").write_text(
        "".join(lines), encoding="utf-8", errors="backslashreplace"
    )  # \ud800 is JSON's too
    if as_json:
        show_json({"out": str(out), "kind": kind, "written": len(lines), "skipped": len(skipped)})
    else:
        print(f"wrote {len(lines)} arrays to {out}" + (f", skipped {len(skipped)} recordings" if skipped else ""))


def _utterances(sources: tuple[Path, ...], strict: bool, skip: Callable[[str, object], None]) -> Iterator[Utterance]:
    """Recordings as they are, folders and manifests as their utterances."""
    from pyasr.datasets import Utterance, manifest

    for source in sources:
        if source.is_dir() or source.name.endswith((".jsonl", ".jsonl.gz")):
            mine = manifest.load(source, strict=strict)
            for line, reason in mine.skipped:
                skip(f"{source}, line {line}", reason)
            yield from mine.utterances
        else:
            yield Utterance(str(source), source, "")


@click.command()
@click.argument("name", type=click.Choice(["fsdd", "an4", "librispeech", "speech_commands"]))
@data_option
@offline_option
def download(name: str, data: Path | None, offline: bool) -> None:
    """Fetch a data set into the cache, checked by hash, unless it is there; print its folder."""
    print(importlib.import_module(f"pyasr.datasets.{name}").locate(data, offline=offline))


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@data_option
@runs_ops
@offline_option
def plot(run: Path, data: Path | None, backend: str | None, threads: int | None, offline: bool) -> None:
    """Draw the run in the folder RUN once more, as far as it has come: loss, error rate, one utterance, confusions."""
    need("msgspec")
    from pyasr.recognizer import load
    from pyasr.runs import plots
    from pyasr.runs.folder import RunFolder
    from pyasr.runs.material import material

    folder = RunFolder(run)
    recognizer = load(checkpoint_of(run), backend_of(backend, threads))
    dev = material(folder.corpus(data, offline=offline).dev, recognizer.front_end)
    for path in plots.draw(folder, recognizer, dev):
        print(path)
