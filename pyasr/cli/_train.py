"""`pyasr train`."""

from __future__ import annotations

import re
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from pyasr._optional import need
from pyasr.cli._shared import (
    BEST_ON_CPU,
    backend_of,
    data_option,
    is_terminal,
    json_option,
    note,
    offline_option,
    progress_bar,
    runs_ops,
    score_line,
    setting,
    show_json,
    strict_option,
)  # fmt: skip

if TYPE_CHECKING:
    from pyasr.runs.training import Hooks, Result


@click.command()
@click.argument("source", required=False)
@click.option("--model", type=click.Choice(["word_classifier", "lstm_ctc"]), help="[default: fits the transcripts]")
@data_option
@click.option("--dev", type=click.Path(path_type=Path), help="A manifest to choose by.  [default: a tenth of SOURCE]")
@click.option("--out", type=click.Path(path_type=Path), help="Folder to fill.  [default: runs/NAME]")
@click.option(
    "--config", type=click.Path(path_type=Path), help="A TOML file of options; another run's config.toml is one."
)
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="KEY=VALUE",
    help="One option of config.toml, such as --set dropout=0.2.",
)
@click.option("--seed", type=click.IntRange(0), help="[default: 0]")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the training recordings.")
@click.option(
    "--cell", type=click.Choice(["lstm", "gru", "rnn"]), help="Kind of the recurrent layers.  [default: lstm]"
)
@click.option("--hidden", type=click.IntRange(1, 8192), help="Units of each direction.")
@click.option("--layers", type=click.IntRange(1, 64), help="Recurrent layers.")
@click.option(
    "--optimizer",
    type=click.Choice(["sgd", "adam", "adamw", "rmsprop", "hessian-free"]),
    help="[default: fits the model]",
)
@click.option("--batch-size", type=click.IntRange(1), help="Recordings per batch.")
@click.option("--resume", type=click.Path(path_type=Path), metavar="RUN", help="Go on with a run that was stopped.")
@click.option("--checkpoint-every", type=click.IntRange(1), metavar="STEPS", help="[default: every 30 s]")
@click.option(
    "--log-every",
    type=click.IntRange(1),
    metavar="STEPS",
    help="Updates between looks at a GPU, which has to be waited for.  [default: 20; on a CPU 1]",
)
@runs_ops
@offline_option
@strict_option
@click.option("--quiet", is_flag=True, help="Print the result only.")
@json_option
def train(
    source: str | None, model: str | None, data: Path | None, dev: Path | None, out: Path | None, config: Path | None,
    settings: tuple[str, ...], resume: Path | None, checkpoint_every: int | None, log_every: int | None,
    backend: str | None, threads: int | None, offline: bool, strict: bool, quiet: bool, as_json: bool, **shortcuts: Any,
) -> None:  # fmt: skip
    """Train a recognizer on SOURCE: digits (synthetic, needs no files), fsdd, an4, librispeech, speech_commands, a folder of
    recordings with texts, or a JSONL manifest."""
    need("msgspec")
    from pyasr import datasets
    from pyasr.runs.folder import RunFolder, read_toml
    from pyasr.runs.options import default_model, options_for
    from pyasr.runs.training import train as run

    if (source is None) == (resume is None):
        raise click.UsageError("give a SOURCE to train on, or --resume RUN")
    if resume is not None:
        given = {"--model": model, "--out": out, "--config": config, "--set": settings, "--dev": dev, **shortcuts}
        names = ", ".join(name for name, value in given.items() if value not in (None, ()))
        if names:
            raise click.UsageError(f"--resume goes on with the options of the run, got {names} too")
        out, folder = resume, RunFolder(resume)
        chosen, where = folder.config()
        corpus, backend = folder.corpus(data, offline=offline, strict=strict), backend or where.get("backend")
        checkpoint_every = checkpoint_every or where.get("checkpoint_every")
        log_every = log_every or where.get("log_every")
    else:
        assert source is not None
        chosen = {} if config is None else {name: value for name, value in read_toml(config).items() if name != "run"}
        chosen |= dict(setting(text) for text in settings)
        chosen |= {name: value for name, value in (*shortcuts.items(), ("model", model)) if value is not None}
        try:  # what is wrong is said before the corpus is read
            asked = options_for("", "lstm_ctc", chosen)
        except ValueError as e:
            raise click.UsageError(str(e)) from e
        named = source in datasets.NAMES
        out = out or Path("runs") / (source if named else re.sub(r"\.jsonl(\.gz)?$", "", Path(source).resolve().name))
        RunFolder(out).must_be_new()
        corpus = datasets.find(
            source, data, dev=dev, share=asked.dev_share, seed=asked.seed, size=asked.size, offline=offline,
            strict=strict,
        )  # fmt: skip
        where = {"source": source if named else str(Path(source).resolve())}
        where |= {key: str(path.resolve()) for key, path in (("data", data), ("dev", dev)) if path is not None}
        settled = (("backend", backend), ("checkpoint_every", checkpoint_every), ("log_every", log_every))
        where |= {key: value for key, value in settled if value not in (None, BEST_ON_CPU)}
    transcripts = (
        (corpus.train, corpus.dev) if dev is None else (corpus.train,)
    )  # a word may be said twice, once in each
    options = options_for(corpus.name, default_model(u.text for part in transcripts for u in part), chosen)
    ops = backend_of(backend, threads)
    getattr(ops, f"{options.cell}_backward")  # MissingOp is said before features are computed
    result = _watched(
        quiet or as_json,
        lambda hooks: run(
            ops, corpus, out, options, run=where, resume=resume is not None,
            checkpoint_every=checkpoint_every, log_every=log_every, strict=strict, hooks=hooks,
        ),
    )  # fmt: skip
    if as_json:
        show_json(result.as_json())
    else:
        _tell(result, out)


