"""First-order updates over the flat parameter buffer.

`Sgd` and `Adam` are what a training loop steps: each holds its state as vectors laid out like `params.value`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pyasr.ops import backend
from pyasr.ops._door import Door
from pyasr.ops.clip_sgd import StepInfo

if TYPE_CHECKING:  # params draws random numbers; clip_sgd alone needs none of NumPy's generators
    from pyasr.params import Params


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


class Sgd:
    """Stochastic gradient descent with momentum, the gradient's norm clipped: the row clip_sgd.

    optimizer.step(lr) updates params.value by params.grad, times grad_scale when that is given: one over the number of utterances
    makes a mean of a sum. `state` holds the momentum buffer.

    >>> from pyasr.optim import Sgd
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params["w"][:], params.grad_of("w")[:] = (1, 2), (3, 4)
    >>> Sgd(params, clip=2.5).step(lr=1.0), params["w"]
    (StepInfo(norm=5.0, scale=0.5, skipped=False), array([-0.5,  0. ], dtype=float32))
    """

    def __init__(self, params: Params, *, momentum: float = 0.9, clip: float = 5.0) -> None:
        door = Door("Sgd")
        self.params, self.momentum, self.clip = (
            params,
            door.real("momentum", momentum, 0.0, 1.0),
            door.real("clip", clip, 0.0),
        )
        self.state = {"momentum": params.zeros()}

    def step(self, lr: float, grad_scale: float = 1.0) -> StepInfo:
        """One update; a gradient that is not finite changes nothing."""
        p = self.params
        return p.ops.clip_sgd(
            p.value, p.grad, lr=lr, momentum=self.momentum, buffer=self.state["momentum"], clip=("norm", self.clip),
            grad_scale=grad_scale,
        )  # fmt: skip


class Adam:
    """Adam with bias correction, the gradient's norm clipped.

    As Sgd; `state` holds both moments and, as one number, the count of updates.

    Source: Kingma and Ba, ICLR 2015; torch.optim.Adam after torch.nn.utils.clip_grad_norm_ (without its 1e-6).

    >>> from pyasr.optim import Adam
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params.grad_of("w")[:] = (3, -4)
    >>> Adam(params).step(lr=0.1).norm, params["w"].round(4)  # the first step is lr in every entry
    (5.0, array([-0.1,  0.1], dtype=float32))
    """

    def __init__(
        self, params: Params, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, clip: float = 5.0
    ) -> None:
        door = Door("Adam")
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if door.real(name, beta, 0.0, 1.0) == 1:
                door.value_error(f"{name} must be below 1, got 1.0")
        self.params, self.clip = params, door.real("clip", clip, 0.0)
        self.beta1, self.beta2, self.eps = beta1, beta2, door.real("eps", eps, 0.0)
        xp = params.ops.xp
        self.state = {"mean": params.zeros(), "square": params.zeros(), "count": xp.zeros(1, params.dtype)}

    def step(self, lr: float, grad_scale: float = 1.0) -> StepInfo:
        """One update; a gradient that is not finite changes nothing."""
        xp, grad, state = self.params.ops.xp, self.params.grad, self.state
        norm = abs(grad_scale) * float(xp.linalg.norm(grad.astype(np.float64)))
        if not np.isfinite(norm):
            return StepInfo(norm, 0.0, True)
        scale = min(1.0, self.clip / norm) if norm else 1.0
        state["count"] += 1
        count, mean, square = float(state["count"][0]), state["mean"], state["square"]
        # In place in two vectors of scratch: a third less time than with fresh ones.
        work = grad * grad.dtype.type(scale * grad_scale)
        change = work - mean
        change *= 1 - self.beta1
        mean += change
        work *= work
        work -= square
        work *= 1 - self.beta2
        square += work
        root = xp.sqrt(xp.divide(square, 1 - self.beta2**count, out=work), out=work)
        root += self.eps
        xp.multiply(mean, lr / (1 - self.beta1**count), out=change)
        change /= root
        self.params.value[...] -= change
        return StepInfo(norm, scale, False)
