"""First-order updates over the flat parameter buffer."""

from __future__ import annotations

import numpy as np

from pyasr.ops import backend
from pyasr.ops.clip_sgd import StepInfo


def clip_sgd(
    value: np.ndarray,
    grad: np.ndarray,
    *,
    lr: float,
    momentum: float = 0.0,
    buffer: np.ndarray | None = None,
    step: int | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    clip: tuple[str, float] | None = None,
    eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    threads: int | None = None,
) -> StepInfo:
    """Clip a gradient and take one step of SGD, in place, in two streaming passes.

    value [P], grad [P] and buffer [P] are C-contiguous float32 or float64 arrays of one dtype; value and buffer are updated.
    clip is None, ("norm", M): scale by min(1, M / (‖g‖ + eps)), or ("value", v): clamp every entry to [−v, v]. eps=0 leaves a
    gradient whose norm is at most M alone, bit for bit; eps=1e-6 is torch's rule. The order is grad_scale, test for NaN and inf,
    clip, weight decay (decoupled: value ← (1 − lr·weight_decay)·value), momentum, step. step=0 starts the buffer with the
    gradient itself, as torch does; it matters only with dampening. nonfinite says what a NaN or infinite gradient does: "skip"
    leaves value and buffer untouched, "raise" raises ValueError, "propagate" goes on.

    Returns StepInfo(norm, scale, skipped): the norm of grad_scale·grad before clipping, the factor applied, whether nothing
    was written. The norm neither over- nor underflows.

    Raises TypeError and ValueError naming the argument for a wrong dtype, shape, layout, overlap or option.

    Follows torch.nn.utils.clip_grad_norm_, clip_grad_value_ and torch.optim.SGD.

    >>> value, grad = np.zeros(2, "f4"), np.array([3, 4], "f4")
    >>> pyasr.clip_sgd(value, grad, lr=1.0, clip=("norm", 2.5))
    StepInfo(norm=5.0, scale=0.5, skipped=False)
    >>> value
    array([-1.5, -2. ], dtype=float32)
    """
    return backend().clip_sgd(
        value, grad, lr=lr, momentum=momentum, buffer=buffer, step=step, dampening=dampening, nesterov=nesterov,
        weight_decay=weight_decay, decoupled=decoupled, clip=clip, eps=eps, grad_scale=grad_scale, nonfinite=nonfinite,
        threads=threads,
    )  # fmt: skip
