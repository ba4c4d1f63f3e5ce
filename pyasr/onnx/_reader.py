"""The nodes of an ONNX file, one after another, and the door of what they hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np

from pyasr._optional import need
from pyasr.layers import Layer
from pyasr.onnx._table import DOMAIN, FUNCTIONS, OPSETS, function
from pyasr.ops._door import Door
from pyasr.params import Params


class Reader:
    """Walks along the nodes: `current` is the tensor that the next one must take, `size` its features where that is known."""

    def __init__(self, door: Door, model: Any, dtype: np.dtype) -> None:
        self.door, self.model, self.dtype = door, model, dtype
        self.layers: list[Callable[[Params], Layer]] = []
        self.values: dict[str, np.ndarray] = {}  # weights by their names in Params
        self.names: set[str] = set()
        self.node: Any = None
        onnx = need("onnx", "onnx")
        self.to_array, self.of_attribute = onnx.numpy_helper.to_array, onnx.helper.get_attribute_value
        self.types = onnx.TensorProto
        self._domains()
        graph = model.graph
        self.constants = {tensor.name: tensor for tensor in graph.initializer}
        self.zeros: set[str] = set()
        self.nodes = [n for n in graph.node if not self._aside(n)]
        self.at = 0
        inputs = [i for i in graph.input if i.name not in self.constants]
        if graph.sparse_initializer or not 1 <= len(inputs) <= 2:
            door.value_error(f"the graph must take x and at most lengths, got {[i.name for i in inputs]}")
        self.current, self.lengths = inputs[0].name, inputs[1].name if len(inputs) == 2 else ""
        if self.lengths and inputs[1].type.tensor_type.elem_type != self.types.INT32:
            door.value_error(f"the second input, {self.lengths!r}, must be lengths of int32, got another type")
        dims = inputs[0].type.tensor_type.shape.dim
        if len(dims) != 3:
            door.value_error(f"the first input, {self.current!r}, must have shape (T, B, D), got {len(dims)} dims")
        self.size = dims[2].dim_value or None
        self.time, self.finished = True, False  # whether there is a T, and whether LogSoftmax was there

    def _domains(self) -> None:
        """Only ONNX's own ops, of opsets that are known, and functions that say what ours say."""
        for opset in self.model.opset_import:
            known = OPSETS if opset.domain in ("", "ai.onnx") else (1, 1) if opset.domain == DOMAIN else None
            if known is None or not known[0] <= opset.version <= known[1]:
                self.door.value_error(
                    f"the file must be of ONNX opset {OPSETS[0]} to {OPSETS[1]}, got version {opset.version} of the domain "
                    f"{opset.domain or 'ai.onnx'!r}"
                )
            if opset.domain != DOMAIN:
                self.opset = opset.version
        for f in self.model.functions:
            if f.name not in FUNCTIONS or f != function(f.name, self.opset):
                self.door.value_error(f"functions must be those that export writes, got another {f.domain}.{f.name}")

    def _aside(self, node: Any) -> bool:
        """Whether the node is no part of the line: a constant, or one of those that torch makes the zeros of initial states with.

        Nothing in the line takes their results but as an initial state, and there only where they are in `zeros`.
        """
        self.node, values = node, {a.name: a for a in node.attribute}
        if node.op_type == "Constant" and [*values] == ["value"]:
            self.constants[node.output[0]] = values["value"].t
        elif node.op_type == "ConstantOfShape":
            if "value" not in values or not self.decoded(values["value"].t, "value").any():
                self.zeros.add(node.output[0])
        elif node.op_type in ("Expand", "Slice"):
            if self.is_zero(node.input[0]):
                self.zeros.add(node.output[0])
        elif node.op_type not in ("Shape", "Gather", "Unsqueeze", "Concat"):
            return False
        return node.domain in ("", "ai.onnx")

    def is_zero(self, name: str) -> bool:
        return name in self.zeros or (name in self.constants and not self.array(name, name).any())

    def fail(self, text: str) -> NoReturn:
        self.door.value_error(f"node {self.node.name or self.node.output[0]!r}, {self.node.op_type}: {text}")

    def read(self, readers: Mapping[tuple[str, str], Callable[[Reader], None]], log_softmax: bool) -> None:
        while self._next():
            key = ("" if self.node.domain == "ai.onnx" else self.node.domain, self.node.op_type)
            if key not in readers:
                self.fail(f"the op must be one of {', '.join(op for _, op in readers)}")
            readers[key](self)
        if self.finished != log_softmax:
            found = "ends in LogSoftmax, which the criteria contain: log_softmax=True leaves it out"
            self.door.value_error(
                f"the graph {'must end in LogSoftmax with log_softmax=True, got none' if log_softmax else found}"
            )
        outputs = [o.name for o in self.model.graph.output]
        if outputs[:1] != [self.current] or not {*outputs[1:]} <= {self.lengths}:
            self.door.value_error(f"the graph must give {self.current!r}, the end of its line of nodes, got {outputs}")
        if not self.layers:
            self.door.value_error("the graph must hold at least one layer, got none")

    def _next(self) -> bool:
        if self.at == len(self.nodes):
            return False
        self.node = self.nodes[self.at]
        self.at += 1
        return True

    def follow(self, *ops: str) -> bool:
        """Whether the next node is one of these and takes what the last one gave; then it is the node at hand."""
        if self.at < len(self.nodes):
            node = self.nodes[self.at]
            if node.op_type in ops and node.domain in ("", "ai.onnx") and self.current in node.input:
                return self._next()
        return False

    def take(self, inputs: int, position: int = 0) -> list[str]:
        """The names of the node's inputs, "" where there is none; the one at `position` must be the tensor at hand."""
        names = [*self.node.input, *[""] * inputs][: max(inputs, len(self.node.input))]
        if len(names) > inputs or names[position] != self.current:
            self.fail(f"nodes must form one line: this one must take {self.current!r}, got {list(self.node.input)}")
        return names

    def give(self, layer: Callable[[Params], Layer] | None = None, size: int | None = None) -> None:
        """The node's first output goes on, and `layer` is what it was."""
        if layer is not None:
            if self.finished:
                self.fail("LogSoftmax must come last, got more behind it")
            self.layers.append(layer)
        self.current = self.node.output[0]
        self.size = self.size if size is None else size

    def attributes(self, **allowed: tuple[Any, ...]) -> dict[str, Any]:
        """The node's attributes, each of which must be among `allowed` and, where that says so, have one of its values."""
        found = {a.name: _text(self.of_attribute(a)) for a in self.node.attribute}
        for name, value in found.items():
            if name not in allowed:
                self.fail(f"attributes must be among {', '.join(allowed) or 'none'}, got {name} = {value!r:.80}")
            if allowed[name] and value not in allowed[name]:
                self.fail(f"{name} must be {' or '.join(map(repr, allowed[name]))}, got {value!r:.80}")
        return found

    def array(self, name: str, what: str) -> np.ndarray:
        """A constant that lies in the file."""
        tensor = self.constants.get(name)
        if tensor is None:
            self.fail(f"{what} must be a constant of the file, got {name!r}")
        return self.decoded(tensor, what)

    def decoded(self, tensor: Any, what: str) -> np.ndarray:
        if tensor.data_location == self.types.EXTERNAL:
            self.fail(f"{what} must lie in the file itself, got external data")
        if tensor.data_type not in (self.types.FLOAT, self.types.DOUBLE, self.types.INT32, self.types.INT64):
            self.fail(f"{what} must be of float32, float64, int32 or int64, got ONNX's type {tensor.data_type}")
        try:
            return np.array(self.to_array(tensor))
        except ValueError as e:  # more or less data than its shape wants
            self.fail(f"{what} must be a whole tensor, got: {e}")

    def weight(self, name: str, what: str, ndim: int) -> np.ndarray:
        a = self.array(name, what)
        if a.dtype != self.dtype:
            self.fail(f"{what} must have the dtype of params, {self.dtype.name}, got {a.dtype.name}")
        if a.ndim != ndim or a.size == 0:
            self.fail(f"{what} must have {ndim} dims and an entry, got shape {a.shape}")
        if not np.isfinite(a).all():
            self.fail(f"{what} must be finite, got a NaN or infinity")
        return a

    def shaped(self, a: np.ndarray, what: str, shape: tuple[int, ...]) -> np.ndarray:
        if a.shape != shape:
            self.fail(f"{what} must have shape {shape}, got {a.shape}")
        return a

    def fits(self, inputs: int) -> None:
        if self.size not in (None, inputs):
            self.fail(f"weights must take the {self.size} features that come in, got {inputs}")

    def label(self, fallback: str) -> str:
        """A new name for the layer at hand."""
        name = self.node.name or f"{fallback}{len(self.layers)}"
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name


def _text(value: Any) -> Any:
    """An attribute's value with strings for bytes."""
    if isinstance(value, list):
        return [_text(v) for v in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