def _watched(quiet: bool, run: Any) -> Result:
    """The run; on a terminal with a progress bar and a line per epoch."""
    from pyasr.runs.training import Hooks

    hooks = Hooks(on_note=note)
    if quiet or not is_terminal():
        return run(hooks)
    from rich.progress import TextColumn

    with progress_bar(TextColumn("{task.fields[rate]}")) as (progress, show):
        return run(_bar_hooks(hooks, progress, show))


def _bar_hooks(hooks: Hooks, progress: Any, show: Any) -> Hooks:
    """Rate, remaining time, loss, and hours of audio per second."""
    from pyasr.runs.material import FRAME_SHIFT

    task = progress.add_task("features", total=None, rate="")
    seconds, steps, begin = 0.0, 0, time.perf_counter()

    def on_start(done: int, total: int) -> None:
        nonlocal begin
        begin = time.perf_counter()
        progress.update(task, completed=done, total=total, description="training")

    def on_step(step: Any) -> None:
        nonlocal seconds, steps
        seconds, steps = seconds + step.frames * FRAME_SHIFT, steps + 1
        passed = time.perf_counter() - begin
        rate = f"{steps / passed:.1f} updates/s {seconds / 3600 / passed:.3f} h of audio/s"
        progress.update(task, advance=1, description=f"loss {step.loss:.3f}{_curvature(step)}", rate=rate)

    return replace(
        hooks,
        on_utterance=lambda u: progress.update(task, advance=1),
        on_start=on_start,
        on_step=on_step,
        on_epoch=lambda record: show(_epoch_line(record)),
    )


def _curvature(step: Any) -> str:
    """What a second-order update says besides; nothing for another."""
    did = step.second_order
    return "" if did is None else f"  CG {did.iterations}  ρ {did.rho:.2f}  λ {did.damping:.1e}"


def _epoch_line(r: dict[str, Any]) -> str:
    loss = "" if r["dev_loss"] is None else f"loss {r['dev_loss']:.3f}  "
    return (
        f"epoch {r['epoch']:3}  loss {r['loss']:.3f}  dev {loss}WER {100 * r['dev_wer']:.1f} %  "
        f"right {100 * r['dev_accuracy']:.1f} %  {r['seconds']:.0f} s"
    )


def _tell(result: Result, out: Path) -> None:
    """What was done, how good it is, and what to try next."""
    synthetic = result.corpus == "digits"
    seconds = result.seconds
    print(
        f"{result.model}: {result.steps} updates in {result.epochs} epochs over {result.hours:.2f} hours of audio; features "
        f"{seconds['features']:.1f} s, training {seconds['training']:.1f} s; the best epoch is {result.best_epoch}"
    )
    for part, score in (("dev", result.dev), ("test", result.test)):
        if score is not None:
            print(f"{part:<5}{score_line(score, result.model, synthetic=synthetic)}")
    if result.skipped:
        print(f"skipped {result.skipped} recordings, see {out / 'skipped.jsonl'}")
    print(f"saved {result.checkpoint}\nnext:")
    run = shlex.quote(str(out))
    tries = [(f"transcribe {run} FILE.wav", "what somebody says in a recording")]
    if synthetic:
        tries.append((f"evaluate {run} --corpus fsdd", "real voices, which it never heard"))
        tries.append(("train fsdd", "learn from real recordings"))
    else:
        tries.append((f"evaluate {run} --data MANIFEST", "your own recordings"))
    width = max(len(command) for command, _ in tries)
    for command, what in tries:
        print(f"  pyasr {command.ljust(width)}   {what}")
