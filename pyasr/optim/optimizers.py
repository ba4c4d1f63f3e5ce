"""What a training loop steps: updates with their state, an average of the weights, a scale of the loss."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._update import StepInfo
from pyasr.ops._update_door import MOST_DECAY, check_clip, check_segments

if TYPE_CHECKING:  # params draws random numbers; an update needs none of NumPy's generators
    from pyasr.params import Params


def _check_params(door: Door, params: Any) -> Params:
    from pyasr.params import Params

    if not isinstance(params, Params):
        door.type_error(f"params must be a pyasr.Params, got {type(params).__name__}")
    return params


class Ema:
    """The exponential moving average of the weights: value ← decay·value + (1 − decay)·params.value after every update.

    Begins with the weights of the moment, so after params.init(). An optimizer that is given `ema=` updates it in its own pass
    over memory and keeps it in its state; update() is for all others. `applied()` puts the average in place of the weights for
    the length of a with statement: to evaluate or to save it.

    Raises TypeError and ValueError for params that are no pyasr.Params and a decay that is not in [0, 1].

    Source: Polyak and Juditsky, 1992; torch.optim.swa_utils.get_ema_multi_avg_fn.

    >>> from pyasr.optim import Ema
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (1,))
    >>> params.init()
    >>> ema = Ema(params, decay=0.75)
    >>> params["w"][:] = 4
    >>> ema.update()
    >>> with ema.applied():
    ...     params["w"]
    array([1.], dtype=float32)
    >>> params["w"]
    array([4.], dtype=float32)
    """

    def __init__(self, params: Params, decay: float = 0.999) -> None:
        door = Door("Ema")
        self.params, self.decay = _check_params(door, params), door.real("decay", decay, 0.0, 1.0)
        self.value = params.zeros()
        self.value[...] = params.value

    def update(self) -> None:
        """One step of the average towards the weights."""
        self.value += (1 - self.decay) * (self.params.value - self.value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The average in the place of the weights, which come back at the end."""
        weights = self.params.value.copy()
        self.params.value[...] = self.value
        try:
            yield
        finally:
            self.params.value[...] = weights


class LossScale:
    """A factor of the loss that keeps small gradients of narrow types from vanishing, and gives way when one overflows.

    Multiply the loss (or its gradient) by `scale`, step with grad_scale=1/scale, and tell update() what the step did: after
    `interval` good steps in a row the scale grows, after a skipped one it shrinks. `state` holds what a checkpoint needs.

    Raises ValueError for a factor on the wrong side of 1.

    Source: Micikevicius et al., ICLR 2018; the defaults are torch.amp.GradScaler's.

    >>> from pyasr.optim import LossScale, StepInfo
    >>> scale = LossScale(8.0, interval=2)
    >>> for skipped in (False, False, True, False):
    ...     scale.update(StepInfo(1.0, 1.0, skipped)), scale.scale
    (None, 8.0)
    (None, 16.0)
    (None, 8.0)
    (None, 8.0)
    """

    def __init__(
        self, scale: float = 65536.0, *, growth: float = 2.0, backoff: float = 0.5, interval: int = 2000
    ) -> None:
        door = Door("LossScale")
        self.growth = door.real("growth", growth, 1.0)
        self.backoff = door.real("backoff", backoff, 0.0, 1.0)
        self.interval = door.integer("interval", interval, 1, 2**31 - 1)
        if self.backoff == 0 or door.real("scale", scale, 0.0) == 0:
            door.value_error(f"scale and backoff must be above 0, got {scale!r} and {backoff!r}")
        self.state = {"scale": np.array([scale], np.float64), "good": np.zeros(1, np.int64)}

    @property
    def scale(self) -> float:
        """What to multiply the next loss by."""
        return float(self.state["scale"][0])

    def update(self, info: StepInfo) -> None:
        """Learn from a step: growth that would leave float64, or shrinking to 0, does not happen."""
        good = 0 if info.skipped else int(self.state["good"][0]) + 1
        factor = self.backoff if info.skipped else self.growth if good == self.interval else 1.0
        if 0 < self.scale * factor < math.inf:
            self.state["scale"][0] *= factor
        self.state["good"][0] = good % self.interval


