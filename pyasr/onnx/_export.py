"""A layer or a chain -> an ONNX file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.layers import Chain, Dropout, FrameStack, Layer, Linear, Lstm, MeanOverTime, Relu, Sigmoid, Tanh
from pyasr.onnx._table import DOMAIN, OPSETS, PEEPHOLES, RECURRENT, Recurrent, function, reordered
from pyasr.ops import host
from pyasr.ops._door import Door


def export(layer: Layer, path: str | os.PathLike[str], *, opset: int = 22, log_softmax: bool = False) -> None:
    """Write `layer`, as it is in evaluation, to an ONNX file that onnx.checker accepts.

    layer is an Lstm, Gru, Rnn, Linear, Relu, Tanh, Sigmoid, Dropout (nothing is left of it), FrameStack, MeanOverTime or a chain
    of them. The graph takes x [T, B, D] of the weights' dtype and lengths [B] int32, with any T and B. It gives y [T, B, O],
    zeros at padding as here, or [B, O] behind MeanOverTime; behind FrameStack also y_lengths. With log_softmax y is log softmax
    of the layer's output, for decoders that want it: the criteria here take logits.

    Gates go from our order i, f, g, o to ONNX's i, o, f, c, those of peepholes from i, f, o to i, o, f, and in a GRU, whose
    linear_before_reset is 1, from r, z, n to z, r, h; layout 0, the default activations. ONNX has no projection, no zoneout and
    no limit of the cell: an Lstm with one of them is refused, recurrent_dropout is not. Recurrent nodes are ONNX's own; zeros at
    padding, FrameStack and MeanOverTime are functions of the file in the domain "pyasr", over standard ops, which
    onnx.inliner.inline_local_functions takes away for runtimes that know no functions.

    Raises TypeError for what is no layer or a path that is none, ValueError for a layer that is not listed above or has such an
    option and an opset outside 15 to 24, RuntimeError before params.init(), ImportError naming the extra when onnx is missing,
    OSError.

    Source: ONNX operators LSTM-22, GRU-22, RNN-22; compared with onnxruntime.

    >>> import pyasr.onnx
    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> lstm = pyasr.layers.Lstm(params, "lstm", 3, 2)
    >>> params.init(seed=0)
    >>> pyasr.onnx.export(lstm, "lstm.onnx")
    >>> again = pyasr.onnx.load("lstm.onnx", other := pyasr.Params(pyasr.backend("numpy")))
    >>> bool((other["lstm.weight_hh_l0"] == params["lstm.weight_hh_l0"]).all())
    True
    """
    door = Door("export")
    if not isinstance(layer, Layer):
        door.type_error(f"layer must be a layer, got {type(layer).__name__}")
    if not isinstance(path, (str, os.PathLike)):
        door.type_error(f"path must be a path, got {type(path).__name__}")
    door.integer("opset", opset, *OPSETS)
    door.boolean("log_softmax", log_softmax)
    layers = list(_flat(layer))
    for part in layers:
        if type(part) not in WRITERS:
            door.value_error(
                f"layer must be made of {', '.join(k.__name__ for k in WRITERS)}, got {type(part).__name__}"
            )
        if isinstance(part, Lstm):
            _check_options(door, part)
    graph = _Graph(layers, opset)
    for part in layers:
        WRITERS[type(part)](graph, part)
    if log_softmax:
        graph.current, graph.zeros = graph.add("LogSoftmax", [graph.current], axis=-1), False
    if graph.time and not graph.zeros:
        graph.current = graph.call("ZeroPadding")
    Path(path).write_bytes(graph.model().SerializeToString())


def _check_options(door: Door, lstm: Lstm) -> None:
    for name, why in (
        ("proj_size", "ONNX's LSTM has no projection"),
        ("cell_clip", "what ONNX's clip holds back is not the cell"),
        ("zoneout_h", "ONNX's LSTM has no zoneout, which mixes states in evaluation too"),
        ("zoneout_c", "ONNX's LSTM has no zoneout, which mixes states in evaluation too"),
    ):
        if getattr(lstm, name):
            door.value_error(f"{name} of {lstm.name!r} must be 0: {why}, got {getattr(lstm, name)}")


def _flat(layer: Layer) -> Iterator[Layer]:
    if isinstance(layer, Chain):
        for part in layer.layers:
            yield from _flat(part)
    else:
        yield layer


class _Graph:
    """A graph as it grows along one line: `current` is the tensor [T, B, size] that the next layer takes."""

    def __init__(self, layers: list[Layer], opset: int) -> None:
        self.helper, self.numpy_helper = need("onnx.helper", "onnx"), need("onnx.numpy_helper", "onnx")
        self.opset, self.dtype = opset, layers[0].params.dtype
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.called: dict[str, None] = {}
        self.labels: set[str] = set()
        self.current, self.lengths = "x", "lengths"
        self.time, self.zeros = True, False  # whether there is a T, and zeros at padding
        self.inputs = self.size = self._input_size(layers)

    def _input_size(self, layers: list[Any]) -> int | str:
        stacked = 1
        for layer in layers:
            if isinstance(layer, FrameStack):
                stacked *= layer.count
            elif hasattr(layer, "input_size"):
                return layer.input_size // stacked
        return "D"  # nothing in it has a size

    def label(self, name: str) -> str:
        """This name, or a longer one: a Linear and an Lstm may share theirs."""
        while name in self.labels:
            name += "_"
        self.labels.add(name)
        return name

    def add(self, op: str, inputs: list[str], name: str = "", outputs: int = 1, **attributes: Any) -> str:
        """One more node; its first output."""
        label = name or self.label(f"{op}_{len(self.nodes)}")
        names = [f"{label}:{k}" for k in range(outputs)]
        self.nodes.append(self.helper.make_node(op, inputs, names, name=label, **attributes))
        return names[0]

    def call(self, name: str, outputs: int = 1, **attributes: Any) -> str:
        """A node that calls one of FUNCTIONS."""
        for used in ("ZeroPadding", name):  # the others call it
            self.called[used] = None
        return self.add(name, [self.current, self.lengths], outputs=outputs, domain=DOMAIN, **attributes)

    def constant(self, name: str, a: Any) -> str:
        self.weights.append(self.numpy_helper.from_array(np.ascontiguousarray(a), name))
        return name

    def model(self) -> Any:
        helper, types = self.helper, need("onnx", "onnx").TensorProto
        kind = types.FLOAT if self.dtype == np.float32 else types.DOUBLE
        shorter = self.lengths != "lengths"
        y = [*(["U" if shorter else "T"] if self.time else []), "B", self.size]
        inputs = [("x", kind, ["T", "B", self.inputs]), ("lengths", types.INT32, ["B"])]
        outputs, ends = [("y", kind, y)], {"y": self.current}
        if shorter and self.time:
            outputs.append(("y_lengths", types.INT32, ["B"]))
            ends["y_lengths"] = self.lengths
        nodes = [*self.nodes, *(helper.make_node("Identity", [of], [name], name=name) for name, of in ends.items())]
        ports = ([helper.make_tensor_value_info(*port) for port in ports] for ports in (inputs, outputs))
        opsets = [helper.make_opsetid("", self.opset)] + [helper.make_opsetid(DOMAIN, 1)] * bool(self.called)
        model = helper.make_model(
            helper.make_graph(nodes, "pyasr", *ports, self.weights), producer_name="pyasr", opset_imports=opsets,
            functions=[function(name, self.opset) for name in self.called],
        )  # fmt: skip
        model.ir_version = max(
            8, helper.find_min_ir_version_for(opsets[:1])
        )  # 8: functions; older runtimes refuse a newer one
        return model


def _recurrent(graph: _Graph, layer: Any) -> None:
    kind: Recurrent = next(k for k in RECURRENT if k.layer is type(layer))
    S, H = layer.directions, layer.hidden_size
    for k in range(layer.num_layers):
        label = graph.label(layer.name if layer.num_layers == 1 else f"{layer.name}_l{k}")
        w, r, bias, *peephole = (np.array(host(layer.params[f"{layer.name}.{n}_l{k}"])) for n in layer.entries)
        w, r, *biases = (reordered(a, kind.gates, kind.onnx_gates) for a in (w, r, *layer.split_bias(bias)))
        both = np.concatenate(biases, axis=1)  # ONNX has two, as torch
        inputs = [graph.constant(f"{label}.{n}", a) for n, a in (("W", w), ("R", r), ("B", both))]
        inputs = [graph.current, *inputs, graph.lengths]
        if peephole:
            inputs += ["", "", graph.constant(f"{label}.P", reordered(peephole[0], *PEEPHOLES))]
        attributes = {"linear_before_reset": 1} if kind.op_type == "GRU" else {}
        y = graph.add(
            kind.op_type, inputs, label,
            hidden_size=H, direction=("forward", "bidirectional")[S - 1], **attributes,
        )  # fmt: skip
        shape = graph.constant(f"{label}.shape", np.array([0, 0, S * H]))
        y = graph.add("Transpose", [y], f"{label}.transpose", perm=[0, 2, 1, 3])  # [T,S,B,H] -> [T,B,S,H]
        graph.current = graph.add("Reshape", [y, shape], f"{label}.reshape")
    graph.size, graph.zeros = S * H, True


def _linear(graph: _Graph, layer: Any) -> None:
    weight, bias = (np.array(host(layer.params[f"{layer.name}.{n}"])) for n in ("weight", "bias"))
    label = graph.label(layer.name)
    w, b = graph.constant(f"{label}.W", weight.T), graph.constant(f"{label}.b", bias)
    product = graph.add("MatMul", [graph.current, w], label)
    graph.current = graph.add("Add", [product, b], f"{label}.add")
    graph.size, graph.zeros = layer.output_size, False


def _activation(graph: _Graph, layer: Layer) -> None:
    graph.current = graph.add(type(layer).__name__, [graph.current])
    graph.zeros = graph.zeros and not isinstance(layer, Sigmoid)


def _nothing(graph: _Graph, layer: Layer) -> None:
    pass


def _frame_stack(graph: _Graph, layer: Any) -> None:
    graph.current = graph.call("FrameStack", 2, count=layer.count)
    graph.lengths = graph.current.removesuffix("0") + "1"
    graph.size = graph.size * layer.count if isinstance(graph.size, int) else f"{graph.size}*{layer.count}"
    graph.zeros = True


def _mean_over_time(graph: _Graph, layer: Layer) -> None:
    graph.current, graph.time = graph.call("MeanOverTime"), False


WRITERS: dict[type, Callable[[_Graph, Any], None]] = {
    **{kind.layer: _recurrent for kind in RECURRENT},
    Linear: _linear,
    Relu: _activation,
    Tanh: _activation,
    Sigmoid: _activation,
    Dropout: _nothing,
    FrameStack: _frame_stack,
    MeanOverTime: _mean_over_time,
}
