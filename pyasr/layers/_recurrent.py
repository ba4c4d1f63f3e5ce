"""What the recurrent layers share: layers over directions over time, windows of time, and the names of torch."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.layers._layer import EVAL, Layer, Mode
from pyasr.layers.frozen import FrozenRecurrent
from pyasr.ops import host
from pyasr.ops._door import Door
from pyasr.params import Initializer, Params, uniform, zeros


def _windows(frames: int, bptt: int) -> list[slice]:
    """The stretches of time between the cuts; one where nothing is cut or there is no time."""
    size = bptt or max(frames, 1)
    return [slice(t, min(t + size, frames)) for t in range(0, max(frames, 1), size)]


# entry of a layer -> argument of its row; backward and jvp put a "d" before it
ARGUMENTS = {
    "weight_ih": "w_ih", "weight_hh": "w_hh", "bias": "bias", "peephole": "peephole", "weight_hr": "projection",
}  # fmt: skip


_TORCH_NAME = re.compile(r"(weight_(ih|hh|hr)|bias_(ih|hh)|peephole)_l\d+(_reverse)?")


class Recurrent(Layer):
    """num_layers recurrent ops on top of each other. Both directions of a layer lie in one entry, stacked on the axis S.

    Where mode.bptt cuts the time into windows, each takes the states behind the one before as constants, on the way back and in
    jvp alike: truncated backpropagation through time (Williams and Peng, Neural Computation 2, 1990) with k1 = k2. The outputs
    are those of the whole. All layers go through a window before the next one.
    """

    op: str  # the rows op_forward, op_backward, op_jvp
    gates: int  # rows of a weight per hidden unit
    bias_gates: int  # and of the bias

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int, bidirectional: bool,
        bias: Initializer, proj_size: int = 0, peephole: bool = False,
    ) -> None:  # fmt: skip
        door = Door(type(self).__name__)
        for word, size in (("input_size", input_size), ("hidden_size", hidden_size), ("num_layers", num_layers)):
            door.integer(word, size, 1, 2**31 - 1)
        door.integer("proj_size", proj_size, 0, 2**31 - 1)
        door.boolean("bidirectional", bidirectional)
        door.boolean("peephole", peephole)
        self.params, self.name = params, name
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.proj_size, self.state_size = proj_size, proj_size or hidden_size  # the state's is that of h
        self.directions = 2 if bidirectional else 1
        fill, (S, H, R) = uniform(1 / math.sqrt(hidden_size)), (self.directions, hidden_size, self.state_size)
        options: dict[str, tuple[tuple[int, ...], Initializer]] = {}
        if peephole:
            options["peephole"] = (S, 3 * H), zeros
        if proj_size:
            options["weight_hr"] = (S, R, H), fill
        for k in range(num_layers):
            shapes = {
                "weight_ih": ((S, self.gates * H, input_size if k == 0 else S * R), fill),
                "weight_hh": ((S, self.gates * H, R), fill),
                "bias": ((S, self.bias_gates * H), bias),
            } | options
            for entry, (shape, init) in shapes.items():
                params.declare(f"{name}.{entry}_l{k}", shape, init)
        self.entries = tuple(shapes)

    @property
    def output_size(self) -> int:
        """Features of the output: both directions side by side."""
        return self.directions * self.state_size

    def _weights(self, k: int, vector: Any, prefix: str = "") -> dict[str, Any]:
        """The entries of layer k in a flat vector, by their arguments."""
        return {prefix + ARGUMENTS[e]: self.params.view(vector, f"{self.name}.{e}_l{k}") for e in self.entries}

    def _options(self, k: int, frames: int, batch: int, mode: Mode) -> tuple[dict[str, Any], dict[str, Any]]:
        """What forward of layer k takes beside weights: what holds for the whole sequence, and arrays [T, …] along time."""
        return {}, {}

    def forward(self, x: Any, lengths: Any, mode: Mode = EVAL) -> tuple[Any, Any]:
        self._check_input(x, lengths, (3,), "(T, B, D)")
        if mode.bptt and self.directions == 2:
            raise ValueError(
                f"{type(self).__name__}: bptt needs a layer of one direction, got bptt = {mode.bptt} with two"
            )
        run, xp = getattr(self.params.ops, f"{self.op}_forward"), self.params.ops.xp
        given = []
        for k in range(self.num_layers):
            whole, along_time = self._options(k, x.shape[0], x.shape[1], mode)
            given.append((self._weights(k, self.params.value) | whole, along_time))
        states: list[dict[str, Any]] = [{} for _ in given]
        y, saved = [], []
        for window in _windows(x.shape[0], mode.bptt):
            part, within = x[window], lengths
            if mode.bptt:
                within = xp.clip(lengths - window.start, 0, mode.bptt)
            kept = []
            for k, (whole, along_time) in enumerate(given):
                cut = {name: a[window] for name, a in along_time.items()}
                part, *ends, of_layer = run(part, within, **whole, **cut, **states[k])
                states[k] = dict(zip(("h0", "c0"), ends, strict=False))
                kept.append(of_layer)
            y.append(part)
            saved.append((window, kept))
        return self._joined(y), (saved, x.shape)

    def freeze(self, storage: str = "float32") -> FrozenRecurrent:
        """The layer for inference, its weights packed once and stored as "float32" or "bfloat16"; see FrozenRecurrent.

        Raises ValueError for another storage and for float64 weights.
        """
        return FrozenRecurrent(self, storage)

    def _joined(self, parts: list[Any]) -> Any:
        return parts[0] if len(parts) == 1 else self.params.ops.xp.concatenate(parts)

    def backward(self, saved: Any, dy: Any, grad: Any = None, *, need_dx: bool = True) -> Any:
        windows, (T, B, _) = saved
        self._check("dy", dy, (T, B, self.output_size))
        run = getattr(self.params.ops, f"{self.op}_backward")
        grad = self.params.grad if grad is None else grad
        into = [self._weights(k, grad, "d") for k in range(self.num_layers)]
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
        along = [{} if direction is None else self._weights(k, direction, "d") for k in range(self.num_layers)]
        dy = []
        for window, kept in windows:
            part = None if dx is None else dx[window]
            for of_layer, dw in zip(kept, along, strict=True):
                part, *_ = run(of_layer, part, **dw)
            dy.append(part)
        return self._joined(dy)

    @staticmethod
    def split_bias(bias: Any) -> tuple[Any, Any]:
        """[S, bias_gates·H], in NumPy -> torch's bias_ih and bias_hh [S, gates·H]; join_bias() gives it back."""
        return bias, np.zeros_like(bias)

    @staticmethod
    def join_bias(bias_ih: Any, bias_hh: Any) -> Any:
        """The bias that does what torch's two do: their sum, as far as they meet at the same place."""
        return bias_ih + bias_hh

    def _torch_names(self) -> Iterator[tuple[str, Any, tuple[str, ...]]]:
        """Each entry of one direction [1, …] of one layer, and its name in torch's module, or its two."""
        for k in range(self.num_layers):
            for s, suffix in enumerate(("", "_reverse")[: self.directions]):
                for entry in self.entries:
                    names = ("bias_ih", "bias_hh") if entry == "bias" else (entry,)
                    view = self.params[f"{self.name}.{entry}_l{k}"][s : s + 1]
                    yield entry, view, tuple(f"{n}_l{k}{suffix}" for n in names)

    def load_state_dict(self, state: Mapping[str, Any] | str | os.PathLike[str], prefix: str = "") -> None:
        """Copy the weights of torch's module of the same sizes in, nothing permuted: torch's two biases are added (not those of
        n in a GRU, which stay two), its `_reverse` entries become the second direction. Peepholes, which torch has not, are
        `peephole_l0` and so on.

        state is its state_dict() with NumPy arrays or CPU tensors, or a safetensors file of one; of a larger model, prefix is
        what its names begin with ("encoder."). Nothing is copied unless all of it fits.

        Raises KeyError for a missing entry, TypeError for one that is not floating, ValueError for one of another shape, with
        what is not finite in the dtype of the weights, or that the layer has no place for (another layer, direction, projection
        or peephole), naming it, FileNotFoundError, and ImportError naming the extra when safetensors is missing.
        """
        tensors: Mapping[str, Any]
        tensors = need("safetensors.numpy").load_file(state) if isinstance(state, (str, os.PathLike)) else state
        if "peephole" not in self.entries and f"{prefix}peephole_l0" in tensors:
            raise ValueError(f"load_state_dict: {prefix}peephole_l0 must be absent: the layer has no peepholes")
        copies, taken = [], set()
        for entry, view, names in self._torch_names():
            shape, arrays = view.shape[1:], []
            if entry == "bias":
                shape = (self.gates * self.hidden_size,)
            for name in names:
                a = np.asarray(tensors[prefix + name])
                if a.shape != shape:
                    raise ValueError(f"load_state_dict: {prefix + name} must have shape {tuple(shape)}, got {a.shape}")
                if a.dtype.kind != "f":
                    raise TypeError(f"load_state_dict: {prefix + name} must have a floating dtype, got {a.dtype}")
                arrays.append(a[None])
                taken.add(prefix + name)
            with np.errstate(over="ignore"):  # what does is found
                weight = (self.join_bias(*arrays) if entry == "bias" else arrays[0]).astype(self.params.dtype)
            if not np.isfinite(weight).all():
                what = " + ".join(prefix + name for name in names)
                raise ValueError(f"load_state_dict: {what} must be finite, got a NaN or infinity in {weight.dtype}")
            copies.append((view, weight))
        for name in tensors:
            if name not in taken and name.startswith(prefix) and _TORCH_NAME.fullmatch(name, len(prefix)):
                raise ValueError(f"load_state_dict: {name} must be absent: the layer has no such weight")
        for view, a in copies:
            view[...] = self.params.ops.xp.asarray(a)

    def state_dict(self) -> dict[str, np.ndarray]:
        """The weights under the names of torch's module of the same sizes, copies; the bias is bias_ih, and bias_hh is zero but
        for hn, the one of n behind W_hh in a GRU.

        `torch.nn.LSTM.load_state_dict` takes it once its arrays are tensors, and `load_state_dict` gives the same bits back.
        """
        state: dict[str, np.ndarray] = {}
        for entry, view, names in self._torch_names():
            a = np.array(host(view))
            parts = self.split_bias(a) if entry == "bias" else (a,)
            state |= {name: np.array(part[0]) for name, part in zip(names, parts, strict=True)}
        return state
