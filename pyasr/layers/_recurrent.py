"""What the recurrent layers share: layers over directions over time, windows of time, and the names of torch."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.layers._layer import EVAL, Layer, Mode
from pyasr.ops._compare import on_host
from pyasr.ops._door import Door
from pyasr.params import Initializer, Params, uniform


def _windows(frames: int, bptt: int) -> list[slice]:
    """The stretches of time between the cuts; one where nothing is cut or there is no time."""
    size = bptt or max(frames, 1)
    return [slice(t, min(t + size, frames)) for t in range(0, max(frames, 1), size)]


class Recurrent(Layer):
    """num_layers recurrent ops on top of each other. Both directions of a layer lie in one entry, stacked on the axis S.

    Where mode.bptt cuts the time into windows, each takes the states behind the one before as constants, on the way back and in
    jvp alike: truncated backpropagation through time (Williams and Peng, Neural Computation 2, 1990) with k1 = k2. The outputs
    are those of the whole. All layers go through a window before the next one.
    """

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
        door.boolean("bidirectional", bidirectional)
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
        self._check_input(x, lengths, (3,), "(T, B, D)")
        if mode.bptt and self.directions == 2:
            raise ValueError(
                f"{type(self).__name__}: bptt needs a layer of one direction, got bptt = {mode.bptt} with two"
            )
        run, xp = getattr(self.params.ops, f"{self.op}_forward"), self.params.ops.xp
        weights = [self._weights(k, self.params.value) for k in range(self.num_layers)]
        states: list[list[Any]] = [[] for _ in weights]
        y, saved = [], []
        for window in _windows(x.shape[0], mode.bptt):
            part, within = x[window], lengths
            if mode.bptt:
                within = xp.clip(lengths - window.start, 0, mode.bptt)
            kept = []
            for k, w in enumerate(weights):
                part, *states[k], of_layer = run(part, within, *w, *states[k])
                kept.append(of_layer)
            y.append(part)
            saved.append((window, kept))
        return self._joined(y), (saved, x.shape)

    def _joined(self, parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else self.params.ops.xp.concatenate(parts)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        windows, (T, B, _) = saved
        self._check("dy", dy, (T, B, self.output_size))
        run = getattr(self.params.ops, f"{self.op}_backward")
        grad = self.params.grad if grad is None else grad
        into = [
            dict(zip(("dw_ih", "dw_hh", "dbias"), self._weights(k, grad), strict=True)) for k in range(self.num_layers)
        ]
        dx = []
        for window, kept in windows:
            part = dy[window]
            for k in reversed(range(self.num_layers)):  # what comes of the states that came in: they count as constants
                part, *_ = run(kept[k], part, **into[k], need_dx=need_dx or k > 0)
            dx.append(part)
        return self._joined(dx) if need_dx else None

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        windows, shape = saved
        if dx is not None:
            self._check("dx", dx, shape)
        run = getattr(self.params.ops, f"{self.op}_jvp")
        along = [[None] * 3 if direction is None else self._weights(k, direction) for k in range(self.num_layers)]
        dy = []
        for window, kept in windows:
            part = None if dx is None else dx[window]
            for of_layer, dw in zip(kept, along, strict=True):
                part, *_ = run(of_layer, part, *dw)
            dy.append(part)
        return self._joined(dy)

    def _torch_names(self) -> Iterator[tuple[Any, tuple[str, ...]]]:
        """Each weight of one direction of one layer, and the names whose sum it is in torch's module."""
        for k in range(self.num_layers):
            for s, suffix in enumerate(("", "_reverse")[: self.directions]):
                w_ih, w_hh, bias = (w[s] for w in self._weights(k, self.params.value))
                yield w_ih, (f"weight_ih_l{k}{suffix}",)
                yield w_hh, (f"weight_hh_l{k}{suffix}",)
                yield bias, (f"bias_ih_l{k}{suffix}", f"bias_hh_l{k}{suffix}")

    def load_state_dict(self, state: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> None:
        """Copy the weights of torch's module of the same sizes in, nothing permuted: torch's two biases are added, its `_reverse`
        entries become the second direction.

        state is its state_dict() with NumPy arrays or CPU tensors, or a safetensors file of one; of a larger model, prefix is
        what its names begin with ("encoder."). Nothing is copied unless all of it fits.

        Raises KeyError for a missing entry, ValueError for one of another shape or with a NaN, naming it, FileNotFoundError, and
        ImportError naming the extra when safetensors is missing.
        """
        tensors: Mapping[str, Any]
        tensors = need("safetensors.numpy").load_file(state) if isinstance(state, (str, os.PathLike)) else state
        copies = []
        for view, names in self._torch_names():
            arrays = []
            for name in names:
                a = np.asarray(tensors[prefix + name])
                if a.shape != view.shape:
                    raise ValueError(
                        f"load_state_dict: {prefix + name} must have shape {tuple(view.shape)}, got {a.shape}"
                    )
                if not np.isfinite(a).all():
                    raise ValueError(f"load_state_dict: {prefix + name} must be finite, got a NaN or infinity")
                arrays.append(a)
            copies.append((view, np.sum(arrays, axis=0)))
        for view, a in copies:
            view[...] = self.params.ops.xp.asarray(a)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights under the names of torch's module of the same sizes, copies; the bias is bias_ih, and bias_hh is zero.

        `torch.nn.LSTM.load_state_dict` takes it once its arrays are tensors, and `load_state_dict` gives the same bits back.
        """
        state = {}
        for view, names in self._torch_names():
            state[names[0]] = np.array(on_host(view))
            for name in names[1:]:
                state[name] = np.zeros_like(state[names[0]])
        return state
