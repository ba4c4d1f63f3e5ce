"""Spoken digits: train on the official training part of FSDD, stop by a held-out part of it, judge on the official test."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.batches import bucketed, pad
from pyasr.checkpoint import write_atomically
from pyasr.datasets import fsdd
from pyasr.losses import SoftmaxCrossEntropy
from pyasr.optim import Sgd
from pyasr.recipes import _run
from pyasr.recognizer import FrontEnd, WordConfig, WordRecognizer
from pyasr.schedules import one_cycle
from pyasr.scoring import bootstrap_interval
from pyasr.train import Step


@dataclass(frozen=True)
class Options:
    """What `pyasr train fsdd` can be told."""

    seed: int = 0
    epochs: int = 15
    hidden: int = 64  # of each direction
    layers: int = 1
    dropout: float = 0.0
    batch_size: int = 32
    peak: float = 0.5  # the largest learning rate of the cycle
    momentum: float = 0.9
    clip: float = 1.0
    noise: float = 0.8  # deviation of the noise that is added to normalized features in training
    masks: int = 2  # spans of frames that are masked per utterance in training
    longest_mask: int = 10  # frames


@dataclass(frozen=True)
class Score:
    """Right answers over a set of recordings."""

    right: int
    total: int
    interval: tuple[float, float]  # 95 % bootstrap, of the rate
    loss: float  # mean, in nats

    @property
    def accuracy(self) -> float:
        return self.right / self.total

    def __str__(self) -> str:
        low, high = self.interval
        return f"{100 * self.accuracy:.2f} % [{100 * low:.1f}, {100 * high:.1f}] ({self.right} of {self.total})"


@dataclass(frozen=True)
class Result:
    """What a finished training leaves behind."""

    test: Score
    best_epoch: int  # counts from 1
    seconds: dict[str, float]  # features, training
    checkpoint: Path


def features_of(items: Sequence[fsdd.Recording], front_end: FrontEnd) -> list[np.ndarray]:
    """[T, 39] of every recording; ValueError naming the file for one that is shorter than a frame."""
    return [_run.features_of(item.path, front_end) for item in items]


def evaluate(recognizer: WordRecognizer, features: Sequence[np.ndarray], items: Sequence[fsdd.Recording]) -> Score:
    """How many of the recordings are recognized. Raises ValueError for a recognizer of other words, or without recordings."""
    if recognizer.config.words != fsdd.WORDS:
        raise ValueError(f"evaluate: the recognizer must know the digits, got {', '.join(recognizer.config.words)}")
    if not items:
        raise ValueError("evaluate: there are no recordings")
    logits, labels = recognizer.logits(features), np.array([r.digit for r in items])
    right = logits.argmax(axis=1) == labels
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
    return Score(int(right.sum()), len(items), bootstrap_interval(right), float(losses.mean()))


def train(
    ops: Any,
    folder: Path,
    out: Path,
    options: Options,
    *,
    on_start: Callable[[int, int], None] = lambda epochs, steps: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
) -> Result:
    """Train on the recordings in `folder`; write best.safetensors, last.safetensors, metrics.jsonl and result.json into `out`.

    `best` is the epoch with the fewest errors on the held-out part of the training recordings, at equal errors the lowest loss;
    the test recordings are looked at once, at the end. The weights are a function of the recordings, the options and the backend.

    Raises ValueError when a part of the split is empty, recipes._run.Interrupted after saving `last` on Ctrl-C.
    """
    need("safetensors")  # before the work, not after its first epoch
    begin = time.perf_counter()
    training, test = fsdd.split(fsdd.recordings(folder))
    training, held_out = fsdd.hold_out(training, options.seed)
    for name, part in (("training", training), ("held-out training", held_out), ("test", test)):
        if not part:
            raise ValueError(
                f"{folder} has no {name} recordings: indices 0-4 are the test, 5-49 training, two or more per digit"
            )
    config = WordConfig(fsdd.WORDS, options.hidden, options.layers, options.dropout, fsdd.SAMPLE_RATE)
    recognizer = WordRecognizer(ops, config, options.seed)
    features, held_out_features, test_features = (
        features_of(part, recognizer.front_end) for part in (training, held_out, test)
    )
    labels = np.array([r.digit for r in training], np.int32)
    lengths = [len(f) for f in features]
    steps = -(-len(training) // options.batch_size)  # of one epoch
    features_seconds = time.perf_counter() - begin

    augment = partial(_run.augmented, noise=options.noise, masks=options.masks, longest_mask=options.longest_mask)

    def batches(epoch: int) -> Any:
        for chosen in bucketed(lengths, options.batch_size, options.seed, epoch):
            x, n = pad([augment(features[i], (options.seed, epoch, int(i))) for i in chosen])
            yield ops.xp.asarray(x), ops.xp.asarray(n), ops.xp.asarray(labels[chosen])

    def judge() -> tuple[tuple[float, ...], dict[str, float]]:
        score = evaluate(recognizer, held_out_features, held_out)
        figures = {"held_out_loss": score.loss, "held_out_accuracy": score.accuracy}
        return (score.total - score.right, score.loss), figures

    notes = {"recipe": "fsdd", "backend": ops.name, "options": asdict(options)}
    on_start(options.epochs, steps)
    best_epoch = _run.run(
        recognizer, SoftmaxCrossEntropy(ops), batches,
        Sgd(recognizer.params, momentum=options.momentum, clip=options.clip), judge, out, epochs=options.epochs,
        learning_rate=partial(one_cycle, total=options.epochs * steps, peak=options.peak), seed=options.seed, notes=notes,
        on_step=on_step, on_epoch=on_epoch,
    )  # fmt: skip
    seconds = {"features": features_seconds, "training": time.perf_counter() - begin - features_seconds}
    best_path = out / "best.safetensors"
    score = evaluate(WordRecognizer.load(best_path, ops), test_features, test)
    result = Result(score, best_epoch, seconds, best_path)
    summary = {"test": asdict(score), "best_epoch": best_epoch, "seconds": seconds, **notes}
    write_atomically(out / "result.json", (json.dumps(summary, indent=1) + "\n").encode())
    return result
