"""Dropout with masks that can be replayed."""

from __future__ import annotations

from typing import Any

from pyasr.counter import stream
from pyasr.layers._layer import EVAL, Layer, Mode
from pyasr.ops._door import Door
from pyasr.params import Params


class Dropout(Layer):
    """In training each entry is zero with probability `rate`, else scaled by 1 / (1 − rate); in evaluation the identity.

    The mask is a function of (seed, step, micro_batch, rank, name) and the shape, drawn on the host, and kept in `saved`.

    Source: Srivastava et al., JMLR 15, 2014.
    """

    has_weights = False

    def __init__(self, params: Params, name: str, rate: float) -> None:
        if Door("Dropout").real("rate", rate, 0.0, 1.0) == 1:
            raise ValueError("Dropout: rate must be below 1, got 1.0")
        self.params, self.name, self.rate = params, name, rate

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        if not mode.train or self.rate == 0:
            return x, None
        rng = stream("dropout", mode.seed, mode.step, mode.micro_batch, mode.rank, self.name)
        kept = (rng.random(x.shape, "float32") >= self.rate).astype(x.dtype)
        kept *= 1 / (1 - self.rate)
        factor = self.params.ops.xp.asarray(kept)
        return x * factor, factor

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        return dy if saved is None else dy * saved

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        return dx if saved is None or dx is None else dx * saved
