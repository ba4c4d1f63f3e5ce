"""Learning rates as plain functions of the step, or of the held-out figures so far."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence

from pyasr.ops._door import Door


def constant(step: int, total: int, peak: float) -> float:
    """peak, always."""
    return peak


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
    step, total = door.integer("step", step, 0, 2**63 - 1), door.integer("total", total, 1, 2**63 - 1)
    peak, warmup = door.real("peak", peak), door.real("warmup", warmup, 0.0, 1.0)
    rise = warmup * total
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
    step, total = door.integer("step", step, 0, 2**63 - 1), door.integer("total", total, 1, 2**63 - 1)
    peak, rise = door.real("peak", peak), door.real("share", share, 0.0, 1.0) * total
    first = door.real("first", first, 0.0, 1.0)
    return peak * (first + (1 - first) * step / rise) if step < rise else peak


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
    if not isinstance(history, Sequence) or isinstance(history, (str, bytes)):
        door.type_error(f"history must be a sequence of numbers, got {type(history).__name__}")
    peak, factor = door.real("peak", peak), door.real("factor", factor, 0.0, 1.0)
    patience, least = door.integer("patience", patience, 1, 2**63 - 1), door.real("least", least, 0.0, 1.0)
    best, waited, scale = math.inf, 0, 1.0
    for figure in history:
        if isinstance(figure, bool) or not isinstance(figure, numbers.Real):
            door.type_error(f"history must be a sequence of numbers, got one with {type(figure).__name__}")
        waited = 0 if figure < best else waited + 1
        best = figure if figure < best else best
        if waited == patience:
            waited, scale = 0, max(scale * factor, least)
    return peak * scale
