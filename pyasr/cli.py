"""The command `pyasr`. Exit codes: 0 done, 1 it could not be done, 2 wrong use or a missing extra, 130 Ctrl-C."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pyasr

if TYPE_CHECKING:
    from pyasr.scoring import WordErrors

DEFAULT_CHECKPOINT = "runs/fsdd/best.safetensors"


def main(argv: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        return command.main(argv, prog_name="pyasr", standalone_mode=False) or 0
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (KeyboardInterrupt, click.Abort) as e:  # click turns the one into the other
        why = str(e.__cause__ if isinstance(e, click.Abort) else e)
        print(f"pyasr: interrupted{why and ', '}{why}", file=sys.stderr)
        return 130
    except ImportError as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # pyasr.__main__ ends quietly
    except (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError) as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pyasr.__version__, prog_name="pyasr")
def command() -> None:
    """Train and use small speech recognizers. `pyasr info` shows what this install can do."""


def _runs_ops(function: Callable) -> Callable:
    """Options of a command that computes."""
    threads = click.option(
        "--threads", type=click.IntRange(1, 1024), help="Threads of the native kernels.  [default: all CPUs]"
    )
    backend = click.option(
        "--backend",
        type=click.Choice(["numpy", "numba", "cpp", "cuda"]),
        help="Never falls back.  [default: the best here]",
    )
    return backend(threads(function))


def _ops(backend: str | None, threads: int | None) -> Any:
    if threads is not None:
        os.environ["PYASR_NUM_THREADS"] = str(threads)  # read by the pool at its first use
    return pyasr.backend(backend)


data_option = click.option(
    "--data", type=click.Path(path_type=Path),
    help="The data set, or its folder.  [default: $PYASR_DATA/NAME, the cache, or a download]",
)  # fmt: skip
offline_option = click.option("--offline", is_flag=True, help="Never download.")
checkpoint_option = click.option(
    "--checkpoint", type=click.Path(path_type=Path), default=DEFAULT_CHECKPOINT, show_default=True
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _trains(name: str) -> Callable[[Callable], Callable]:
    """Options of `pyasr train NAME`; what the user leaves out comes as None and stays the recipe's default."""
    options = (
        data_option,
        click.option(
            "--out",
            type=click.Path(path_type=Path),
            default=f"runs/{name}",
            show_default=True,
            help="Folder to write to.",
        ),
        click.option("--seed", type=click.IntRange(0), default=0, show_default=True),
        click.option("--epochs", type=click.IntRange(1), help="Passes over the training recordings."),
        click.option("--hidden", type=click.IntRange(1, 4096), help="LSTM units of each direction."),
        click.option("--layers", type=click.IntRange(1, 16), help="LSTM layers."),
        click.option("--batch-size", type=click.IntRange(1), help="Recordings per update."),
        _runs_ops,
        offline_option,
        click.option("--quiet", is_flag=True, help="Print the result only."),
        json_option,
    )

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


@command.group()
def train() -> None:
    """Train a recognizer."""


@train.command("fsdd")
@_trains("fsdd")
def train_fsdd(
    data: Path | None, out: Path, backend: str | None, threads: int | None, offline: bool, quiet: bool, as_json: bool,
    **chosen: Any,
) -> None:  # fmt: skip
    """Recognize spoken digits: train on FSDD, test on its 300 official test recordings."""
    from pyasr.datasets import fsdd
    from pyasr.recipes import fsdd as recipe

    options = recipe.Options(**{name: value for name, value in chosen.items() if value is not None})
    ops, source = _ops(backend, threads), fsdd.locate(data, offline=offline)
    result = _with_progress(recipe.train, ops, source, out, options, quiet or as_json)
    if as_json:
        print(json.dumps({**asdict(result), "checkpoint": str(result.checkpoint), "accuracy": result.test.accuracy}))
    else:
        print(f"test accuracy {result.test}, 95 % bootstrap interval")
        _print_end(result)


@train.command("an4")
@_trains("an4")
def train_an4(
    data: Path | None, out: Path, backend: str | None, threads: int | None, offline: bool, quiet: bool, as_json: bool,
    **chosen: Any,
) -> None:  # fmt: skip
    """Recognize connected speech: train on AN4, choose by eight held-out speakers, test on the official test if it is there."""
    from pyasr.datasets import an4
    from pyasr.recipes import an4 as recipe

    options = recipe.Options(**{name: value for name, value in chosen.items() if value is not None})
    ops, source = _ops(backend, threads), an4.load(an4.locate(data, offline=offline))
    result = _with_progress(recipe.train, ops, source, out, options, quiet or as_json)
    if as_json:
        parts = {name: errors and errors._asdict() for name, errors in (("dev", result.dev), ("test", result.test))}
        print(json.dumps({**asdict(result), **parts, "checkpoint": str(result.checkpoint)}))
    else:
        print(f"dev {_errors_line(result.dev)}")
        if result.test:
            print(f"test {_errors_line(result.test)}")
        _print_end(result)