class Optimizer(ABC):
    """What Sgd, Adam, AdamW and RmsProp share: params, a way of clipping, a segment table, an average of the weights.

    clip is the largest norm of the gradient, or any `clip` of pyasr.clip_sgd, None included. What is added to the norm is `eps`
    in Sgd and `clip_eps` in the others, as in the rows: 1e-6 is torch's rule, 0 leaves a gradient within the limit alone.
    segments is a table of params.segments(), for factors of the learning rate and weight decay by name and for groups of norms;
    ways of clipping that go by segment make one, and so does a rule that divides by its eps where that is 0: the gaps of params
    stay zero. ema, an Ema of the same params, is averaged within the update.

    On a device a step is queued and nothing waits for it: the device itself counts the updates, grad_scale may be a float64 array
    of one entry there, and what the step returns waits when a number of it is asked for; its `report` is all three, unasked.

    Raises ValueError and TypeError naming the argument.
    """

    state: dict[str, Any]

    def __init__(self, door: Door, params: Params, clip: Any, segments: Any, ema: Any, *, eps: float = 1.0) -> None:
        """eps: what the rule divides by where a gradient has always been 0, as in the gaps of params."""
        door.fit("eps", eps, _check_params(door, params).dtype)
        if clip is not None and not isinstance(clip, tuple):
            clip = ("norm", door.real("clip", clip, 0.0))
        kind = check_clip(door, clip)
        by_segment = kind.kind in ("adaptive", "max_change") or kind.d is not None
        if segments is not None:
            check_segments(door, segments, params.value.size)
        elif by_segment or params.dtype.type(eps) == 0:
            segments = params.segments()
        if ema is not None and not isinstance(ema, Ema):
            door.type_error(f"ema must be None or a pyasr.optim.Ema, got {type(ema).__name__}")
        if ema is not None and ema.params is not params:
            door.value_error("ema must be of the same params, got one of others")
        self.params, self.clip, self.segments, self.ema = params, clip, segments, ema
        self.on_device = params.ops.xp is not np
        self.state = {}

    def _vectors(self, **wanted: bool) -> None:
        """Zeros for the states that are wanted, and the average beside them."""
        self.state |= {name: self.params.zeros() for name, has in wanted.items() if has}
        if self.ema is not None:
            self.state["average"] = self.ema.value

    def _common(self, lr: float, grad_scale: Any) -> dict[str, Any]:
        given = {"lr": lr, "grad_scale": grad_scale, "clip": self.clip, "segments": self.segments}
        if self.ema is not None:
            given |= {"average": self.ema.value, "average_decay": self.ema.decay}
        return given

    @abstractmethod
    def step(self, lr: float, grad_scale: Any = 1.0) -> StepInfo:
        """One update of params.value by grad_scale · params.grad; a gradient that is not finite changes nothing."""


class Sgd(Optimizer):
    """Stochastic gradient descent with momentum, the gradient's norm clipped: the row clip_sgd.

    optimizer.step(lr) updates params.value by params.grad, times grad_scale when that is given: one over the number of utterances
    makes a mean of a sum. `state` holds the momentum buffer, where there is momentum. The options are those of pyasr.clip_sgd;
    clip, segments and ema are described at Optimizer.

    >>> from pyasr.optim import Sgd
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params["w"][:], params.grad_of("w")[:] = (1, 2), (3, 4)
    >>> Sgd(params, clip=2.5).step(lr=1.0), params["w"]
    (StepInfo(norm=5.0, scale=0.5, skipped=False), array([-0.5,  0. ], dtype=float32))
    """

    def __init__(
        self, params: Params, *, momentum: float = 0.9, dampening: float = 0.0, nesterov: bool = False,
        weight_decay: float = 0.0, decoupled: bool = False, l1: float = 0.0, proximal: bool = False, clip: Any = 5.0,
        eps: float = 0.0, segments: np.ndarray | None = None, ema: Ema | None = None,
    ) -> None:  # fmt: skip
        door = Door("Sgd")
        super().__init__(door, params, clip, segments, ema)
        self.momentum = door.real("momentum", momentum, 0.0, 1.0)
        self.options = {
            "momentum": self.momentum,
            "dampening": door.real("dampening", dampening, dtype=params.dtype),
            "nesterov": door.boolean("nesterov", nesterov),
            "weight_decay": door.real("weight_decay", weight_decay, 0.0, dtype=params.dtype),
            "decoupled": door.boolean("decoupled", decoupled),
            "l1": door.real("l1", l1, 0.0, dtype=params.dtype),
            "proximal": door.boolean("proximal", proximal),
            "eps": door.real("eps", eps, 0.0),
        }
        if nesterov and (momentum == 0 or dampening != 0):
            door.value_error("nesterov needs momentum above 0 and dampening 0")
        self._vectors(momentum=momentum != 0)
        if momentum and dampening:  # the first step has none
            self.state["count"] = params.ops.xp.zeros(1, params.dtype)

    def step(self, lr: float, grad_scale: Any = 1.0) -> StepInfo:
        """One update of params.value by grad_scale · params.grad; a gradient that is not finite changes nothing."""
        p, count = self.params, self.state.get("count")
        info: StepInfo = p.ops.clip_sgd(
            p.value, p.grad, buffer=self.state.get("momentum"),
            step=count if count is None or self.on_device else int(count[0]), **self.options, **self._common(lr, grad_scale),
        )  # fmt: skip
        if count is not None and not self.on_device and not info.skipped:
            count[0] = 1
        return info


