"""Options and words that several commands share."""

from __future__ import annotations

import functools
import json
import os
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import pyasr

if TYPE_CHECKING:
    from pyasr.runs.evaluation import Score

BEST_ON_CPU = "default"  # the name of pyasr.backend()

data_option = click.option(
    "--data", type=click.Path(path_type=Path),
    help="Where a data set lies.  [default: $PYASR_DATA/NAME, the cache, or a download]",
)  # fmt: skip
offline_option = click.option("--offline", is_flag=True, help="Never download.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
strict_option = click.option(
    "--strict", is_flag=True, help="Stop at the first recording that cannot be used, instead of skipping it."
)


def runs_ops(function: Callable) -> Callable:
    """Options of a command that computes; it takes --device and --backend as one argument, `backend`."""

    @functools.wraps(function)
    def on_device(*args: Any, device: str | None, backend: str | None, **more: Any) -> Any:
        if device == "cuda" and backend is not None:
            raise click.UsageError(f"--backend {backend} runs on the CPU, got --device cuda too")
        chosen = {"cuda": "cuda", "cpu": backend or BEST_ON_CPU, None: backend}[device]
        return function(*args, backend=chosen, **more)

    for option in (
        click.option(
            "--threads", type=click.IntRange(1, 1024), help="Threads of the native kernels.  [default: all CPUs]"
        ),
        click.option(
            "--backend",
            type=click.Choice(["numpy", "numba", "cpp"]),
            help="On the CPU; never falls back.  [default: the best here]",
        ),
        click.option("--device", type=click.Choice(["cpu", "cuda"]), help="[default: cpu]"),
    ):
        on_device = option(on_device)
    return on_device


def search_options(function: Callable) -> Callable:
    """How a connected recognizer searches; the command takes them as one argument, `search`."""

    @functools.wraps(function)
    def with_search(
        *args: Any, beam: int | None, lm: Path | None, lm_weight: float | None, length_bonus: float | None, **more: Any
    ) -> Any:
        given = {"lm": lm, "lm_weight": lm_weight, "length_bonus": length_bonus}
        chosen = {name: value for name, value in given.items() if value is not None}
        if beam is None and chosen:
            raise click.UsageError(f"--{next(iter(chosen)).replace('_', '-')} goes with --beam WIDTH")
        return function(*args, search=None if beam is None else {"width": beam, **chosen}, **more)

    for option in (
        click.option("--length-bonus", type=float, help="Added per word (or character) of the model.  [default: 0]"),
        click.option("--lm-weight", type=float, help="Of the model's log probabilities.  [default: 0.5]"),
        click.option(
            "--lm", type=click.Path(path_type=Path),
            help="An n-gram in ARPA format, over words, or over characters if all of its words are.  [default: none]",
        ),
        click.option("--beam", type=click.IntRange(1, 4096), help="Prefixes of a beam search.  [default: the best path]"),
    ):  # fmt: skip
        with_search = option(with_search)
    return with_search


def use_search(recognizer: Any, search: dict[str, Any] | None) -> None:
    """What --beam and the options with it ask for."""
    if search is None:
        return
    if not hasattr(recognizer, "use_beam"):
        raise click.UsageError(f"--beam goes with an lstm_ctc, got a {recognizer.KIND}")
    from pyasr.decode import Ngram

    model = Ngram.load(search["lm"]) if "lm" in search else None
    recognizer.use_beam(**{**search, "lm": model})


def backend_of(backend: str | None, threads: int | None) -> Any:
    """The ops that --device, --backend and --threads ask for."""
    if threads is not None:
        os.environ["PYASR_NUM_THREADS"] = str(threads)  # read by the pool at its first use
    return pyasr.backend(None if backend == BEST_ON_CPU else backend)


def note(words: str) -> None:
    """Something that a user should know, beside the output."""
    print(f"pyasr: {words}", file=sys.stderr)


def show_json(data: dict[str, Any]) -> None:
    """One line."""
    print(json.dumps(data, ensure_ascii=False))


def setting(text: str) -> tuple[str, Any]:
    """key=value, where the value is TOML, or True, False or .5 as Python spells them, or else taken as it stands."""
    key, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not key:
        raise click.BadParameter(f"must be KEY=VALUE, got {text!r}", param_hint="--set")
    spelled = {"True": "true", "False": "false"}.get(value, f"0{value}" if value.startswith(".") else value)
    try:
        return key, tomllib.loads(f"value = {spelled}")["value"]
    except tomllib.TOMLDecodeError:
        return key, value


def score_line(score: Score, model: str, *, synthetic: bool = False) -> str:
    """One part's figures in words."""
    if model == "word_classifier":
        low, high = score.accuracy_interval or (score.accuracy, score.accuracy)
        words = f"accuracy {_percent(score.accuracy)} [{100 * low:.1f}, {100 * high:.1f}] ({score.right} of {score.utterances})"
    else:
        low, high = score.wer_interval or (score.wer, score.wer)
        words = (
            f"WER {_percent(score.wer)} [{100 * low:.1f}, {100 * high:.1f}] "
            f"({score.substitutions} substitutions, {score.insertions} insertions, {score.deletions} deletions "
            f"in {score.words} words), CER {_percent(score.cer)}, {score.right} of {score.utterances} without an error"
        )
    return words + (" (synthetic speech)" if synthetic else "")


def _percent(rate: float) -> str:
    return f"{100 * rate:.2f} %"


@contextmanager
def progress_bar(*more: Any) -> Iterator[tuple[Any, Callable[[str], None]]]:
    """rich's progress bar with `more` columns, and a way to print above it. Only for a terminal."""
    from pyasr._optional import need

    need("rich")
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        *Progress.get_default_columns()[:2],
        MofNCompleteColumn(),
        *more,
        TimeElapsedColumn(),
        TextColumn("left"),
    )
    # A console of its own: rich's common one stays what the first to ask found around it.
    with Progress(*columns, TimeRemainingColumn(), transient=True, console=Console()) as progress:
        yield progress, lambda line: progress.console.print(line, highlight=False, markup=False)


def is_terminal() -> bool:
    """Whether somebody watches."""
    return sys.stdout is not None and sys.stdout.isatty()
