"""`pyasr download` and `pyasr plot`."""

from __future__ import annotations

import importlib
from pathlib import Path

import click

from pyasr._optional import need
from pyasr.cli._shared import backend_of, data_option, offline_option, runs_ops
from pyasr.cli._use import checkpoint_of


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
