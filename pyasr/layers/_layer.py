"""What a layer is: three verbs over time-major arrays.

`saved` is opaque, owns what it needs and may be used any number of times. Arrays are those of `params.ops.xp`; weights are
views into flat vectors. Padding (frames at and after lengths[b]) is exact zeros in every output.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.params import Params


@dataclass(frozen=True, slots=True)
class Mode:
    """What a forward pass is for. Random masks are a function of these numbers and the layer's name, so a replay is exact.

    Raises TypeError and ValueError when bptt is no integer of at least 0.
    """

    train: bool = False
    seed: int = 0
    step: int = 0
    micro_batch: int = 0
    rank: int = 0
    bptt: int = 0  # frames of a recurrent layer's input after which the gradient is cut; 0: never

    def __post_init__(self) -> None:
        Door("Mode").integer("bptt", self.bptt, 0, 2**31 - 1)


EVAL = Mode()


class Layer(abc.ABC):
    """forward, backward and jvp; out_lengths and commit where they differ from the default."""

    params: Params
    has_weights = True

    @abc.abstractmethod
    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        """x [T, B, D], lengths int32 [B] -> (y, saved)."""

    @abc.abstractmethod
    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        """The gradient dy of the output -> dx of the input; adds the weights' into `grad` [P], by default params.grad.

        Without need_dx the result is None where that saves work: nothing below has weights that would want it.
        """

    @abc.abstractmethod
    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        """The derivative of y along dx and along `direction` [P], laid out like params.value; either may be None,
        meaning 0. A layer without weights hands a dx of None on."""

    def _check(self, name: str, x: Any, shape: tuple[int, ...]) -> None:
        """Raise unless x is an array of the weights' dtype and of this shape."""
        door = Door(type(self).__name__)
        door.shape(name, door.instance(name, x, self.params.ops.xp, self.params.dtype), shape)

    def _check_input(self, x: Any, lengths: Any, ranks: tuple[int, ...], dims: str) -> None:
        """Raise unless x is an array of the weights' dtype and of one of the ranks and, where it has time, lengths fit it."""
        door, xp = Door(type(self).__name__), self.params.ops.xp
        if door.instance("x", x, xp, self.params.dtype).ndim not in ranks:
            door.value_error(f"x must have shape {dims}, got {x.shape}")
        if x.ndim == 3:
            door.sequence_lengths(lengths, xp, *x.shape[:2])

    def out_lengths(self, lengths: Any) -> Any:
        """The lengths of the output: those of the input unless the layer shortens time, None when it takes time away."""
        return lengths

    def commit(self, saved: Any) -> None:  # noqa: B027  (most layers have no state)
        """Write the state that forward() proposed into params.state. The training loop calls it once per step."""


def frames_within(xp: Any, frames: int, lengths: Any) -> Any:
    """[T, B] True where frame t belongs to utterance b."""
    return xp.arange(frames, dtype=lengths.dtype)[:, None] < lengths[None, :]


def clear(xp: Any, y: Any, padding: Any) -> None:
    """y [T, B, O] = 0 where padding [T, B], in place."""
    if xp is np:
        y[padding] = 0  # touches nothing else
    else:
        xp.copyto(y, 0, where=padding[:, :, None])  # CuPy's host would wait to count the padding


class Chain(Layer):
    """Layers one after another; `saved` is the list of theirs."""

    def __init__(self, *layers: Layer) -> None:
        if not layers:
            raise ValueError("chain: layers must hold at least one layer, got none")
        for layer in layers:
            if not isinstance(layer, Layer):
                raise TypeError(f"chain: layers must be layers, got {type(layer).__name__}")
        self.layers = layers
        self.params = layers[0].params
        self.has_weights = any(layer.has_weights for layer in layers)

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        saved = []
        for layer in self.layers:
            x, kept = layer.forward(x, lengths, mode)
            lengths = layer.out_lengths(lengths)
            saved.append(kept)
        return x, saved

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        lowest = 0 if need_dx else next((i for i, layer in enumerate(self.layers) if layer.has_weights), len(saved))
        for i in reversed(range(lowest, len(saved))):
            dy = self.layers[i].backward(saved[i], dy, grad, need_dx=need_dx or i > lowest)
        return dy if need_dx else None

    def jvp(self, saved: Any, dx: Any, direction: Any) -> Any:
        for layer, kept in zip(self.layers, saved, strict=True):
            dx = layer.jvp(kept, dx, direction)
        return dx

    def out_lengths(self, lengths: Any) -> Any:
        for layer in self.layers:
            lengths = layer.out_lengths(lengths)
        return lengths

    def commit(self, saved: Any) -> None:
        for layer, kept in zip(self.layers, saved, strict=True):
            layer.commit(kept)


def chain(*layers: Layer) -> Chain:
    """The layers one after another, as one layer.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.layers.chain(pyasr.layers.Linear(params, "a", 3, 4), pyasr.layers.MeanOverTime(params))
    >>> params.init(seed=0)
    >>> y, saved = model.forward(np.ones((5, 2, 3), "f4"), np.array([5, 4], "i4"))
    >>> y.shape
    (2, 4)
    """
    return Chain(*layers)
