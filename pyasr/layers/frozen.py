"""Recurrent layers for inference: weights packed once, states carried from call to call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pyasr.layers._layer import EVAL
from pyasr.ops import host
from pyasr.ops._door import INT32, Door
from pyasr.ops._op import native

if TYPE_CHECKING:
    from pyasr.layers._recurrent import Recurrent

State = tuple[np.ndarray, ...]  # of one layer: h [S, B, R] and, of an LSTM, c [S, B, H]


def bfloat16(w: np.ndarray) -> np.ndarray:
    """float32 rounded to the nearest bfloat16, ties to even, as float32; NaN stays NaN.

    >>> from pyasr.layers.frozen import bfloat16
    >>> bfloat16(np.array([1.0, 1.00390625, 3.14159274], "f4")).tolist()
    [1.0, 1.0, 3.140625]
    """
    bits = np.ascontiguousarray(w).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1))
    kept = np.where(np.isnan(w), bits | np.uint32(0x400000), rounded) & np.uint32(0xFFFF0000)
    return kept.view(np.float32)


class FrozenRecurrent:
    """What `freeze()` of Lstm, Gru and Rnn makes: their evaluation forward, with weights packed once instead of at each call.

    Meant for streams of a few recordings, where reading the weights takes the time. storage="bfloat16" halves what is read:
    weights and biases, but not peepholes, are rounded to 8 bits of mantissa (outputs differ by about 2e-3 of their norm), while
    the arithmetic stays float32. With "float32" the bits are those of the layer's forward. Later updates of the layer's weights
    are not seen. Nothing changes once it is made, so several threads may use one.
    """

    def __init__(self, layer: Recurrent, storage: str = "float32") -> None:
        door, params = Door("freeze"), layer.params
        self.storage = door.choice("storage", storage, ("float32", "bfloat16"))
        if params.dtype != np.float32:
            door.value_error(f"the weights of the layer must be float32, got {params.dtype.name}")
        self._layer_options = layer._options
        self.directions, self.input_size, self.output_size = layer.directions, layer.input_size, layer.output_size
        self._states = 2 if layer.op == "lstm" else 1  # arrays per layer
        column = params.ops.column(f"{layer.op}_forward")
        self._forward: list[Callable[..., Any]] = []
        for k in range(layer.num_layers):
            weights = {n: np.array(host(w)) for n, w in layer._weights(k, params.value).items()}
            whole, _ = layer._options(k, 0, 0, EVAL)
            if column == "cpp":
                self._forward.append(
                    getattr(native("_cpu"), f"_Frozen{layer.op.title()}")(**weights, **whole, storage=storage).forward
                )
            else:
                if storage == "bfloat16":
                    weights = {n: w if n == "peephole" else bfloat16(w) for n, w in weights.items()}
                self._forward.append(_Unpacked(getattr(params.ops, f"{layer.op}_forward"), weights | whole))

    def forward(
        self, x: np.ndarray, lengths: np.ndarray | None = None, state: Sequence[State] | None = None, *,
        threads: int | None = None,
    ) -> tuple[np.ndarray, list[State]]:  # fmt: skip
        """x [T, B, input_size] float32 -> (y [T, B, output_size], the states behind it, one tuple per layer).

        lengths int32 [B], by default T for all; y is zero beyond them. state continues where an earlier call ended, so a stream
        in pieces has the bits of the whole (on the cpp backend); by default it begins at zero. A layer of two directions takes
        whole sequences only.

        Raises TypeError and ValueError naming the argument.

        >>> params = pyasr.Params(pyasr.backend())
        >>> lstm = pyasr.layers.Lstm(params, "lstm", 40, 64)
        >>> params.init(seed=0)
        >>> frozen, x = lstm.freeze(), np.ones((30, 1, 40), "f4")
        >>> first, state = frozen.forward(x[:10])
        >>> rest, state = frozen.forward(x[10:], state=state)
        >>> bool((np.concatenate([first, rest]) == lstm.forward(x, np.array([30], "i4"))[0]).all())
        True
        """
        door = Door("frozen forward")
        if door.array("x", x, np.float32).ndim != 3 or x.shape[2] != self.input_size:
            door.value_error(f"x must have shape (T, B, {self.input_size}), got {x.shape}")
        if lengths is None:
            lengths = np.full(x.shape[1], x.shape[0], INT32)
        if state is not None and self.directions == 2:
            door.value_error("state must be None for a layer of two directions, got one")
        if state is not None:
            self._check_state(door, state)
        ends: list[State] = []
        for k, forward in enumerate(self._forward):
            _, along_time = self._layer_options(k, x.shape[0], x.shape[1], EVAL)
            x, *end = forward(x, lengths, *(() if state is None else state[k]), **along_time, threads=threads)
            ends.append(tuple(end))
        return x, ends

    def _check_state(self, door: Door, state: Any) -> None:
        """One tuple of all its states per layer; forward looks at the arrays."""
        if not isinstance(state, (list, tuple)):
            door.type_error(f"state must be what an earlier call returned, a list, got {type(state).__name__}")
        if len(state) != len(self._forward):
            door.value_error(f"state must have {len(self._forward)} layers, got {len(state)}")
        for k, of_layer in enumerate(state):
            if not isinstance(of_layer, tuple):
                door.type_error(f"state[{k}] must be a tuple of length {self._states}, got {type(of_layer).__name__}")
            if len(of_layer) != self._states:
                door.value_error(f"state[{k}] must be a tuple of length {self._states}, got {len(of_layer)}")


class _Unpacked:
    """Weights of a column that packs nothing."""

    def __init__(self, run: Callable[..., Any], weights: dict[str, Any]) -> None:
        self.run, self.weights = run, weights

    def __call__(self, x: np.ndarray, lengths: np.ndarray, *state: np.ndarray, **rest: Any) -> tuple[np.ndarray, ...]:
        states = dict(zip(("h0", "c0"), state, strict=False))
        return self.run(x, lengths, **self.weights, **states, **rest)[:-1]
