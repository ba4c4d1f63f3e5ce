"""An ONNX file -> a chain."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pyasr._optional import need
from pyasr.layers import Chain, FrameStack, Layer, Linear, MeanOverTime, Relu, Sigmoid, Tanh, chain
from pyasr.onnx._reader import Reader
from pyasr.onnx._table import DOMAIN, PEEPHOLES, RECURRENT, reordered
from pyasr.ops._door import Door
from pyasr.params import Params


def load(path: str | os.PathLike[str], params: Params, *, log_softmax: bool = False) -> Chain:
    """The chain that an ONNX file describes: layers are declared in `params`, params.init(0) allocates, weights are copied.

    Taken are files of `export` and graphs of the same kind from elsewhere, one line of nodes from x [T, B, D] on: LSTM, GRU and
    RNN with layout 0, default activations, one forward or two directions, no clip, input_forget or initial states other than
    zeros, of a GRU linear_before_reset = 1, their Y brought to [T, B, S·H] by Squeeze or by Transpose and Reshape; MatMul with or
    without Add; Gemm; Relu, Tanh, Sigmoid; Identity. A second input is lengths [B] int32, and then every recurrent node takes it
    as its sequence_lens. A graph without one is a model of whole sequences; the chain that it gives takes lengths all the same.
    Weights have the dtype of params and are named after the nodes; both biases are added into one, but for that of n in a GRU.
    log_softmax says that the file ends in a LogSoftmax, which is left out: the criteria contain it.

    Raises ValueError naming the node for all else, for weights of another dtype or shape, with a NaN or in a second file, another
    opset than 15 to 24, and for what is no ONNX; TypeError for what are no Params, RuntimeError when they are past init(),
    ImportError naming the extra when onnx is missing, FileNotFoundError. Nothing is allocated before all of the file is read.

    Source: ONNX operators LSTM-22, GRU-22, RNN-22; compared with what torch.onnx writes of torch.nn.LSTM, GRU, RNN and Linear.

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
    reader = Reader(door, model, params.dtype)
    reader.read(READERS, log_softmax)
    layers = [build(params) for build in reader.layers]
    params.init(0)
    for name, a in reader.values.items():
        params[name][...] = params.ops.xp.asarray(a)
    return chain(*layers)


def _recurrent(r: Reader) -> None:
    kind = next(k for k in RECURRENT if k.op_type == r.node.op_type)
    G = len(kind.gates)
    _, w_name, r_name, b_name, lengths, *rest = r.take(6 if kind.states == 1 else 8)
    own = {"linear_before_reset": (1,)} if kind.op_type == "GRU" else {}
    given = r.attributes(
        **own, hidden_size=(), direction=("forward", "bidirectional"), layout=(0,), input_forget=(0,),
        activations=tuple([*kind.activations] * S for S in (1, 2)),
    )  # fmt: skip
    if own.keys() - given.keys():
        r.fail("linear_before_reset must be 1, got none, which is 0")
    S = 2 if given.get("direction") == "bidirectional" else 1
    if not r.time or lengths != r.lengths:
        r.fail(f"sequence_lens must be {r.lengths!r}, as everywhere in the graph, got {lengths!r}")
    for name, what in zip(rest, ("initial_h", "initial_c")[: kind.states], strict=False):
        if name and not r.is_zero(name):
            r.fail(f"{what} must be absent or zeros, got {name!r}")
    w, u = r.weight(w_name, "W", 3), r.weight(r_name, "R", 3)
    H, D = u.shape[2], w.shape[2]
    if given.get("hidden_size", H) != H:
        r.fail(f"hidden_size must be that of R, {H}, got {given['hidden_size']}")
    r.shaped(w, "W", (S, G * H, D))
    r.shaped(u, "R", (S, G * H, H))
    both = r.shaped(r.weight(b_name, "B", 2), "B", (S, 2 * G * H)) if b_name else np.zeros((S, 2 * G * H), r.dtype)
    r.fits(D)
    name = r.label(kind.op_type.lower())
    w, u, *biases = (reordered(a, kind.onnx_gates, kind.gates) for a in (w, u, both[:, : G * H], both[:, G * H :]))
    values = {"weight_ih": w, "weight_hh": u, "bias": kind.layer.join_bias(*biases)}
    options: dict[str, bool] = {}
    if kind.states == 2 and (p_name := rest[2]):
        values["peephole"] = reordered(r.shaped(r.weight(p_name, "P", 2), "P", (S, 3 * H)), *reversed(PEEPHOLES))
        options["peephole"] = True
    r.values |= {f"{name}.{entry}_l0": a for entry, a in values.items()}
    r.give(lambda params: kind.layer(params, name, D, H, bidirectional=S == 2, **options), S * H)
    _joined_directions(r, S, H)


def _joined_directions(r: Reader, S: int, H: int) -> None:
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


def _product(r: Reader) -> None:
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


def _entry_by_entry(kind: Callable[[Params], Layer]) -> Callable[[Reader], None]:
    def read(r: Reader) -> None:
        r.take(1)
        r.attributes()
        r.give(kind)

    return read


def _log_softmax(r: Reader) -> None:
    r.take(1)
    r.attributes(axis=(-1, 2 if r.time else 1))
    r.give()
    r.finished = True


def _identity(r: Reader) -> None:
    if r.lengths and list(r.node.input) == [r.lengths]:
        r.lengths = r.node.output[0]
    else:
        r.take(1)
        r.give()


def _with_lengths(r: Reader) -> None:
    if not r.time or r.take(2)[1] != r.lengths:
        r.fail(f"must take the lengths {r.lengths!r}, got {list(r.node.input)}")


def _zero_padding(r: Reader) -> None:
    _with_lengths(r)  # what our layers do by themselves
    r.give()


def _mean_over_time(r: Reader) -> None:
    _with_lengths(r)
    r.give(MeanOverTime)
    r.time = False


def _frame_stack(r: Reader) -> None:
    _with_lengths(r)
    count = r.attributes(count=()).get("count", 0)
    if not isinstance(count, int) or not 1 <= count <= 1024 or len(r.node.output) != 2:
        r.fail(f"count must lie in [1, 1024], got {count}")
    r.give(lambda params: FrameStack(params, count), r.size and r.size * count)
    r.lengths = r.node.output[1]


READERS: dict[tuple[str, str], Callable[[Reader], None]] = {
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
