"""Dropout with masks that can be replayed."""

from __future__ import annotations

from typing import Any

from pyasr.counter import philox_key
from pyasr.layers._layer import EVAL, Layer, Mode
from pyasr.ops._door import Door
from pyasr.params import Params


class Dropout(Layer):
    """In training each entry is zero with probability `rate`, else scaled by 1 / (1 − rate); in evaluation the identity.

    The mask is a function of (seed, step, micro_batch, rank, name) and the shape, the same on every backend, and kept in `saved`:
    it is drawn where x lies, by the row `dropout`.

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
        key = philox_key("dropout", mode.seed, mode.step, mode.micro_batch, mode.rank, self.name)
        y, factor = self.params.ops.dropout(x.ravel(), rate=self.rate, key=key)
        return y.reshape(x.shape), factor.reshape(x.shape)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        return dy if saved is None else dy * saved

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        return dx if saved is None or dx is None else dx * saved
