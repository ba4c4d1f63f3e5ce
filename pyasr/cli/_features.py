"""`pyasr features`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_type_hints

import click

from pyasr.cli._shared import is_terminal, json_option, note, progress_bar, setting, show_json, strict_option
from pyasr.features import PRESETS, MfccOptions
from pyasr.ops._options import unknown

if TYPE_CHECKING:
    from pyasr.datasets import Skipped, Utterance
    from pyasr.runs.extraction import Job, Watch
    from pyasr.runs.shards import Progress

KINDS = ("mfcc", "fbank", "spectrogram")


@click.command()
@click.argument("source", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--kind", type=click.Choice(KINDS), default="mfcc", show_default=True)
@click.option("--preset", default="kaldi", show_default=True, metavar="NAME", help=f"{', '.join(PRESETS)}.")
@click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="OPTION=VALUE",
    help="One option of pyasr.MfccOptions, such as --set num_mels=80.",
)
@click.option(
    "--sample-rate", type=click.IntRange(1000, 384_000), help="Resample to it.  [default: the first recording's]"
)
@click.option("--threads", type=click.IntRange(1, 1024), help="Recordings that are read at once.  [default: all CPUs]")
@click.option(
    "--shard-mb", type=click.FloatRange(0.001, 1e6), default=256, show_default=True, help="Largest file of features."
)
@strict_option
@json_option
def features(
    source: tuple[Path, ...], out: Path, kind: str, preset: str, settings: tuple[str, ...], sample_rate: int | None,
    threads: int | None, shard_mb: float, strict: bool, as_json: bool,
) -> None:  # fmt: skip
    """The features of recordings: SOURCE is recordings, folders of them, or manifests; OUT is a folder that
    pyasr.features.open_store and lhotse read. After Ctrl-C or kill -9 the same command goes on where it stopped."""
    from pyasr.runs.extraction import Job, extract, front_end, rate_of

    changes = _changes(preset, settings)
    utterances, skipped = _utterances(source, strict)
    rate = sample_rate or rate_of(utterances, strict)
    try:
        options = front_end(kind, rate, preset, changes)
    except (ValueError, TypeError) as e:
        raise click.UsageError(str(e)) from e
    job = Job(utterances, kind, options, preset, sample_rate, int(shard_mb * 2**20), skipped)
    done, new = _watched(job, as_json, lambda watch: extract(job, out, threads=threads, strict=strict, watch=watch))
    if as_json:
        figures = {"written": done.utterances, "skipped": done.skipped, "frames": done.frames, "new": new}
        show_json({"out": str(out), "kind": kind, **figures})
        return
    what = f"{done.utterances} utterance{'s' * (done.utterances > 1)}"
    left_out = f", skipped {done.skipped} recordings" if done.skipped else ""
    if new is None:
        print(f"{out} is finished already: {what}{left_out}")
    else:
        print(f"wrote {what} to {out}{left_out}")


def _changes(preset: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """Options by name, of the types that MfccOptions has; their ranges may depend on the sample rate and are checked later."""
    if preset not in PRESETS:
        raise click.BadParameter(unknown("it", preset, PRESETS), param_hint="--preset")
    kinds = get_type_hints(MfccOptions)
    kinds.pop("sample_rate")  # it has its own
    changes: dict[str, Any] = {}
    for text in settings:
        name, value = setting(text)
        if name == "sample_rate":
            raise click.BadParameter("the sample rate is chosen by --sample-rate", param_hint="--set")
        if name not in kinds:
            raise click.BadParameter(unknown("the option", name, tuple(kinds)), param_hint="--set")
        wanted = get_args(kinds[name]) or (kinds[name],)
        if type(None) in wanted and value in ("none", "None"):
            value = None
        if float in wanted and type(value) is int:
            value = float(value)
        if type(value) not in wanted:
            names = " or ".join("none" if kind is type(None) else kind.__name__ for kind in wanted)
            raise click.BadParameter(f"{name} must be {names}, got {value!r:.80}", param_hint="--set")
        changes[name] = value
    return changes


def _utterances(sources: tuple[Path, ...], strict: bool) -> tuple[list[Utterance], list[Skipped]]:
    """Recordings as they are, folders and manifests as their utterances; of several, names begin with that of their source."""
    from dataclasses import replace

    from pyasr.datasets import Skipped, Utterance, manifest

    found: list[Utterance] = []
    skipped: list[Skipped] = []
    lists = [source for source in sources if source.is_dir() or source.name.endswith((".jsonl", ".jsonl.gz"))]
    for source in sources:
        if source not in lists:
            found.append(Utterance(str(source), source, ""))
            continue
        mine = manifest.load(source, strict=strict, need_text=False)
        skipped += (Skipped(f"{source}, line {line}", reason) for line, reason in mine.skipped)
        found += (u if len(lists) == 1 else replace(u, name=f"{source}/{u.name}") for u in mine.utterances)
    utterances: dict[str, Utterance] = {}
    for u in found:
        if utterances.setdefault(u.name, u) is u:
            continue
        if strict:
            raise ValueError(f"{u.name} comes twice")
        skipped.append(Skipped(u.name, "comes twice"))
    for one in skipped:
        note(f"skipped {one.name}: {one.reason}")
    if not utterances:
        raise ValueError(f"{', '.join(map(str, sources))}: no recording could be used, and {len(skipped)} were skipped")
    return list(utterances.values()), skipped


def _watched(job: Job, quiet: bool, run: Any) -> tuple[Progress, int | None]:
    """What was done in all, and how many recordings now, None where nothing was left to do; on a terminal with a bar."""
    from pyasr.runs.extraction import Watch

    new: int | None = None

    def on_start(done: int, recordings: int) -> None:
        nonlocal new
        new = 0

    def on_recording(seconds: float) -> None:
        nonlocal new
        new = (new or 0) + 1

    def on_skip(one: Skipped) -> None:
        note(f"skipped {one.name}: {one.reason}")

    plain = Watch(on_start, on_recording, on_skip)
    if quiet or not is_terminal():
        return run(plain), new
    from rich.progress import TextColumn

    with progress_bar(TextColumn("{task.fields[rate]}")) as (progress, _):
        return run(_with_bar(plain, progress)), new


def _with_bar(watch: Watch, progress: Any) -> Watch:
    """Recordings, and seconds of sound per second."""
    from pyasr.runs.extraction import Watch

    task = progress.add_task("features", total=None, rate="")
    sound, begin = 0.0, time.perf_counter()

    def on_start(done: int, recordings: int) -> None:
        watch.on_start(done, recordings)
        progress.update(task, completed=done, total=recordings)

    def on_recording(seconds: float) -> None:
        nonlocal sound
        watch.on_recording(seconds)
        sound += seconds
        progress.update(task, advance=1, rate=f"{sound / (time.perf_counter() - begin):.0f} x real time")

    return Watch(on_start, on_recording, watch.on_skip)
