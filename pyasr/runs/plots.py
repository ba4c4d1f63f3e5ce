"""Pictures of a run, each as PNG and SVG, without a display."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pyasr._optional import need
from pyasr.ops import host
from pyasr.recognizer import CtcRecognizer, WordRecognizer, probabilities
from pyasr.runs.folder import RunFolder, read_metrics
from pyasr.runs.material import FRAME_SHIFT, Material
from pyasr.text import normalize

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_SYMBOLS = 12  # whose posteriors are drawn


def draw(folder: RunFolder, recognizer: WordRecognizer | CtcRecognizer, dev: Material) -> list[Path]:
    """Write loss, errors, an utterance of `dev` and, for words, the confusions of `dev` into folder.plots; the paths.

    Raises ImportError naming the extra when matplotlib is missing, ValueError without utterances.
    """
    if not dev.utterances:
        raise ValueError("draw: there are no utterances")
    steps, epochs = read_metrics(folder.metrics)
    figures = {"loss": _loss(steps, epochs), "errors": _errors(epochs), "utterance": _utterance(recognizer, dev)}
    if isinstance(recognizer, WordRecognizer):
        figures["confusions"] = _confusions(recognizer, dev)
    folder.plots.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        for suffix in ("png", "svg"):
            path = folder.plots / f"{name}.{suffix}"
            temporary = path.with_name(f".{path.name}.tmp")
            with warnings.catch_warnings():  # the font lacks some scripts, and shows boxes for their letters
                warnings.filterwarnings(
                    "ignore", "Glyph .* missing from|Matplotlib currently does not support", UserWarning
                )
                figure.savefig(temporary, format=suffix, dpi=120)
            os.replace(temporary, path)
            paths.append(path)
    return paths


def _figure(width: float, height: float, rows: int = 1, **options: Any) -> tuple[Figure, Any]:
    need("matplotlib")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")  # no pyplot: no display, no global state
    return figure, figure.subplots(rows, 1, **options)


def _loss(steps: list[dict[str, Any]], epochs: list[dict[str, Any]]) -> Figure:
    figure, axes = _figure(7, 4)
    done = [s for s in steps if "loss" in s]
    axes.plot([s["step"] for s in done], [s["loss"] for s in done], color="0.7", lw=0.8, label="training, each update")
    axes.plot([e["steps"] for e in epochs], [e["loss"] for e in epochs], "o-", ms=3, label="training, each epoch")
    held = [e for e in epochs if e["dev_loss"] is not None]
    axes.plot([e["steps"] for e in held], [e["dev_loss"] for e in held], "s-", ms=3, label="dev")
    axes.set(xlabel="updates", ylabel="loss in nats per utterance")
    if any(y > 0 for line in axes.lines for y in line.get_ydata()):  # one word alone is known from the first update on
        axes.set_yscale("log")
    axes.legend()
    return figure


def _errors(epochs: list[dict[str, Any]]) -> Figure:
    figure, axes = _figure(7, 4)
    numbers = [e["epoch"] for e in epochs]
    for name, label in (("dev_wer", "word error rate"), ("dev_cer", "character error rate")):
        axes.plot(numbers, [100 * e[name] for e in epochs], "o-", ms=3, label=label)
    axes.set(xlabel="epoch", ylabel="% on dev", ylim=(0, None))
    axes.legend()
    return figure


def _utterance(recognizer: WordRecognizer | CtcRecognizer, dev: Material) -> Figure:
    """Features above what the model says about each frame (or, for words, about the whole): the utterance of median length."""
    i = sorted(range(len(dev.features)), key=lambda k: len(dev.features[k]))[len(dev.features) // 2]
    utterance, features = dev.utterances[i], dev.features[i]
    ((_, logits, lengths),) = recognizer.batches([features])
    said = recognizer.read(logits, lengths)[0]
    words = isinstance(recognizer, WordRecognizer)
    figure, (above, below) = _figure(9, 6, 2, sharex=not words, height_ratios=(1, 1))
    seconds = len(features) * FRAME_SHIFT
    image = above.imshow(
        features.T, aspect="auto", origin="lower", extent=(0, seconds, 0, features.shape[1]), vmin=-3, vmax=3
    )
    figure.colorbar(image, ax=above, label="deviations")
    above.set(ylabel="MFCC, Δ, ΔΔ")
    above.set_title(f"“{normalize(utterance.text)}” heard as “{said}”", parse_math=False)  # a $ is a $
    p = probabilities(host(logits))
    if isinstance(recognizer, WordRecognizer):
        n = len(p[0])
        below.bar(range(n), p[0])
        below.set_xticks(range(n), recognizer.config.words, rotation=60 if n > 10 else 0, parse_math=False)
        below.set(ylabel="probability", ylim=(0, 1))
        return figure
    from matplotlib import colormaps

    p = p[: int(lengths[0]), 0]
    times = (np.arange(len(p)) + 0.5) * recognizer.config.stack * FRAME_SHIFT
    below.plot(times, p[:, 0], color="0.7", label="blank")
    for n, k in enumerate(sorted(1 + np.argsort(-p[:, 1:].max(axis=0), kind="stable")[:MOST_SYMBOLS])):
        character = recognizer.config.alphabet[k - 1]
        below.plot(times, p[:, k], color=colormaps["tab20"](n), label="space" if character == " " else character)
    below.set(xlabel="seconds", ylabel="posterior", xlim=(0, seconds), ylim=(0, 1.02))
    figure.colorbar(image, ax=below).ax.set_visible(False)  # as wide as the picture above
    below.legend(ncols=7, fontsize="small", loc="upper center", bbox_to_anchor=(0.5, -0.2))
    return figure


def _confusions(recognizer: WordRecognizer, dev: Material) -> Figure:
    words = recognizer.config.words
    counts = Counter(zip(map(normalize, dev.texts), recognizer.texts(dev.features), strict=True))
    table = np.array([[counts[a, b] for b in words] for a in words])
    size = max(4.0, 0.45 * len(words))
    figure, axes = _figure(size + 1, size)
    figure.colorbar(axes.imshow(table, cmap="Blues"), ax=axes)
    axes.set_xticks(range(len(words)), words, rotation=90, parse_math=False)
    axes.set_yticks(range(len(words)), words, parse_math=False)
    axes.set(xlabel="heard", ylabel="said")
    if len(words) <= 20:
        for y, x in np.argwhere(table):
            color = "white" if table[y, x] > table.max() / 2 else "black"
            axes.text(x, y, table[y, x], ha="center", va="center", fontsize="small", color=color)
    return figure
