"""Nonlinearities, entry by entry."""

from __future__ import annotations

import abc
from typing import Any

from pyasr.layers._layer import EVAL, Layer, Mode, frames_within
from pyasr.params import Params


class _Activation(Layer):
    """y = f(x) for x [T, B, D] or [B, D]; `saved` is the slope f'(x), which is a function of y. Padding is not read."""

    has_weights = False

    def __init__(self, params: Params) -> None:
        self.params = params

    @abc.abstractmethod
    def _value(self, x: Any) -> Any:
        """f(x)."""

    @abc.abstractmethod
    def _slope(self, y: Any) -> Any:
        """f'(x) where f(x) = y."""

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        self._check_input(x, lengths, (2, 3), "(T, B, D) or (B, D)")
        xp = self.params.ops.xp
        within = None if x.ndim == 2 else frames_within(xp, x.shape[0], lengths)[:, :, None]  # [T, B, 1]
        y = self._within(self._value(self._within(x, within)), within)
        return y, (self._slope(y), within)

    def _within(self, x: Any, within: Any) -> Any:
        """x with zeros at padding, where there is time."""
        return x if within is None else self.params.ops.xp.where(within, x, 0)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        return self._times_slope(saved, "dy", dy)

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        return None if dx is None else self._times_slope(saved, "dx", dx)  # no weights: without dx nothing varies

    def _times_slope(self, saved: Any, name: str, d: Any) -> Any:
        slope, within = saved
        self._check(name, d, slope.shape)
        return self._within(d, within) * slope


class Relu(_Activation):
    """y = max(x, 0); the slope at 0 is 0, as in torch.nn.ReLU. A NaN stays one.

    Source: Nair and Hinton, ICML 2010.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> relu = pyasr.layers.Relu(params)
    >>> params.init(seed=0)
    >>> y, saved = relu.forward(np.array([[-1, 0, 2]], "f4"), None)
    >>> y.tolist(), relu.backward(saved, np.ones((1, 3), "f4")).tolist()
    ([[0.0, 0.0, 2.0]], [[0.0, 0.0, 1.0]])
    """

    def _value(self, x: Any) -> Any:
        return self.params.ops.xp.maximum(x, 0)

    def _slope(self, y: Any) -> Any:
        return y > 0


class Tanh(_Activation):
    """y = tanh(x), with the slope 1 − y².

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> tanh = pyasr.layers.Tanh(params)
    >>> params.init(seed=0)
    >>> y, saved = tanh.forward(np.array([[0, 99]], "f4"), None)
    >>> y.tolist(), tanh.backward(saved, np.ones((1, 2), "f4")).tolist()
    ([[0.0, 1.0]], [[1.0, 0.0]])
    """

    def _value(self, x: Any) -> Any:
        return self.params.ops.xp.tanh(x)

    def _slope(self, y: Any) -> Any:
        return 1 - y * y


class Sigmoid(_Activation):
    """y = 1 / (1 + e⁻ˣ), with the slope y (1 − y); exact for small y too, and nothing overflows.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> sigmoid = pyasr.layers.Sigmoid(params)
    >>> params.init(seed=0)
    >>> y, saved = sigmoid.forward(np.array([[-999, 0, 999]], "f4"), None)
    >>> y.tolist(), sigmoid.backward(saved, np.ones((1, 3), "f4")).tolist()
    ([[0.0, 0.5, 1.0]], [[0.0, 0.25, 0.0]])
    """

    def _value(self, x: Any) -> Any:
        xp = self.params.ops.xp
        e = xp.exp(-abs(x))
        return xp.where(x < 0, e, 1) / (1 + e)

    def _slope(self, y: Any) -> Any:
        return y * (1 - y)
