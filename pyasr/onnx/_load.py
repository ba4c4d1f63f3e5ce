"""An ONNX file -> a chain."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from pyasr._optional import need
from pyasr.layers import Chain, FrameStack, Layer, Linear, MeanOverTime, Relu, Sigmoid, Tanh, chain
from pyasr.onnx._table import DOMAIN, FUNCTIONS, OPSETS, RECURRENT, function, reordered
from pyasr.ops._door import Door
from pyasr.params import Params


def load(path: str | os.PathLike[str], params: Params, *, log_softmax: bool = False) -> Chain:
    """The chain that an ONNX file describes: layers are declared in `params`, params.init(0) allocates, weights are copied.

    Taken are files of `export` and graphs of the same kind from elsewhere, one line of nodes from x [T, B, D] on: LSTM and RNN
    with layout 0, default activations, one forward or two directions, no clip, peepholes, input_forget or initial states other
    than zeros, their Y brought to [T, B, S·H] by Squeeze or by Transpose and Reshape; MatMul with or without Add; Gemm; Relu,
    Tanh, Sigmoid; Identity. A second input is lengths [B] int32, and then every recurrent node takes it as its sequence_lens. A
    graph without one is a model of whole sequences; the chain that it gives takes lengths all the same. Weights have the dtype of
    params and are named after the nodes; both biases are added into one. log_softmax says that the file ends in a LogSoftmax,
    which is left out: the criteria contain it.

    Raises ValueError naming the node for all else, for weights of another dtype or shape, with a NaN or in a second file, another
    opset than 15 to 24, and for what is no ONNX; TypeError for what are no Params, RuntimeError when they are past init(),
    ImportError naming the extra when onnx is missing, FileNotFoundError. Nothing is allocated before all of the file is read.

    Source: ONNX operators LSTM-22, RNN-22; compared with what torch.onnx writes of torch.nn.LSTM, RNN and Linear.

    >>> import pyasr.onnx
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.models.word_classifier(params, 39, 10, hidden=8)
    >>> params.init(seed=3)
    >>> pyasr.onnx.export(model, "words.onnx")
    >>> again = pyasr.onnx.load("words.onnx", pyasr.Params(pyasr.backend("numpy")))
    >>> x, lengths = np.ones((20, 2, 39), "f4"), np.array([20, 11], "i4")
    >>> bool((again.forward(x, lengths)[0] == model.forward(x, lengths)[0]).all())
    True
    """
    door = Door("load")
    if not isinstance(params, Params):
        door.type_error(f"params must be a pyasr.Params, got {type(params).__name__}")
    if not isinstance(path, (str, os.PathLike)):
        door.type_error(f"path must be a path, got {type(path).__name__}")
    door.boolean("log_softmax", log_softmax)
    onnx, decode = need("onnx", "onnx"), need("google.protobuf.message", "onnx").DecodeError
    try:
        model = onnx.ModelProto.FromString(Path(path).read_bytes())
        onnx.checker.check_model(model)
    except (decode, onnx.checker.ValidationError, UnicodeDecodeError) as e:
        raise ValueError(f"load: {os.fspath(path)} must be an ONNX file, got: {str(e).strip()[:300]}") from e
    reader = _Reader(door, model, params.dtype)
    reader.read(log_softmax)
    layers = [build(params) for build in reader.layers]
    params.init(0)
    for name, a in reader.values.items():
        params[name][...] = params.ops.xp.asarray(a)
    return chain(*layers)


class _Reader:
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

    def read(self, log_softmax: bool) -> None:
        while self._next():
            key = ("" if self.node.domain == "ai.onnx" else self.node.domain, self.node.op_type)
            if key not in READERS:
                self.fail(f"the op must be one of {', '.join(op for _, op in READERS)}")
            READERS[key](self)
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


def _recurrent(r: _Reader) -> None:
    kind = next(k for k in RECURRENT if k.op_type == r.node.op_type)
    G = len(kind.gates)
    _, w_name, r_name, b_name, lengths, *rest = r.take(6 if kind.states == 1 else 8)
    given = r.attributes(
        hidden_size=(), direction=("forward", "bidirectional"), layout=(0,), input_forget=(0,),
        activations=tuple([*kind.activations] * S for S in (1, 2)),
    )  # fmt: skip
    S = 2 if given.get("direction") == "bidirectional" else 1
    if not r.time or lengths != r.lengths:
        r.fail(f"sequence_lens must be {r.lengths!r}, as everywhere in the graph, got {lengths!r}")
    for name, what in zip(rest, (*("initial_h", "initial_c")[: kind.states], "P"), strict=False):
        if name and (what == "P" or not r.is_zero(name)):
            r.fail(f"{what} must be absent{'' if what == 'P' else ' or zeros'}, got {name!r}")
    w, u = r.weight(w_name, "W", 3), r.weight(r_name, "R", 3)
    H, D = u.shape[2], w.shape[2]
    if given.get("hidden_size", H) != H:
        r.fail(f"hidden_size must be that of R, {H}, got {given['hidden_size']}")
    r.shaped(w, "W", (S, G * H, D))
    r.shaped(u, "R", (S, G * H, H))
    both = r.shaped(r.weight(b_name, "B", 2), "B", (S, 2 * G * H)) if b_name else np.zeros((S, 2 * G * H), r.dtype)
    r.fits(D)
    name = r.label(kind.op_type.lower())
    for entry, a in (("weight_ih", w), ("weight_hh", u), ("bias", both[:, : G * H] + both[:, G * H :])):
        r.values[f"{name}.{entry}_l0"] = reordered(a, kind.onnx_gates, kind.gates)
    r.give(lambda params: kind.layer(params, name, D, H, bidirectional=S == 2), S * H)
    _joined_directions(r, S, H)


def _joined_directions(r: _Reader, S: int, H: int) -> None:
    """Y [T,S,B,H] -> [T,B,S·H]."""
    if S == 1 and r.follow("Squeeze"):
        _, axes = r.take(2)
        if r.attributes() or r.array(axes, "axes").tolist() != [1]:
            r.fail("axes must be [1], the directions of Y")
    elif r.follow("Transpose"):
        r.take(1)
        if r.attributes(perm=()).get("perm") != [0, 2, 1, 3]:
            r.fail("perm must be [0, 2, 1, 3]: Y [T,S,B,H] to [T,B,S,H]")
        r.give()
        if not r.follow("Reshape"):
            r.fail("must be followed by Reshape to [T,B,S*H]")
        _, shape = r.take(2)
        r.attributes(allowzero=(0,))
        if r.array(shape, "shape").tolist() not in ([0, 0, S * H], [0, 0, -1]):
            r.fail(f"shape must be [0, 0, {S * H}]: Y to [T,B,S*H]")
    else:
        r.fail("Y must be brought to [T,B,S*H] by Squeeze or by Transpose and Reshape")
    r.give()


def _product(r: _Reader) -> None:
    """MatMul, and Add where it follows; or Gemm."""
    name, gemm = r.label("linear"), r.node.op_type == "Gemm"
    if gemm:
        _, w_name, b_name = r.take(3)
        given = r.attributes(alpha=(1.0,), beta=(1.0,), transA=(0,), transB=(0, 1))
        w = r.weight(w_name, "B", 2)
        w = w if given.get("transB") else w.T
        if r.time:
            r.fail("Gemm must come behind the mean over time: it takes [B, D]")
    else:
        _, w_name = r.take(2)
        r.attributes()
        w, b_name = r.weight(w_name, "B", 2).T, ""
    r.fits(w.shape[1])
    O, D = w.shape
    r.give(lambda params: Linear(params, name, D, O), O)
    if not gemm and r.follow("Add"):
        inputs = r.take(2, 0 if r.node.input[0] == r.current else 1)
        b_name = next(n for n in inputs if n != r.current)
        r.attributes()
        r.give()
    b = r.shaped(r.weight(b_name, "the bias", 1), "the bias", (O,)) if b_name else np.zeros(O, r.dtype)
    r.values |= {f"{name}.weight": w, f"{name}.bias": b}


def _entry_by_entry(kind: Callable[[Params], Layer]) -> Callable[[_Reader], None]:
    def read(r: _Reader) -> None:
        r.take(1)
        r.attributes()
        r.give(kind)

    return read


def _log_softmax(r: _Reader) -> None:
    r.take(1)
    r.attributes(axis=(-1, 2 if r.time else 1))
    r.give()
    r.finished = True


def _identity(r: _Reader) -> None:
    if r.lengths and list(r.node.input) == [r.lengths]:
        r.lengths = r.node.output[0]
    else:
        r.take(1)
        r.give()


def _with_lengths(r: _Reader) -> None:
    if not r.time or r.take(2)[1] != r.lengths:
        r.fail(f"must take the lengths {r.lengths!r}, got {list(r.node.input)}")


def _zero_padding(r: _Reader) -> None:
    _with_lengths(r)  # what our layers do by themselves
    r.give()


def _mean_over_time(r: _Reader) -> None:
    _with_lengths(r)
    r.give(MeanOverTime)
    r.time = False


def _frame_stack(r: _Reader) -> None:
    _with_lengths(r)
    count = r.attributes(count=()).get("count", 0)
    if not isinstance(count, int) or not 1 <= count <= 1024 or len(r.node.output) != 2:
        r.fail(f"count must lie in [1, 1024], got {count}")
    r.give(lambda params: FrameStack(params, count), r.size and r.size * count)
    r.lengths = r.node.output[1]


READERS: dict[tuple[str, str], Callable[[_Reader], None]] = {
    **{("", kind.op_type): _recurrent for kind in RECURRENT},
    ("", "MatMul"): _product,
    ("", "Gemm"): _product,
    ("", "Relu"): _entry_by_entry(Relu),
    ("", "Tanh"): _entry_by_entry(Tanh),
    ("", "Sigmoid"): _entry_by_entry(Sigmoid),
    ("", "LogSoftmax"): _log_softmax,
    ("", "Identity"): _identity,
    (DOMAIN, "ZeroPadding"): _zero_padding,
    (DOMAIN, "MeanOverTime"): _mean_over_time,
    (DOMAIN, "FrameStack"): _frame_stack,
}