class Adam(Optimizer):
    """Adam with bias correction, the gradient's norm clipped: the row adam.

    As Sgd; `state` holds both moments and, as one number, the count of updates; with amsgrad also the largest squares.

    Source: Kingma and Ba, ICLR 2015; torch.optim.Adam after torch.nn.utils.clip_grad_norm_ (exactly so with clip_eps=1e-6).

    >>> from pyasr.optim import Adam
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params.grad_of("w")[:] = (3, -4)
    >>> Adam(params).step(lr=0.1).norm, params["w"].round(4)  # the first step is lr in every entry
    (5.0, array([-0.1,  0.1], dtype=float32))
    """

    decoupled = False

    def __init__(
        self, params: Params, *, beta1: float = 0.9, beta2: float = 0.999, eps: float = 1e-8, weight_decay: float = 0.0,
        amsgrad: bool = False, clip: Any = 5.0, clip_eps: float = 0.0, segments: np.ndarray | None = None,
        ema: Ema | None = None,
    ) -> None:  # fmt: skip
        door = Door(type(self).__name__)
        self.eps, self.clip_eps = door.real("eps", eps, 0.0), door.real("clip_eps", clip_eps, 0.0)
        super().__init__(door, params, clip, segments, ema, eps=self.eps)
        for name, beta in (("beta1", beta1), ("beta2", beta2)):
            if door.real(name, beta, 0.0, 1.0) == 1:
                door.value_error(f"{name} must be below 1, got 1.0")
        self.beta1, self.beta2 = beta1, beta2
        self.weight_decay = door.real("weight_decay", weight_decay, 0.0, MOST_DECAY)
        self._vectors(mean=True, square=True, largest=door.boolean("amsgrad", amsgrad))
        self.state["count"] = params.ops.xp.zeros(1, params.dtype)

    def step(self, lr: float, grad_scale: Any = 1.0) -> StepInfo:
        """One update of params.value by grad_scale · params.grad; a gradient that is not finite changes nothing."""
        p, s, count = self.params, self.state, self.state["count"]
        info: StepInfo = p.ops.adam(
            p.value, p.grad, s["mean"], s["square"], largest=s.get("largest"),
            step=count if self.on_device else int(count[0]) + 1, beta1=self.beta1, beta2=self.beta2, eps=self.eps,
            weight_decay=self.weight_decay, decoupled=self.decoupled, clip_eps=self.clip_eps, **self._common(lr, grad_scale),
        )  # fmt: skip
        if not self.on_device and not info.skipped:
            count += 1
        return info


class AdamW(Adam):
    """Adam whose weight decay shrinks the weights by lr·weight_decay instead of entering the gradient: the row adam, decoupled.

    As Adam, with torch's default of weight_decay.

    Source: Loshchilov and Hutter, ICLR 2019; torch.optim.AdamW.

    >>> from pyasr.optim import AdamW
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params["w"][:], params.grad_of("w")[:] = 1, (3, -4)
    >>> AdamW(params, weight_decay=0.5).step(lr=0.1).norm, params["w"].round(4)
    (5.0, array([0.85, 1.05], dtype=float32))
    """

    decoupled = True

    def __init__(self, params: Params, *, weight_decay: float = 0.01, **options: Any) -> None:
        super().__init__(params, weight_decay=weight_decay, **options)


class RmsProp(Optimizer):
    """RMSprop, the gradient's norm clipped: the row rmsprop.

    As Sgd; `state` holds the running square, and the momentum and the mean where there are such.

    Source: Tieleman and Hinton, 2012; torch.optim.RMSprop.

    >>> from pyasr.optim import RmsProp
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> params.declare("w", (2,))
    >>> params.init()
    >>> params.grad_of("w")[:] = (3, -4)
    >>> RmsProp(params).step(lr=0.01).norm, params["w"].round(4)
    (5.0, array([-0.1,  0.1], dtype=float32))
    """

    def __init__(
        self, params: Params, *, alpha: float = 0.99, eps: float = 1e-8, momentum: float = 0.0, centered: bool = False,
        weight_decay: float = 0.0, clip: Any = 5.0, clip_eps: float = 0.0, segments: np.ndarray | None = None,
        ema: Ema | None = None,
    ) -> None:  # fmt: skip
        door = Door("RmsProp")
        self.eps, self.clip_eps = door.real("eps", eps, 0.0), door.real("clip_eps", clip_eps, 0.0)
        super().__init__(door, params, clip, segments, ema, eps=self.eps)
        self.momentum, self.alpha = door.real("momentum", momentum, 0.0, 1.0), door.real("alpha", alpha, 0.0, 1.0)
        self.weight_decay = door.real("weight_decay", weight_decay, 0.0, MOST_DECAY)
        self._vectors(square=True, momentum=momentum != 0, mean=door.boolean("centered", centered))

    def step(self, lr: float, grad_scale: Any = 1.0) -> StepInfo:
        """One update of params.value by grad_scale · params.grad; a gradient that is not finite changes nothing."""
        p, s = self.params, self.state
        info: StepInfo = p.ops.rmsprop(
            p.value, p.grad, s["square"], alpha=self.alpha, eps=self.eps, momentum=self.momentum, buffer=s.get("momentum"),
            mean=s.get("mean"), weight_decay=self.weight_decay, clip_eps=self.clip_eps, **self._common(lr, grad_scale),
        )  # fmt: skip
        return info