def _errors_line(e: WordErrors) -> str:
    return (
        f"WER {100 * e.rate:.2f} % ({e.errors} errors: {e.substitutions} substitutions, {e.insertions} insertions, "
        f"{e.deletions} deletions)"
    )


def _print_end(result: Any) -> None:
    seconds = result.seconds
    print(
        f"features {seconds['features']:.1f} s, training {seconds['training']:.1f} s, best epoch {result.best_epoch}\n"
        f"saved {result.checkpoint}"
    )


def _with_progress(train: Callable, ops: Any, source: Any, out: Path, options: Any, quiet: bool) -> Any:
    """The recipe with a progress bar on a terminal, else one line per epoch."""
    if quiet:
        return train(ops, source, out, options)
    if sys.stdout is None or not sys.stdout.isatty():
        return train(ops, source, out, options, on_epoch=lambda record: print(_epoch_line(record), flush=True))
    with _bar() as (progress, show):
        task = progress.add_task("features", total=None)
        return train(
            ops, source, out, options,
            on_start=lambda epochs, steps: progress.update(task, total=epochs * steps, description="training"),
            on_step=lambda step: progress.update(task, advance=1, description=f"loss {step.loss:.3f}"),
            on_epoch=lambda record: show(_epoch_line(record)),
        )  # fmt: skip


@contextmanager
def _bar() -> Iterator[tuple[Any, Callable[[str], None]]]:
    """rich's progress bar and a way to print above it."""
    from pyasr._optional import need

    need("rich")
    from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn, TimeRemainingColumn

    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, transient=True) as progress:
        yield progress, lambda line: progress.console.print(line, highlight=False, markup=False)


def _epoch_line(record: dict[str, float]) -> str:
    if "dev_wer" in record:
        judged = f"dev WER {100 * record['dev_wer']:.1f} %"
    else:
        judged = (
            f"held-out loss {record['held_out_loss']:.4f}  held-out accuracy {100 * record['held_out_accuracy']:.1f} %"
        )
    return f"epoch {record['epoch']:3.0f}  loss {record['loss']:.4f}  {judged}  {record['seconds']:.1f} s"


@command.command()
@checkpoint_option
@data_option
@_runs_ops
@offline_option
@json_option
def evaluate(
    checkpoint: Path, data: Path | None, backend: str | None, threads: int | None, offline: bool, as_json: bool
) -> None:
    """Judge a checkpoint: of words on the official test of FSDD, of characters on AN4 (its official test, or else dev)."""
    from pyasr.datasets import an4, fsdd
    from pyasr.recipes import an4 as characters
    from pyasr.recipes import fsdd as words
    from pyasr.recognizer import WordRecognizer, load

    recognizer = load(checkpoint, _ops(backend, threads))
    if isinstance(recognizer, WordRecognizer):
        _, test = fsdd.split(fsdd.recordings(fsdd.locate(data, offline=offline)))
        score = words.evaluate(recognizer, words.features_of(test, recognizer.front_end), test)
        print(json.dumps({**asdict(score), "accuracy": score.accuracy}) if as_json else f"test accuracy {score}")
        return
    corpus = an4.load(an4.locate(data, offline=offline))
    name, part = ("test", corpus.test) if corpus.test else ("dev", corpus.dev)
    errors = characters.evaluate(recognizer, characters.features_of(part, recognizer.front_end), part)
    print(json.dumps({"part": name, **errors._asdict()}) if as_json else f"{name} {_errors_line(errors)}")


@command.command()
@checkpoint_option
@_runs_ops
@json_option
@click.argument("files", nargs=-1, required=True, metavar="FILE...", type=click.Path(path_type=Path))
def transcribe(
    checkpoint: Path, backend: str | None, threads: int | None, as_json: bool, files: tuple[Path, ...]
) -> None:
    """The words in each recording. A file that cannot be read is named, and the exit code is then 1."""
    from pyasr.recognizer import load

    recognizer = load(checkpoint, _ops(backend, threads))
    failed = 0
    for file in files:
        try:
            text, probability = recognizer.transcribe(*pyasr.load(file, recognizer.config.sample_rate))
        except (ValueError, OSError) as e:
            print(f"pyasr: {file}: {e}", file=sys.stderr)
            failed += 1
            continue
        if as_json:
            print(json.dumps({"file": str(file), "text": text, "probability": round(probability, 6)}))
        else:
            print(text if len(files) == 1 else f"{file}\t{text}")
    if failed:
        raise OSError(f"{failed} of {len(files)} files could not be transcribed")
