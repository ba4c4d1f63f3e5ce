"""Criteria: the functions over arrays, and the objects that a training loop calls.

criterion = Ctc(ops)
loss = criterion(logits, lengths, labels, label_lengths)
loss.value, loss.grad                     # a float64 and [T,B,V]
loss.curvature(v)                         # H_L · v for Gauss-Newton, [T,B,V]
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from pyasr.ops import Backend, backend, host
from pyasr.ops._door import FLOATS, INT32, Door


def ctc_loss(
    logits: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Connectionist temporal classification: −log p(labels | logits) per utterance, and the gradient of their sum.

    logits [T,B,V] are scores before the softmax, C-contiguous float32 or float64; the log-softmax is part of the call.
    lengths [B], labels [B,U] and label_lengths [B] are int32. Frames from lengths[b] on are padding: they are not read and
    their gradient is exactly 0. Of row b of labels only the first label_lengths[b] entries are read; the rest may hold anything.
    blank is the index of the blank symbol.

    Returns (loss [B], dlogits [T,B,V]) of the dtype of logits, in nats. An utterance whose labels cannot be aligned (more labels
    and repeats than frames, or a needed logit of -inf) has loss inf, or 0 with zero_infinity=True, and gradient 0. No frames and
    no labels give 0; no labels give the sum over the blanks. Where a valid frame holds NaN or +inf, or nothing but -inf, that
    utterance's loss and gradient are NaN and the others are unaffected. The gradient keeps a relative error below 1e-4 in float32
    for thousands of frames and sharp logits; float32 logits beyond ±2.3e38 count as that. Same bits for any thread count and for
    any composition of the batch.

    Raises TypeError and ValueError naming the argument for a wrong dtype, shape or layout, for lengths outside [0, T],
    label_lengths outside [0, U], and for a label that is outside [0, V) or equal to blank, with its position.

    Source: Graves, Fernández, Gomez, Schmidhuber, "Connectionist temporal classification", ICML 2006. Agrees with
    torch.nn.functional.ctc_loss(log_softmax(logits), …, reduction="none") where that is finite.

    >>> logits = np.zeros((4, 1, 3), "f4")  # 3 symbols, equally likely, 4 frames
    >>> one = np.ones(1, "i4")
    >>> loss, dlogits = pyasr.ctc_loss(logits, 4 * one, np.array([[1, 2]], "i4"), 2 * one)
    >>> loss.round(4), round(float(81 * np.exp(-loss[0])), 3)  # 15 of the 3⁴ paths spell 1 2
    (array([1.6864], dtype=float32), 15.0)
    >>> dlogits.shape
    (4, 1, 3)
    """
    return backend().ctc_loss(
        logits, lengths, labels, label_lengths, blank=blank, zero_infinity=zero_infinity, threads=threads
    )


class Loss:
    """What a criterion found out about one batch.

    losses [B]: every utterance's own loss; inf marks one that cannot be aligned. totals [2], float64: the sum over the utterances
    that take part, and how many they are. Both lie where the logits do.
    sum, count: the same as a float and an int; value: the mean (or sum). The first look at one waits for a device.
    grad, sum_grad: the gradients of value and sum with respect to logits, in their shape and dtype.
    """

    def __init__(
        self, ops: Backend, logits: Any, losses: Any, dlogits: Any, used: Any, takes_part: Any, mean: bool
    ) -> None:
        xp = ops.xp
        self._xp, self._logits, self._mean = xp, logits, mean
        self._used = used  # broadcasts over logits, False where grad is masked
        self._y: Any = None
        self.losses = losses
        self.totals = xp.empty(2)
        self.totals[0] = xp.where(takes_part, losses, 0.0).sum(dtype=np.float64)
        self.totals[1] = xp.count_nonzero(takes_part)
        self.sum_grad = dlogits

    @cached_property
    def _on_host(self) -> tuple[float, int]:
        total, count = host(self.totals).tolist()
        return total, int(count)

    @property
    def sum(self) -> float:
        return self._on_host[0]

    @property
    def count(self) -> int:
        return self._on_host[1]

    @property
    def value(self) -> float:
        return self.sum * (1.0 / max(self.count, 1)) if self._mean else self.sum

    def _meant(self, of_sum: Any) -> Any:
        """What belongs to value, from what belongs to sum."""
        if not self._mean:
            return of_sum
        return of_sum * (1.0 / self._xp.maximum(self.totals[1], 1.0)).astype(of_sum.dtype)

    @cached_property
    def grad(self) -> Any:
        return self._meant(self.sum_grad)

    def curvature(self, v: Any) -> Any:
        """H_L · v in the shape of logits: the curvature of value in the direction v that Gauss-Newton uses; sum_curvature is that
        of sum.

        H_L is diag(y) − y yᵀ at every frame, with y the softmax of the logits and the factor of value: for softmax and
        cross-entropy the Hessian, for CTC its convex part (the Hessian itself, prior minus posterior covariance of the path, is
        indefinite). Symmetric, positive semidefinite, and exactly zero where grad is masked: padding, frames without a label,
        utterances that cannot be aligned. Linear in v; may be called any number of times.

        Raises ValueError when v differs in shape from logits.

        Source: Schraudolph, "Fast curvature matrix-vector products" (2002); Cho, Dhir, Lee (2015) for CTC.
        """
        return self._meant(self.sum_curvature(v))

    def sum_curvature(self, v: Any) -> Any:
        """As curvature(), without the factor of value."""
        xp, door = self._xp, Door("curvature")
        door.shape("v", door.instance("v", v, xp, self._logits.dtype), self._logits.shape)
        if self._y is None:
            x = xp.where(self._used, self._logits, 0.0)
            with np.errstate(over="ignore", invalid="ignore"):  # -inf - inf: NaN, as the loss is
                y = xp.exp(x - x.max(-1, keepdims=True))
            y /= y.sum(-1, keepdims=True)
            self._y = xp.where(self._used, y, 0.0)
        out = self._y * v
        out -= self._y * out.sum(-1, keepdims=True)
        return out


