"""The training loop: one direction, no global state, no tape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from pyasr.hessian_free import HessianFree, HfStep
from pyasr.layers import Layer, Mode
from pyasr.ops import host
from pyasr.ops._door import Door
from pyasr.optim import Optimizer


class Step(NamedTuple):
    """What one update did."""

    epoch: int
    step: int  # counts updates from 0
    loss: float  # the mean over the utterances
    lr: float
    norm: float  # of the gradient before clipping
    skipped: bool  # the gradient was not finite and nothing was written
    frames: int  # of features, padding not counted
    second_order: HfStep | None = None  # what HessianFree says besides


class _Update(NamedTuple):
    """A step whose numbers are still where it ran."""

    epoch: int
    step: int
    lr: float
    numbers: Any  # [6] float64: the sum of the losses, of how many utterances, frames; norm, scale, skipped of StepInfo


@dataclass
class Progress:
    """Where a training stands. With the weights and the optimizer's state it is all that the next step depends on."""

    epoch: int = 0
    batch: int = 0  # of this epoch that are done
    step: int = 0  # updates that are done
    skipped: int = 0  # in a row, because their gradient was not finite


def fit(
    model: Layer,
    criterion: Callable[..., Any],
    batches: Callable[[int, int], Iterable[tuple[Any, ...]]],
    optimizer: Optimizer | HessianFree,
    *,
    epochs: int,
    learning_rate: Callable[[int], float],
    seed: int = 0,
    accumulate: int = 1,
    bptt: int = 0,
    progress: Progress | None = None,
    max_skipped: int = 20,
    log_every: int = 1,
    on_step: Callable[[Step], object] = lambda step: None,
    on_epoch: Callable[[int], object] = lambda epoch: None,
) -> Progress:
    """Train model.params, which the optimizer updates; return where the training stands.

    batches(epoch, first) gives tuples (x [T, B, F], lengths [B], *targets) of that epoch from number `first` on, and
    criterion(logits, out_lengths, *targets) a loss, of which totals and sum_grad are looked at, as those of pyasr.losses.Loss;
    every `accumulate` batches make one update by the mean over all their utterances. learning_rate(step) is a schedule. bptt
    cuts the gradient of recurrent layers of one direction every so many frames of theirs; 0 does not.

    The result is a function of the weights, the batches and the seed: the same bits in every run. A training that goes on from
    `progress`, which is kept up to date, with the weights and the optimizer's state of that moment, ends with the same bits too.
    on_step and on_epoch are called after every update and epoch; what they raise ends the training between two updates, and an
    on_epoch that returns True ends it too. The numbers of `log_every` updates, and at the end of an epoch of those that are left,
    are read together, and on_step is called for each of them then: on a device the host waits for it no more often, unless the
    model has a params.state, which a skipped step leaves alone. A step is the last one that was done where
    step.step + 1 == progress.step; what is raised before that loses the steps in between.

    HessianFree makes its update by all utterances of the `accumulate` batches, in evaluation mode: dropout, bptt and
    learning_rate have no part in it, and the `lr` of a Step is the factor that its line search found.

    A step whose gradient is not finite is skipped, and one of HessianFree whose loss is not; FloatingPointError after
    `max_skipped` of them in a row. TypeError and ValueError for an `accumulate` or `log_every` that is no integer of at least 1.
    """
    accumulate = Door("fit").integer("accumulate", accumulate, 1, 2**31 - 1)
    log_every = Door("fit").integer("log_every", log_every, 1, 2**31 - 1)
    at = Progress() if progress is None else progress
    unread: list[_Update] = []

    def tell(steps: list[Step]) -> None:
        for done in steps:
            at.skipped = at.skipped + 1 if done.skipped else 0
            if at.skipped > max_skipped:
                raise FloatingPointError(
                    f"the loss or its gradient was not finite in {at.skipped} steps in a row; stopped at step {done.step}"
                )
            on_step(done)

    while at.epoch < epochs:
        todo = iter(batches(at.epoch, at.batch))
        while group := list(islice(todo, accumulate)):
            steps: list[Step] = []
            if isinstance(optimizer, HessianFree):
                steps = [_second_order(model, criterion, group, optimizer, at)]
            else:
                lr = learning_rate(at.step)
                unread.append(_first_order(model, criterion, group, optimizer, at, lr=lr, seed=seed, bptt=bptt))
                if len(unread) == log_every:
                    steps, unread = _read(unread, model.params.ops.xp), []
            at.batch, at.step = at.batch + len(group), at.step + 1
            tell(steps)
        steps, unread = _read(unread, model.params.ops.xp), []
        tell(steps)
        ended = on_epoch(at.epoch)
        at.epoch, at.batch = at.epoch + 1, 0
        if ended is True:
            break
    return at


def _first_order(
    model: Layer, criterion: Callable[..., Any], group: Sequence[tuple[Any, ...]], optimizer: Optimizer, at: Progress,
    *, lr: float, seed: int, bptt: int,
) -> _Update:  # fmt: skip
    xp = model.params.ops.xp
    numbers = xp.zeros(6)
    model.params.grad[:] = 0
    for micro_batch, (x, lengths, *targets) in enumerate(group):
        logits, saved = model.forward(x, lengths, Mode(True, seed, at.step, micro_batch, bptt=bptt))
        loss = criterion(logits, model.out_lengths(lengths), *targets)
        model.backward(saved, loss.sum_grad, need_dx=False)
        numbers[:2] += loss.totals
        numbers[2] += lengths.sum()
    info = optimizer.step(lr, grad_scale=1 / xp.maximum(numbers[1], 1))
    numbers[3:] = info.report
    if model.params.state.size and not info.skipped:
        model.commit(saved)
    return _Update(at.epoch, at.step, lr, numbers)


def _read(updates: list[_Update], xp: Any) -> list[Step]:
    """What the updates did, by one look at the device."""
    if not updates:
        return []
    rows = host(xp.concatenate([u.numbers for u in updates])).reshape(-1, 6).tolist()
    return [
        Step(u.epoch, u.step, total / max(count, 1), u.lr, norm, skipped != 0, int(frames))
        for u, (total, count, frames, norm, _, skipped) in zip(updates, rows, strict=True)
    ]


def _second_order(
    model: Layer, criterion: Callable[..., Any], group: Sequence[tuple[Any, ...]], optimizer: HessianFree, at: Progress
) -> Step:
    did = optimizer.step(model, criterion, group)
    frames = sum(int(lengths.sum()) for _, lengths, *_ in group)
    return Step(at.epoch, at.step, did.loss, did.scale, did.norm, did.skipped, frames, did)
