"""Learning rates as plain functions of the step, or of the held-out figures so far."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

from pyasr.ops._door import Door


def _point(door: Door, step: int, total: int, peak: float) -> tuple[int, int, float]:
    """step, total and peak, checked."""
    step, total = door.integer("step", step, 0, 2**63 - 1), door.integer("total", total, 1, 2**63 - 1)
    return step, total, door.real("peak", peak)


def constant(step: int, total: int, peak: float) -> float:
    """peak, always.

    Raises TypeError and ValueError naming the argument.

    >>> from pyasr.schedules import constant
    >>> constant(7, 10, 0.5)
    0.5
    """
    return _point(Door("constant"), step, total, peak)[2]


def step(step: int, total: int, peak: float, *, every: int | None = None, factor: float = 0.1) -> float:
    """peak, times `factor` after every `every` steps; by default after each third of `total`.

    step counts from 0. Raises TypeError and ValueError naming the argument.

    Follows torch's StepLR, whose step_size is `every`.

    >>> from pyasr.schedules import step
    >>> [round(step(k, 9, 1.0), 3) for k in (0, 2, 3, 6, 8)]
    [1.0, 1.0, 0.1, 0.01, 0.01]
    """
    door = Door("step")
    step, total, peak = _point(door, step, total, peak)
    every = -(-total // 3) if every is None else door.integer("every", every, 1, 2**63 - 1)
    return peak * door.real("factor", factor, 0.0, 1.0) ** (step // every)


def exponential(step: int, total: int, peak: float, *, last: float = 0.01) -> float:
    """Fall by the same factor in every step, from peak to last·peak after `total` steps, where it stays.

    step counts from 0; last lies in (0, 1]. Raises TypeError and ValueError naming the argument.

    Follows torch's ExponentialLR with gamma = last^(1/total).

    >>> from pyasr.schedules import exponential
    >>> [round(exponential(k, 10, 1.0), 3) for k in (0, 5, 10, 99)]
    [1.0, 0.1, 0.01, 0.01]
    """
    door = Door("exponential")
    step, total, peak = _point(door, step, total, peak)
    last = door.real("last", last, 0.0, 1.0)
    if last == 0:
        door.value_error(f"last must be above 0, got {last!r}")
    return float(peak * last ** min(step / total, 1.0))


def cosine(step: int, total: int, peak: float, *, last: float = 0.0) -> float:
    """Fall along half a cosine, from peak to last·peak after `total` steps, where it stays.

    step counts from 0. Raises TypeError and ValueError naming the argument.

    Source: Loshchilov and Hutter, "SGDR", ICLR 2017, one period; torch's CosineAnnealingLR up to its T_max.

    >>> from pyasr.schedules import cosine
    >>> [round(cosine(k, 10, 1.0), 3) for k in (0, 5, 10, 99)]
    [1.0, 0.5, 0.0, 0.0]
    """
    door = Door("cosine")
    step, total, peak = _point(door, step, total, peak)
    last = door.real("last", last, 0.0, 1.0)
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * min(step / total, 1.0))))


def one_cycle(
    step: int, total: int, peak: float, *, warmup: float = 0.2, first: float = 0.04, last: float = 1e-3
) -> float:
    """Rise linearly from first·peak over the first `warmup` share of `total` steps, then fall as a cosine to last·peak.

    step counts from 0; steps from total on give last·peak. Raises TypeError and ValueError naming the argument.

    Source: Smith and Topin, "Super-convergence", 2018, with a cosine for the way down.

    >>> from pyasr.schedules import one_cycle
    >>> [round(one_cycle(step, 10, 1.0), 3) for step in (0, 2, 6, 10)]
    [0.04, 1.0, 0.5, 0.001]
    """
    door = Door("one_cycle")
    step, total, peak = _point(door, step, total, peak)
    rise = door.real("warmup", warmup, 0.0, 1.0) * total
    first, last = door.real("first", first, 0.0, 1.0), door.real("last", last, 0.0, 1.0)
    if step < rise:
        return peak * (first + (1 - first) * step / rise)
    done = min((step - rise) / (total - rise), 1.0) if total > rise else 1.0
    return peak * (last + (1 - last) * 0.5 * (1 + math.cos(math.pi * done)))


def warmup(step: int, total: int, peak: float, *, share: float = 0.1, first: float = 0.04) -> float:
    """Rise linearly from first·peak over the first `share` of `total` steps, then peak.

    step counts from 0. Raises TypeError and ValueError naming the argument.

    Source: Goyal et al., "Accurate, large minibatch SGD", 2017, section 2.2.

    >>> from pyasr.schedules import warmup
    >>> [round(warmup(step, 100, 1.0, first=0.2), 3) for step in (0, 5, 10, 99)]
    [0.2, 0.6, 1.0, 1.0]
    """
    door = Door("warmup")
    step, total, peak = _point(door, step, total, peak)
    rise = door.real("share", share, 0.0, 1.0) * total
    first = door.real("first", first, 0.0, 1.0)
    return peak * (first + (1 - first) * step / rise) if step < rise else peak


def warmup_stable_decay(
    step: int,
    total: int,
    peak: float,
    *,
    warmup: float = 0.05,
    first: float = 0.04,
    decay: float = 0.2,
    last: float = 0.0,
    shape: str = "linear",
) -> float:
    """Rise over the first `warmup` share of `total` steps, stay at peak, fall over the last `decay` share to last·peak.

    The rise is that of `warmup`. With x from 0 to 1 over the fall, shape "linear" goes down as 1 − x and "1-sqrt" as 1 − √x.
    step counts from 0; steps from total on give last·peak, or peak where decay is 0.

    Raises TypeError and ValueError naming the argument, also when the two shares exceed 1 together.

    Source: Hägele et al., "Scaling laws and compute-optimal training beyond fixed training durations", 2024.

    >>> from pyasr.schedules import warmup_stable_decay
    >>> [round(warmup_stable_decay(k, 100, 1.0, first=0.2), 3) for k in (0, 5, 80, 95, 100)]
    [0.2, 1.0, 1.0, 0.25, 0.0]
    >>> round(warmup_stable_decay(95, 100, 1.0, shape="1-sqrt"), 3)
    0.134
    """
    door = Door("warmup_stable_decay")
    step, total, peak = _point(door, step, total, peak)
    rise, fall = door.real("warmup", warmup, 0.0, 1.0) * total, door.real("decay", decay, 0.0, 1.0) * total
    first, last = door.real("first", first, 0.0, 1.0), door.real("last", last, 0.0, 1.0)
    shape = door.choice("shape", shape, ("linear", "1-sqrt"))
    if warmup + decay > 1:
        door.value_error(f"warmup and decay must be at most 1 together, got {warmup!r} and {decay!r}")
    if step < rise:
        return peak * (first + (1 - first) * step / rise)
    done = min(max(step - (total - fall), 0.0) / fall, 1.0) if fall else 0.0
    return peak * (last + (1 - last) * (1 - (math.sqrt(done) if shape == "1-sqrt" else done)))


def _checked(door: Door, history: Sequence[float]) -> Sequence[float]:
    """The held-out figures, each of them a number."""
    if not isinstance(history, Sequence) or isinstance(history, (str, bytes)):
        door.type_error(f"history must be a sequence of numbers, got {type(history).__name__}")
    for figure in history:
        if isinstance(figure, bool) or not isinstance(figure, numbers.Real):
            door.type_error(f"history must be a sequence of numbers, got one with {type(figure).__name__}")
    return history


def plateau(
    history: Sequence[float], peak: float, *, factor: float = 0.5, patience: int = 3, least: float = 1e-3
) -> float:
    """peak, times `factor` after every `patience` judged epochs in a row without a new best, never below least·peak.

    history holds the held-out figure of every epoch judged so far, lower is better; only a figure below all before it is a new
    best, a NaN never. The count starts again after a cut.

    Raises TypeError and ValueError naming the argument.

    Follows torch's ReduceLROnPlateau in mode "min" with threshold 0, which waits for one epoch more: its patience is ours − 1.

    >>> from pyasr.schedules import plateau
    >>> plateau([3.0, 2.0, 2.0, 2.5], 1.0), plateau([3.0, 2.0, 2.0, 2.5, 2.1], 1.0)
    (1.0, 0.5)
    """
    door = Door("plateau")
    peak, factor = door.real("peak", peak), door.real("factor", factor, 0.0, 1.0)
    patience, least = door.integer("patience", patience, 1, 2**63 - 1), door.real("least", least, 0.0, 1.0)
    best, waited, scale = math.inf, 0, 1.0
    for figure in _checked(door, history):
        waited = 0 if figure < best else waited + 1
        best = figure if figure < best else best
        if waited == patience:
            waited, scale = 0, max(scale * factor, least)
    return peak * scale


def newbob(
    history: Sequence[float],
    peak: float,
    *,
    threshold: float = 0.0025,
    factor: float = 0.5,
    patience: int = 0,
    ramp: bool = False,
) -> float:
    """peak, times `factor` after an epoch that improved the held-out figure by less than the share `threshold` of the last one.

    history holds the held-out figure of every epoch judged so far, lower is better. `patience` such epochs are let pass before
    each cut. A NaN is never better; anything finite is better than an infinity or a NaN.

    ramp=True is the older rule: an epoch is compared with the best before it, and from the first cut on every epoch is followed
    by one. Kaldi's nnet1 does so with threshold 0.01, judges the initial weights too (put their figure first), returns to
    the best weights after a worse epoch and ends below 0.001; a learning rate can do neither of the last two.

    Raises TypeError and ValueError naming the argument.

    Follows SpeechBrain's NewBobScheduler, and with ramp the schedule of Kaldi's steps/nnet/train_scheduler.sh. Negative figures
    improve by a share of their size.

    >>> from pyasr.schedules import newbob
    >>> newbob([10.0, 2.0], 1.0), newbob([10.0, 2.0, 2.5], 1.0), newbob([10.0, 2.0, 2.5, 1.0], 1.0)
    (1.0, 0.5, 0.5)
    >>> newbob([10.0, 2.0, 2.5, 1.0], 1.0, threshold=0.01, ramp=True)
    0.25
    """
    door = Door("newbob")
    peak, factor = door.real("peak", peak), door.real("factor", factor, 0.0, 1.0)
    threshold, patience = door.real("threshold", threshold, 0.0, 1.0), door.integer("patience", patience, 0, 2**63 - 1)
    ramp = door.boolean("ramp", ramp)
    waited, scale = 0, 1.0
    last, *rest = _checked(door, history) or [math.inf]
    for figure in rest:
        if ramp and scale < 1:
            scale *= factor
        elif not _improved(last, figure, threshold):
            waited, scale = (0, scale * factor) if waited == patience else (waited + 1, scale)
        if not ramp or figure < last or math.isnan(last):
            last = figure
    return peak * scale


def _improved(last: float, now: float, threshold: float) -> bool:
    """Whether now lies below last by the share `threshold` of it, or more."""
    if math.isnan(last) or last == math.inf:
        return now < math.inf
    return ((last - now) / abs(last) if last else 0.0) >= threshold
