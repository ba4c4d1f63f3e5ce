"""What every recipe does before and around the loop: features, augmentation, metrics.jsonl, checkpoints, Ctrl-C."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pyasr import audio
from pyasr.augment import add_noise, mask_times
from pyasr.counter import stream
from pyasr.optim import Adam, Sgd
from pyasr.recognizer import CtcRecognizer, FrontEnd, WordRecognizer
from pyasr.train import Step, fit


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in training; the weights were saved to `path` after `step` updates."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(f"saved {path} at step {step}")
        self.path, self.step = path, step


def features_of(path: Path, front_end: FrontEnd, *, start: float = 0.0, duration: float | None = None) -> np.ndarray:
    """[T, 39] of a recording or a stretch of it; ValueError naming the file when that is shorter than a frame."""
    wave, rate = audio.load(path, front_end.sample_rate, start=start, duration=duration)
    features = front_end(wave)
    if len(features) == 0:
        raise ValueError(f"{path} must last at least 25 ms, got {1000 * len(wave) / rate:.0f} ms")
    return features


def augmented(
    features: np.ndarray, key: tuple[int, int, int], *, noise: float, masks: int, longest_mask: int
) -> np.ndarray:
    """Noise and time masks, as a function of the key (seed, epoch, utterance); the given array is not changed."""
    rng = stream("augment", *key)
    return mask_times(add_noise(features, rng, noise), rng, masks, longest=longest_mask)


def run(
    recognizer: WordRecognizer | CtcRecognizer,
    criterion: Callable[..., Any],
    batches: Callable[[int], Iterable[tuple[Any, ...]]],
    optimizer: Sgd | Adam,
    judge: Callable[[], tuple[tuple[float, ...], dict[str, float]]],
    out: Path,
    *,
    epochs: int,
    learning_rate: Callable[[int], float],
    seed: int,
    notes: dict[str, Any],
    on_step: Callable[[Step], None],
    on_epoch: Callable[[dict[str, float]], None],
) -> int:
    """Fit the recognizer's model; write best.safetensors, last.safetensors and metrics.jsonl into `out`; return the best epoch,
    counted from 1.

    judge() looks at the held-out part after every epoch: (what is to be small, most important first; figures for the record).
    Raises Interrupted after saving `last` on Ctrl-C.
    """
    begin, done, best, best_epoch = time.perf_counter(), 0, None, 0
    losses: list[float] = []

    def after_step(step: Step) -> None:
        nonlocal done
        done = step.step + 1
        losses.append(step.loss)
        on_step(step)

    def after_epoch(epoch: int) -> None:
        nonlocal best, best_epoch
        badness, figures = judge()
        record = {"epoch": epoch + 1, "step": done, "loss": float(np.mean(losses)), **figures}
        record["seconds"] = time.perf_counter() - begin
        losses.clear()
        if best is None or badness < best:
            best, best_epoch = badness, epoch + 1
            recognizer.save(out / "best.safetensors", **notes, **record)
        metrics.write(json.dumps(record) + "\n")
        metrics.flush()
        os.fsync(metrics.fileno())
        on_epoch(record)

    out.mkdir(parents=True, exist_ok=True)
    with (out / "metrics.jsonl").open("w", encoding="utf-8") as metrics:
        try:
            fit(
                recognizer.model, criterion, batches, optimizer, epochs=epochs, learning_rate=learning_rate, seed=seed,
                on_step=after_step, on_epoch=after_epoch,
            )  # fmt: skip
        except KeyboardInterrupt:
            recognizer.save(out / "last.safetensors", **notes, step=done)
            raise Interrupted(out / "last.safetensors", done) from None
    recognizer.save(out / "last.safetensors", **notes, step=done)
    return best_epoch
