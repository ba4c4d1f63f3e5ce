"""Affine map of every frame."""

from __future__ import annotations

import math
from typing import Any

from pyasr.layers._layer import EVAL, Layer, Mode, clear, frames_within
from pyasr.ops._door import Door
from pyasr.params import Params, uniform


class Linear(Layer):
    """y = x Wᵀ + b, for x [T, B, D] or [B, D], with `name.weight` [O, D] and `name.bias` [O], as torch.nn.Linear.

    Frames of padding give zeros, not the bias, and what arrives there on the way back is not read.
    """

    def __init__(self, params: Params, name: str, input_size: int, output_size: int) -> None:
        door = Door("Linear")
        self.params, self.name = params, name
        self.input_size = door.integer("input_size", input_size, 1, 2**31 - 1)
        self.output_size = door.integer("output_size", output_size, 1, 2**31 - 1)
        fill = uniform(1 / math.sqrt(input_size))
        params.declare(f"{name}.weight", (output_size, input_size), fill)
        params.declare(f"{name}.bias", (output_size,), fill)

    def _padding(self, x: Any, lengths: Any) -> Any:
        """[T, B] True at padding; None where x has no time."""
        return None if x.ndim == 2 else ~frames_within(self.params.ops.xp, x.shape[0], lengths)

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        dims = f"(T, B, {self.input_size}) or (B, {self.input_size})"
        self._check_input(x, lengths, (2, 3), dims)
        if x.shape[-1] != self.input_size:
            raise ValueError(f"Linear: x of {self.name!r} must have shape {dims}, got {x.shape}")
        weight, bias = self.params[f"{self.name}.weight"], self.params[f"{self.name}.bias"]
        rows = x.reshape(-1, self.input_size)  # one product instead of one per frame
        y = (rows @ weight.T + bias).reshape(*x.shape[:-1], self.output_size)
        padding = self._padding(x, lengths)
        if padding is not None:
            clear(self.params.ops.xp, y, padding)
        return y, (rows, weight.copy(), padding, x.shape)

    def _within(self, y: Any, padding: Any) -> Any:
        """y [.., O] as rows [N, O] with zeros at padding."""
        if padding is not None:
            y = y.copy()
            clear(self.params.ops.xp, y, padding)
        return y.reshape(-1, self.output_size)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        rows, weight, padding, shape = saved
        self._check("dy", dy, (*shape[:-1], self.output_size))
        grad = self.params.grad if grad is None else grad
        dy = self._within(dy, padding)
        dweight, dbias = self.params.view(grad, f"{self.name}.weight"), self.params.view(grad, f"{self.name}.bias")
        dweight += dy.T @ rows
        dbias += dy.sum(axis=0)
        return (dy @ weight).reshape(shape) if need_dx else None

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        rows, weight, padding, shape = saved
        dy = self.params.ops.xp.zeros((rows.shape[0], self.output_size), rows.dtype)
        if dx is not None:
            self._check("dx", dx, shape)
            dy += dx.reshape(-1, self.input_size) @ weight.T
        if direction is not None:
            dy += rows @ self.params.view(direction, f"{self.name}.weight").T
            dy += self.params.view(direction, f"{self.name}.bias")
        dy = dy.reshape(*shape[:-1], self.output_size)
        if padding is not None:
            clear(self.params.ops.xp, dy, padding)
        return dy
