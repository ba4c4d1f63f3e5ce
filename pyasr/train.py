"""The training loop: one direction, no global state, no tape."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from pyasr.layers import Layer, Mode
from pyasr.optim import Adam, Sgd


class Step(NamedTuple):
    """What one update did."""

    epoch: int
    step: int  # counts updates from 0
    loss: float
    lr: float
    norm: float  # of the gradient before clipping
    skipped: bool  # the gradient was not finite and nothing was written
    frames: int  # of features in the batch, padding not counted


def fit(
    model: Layer,
    criterion: Callable[..., Any],
    batches: Callable[[int], Iterable[tuple[Any, ...]]],
    optimizer: Sgd | Adam,
    *,
    epochs: int,
    learning_rate: Callable[[int], float],
    seed: int = 0,
    max_skipped: int = 20,
    on_step: Callable[[Step], None] = lambda step: None,
    on_epoch: Callable[[int], None] = lambda epoch: None,
) -> int:
    """Train model.params, which the optimizer updates; return the number of steps.

    batches(epoch) gives tuples (x [T, B, F], lengths [B], *targets); criterion(logits, out_lengths, *targets) gives a loss with
    `value` and `grad`; learning_rate(step) is a schedule. The result is a function of the weights, the batches and the seed: the
    same bits in every run. on_step and on_epoch are called after every update and epoch.

    A step whose gradient is not finite is skipped; FloatingPointError after `max_skipped` of them in a row.
    """
    params = model.params
    step, skipped = 0, 0
    for epoch in range(epochs):
        for x, lengths, *targets in batches(epoch):
            logits, saved = model.forward(x, lengths, Mode(train=True, seed=seed, step=step))
            loss = criterion(logits, model.out_lengths(lengths), *targets)
            params.grad[:] = 0
            model.backward(saved, loss.grad)
            lr = learning_rate(step)
            info = optimizer.step(lr)
            skipped = skipped + 1 if info.skipped else 0
            if skipped > max_skipped:
                raise FloatingPointError(
                    f"the gradient was not finite in {skipped} steps in a row; stopped at step {step}"
                )
            if not info.skipped:
                model.commit(saved)
            on_step(Step(epoch, step, float(loss.value), lr, info.norm, info.skipped, int(lengths.sum())))
            step += 1
        on_epoch(epoch)
    return step
