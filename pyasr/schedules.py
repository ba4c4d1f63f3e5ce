"""Learning rates as plain functions of the step."""

from __future__ import annotations

import math

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
