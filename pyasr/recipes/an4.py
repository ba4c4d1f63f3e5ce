"""Connected speech: train characters with CTC on AN4's training speakers, choose by its eight dev speakers, look at the official
test once where it is there."""

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
from pyasr.datasets import Corpus, Utterance
from pyasr.losses import Ctc
from pyasr.optim import Adam
from pyasr.recipes import _run
from pyasr.recognizer import CtcConfig, CtcRecognizer, FrontEnd
from pyasr.schedules import one_cycle
from pyasr.scoring import WordErrors, wer
from pyasr.text import Alphabet, pad_labels
from pyasr.train import Step


@dataclass(frozen=True)
class Options:
    """What `pyasr train an4` can be told."""

    seed: int = 0
    epochs: int = 45
    hidden: int = 128  # of each direction
    layers: int = 2
    dropout: float = 0.3
    stack: int = 3  # frames of 10 ms that the model sees as one
    batch_size: int = 16
    peak: float = 2e-3  # the largest learning rate of the cycle
    clip: float = 5.0
    noise: float = 0.1  # deviation of the noise that is added to normalized features in training
    masks: int = 2  # spans of frames that are masked per utterance in training
    longest_mask: int = 27  # frames


@dataclass(frozen=True)
class Result:
    """What a finished training leaves behind; test is None where the corpus has none."""

    dev: WordErrors
    test: WordErrors | None
    best_epoch: int  # counts from 1
    seconds: dict[str, float]  # features, training
    checkpoint: Path


def features_of(utterances: Sequence[Utterance], front_end: FrontEnd) -> list[np.ndarray]:
    """[T, 39] of every utterance; ValueError naming the file for one that is shorter than a frame."""
    return [_run.features_of(u.path, front_end, start=u.start, duration=u.duration) for u in utterances]


def evaluate(recognizer: CtcRecognizer, features: Sequence[np.ndarray], utterances: Sequence[Utterance]) -> WordErrors:
    """Word errors over all utterances, decoded greedily. Raises ValueError when there are none."""
    if not utterances:
        raise ValueError("evaluate: there are no utterances")
    return wer([u.text for u in utterances], recognizer.texts(features))


def train(
    ops: Any,
    corpus: Corpus,
    out: Path,
    options: Options,
    *,
    on_start: Callable[[int, int], None] = lambda epochs, steps: None,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[dict[str, float]], None] = lambda record: None,
) -> Result:
    """Train on corpus.train; write best.safetensors, last.safetensors, metrics.jsonl and result.json into `out`.

    `best` is the epoch with the fewest word errors on corpus.dev. The alphabet is the
    characters of the training transcripts. The weights are a function of the recordings, the options and the backend.

    Raises ValueError when the training or dev part is empty, recipes._run.Interrupted after saving `last` on Ctrl-C.
    """
    need("safetensors")  # before the work, not after its first epoch
    begin = time.perf_counter()
    for name, part in (("training", corpus.train), ("dev", corpus.dev)):
        if not part:
            raise ValueError(f"{corpus.name} has no {name} utterances")
    alphabet = Alphabet.of(u.text for u in corpus.train)
    config = CtcConfig(
        alphabet.characters, options.hidden, options.layers, options.dropout, options.stack, corpus.sample_rate
    )
    recognizer = CtcRecognizer(ops, config, options.seed)
    features, dev_features = (features_of(part, recognizer.front_end) for part in (corpus.train, corpus.dev))
    labels = [alphabet.encode(u.text) for u in corpus.train]
    lengths = [len(f) for f in features]
    steps = -(-len(features) // options.batch_size)  # of one epoch
    features_seconds = time.perf_counter() - begin

    augment = partial(_run.augmented, noise=options.noise, masks=options.masks, longest_mask=options.longest_mask)

    def batches(epoch: int) -> Any:
        for chosen in bucketed(lengths, options.batch_size, options.seed, epoch):
            x, n = pad([augment(features[i], (options.seed, epoch, int(i))) for i in chosen])
            yield tuple(map(ops.xp.asarray, (x, n, pad_labels([labels[i] for i in chosen]))))

    def judge() -> tuple[tuple[float, ...], dict[str, float]]:
        errors = evaluate(recognizer, dev_features, corpus.dev)
        return (errors.errors,), {"dev_wer": errors.rate, "dev_errors": errors.errors}

    notes = {"recipe": "an4", "backend": ops.name, "options": asdict(options)}
    on_start(options.epochs, steps)
    best_epoch = _run.run(
        recognizer, Ctc(ops), batches, Adam(recognizer.params, clip=options.clip), judge, out, epochs=options.epochs,
        learning_rate=partial(one_cycle, total=options.epochs * steps, peak=options.peak), seed=options.seed, notes=notes,
        on_step=on_step, on_epoch=on_epoch,
    )  # fmt: skip
    seconds = {"features": features_seconds, "training": time.perf_counter() - begin - features_seconds}
    best = out / "best.safetensors"
    recognizer = CtcRecognizer.load(best, ops)
    dev = evaluate(recognizer, dev_features, corpus.dev)
    test = evaluate(recognizer, features_of(corpus.test, recognizer.front_end), corpus.test) if corpus.test else None
    result = Result(dev, test, best_epoch, seconds, best)
    summary = {
        "dev": dev._asdict(), "test": test and test._asdict(), "best_epoch": best_epoch, "seconds": seconds, **notes,
    }  # fmt: skip
    write_atomically(out / "result.json", (json.dumps(summary, indent=1) + "\n").encode())
    return result
