"""What every recipe does around the loop: metrics.jsonl, the best and the last checkpoint, Ctrl-C."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.optim import Adam, Sgd
from pyasr.recognizer import CtcRecognizer, WordRecognizer
from pyasr.train import Step, fit


class Interrupted(KeyboardInterrupt):
    """Ctrl-C in training; the weights were saved to `path` after `step` updates."""

    def __init__(self, path: Path, step: int) -> None:
        super().__init__(f"saved {path} at step {step}")
        self.path, self.step = path, step


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