class SoftmaxCrossEntropy:
    """−log softmax(logits)[label], per utterance.

    criterion(logits, lengths, labels): either logits [B,V] with labels [B] and lengths None, one label per utterance; or logits
    [T,B,V] with labels [T,B], one label per frame, where an utterance's loss is the sum over its first lengths[b] frames. A label
    of −1 leaves its row out; an utterance without any row takes no part in the mean, nor does one with an infinite loss, whose
    label has a logit of −inf: its gradient and curvature are 0 (`losses` still shows inf). Labels and lengths are int32.

    reduction is "mean" over the utterances that take part, or "sum".

    >>> from pyasr.losses import SoftmaxCrossEntropy
    >>> loss = SoftmaxCrossEntropy(pyasr.backend())(np.zeros((2, 4), "f4"), None, np.array([3, -1], "i4"))
    >>> round(loss.value, 4), loss.grad[0].tolist()
    (1.3863, [0.25, 0.25, 0.25, -0.75])
    """

    def __init__(self, ops: Backend, *, reduction: str = "mean", threads: int | None = None) -> None:
        self._mean = _is_mean("SoftmaxCrossEntropy", ops, reduction)
        self.ops, self.threads = ops, threads

    def __call__(self, logits: Any, lengths: Any, labels: Any) -> Loss:
        xp, labels = self.ops.xp, _labels(Door("SoftmaxCrossEntropy"), self.ops.xp, logits, lengths, labels)
        rows, dlogits = self.ops.softmax_cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), threads=self.threads
        )
        return Loss(self.ops, *_per_utterance(xp, logits, labels, rows, dlogits), self._mean)


class Hinge:
    """max(0, 1 + max over j ≠ label of s_j − s_label): by how much the margin of the right class over the best other is below 1.

    criterion(logits, lengths, labels) as SoftmaxCrossEntropy, of whose logits nothing is made but scores s. The subgradient is
    +1 at the best other class (the first of equals) and −1 at the label where the loss is above 0, and 0 where it is not, at the
    kinks too. A loss of inf takes no part, as in SoftmaxCrossEntropy; scores that are NaN make value and that row's gradient NaN.

    The loss is piecewise linear, so `curvature` has nothing to give: it raises ValueError. reduction is "mean" over the
    utterances that take part, or "sum".

    Source: Crammer and Singer, "On the algorithmic implementation of multiclass kernel-based vector machines", JMLR 2001. (The
    MultiMarginLoss of torch is another one: a sum over all other classes.)

    >>> from pyasr.losses import Hinge
    >>> loss = Hinge(pyasr.backend())(np.array([[1.0, 2.5, 0.0], [4.0, 0.0, 0.0]]), None, np.array([0, 0], "i4"))
    >>> loss.losses, loss.grad[0].tolist(), loss.grad[1].tolist()
    (array([2.5, 0. ]), [-0.5, 0.5, 0.0], [0.0, 0.0, 0.0])
    """

    def __init__(self, ops: Backend, *, reduction: str = "mean") -> None:
        self._mean = _is_mean("Hinge", ops, reduction)
        self.ops = ops

    def __call__(self, logits: Any, lengths: Any, labels: Any) -> Loss:
        xp, door = self.ops.xp, Door("Hinge")
        labels = _labels(door, xp, logits, lengths, labels)
        scores, label = logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)
        V = scores.shape[1]
        bad = (label < -1) | (label >= V)
        if xp is np and bad.any():
            at = int(bad.argmax())
            door.value_error(f"labels must lie in [-1, V = {V}), got {int(label[at])} at {at}")
        own = label[:, None] == xp.arange(V, dtype=np.int32)
        others = xp.where(own, -xp.inf, scores)
        right = xp.where(bad, xp.nan, xp.take_along_axis(scores, xp.clip(label, 0, V - 1)[:, None], 1)[:, 0])
        with np.errstate(over="ignore", invalid="ignore"):  # inf - inf: NaN
            margin = 1 + others.max(1) - right
        rows = xp.where((label >= 0) | bad, xp.maximum(margin, 0), 0).astype(scores.dtype)
        best = xp.arange(V) == others.argmax(1)[:, None]
        dlogits = xp.where((rows > 0)[:, None], best.astype(scores.dtype) - own, 0)
        dlogits = xp.where(xp.isnan(rows)[:, None], xp.nan, dlogits).astype(scores.dtype, copy=False)
        return _Kinked(self.ops, *_per_utterance(xp, logits, labels, rows, dlogits), self._mean)


