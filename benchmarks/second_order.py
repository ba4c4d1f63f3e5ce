"""Hessian-free training beside SGD and Adam on AN4: training loss against updates and against the clock.

    python benchmarks/second_order.py --json benchmarks/results/second-order.json [--data PATH] [--threads N]
    python benchmarks/second_order.py --from FILE --chart docs/second-order.svg --page docs/second-order.md

One bidirectional LSTM-CTC layer of 64 cells learns the 300 shortest training utterances from the same weights in every run, with
neither dropout nor augmentation. Losses are means over the 300 in evaluation mode; taking them does not count as time. SGD with
momentum 0.9 and Adam, both with the gradient's norm clipped at 5 and batches of 16, train for 30 epochs at each learning rate of
a grid, constant and as one cycle; the lowest last loss counts. Hessian-free training takes all 300 for every update and ends
where it is as low as the best SGD. The plateau is the loss of the best outputs that do not look at the recording: an SGD that
does not get below half of it has learned nothing that would be worth reaching, and ends the run with an error.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

PARSER = argparse.ArgumentParser(description="Hessian-free training beside SGD and Adam")
PARSER.add_argument("--data", help="the folder with etc and wav, or the one above; by default $PYASR_DATA/an4")
PARSER.add_argument("--threads", type=int, default=2, help="default 2")
PARSER.add_argument("--utterances", type=int, default=300, help="the shortest ones (default 300)")
PARSER.add_argument("--epochs", type=int, default=30, help="of SGD and Adam (default 30)")
PARSER.add_argument("--json", type=Path, help="write the results there")
PARSER.add_argument("--from", type=Path, dest="known", help="results of an earlier run, instead of a new one")
PARSER.add_argument("--chart", type=Path, help="draw an SVG there")
PARSER.add_argument("--page", type=Path, help="write the table between the markers of this page")
OPTIONS = PARSER.parse_args()
os.environ["PYASR_NUM_THREADS"] = str(OPTIONS.threads)
os.environ["OPENBLAS_NUM_THREADS"] = "1"  # as the command `pyasr` has it

import numpy as np  # noqa: E402
import probe  # noqa: E402

import pyasr  # noqa: E402
from pyasr.batches import bucketed, pad  # noqa: E402
from pyasr.datasets import an4  # noqa: E402
from pyasr.hessian_free import HessianFree, objective  # noqa: E402
from pyasr.losses import Ctc  # noqa: E402
from pyasr.optim import Adam, Sgd  # noqa: E402
from pyasr.recognizer import CtcConfig, CtcRecognizer  # noqa: E402
from pyasr.runs.evaluation import evaluate  # noqa: E402
from pyasr.runs.material import Material, material  # noqa: E402
from pyasr.schedules import constant, one_cycle  # noqa: E402
from pyasr.text import Alphabet, pad_labels  # noqa: E402
from pyasr.train import fit  # noqa: E402

HIDDEN, STACK, BATCH, CLIP = 64, 3, 16, 5.0
RATES = {"SGD": (0.003, 0.01, 0.03, 0.1, 0.3), "Adam": (1e-3, 3e-3, 1e-2, 3e-2)}
SCHEDULES = (constant, one_cycle)
SHARES = {"Hessian-free": 1.0, "Hessian-free, G from 30 %": 0.3}  # of the batches that give the curvature
MOST_UPDATES, MOST_SECONDS = 60, 1800.0  # the marks of the first of them
BEGIN, END = "<!-- results -->", "<!-- /results -->"


class Task:
    """The recordings and the recognizer that every run begins with."""

    def __init__(self) -> None:
        try:
            corpus = an4.load(an4.locate(OPTIONS.data, offline=True))
        except FileNotFoundError as e:
            raise SystemExit(f"second_order: {e}") from None
        self.alphabet, self.rate = Alphabet.of(u.text for u in corpus.train).characters, corpus.sample_rate
        self.ops = pyasr.backend("cpp")
        recognizer = self.recognizer()
        whole = material(corpus.train, recognizer.front_end)
        self.dev = material(corpus.dev, recognizer.front_end)
        order = sorted(range(len(whole.features)), key=lambda i: len(whole.features[i]))
        able = [i for i in order if recognizer.fits(recognizer.encode(whole.texts[i]), len(whole.features[i]))]
        chosen = able[: OPTIONS.utterances]
        self.features = [whole.features[i] for i in chosen]
        self.labels = [recognizer.encode(whole.texts[i]) for i in chosen]
        self.train = Material(tuple(whole.utterances[i] for i in chosen), tuple(self.features), ())
        self.all = self.batches(0, 0)
        self.criterion = Ctc(self.ops)

    def recognizer(self) -> CtcRecognizer:
        config = CtcConfig(self.alphabet, hidden=HIDDEN, layers=1, dropout=0.0, stack=STACK, sample_rate=self.rate)
        return CtcRecognizer(self.ops, config, seed=0)

    def batches(self, epoch: int, first: int) -> list[tuple[Any, ...]]:
        lengths = [len(f) for f in self.features]
        return [
            (*pad([self.features[i] for i in chosen]), pad_labels([self.labels[i] for i in chosen]))
            for chosen in bucketed(lengths, BATCH, 0, epoch)[first:]
        ]

    def loss(self, recognizer: CtcRecognizer) -> float:
        return objective(recognizer.model, self.criterion, self.all)

    def scores(self, recognizer: CtcRecognizer) -> dict[str, float | None]:
        dev, train = evaluate(recognizer, self.dev), evaluate(recognizer, self.train)
        return {"dev WER": dev.wer, "dev CER": dev.cer, "dev loss": dev.loss, "train WER": train.wer}

    def plateau(self) -> float:
        """The lowest loss of outputs that are the same at every frame, by expectation and maximization."""
        p, loss = np.full(len(self.alphabet) + 1, 1 / (len(self.alphabet) + 1)), float("inf")
        lengths = [-(-n // STACK) for _, n, _ in self.all]
        for _ in range(200):
            total, sums = np.zeros_like(p), 0.0
            for n, (_, _, labels) in zip(lengths, self.all, strict=True):
                frames = n.astype(np.int32)
                logits = np.ascontiguousarray(np.broadcast_to(np.log(p), (int(n.max()), len(n), p.size)))
                found = self.criterion(logits, frames, labels)
                total += (-found.sum_grad).sum((0, 1)) + frames.sum() * p  # occupancies
                sums += found.sum
            loss, p = sums / len(self.features), np.maximum(total / total.sum(), 1e-12)
        return loss


Point = tuple[int, float, float]  # updates, seconds, loss


def first_order(task: Task, name: str, peak: float, schedule: Any, start: float) -> tuple[dict[str, Any], Any]:
    """30 epochs at one learning rate."""
    recognizer = task.recognizer()
    params = recognizer.params
    optimizer = Sgd(params, momentum=0.9, clip=CLIP) if name == "SGD" else Adam(params, clip=CLIP)
    steps = len(task.all)
    curve: list[Point] = [(0, 0.0, start)]
    paused, begin = 0.0, time.perf_counter()

    def on_epoch(epoch: int) -> None:
        nonlocal paused
        now = time.perf_counter()
        curve.append((steps * (epoch + 1), now - begin - paused, task.loss(recognizer)))
        paused += time.perf_counter() - now

    fit(
        recognizer.model, task.criterion, task.batches, optimizer, epochs=OPTIONS.epochs, on_epoch=on_epoch,
        learning_rate=lambda step: schedule(step, OPTIONS.epochs * steps, peak),
    )  # fmt: skip
    return {"name": name, "peak": peak, "schedule": schedule.__name__, "curve": curve}, recognizer


def second_order(task: Task, name: str, share: float, start: float, target: float) -> tuple[dict[str, Any], Any]:
    """Updates until the loss is at most `target`."""
    recognizer = task.recognizer()
    optimizer = HessianFree(recognizer.params, curvature=share)
    curve: list[Point] = [(0, 0.0, start)]
    updates, begin = [], time.perf_counter()
    while curve[-1][2] > target and curve[-1][0] < MOST_UPDATES and curve[-1][1] < MOST_SECONDS:
        did = optimizer.step(recognizer.model, task.criterion, task.all)
        curve.append((len(curve), time.perf_counter() - begin, did.after))
        updates.append(did._asdict())
        print(f"{name}: update {len(updates)}, loss {did.after:.4f}, CG {did.iterations}, ρ {did.rho:.2f}, "
              f"λ {did.damping:.1e}, {curve[-1][1]:.0f} s", flush=True)  # fmt: skip
    return {"name": name, "share": share, "curve": curve, "updates": updates}, recognizer


def measure() -> dict[str, Any]:
    machine, task = probe.machine(), Task()
    start, plateau = task.loss(task.recognizer()), task.plateau()
    seconds = sum(map(len, task.features)) / 100
    print(
        f"{len(task.features)} utterances, {seconds:.0f} s; loss {start:.2f} at the start, {plateau:.2f} on the plateau"
    )
    runs, best = [], {}
    for name, rates in RATES.items():
        for schedule in SCHEDULES:
            for peak in rates:
                run, recognizer = first_order(task, name, peak, schedule, start)
                runs.append(run)
                print(
                    f"{name} {schedule.__name__} {peak:g}: loss {last(run)[2]:.4f} in {last(run)[1]:.1f} s", flush=True
                )
                if name not in best or last(run)[2] < last(best[name][0])[2]:
                    best[name] = run, recognizer
    target = last(best["SGD"][0])[2]
    if not target < plateau / 2:
        raise SystemExit(
            f"second_order: SGD ends at {target:.2f}, not below half of the plateau of {plateau:.2f}: void"
        )
    for name, share in SHARES.items():
        best[name] = second_order(task, name, share, start, target)
        runs.append(best[name][0])
    for run, recognizer in best.values():
        run["best"] = task.scores(recognizer)
    return {
        "machine": machine, "threads": OPTIONS.threads, "start": start, "plateau": plateau, "target": target,
        "audio seconds": seconds, "runs": runs,
    }  # fmt: skip


def last(run: dict[str, Any]) -> Point:
    return tuple(run["curve"][-1])


def shown(run: dict[str, Any]) -> str:
    return run["name"] if "share" in run else f"{run['name']}, {run['schedule'].replace('_', ' ')}, {run['peak']:g}"


def table(results: dict[str, Any]) -> str:
    """The runs that counted, as Markdown."""
    target, machine = results["target"], results["machine"]
    lines = [
        "| run | updates | seconds | training loss | below the best SGD after | dev WER | dev loss | training WER |",
        "| --- | --: | --: | --: | --- | --: | --: | --: |",
    ]
    for run in (r for r in results["runs"] if "best" in r):
        updates, seconds, loss = last(run)
        below = next((f"{u} updates, {s:.1f} s" for u, s, value in run["curve"] if value <= target), "never")
        score = run["best"]
        lines.append(f"| {shown(run)} | {updates} | {seconds:.1f} | {loss:.4f} | {below} | {100 * score['dev WER']:.1f} % "
                     f"| {score['dev loss']:.1f} | {100 * score['train WER']:.2f} % |")  # fmt: skip
    lines += [
        "",
        f"{machine['processor']}, {results['threads']} threads, instruction set {machine['isa']}, {machine['date'][:10]}, commit "
        f"{machine['commit'][:12]}, load {machine['load']:.1f} at the start. Loss {results['start']:.2f} at the start, "
        f"{results['plateau']:.2f} on the plateau.",
    ]
    for run in (r for r in results["runs"] if "updates" in r):
        did = run["updates"]
        lines.append(f"{run['name']}: {sum(u['products'] for u in did)} products, {sum(u['evaluations'] for u in did)} losses; "
                     f"CG {min(u['iterations'] for u in did)} to {max(u['iterations'] for u in did)} iterations an update, ρ "
                     f"{min(u['rho'] for u in did):.2f} to {max(u['rho'] for u in did):.2f}, λ at the end "
                     f"{did[-1]['damping']:.1e}, {sum(u['scale'] < 1 for u in did)} steps shortened.")  # fmt: skip
    return "\n".join(lines)


def draw(results: dict[str, Any], path: Path) -> None:
    """Loss against updates and against seconds; the runs that counted in color, the others of the grids in gray."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "pyasr", "font.size": 9}):
        figure, panels = pyplot.subplots(1, 2, figsize=(9, 4), sharey=True, layout="constrained")
        colors = iter(("tab:orange", "tab:green", "tab:blue", "tab:cyan"))
        styles = {id(r): (next(colors), 1.6, shown(r)) if "best" in r else ("0.8", 0.7, None) for r in results["runs"]}
        for axes, column, label in zip(
            panels, (0, 1), ("updates", f"seconds on {results['threads']} threads"), strict=True
        ):
            for run in sorted(results["runs"], key=lambda r: "best" in r):
                color, width, name = styles[id(run)]
                curve = np.array(run["curve"])[1:]
                marker = "o" if "share" in run else None
                axes.plot(curve[:, column], curve[:, 2], color=color, lw=width, label=name, marker=marker, ms=2.5)
            axes.axhline(results["plateau"], color="0.4", ls=":", lw=0.8)
            axes.axhline(results["target"], color="0.4", ls="--", lw=0.8)
            axes.set(xlabel=label, xscale="log", yscale="log")
        panels[0].set_ylabel("training loss, nats per utterance")
        panels[0].legend(fontsize="small", loc="lower left")
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def main() -> None:
    results = measure() if OPTIONS.known is None else json.loads(OPTIONS.known.read_text("utf-8"))
    if OPTIONS.json:
        OPTIONS.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", "utf-8")
    written = table(results)
    print(written)
    if OPTIONS.chart:
        draw(results, OPTIONS.chart)
    if OPTIONS.page:
        text = OPTIONS.page.read_text("utf-8")
        if text.count(BEGIN) != 1 or text.count(END) != 1:
            raise SystemExit(f"{OPTIONS.page}: must hold {BEGIN} and {END} once each")
        before, after = text.split(BEGIN)[0], text.split(END)[1]
        OPTIONS.page.write_text(f"{before}{BEGIN}\n{written}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
