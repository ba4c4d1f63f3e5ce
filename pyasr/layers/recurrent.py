"""Recurrent layers: LSTM and tanh RNN, stacked, in one or two directions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pyasr.layers._layer import EVAL, Layer, Mode
from pyasr.ops._door import Door
from pyasr.params import Initializer, Params, lstm_bias, uniform, zeros


class _Recurrent(Layer):
    """num_layers recurrent ops on top of each other. Both directions of a layer lie in one entry, stacked on the axis S."""

    op: str  # the rows op_forward, op_backward, op_jvp
    gates: int  # rows of a weight per hidden unit

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int, bidirectional: bool,
        bias: Initializer,
    ) -> None:  # fmt: skip
        door = Door(type(self).__name__)
        for word, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            door.integer(word, size, 1, 2**31 - 1)
        self.params, self.name = params, name
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.directions = 2 if bidirectional else 1
        fill, rows = uniform(1 / math.sqrt(hidden_size)), self.gates * hidden_size
        for k in range(num_layers):
            inputs = input_size if k == 0 else self.directions * hidden_size
            params.declare(f"{name}.weight_ih_l{k}", (self.directions, rows, inputs), fill)
            params.declare(f"{name}.weight_hh_l{k}", (self.directions, rows, hidden_size), fill)
            params.declare(f"{name}.bias_l{k}", (self.directions, rows), bias)

    @property
    def output_size(self) -> int:
        """Features of the output: both directions side by side."""
        return self.directions * self.hidden_size

    def _weights(self, k: int, vector: Any) -> list[Any]:
        """w_ih [S, rows, D], w_hh [S, rows, H], bias [S, rows] of layer k in a flat vector."""
        return [self.params.view(vector, f"{self.name}.{w}_l{k}") for w in ("weight_ih", "weight_hh", "bias")]

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        run = getattr(self.params.ops, f"{self.op}_forward")
        saved = []
        for k in range(self.num_layers):
            x, *_, kept = run(x, lengths, *self._weights(k, self.params.value))
            saved.append(kept)
        return x, saved

    def backward(self, saved: Any, dy: Any, grad: Any = None) -> Any:
        run = getattr(self.params.ops, f"{self.op}_backward")
        grad = self.params.grad if grad is None else grad
        for k in reversed(range(self.num_layers)):
            dw_ih, dw_hh, dbias = self._weights(k, grad)
            dy, *_ = run(saved[k], dy, dw_ih=dw_ih, dw_hh=dw_hh, dbias=dbias)
        return dy

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        run = getattr(self.params.ops, f"{self.op}_jvp")
        for k in range(self.num_layers):
            along = [None] * 3 if direction is None else self._weights(k, direction)
            dx, *_ = run(saved[k], dx, *along)
        return dx

    def load_torch(self, state: Mapping[str, Any]) -> None:
        """Copy the weights of torch's module of the same sizes in; `state` is its state_dict() with NumPy arrays or CPU tensors.

        torch's two biases are added, its `_reverse` entries become the second direction; nothing is permuted.

        Raises KeyError for a missing entry and ValueError for one of another shape, naming it.
        """
        for k in range(self.num_layers):
            for s, suffix in enumerate(("", "_reverse")[: self.directions]):
                w_ih, w_hh, bias = (w[s] for w in self._weights(k, self.params.value))
                parts = ((w_ih, ("weight_ih",)), (w_hh, ("weight_hh",)), (bias, ("bias_ih", "bias_hh")))
                for view, names in parts:
                    arrays = [np.asarray(state[f"{n}_l{k}{suffix}"]) for n in names]
                    for n, a in zip(names, arrays, strict=True):
                        if a.shape != view.shape:
                            raise ValueError(
                                f"load_torch: {n}_l{k}{suffix} must have shape {tuple(view.shape)}, got {a.shape}"
                            )
                    view[...] = self.params.ops.xp.asarray(sum(arrays))


class Lstm(_Recurrent):
    """LSTM over x [T, B, input_size] -> y [T, B, S·hidden_size], S = 2 when bidirectional; states begin at zero.

    Gates are i, f, g, o as in torch.nn.LSTM. Entries of layer k: `name.weight_ih_l{k}` [S, 4H, D], `name.weight_hh_l{k}`
    [S, 4H, H], `name.bias_l{k}` [S, 4H]. Weights begin uniform in ±1/√H, biases at zero but for the forget gates at 1.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> lstm = pyasr.layers.Lstm(params, "lstm", 39, 64, bidirectional=True)
    >>> params.init(seed=0)
    >>> y, saved = lstm.forward(np.zeros((7, 2, 39), "f4"), np.array([7, 3], "i4"))
    >>> y.shape
    (7, 2, 128)
    """

    op, gates = "lstm", 4

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=lstm_bias()
        )


class Rnn(_Recurrent):
    """tanh RNN, h = tanh(W_ih x + W_hh h + b), with the layout and options of Lstm and H for 4H; as torch.nn.RNN."""

    op, gates = "rnn", 1

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=zeros
        )