class _Kinked(Loss):
    """A loss without second derivative."""

    def sum_curvature(self, v: Any) -> Any:
        """Raises ValueError: there is none."""
        raise ValueError(
            "curvature: the hinge loss is piecewise linear and has none; Gauss-Newton needs SoftmaxCrossEntropy or Ctc"
        )


def _labels(door: Door, xp: Any, logits: Any, lengths: Any, labels: Any) -> Any:
    """The labels of rows [B, V] or frames [T, B, V], −1 from the lengths on; logits, lengths and labels are checked."""
    door.instance("logits", logits, xp, FLOATS)
    door.instance("labels", labels, xp, INT32)
    if logits.ndim not in (2, 3) or labels.shape != logits.shape[:-1]:
        door.value_error(
            "logits must have shape (B, V) or (T, B, V) and labels one entry for every row, "
            f"got {logits.shape} and {labels.shape}"
        )
    if not logits.shape[-1]:
        door.value_error(f"logits must have V of at least 1, got shape {logits.shape}")
    if lengths is None:
        return labels
    if logits.ndim != 3:
        door.value_error(f"lengths must be None for logits (B, V), got {type(lengths).__name__}")
    door.sequence_lengths(lengths, xp, *labels.shape)
    return xp.where(xp.arange(labels.shape[0])[:, None] < lengths, labels, xp.int32(-1))


def _per_utterance(xp: Any, logits: Any, labels: Any, rows: Any, dlogits: Any) -> tuple[Any, Any, Any, Any, Any]:
    """What Loss takes, from the losses and gradients of rows: (logits, losses [B], dlogits, used, takes_part)."""
    used, dlogits = labels != -1, dlogits.reshape(logits.shape)  # a device has not refused -2: its loss is NaN
    losses, takes_part = rows.reshape(labels.shape), used
    if logits.ndim == 3:
        losses, takes_part = losses.sum(0, dtype=np.float64), used.any(0)
    impossible = losses == np.inf
    if xp is not np or impossible.any():  # on a device, without a look
        used, takes_part = used & ~impossible, takes_part & ~impossible
        dlogits = xp.where(used[..., None], dlogits, 0).astype(dlogits.dtype, copy=False)
    return logits, losses, dlogits, used[..., None], takes_part


class Ctc:
    """Connectionist temporal classification, see ctc_loss, with the curvature that Gauss-Newton needs.

    criterion(logits [T,B,V], lengths [B], labels [B,U], label_lengths [B]=None); without label_lengths the labels of an utterance
    end at its first −1. With zero_infinity an utterance that cannot be aligned takes no part: it has gradient and curvature 0 and
    does not count in the mean (`losses` still shows inf); without it value is inf. NaN logits make value NaN.

    reduction is "mean" over the utterances that take part, or "sum".

    >>> from pyasr.losses import Ctc
    >>> loss = Ctc(pyasr.backend())(np.zeros((2, 2, 3), "f4"), np.array([2, 1], "i4"), np.array([[1, -1], [1, 2]], "i4"))
    >>> round(loss.value, 4), loss.losses.round(4), loss.count
    (1.0986, array([1.0986,    inf], dtype=float32), 1)
    """

    def __init__(
        self,
        ops: Backend,
        blank: int = 0,
        zero_infinity: bool = True,
        *,
        reduction: str = "mean",
        threads: int | None = None,
    ) -> None:
        self._mean = _is_mean("Ctc", ops, reduction)
        self.ops, self.blank, self.zero_infinity, self.threads = ops, blank, zero_infinity, threads

    def __call__(self, logits: Any, lengths: Any, labels: Any, label_lengths: Any = None) -> Loss:
        xp, door = self.ops.xp, Door("Ctc")
        if door.instance("labels", labels, xp, INT32).ndim != 2:
            door.value_error(f"labels must have shape (B, U), got {labels.shape}")
        if label_lengths is None:
            label_lengths = xp.cumprod(labels != -1, axis=1).sum(1).astype(np.int32)
        losses, dlogits = self.ops.ctc_loss(
            logits, lengths, labels, label_lengths, blank=self.blank, threads=self.threads
        )
        aligned = losses != np.inf
        used = (xp.arange(logits.shape[0])[:, None] < lengths) & aligned
        takes_part = aligned if self.zero_infinity else xp.ones_like(aligned)
        return Loss(self.ops, logits, losses, dlogits, used[..., None], takes_part, self._mean)


def _is_mean(who: str, ops: Any, reduction: Any) -> bool:
    door = Door(who)
    if not isinstance(ops, Backend):
        door.type_error(f"ops must be a pyasr.backend(), got {type(ops).__name__}")
    return door.choice("reduction", reduction, ("mean", "sum")) == "mean"
