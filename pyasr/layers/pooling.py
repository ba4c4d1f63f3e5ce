"""Layers that take time away."""

from __future__ import annotations

from typing import Any

from pyasr.layers._layer import EVAL, Layer, Mode, frames_within
from pyasr.params import Params


class MeanOverTime(Layer):
    """x [T, B, F] -> y [B, F], the mean over the frames of each utterance; padding is not read, whatever it holds.

    An utterance of length zero gives zeros. Nothing after this layer has time, so its out_lengths are None.
    """

    has_weights = False

    def __init__(self, params: Params) -> None:
        self.params = params

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        self._check_input(x, lengths, (3,), "(T, B, F)")
        xp = self.params.ops.xp
        within = frames_within(xp, x.shape[0], lengths)[:, :, None]  # [T, B, 1]
        share = (1 / xp.maximum(lengths, 1)).astype(x.dtype)[:, None]  # [B, 1]
        return self._mean(x, within, share), (within, share, x.shape)

    def _mean(self, x: Any, within: Any, share: Any) -> Any:
        return self.params.ops.xp.where(within, x, 0).sum(axis=0, dtype=x.dtype) * share

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        within, share, shape = saved
        self._check("dy", dy, shape[1:])
        return self.params.ops.xp.where(within, (dy * share)[None], 0).astype(dy.dtype, copy=False)

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        within, share, shape = saved
        if dx is None:
            return None  # no weights: nothing varies
        self._check("dx", dx, shape)
        return self._mean(dx, within, share)

    def out_lengths(self, lengths: Any) -> None:
        return None
