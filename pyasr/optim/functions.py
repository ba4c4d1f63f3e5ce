"""The updates as functions on arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops import backend
from pyasr.ops._update import StepInfo


def clip_sgd(
    value: Any,
    grad: Any,
    *,
    lr: float,
    momentum: float = 0.0,
    buffer: Any = None,
    step: int | None = None,
    dampening: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    l1: float = 0.0,
    proximal: bool = False,
    clip: tuple[Any, ...] | None = None,
    eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo:
    """Clip a gradient and take one step of SGD, in place, in two streaming passes.

    value [P], grad [P] and buffer [P] are C-contiguous float32 or float64 arrays of one dtype; value and buffer are updated. Or
    each is a list of as many arrays of any shape, which are what segments are to a vector. segments [S] of dtype
    pyasr.params.SEGMENT (`Params.segments`) cuts a vector into pieces with factors of lr and weight_decay; the entries between
    them are not touched. An array of a list has rows along its first axis, a vector is one row.

    clip is one of
      None
      ("norm", M): scale by min(1, M / (‖g‖ + eps)), each group of segments by its own norm. eps=0 leaves a gradient whose norm
        is at most M alone, bit for bit; eps=1e-6 is torch's rule.
      ("value", v): clamp every entry to [−v, v]; ("value", "rsqrt_d") to ±1/√d, d the entries of the segment or ("value",
        "rsqrt_d", d) that number, so that the norm is at most 1.
      ("adaptive", λ): scale each row so that its norm is at most λ·max(‖row of value‖, 1e-3).
      ("max_change", per, total): bound the norm of the final step of each segment by `per`, then that of all steps by `total`;
        weight decay of both kinds is part of the step, the soft threshold of `proximal` comes after it, on top of the bound.
    The order is grad_scale, test for NaN and inf, clip, weight decay and l1·sign(value) (decoupled: value ←
    (1 − lr·weight_decay)·value; proximal: a soft threshold of lr·l1 after the step, which reaches exact zeros), momentum, step,
    average ← average_decay·average + (1 − average_decay)·value. step=0 starts the buffer with the gradient itself, as torch does;
    it matters only with dampening. With momentum 0 the buffer is neither read nor written, and dampening has no part. A weight
    that is infinite becomes NaN, also without decay. nonfinite says what a gradient does that is NaN or infinite after
    grad_scale, in the dtype of the arrays: "skip" writes nothing, "raise" raises ValueError, "propagate" goes on: where no norm
    is needed, that is one pass. sum_squares is Σ grad², where the caller has it: the pass that would form it is left out.

    Returns StepInfo(norm, scale, skipped): the norm of grad_scale·grad before clipping, the least factor that clipping by norm,
    rows or change applied, whether nothing was written. The norm neither over- nor underflows; where an entry of grad_scale·grad
    does, and nonfinite is not "propagate", it is infinite.

    Raises TypeError and ValueError naming the argument for a wrong dtype, shape, layout, overlap or option, and for a number that
    float32 cannot hold beside arrays of float32.

    Follows torch.nn.utils.clip_grad_norm_, clip_grad_value_ and torch.optim.SGD; Brock et al., ICML 2021, with optax's
    constants ("adaptive"); Kaldi's UpdateNnetWithMaxChange ("max_change"); Daubechies et al., 2004 (proximal).

    >>> value, grad = np.zeros(2, "f4"), np.array([3, 4], "f4")
    >>> pyasr.clip_sgd(value, grad, lr=1.0, clip=("norm", 2.5))
    StepInfo(norm=5.0, scale=0.5, skipped=False)
    >>> value
    array([-1.5, -2. ], dtype=float32)
    >>> pyasr.clip_sgd([value[:1], value[1:]], [grad[:1], grad[1:]], lr=1.0, clip=("value", 0.5))
    StepInfo(norm=5.0, scale=1.0, skipped=False)
    """
    return backend().clip_sgd(
        value, grad, lr=lr, momentum=momentum, buffer=buffer, step=step, dampening=dampening, nesterov=nesterov,
        weight_decay=weight_decay, decoupled=decoupled, l1=l1, proximal=proximal, clip=clip, eps=eps, grad_scale=grad_scale,
        nonfinite=nonfinite, sum_squares=sum_squares, average=average, average_decay=average_decay, segments=segments,
        threads=threads,
    )  # fmt: skip


def adam(
    value: Any,
    grad: Any,
    mean: Any,
    square: Any,
    *,
    step: int,
    lr: float,
    beta1: float = 0.9,
    beta2: float = 0.999,
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    decoupled: bool = False,
    largest: Any = None,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo:
    """Clip a gradient and take one step of Adam, in place, in two streaming passes; decoupled=True is AdamW.

    mean [P] and square [P] hold the moments, zeros at first; largest [P], zeros at first, makes it AMSGrad. step is the number
    of this update, from 1. The rest is as in clip_sgd, whose eps is clip_eps here.

    In float32 a gradient g, after clipping, with (1 − beta2)·g² beyond 3.4e38 makes an infinite square, and its entry does not
    move again: 5.8e20 with the default.

    Returns and raises as clip_sgd; a skipped update is not counted in step.

    Source: Kingma and Ba, ICLR 2015; Loshchilov and Hutter, ICLR 2019; Reddi, Kale and Kumar, ICLR 2018; torch.optim.Adam and
    AdamW.

    >>> value, grad, mean, square = np.zeros(2), np.array([3.0, -4.0]), np.zeros(2), np.zeros(2)
    >>> pyasr.adam(value, grad, mean, square, step=1, lr=0.1).norm, value.round(6)
    (5.0, array([-0.1,  0.1]))
    """
    return backend().adam(
        value, grad, mean, square, step=step, lr=lr, beta1=beta1, beta2=beta2, eps=eps, weight_decay=weight_decay,
        decoupled=decoupled, largest=largest, clip=clip, clip_eps=clip_eps, grad_scale=grad_scale, nonfinite=nonfinite,
        sum_squares=sum_squares, average=average, average_decay=average_decay, segments=segments, threads=threads,
    )  # fmt: skip


def rmsprop(
    value: Any,
    grad: Any,
    square: Any,
    *,
    lr: float,
    alpha: float = 0.99,
    eps: float = 1e-8,
    momentum: float = 0.0,
    buffer: Any = None,
    mean: Any = None,
    weight_decay: float = 0.0,
    clip: tuple[Any, ...] | None = None,
    clip_eps: float = 0.0,
    grad_scale: float = 1.0,
    nonfinite: str = "skip",
    sum_squares: float | None = None,
    average: Any = None,
    average_decay: float = 0.999,
    segments: np.ndarray | None = None,
    threads: int | None = None,
) -> StepInfo:
    """Clip a gradient and take one step of RMSprop, in place, in two streaming passes.

    square [P] holds the running square of the gradient, buffer [P] the momentum, mean [P] the running gradient, which makes it
    centered; all are zeros at first. The gradient is divided by √square + eps, eps outside the root. The rest is as in
    clip_sgd, whose eps is clip_eps here; in float32 a gradient g, after clipping, with (1 − alpha)·g² beyond 3.4e38 (1.8e20 with
    the default) freezes its entry as in adam.

    Returns and raises as clip_sgd.

    Source: Tieleman and Hinton, 2012; Graves, arXiv 1308.0850 (centered); torch.optim.RMSprop.

    >>> value, grad, square = np.zeros(2), np.array([3.0, -4.0]), np.zeros(2)
    >>> pyasr.rmsprop(value, grad, square, lr=0.01).norm, value.round(6)
    (5.0, array([-0.1,  0.1]))
    """
    return backend().rmsprop(
        value, grad, square, lr=lr, alpha=alpha, eps=eps, momentum=momentum, buffer=buffer, mean=mean,
        weight_decay=weight_decay, clip=clip, clip_eps=clip_eps, grad_scale=grad_scale, nonfinite=nonfinite,
        sum_squares=sum_squares, average=average, average_decay=average_decay, segments=segments, threads=threads,
    )  # fmt: skip
