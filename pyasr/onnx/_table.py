"""What the two ways share: the orders of the gates, the functions of the files, the opsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr._optional import need
from pyasr.layers import Gru, Lstm, Rnn

OPSETS = (15, 24)  # first and last: Shape with start and end; what LSTM, GRU and RNN say did not change between them
DOMAIN = "pyasr"


@dataclass(frozen=True, slots=True)
class Recurrent:
    """A recurrent layer and its ONNX op."""

    op_type: str
    layer: type[Any]
    gates: str  # our order, torch's
    onnx_gates: str  # in W, R and both halves of B
    activations: tuple[str, ...]  # the op's defaults for one direction, which are ours
    states: int  # initial states among the inputs


RECURRENT = (
    Recurrent("LSTM", Lstm, "ifgo", "iofg", ("Sigmoid", "Tanh", "Tanh"), 2),  # ONNX calls g "c"
    Recurrent("GRU", Gru, "rzn", "zrn", ("Sigmoid", "Tanh"), 1),  # ONNX calls n "h"
    Recurrent("RNN", Rnn, "h", "h", ("Tanh",), 1),
)
PEEPHOLES = "ifo", "iof"  # our order and ONNX's


def reordered(a: np.ndarray, have: str, want: str) -> np.ndarray:
    """a [S, G·H, …], a row of blocks [H, …] per gate in the order `have`, in the order `want`; a copy."""
    blocks = a.reshape(a.shape[0], len(have), -1, *a.shape[2:])
    return blocks[:, [have.index(gate) for gate in want]].reshape(a.shape)


# Our layers leave zeros where an utterance has ended and read nothing there.
_ZERO_PADDING = """
ZeroPadding (x, lengths) => (y) {
  zero = Constant <value_int = 0> ()
  one = Constant <value_int = 1> ()
  two = Constant <value_ints = [2]> ()
  column = Constant <value_ints = [1]> ()
  shape = Shape <start = 0, end = 1> (x)
  frames = Squeeze (shape)
  t = Range (zero, frames, one)
  t_column = Unsqueeze (t, column)
  wide = Cast <to = 7> (lengths)
  within = Less (t_column, wide)
  mask = Unsqueeze (within, two)
  nothing = CastLike (zero, x)
  y = Where (mask, x, nothing)
}"""
_MEAN_OVER_TIME = """
MeanOverTime (x, lengths) => (y) {
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  padded = pyasr.ZeroPadding (x, lengths)
  sum = ReduceSum <keepdims = 0> (padded, zero)
  wide = Cast <to = 7> (lengths)
  some = Max (wide, one)
  like = CastLike (some, x)
  count = Unsqueeze (like, one)
  y = Div (sum, count)
}"""
_FRAME_STACK = """
FrameStack <count> (x, lengths) => (y, y_lengths) {
  count = Constant <value_int: int = @count> ()
  zero = Constant <value_ints = [0]> ()
  one = Constant <value_ints = [1]> ()
  counts = Unsqueeze (count, zero)
  padded = pyasr.ZeroPadding (x, lengths)
  T = Shape <start = 0, end = 1> (x)
  B = Shape <start = 1, end = 2> (x)
  F = Shape <start = 2, end = 3> (x)
  minus = Neg (T)
  missing = Mod (minus, counts)
  pads = Concat <axis = 0> (zero, zero, zero, missing, zero, zero)
  whole = Pad (padded, pads)
  sum = Add (T, missing)
  frames = Div (sum, counts)
  apart = Concat <axis = 0> (frames, counts, B, F)
  blocks = Reshape (whole, apart)
  beside = Transpose <perm = [0, 2, 1, 3]> (blocks)
  features = Mul (counts, F)
  joined = Concat <axis = 0> (frames, B, features)
  y = Reshape (beside, joined)
  wide = Cast <to = 7> (lengths)
  less = Sub (counts, one)
  more = Add (wide, less)
  shorter = Div (more, counts)
  y_lengths = Cast <to = 6> (shorter)
}"""
FUNCTIONS = {"ZeroPadding": _ZERO_PADDING, "MeanOverTime": _MEAN_OVER_TIME, "FrameStack": _FRAME_STACK}


def function(name: str, opset: int) -> Any:
    """The FunctionProto of this name."""
    head = f'<domain: "{DOMAIN}", opset_import: ["" : {opset}, "{DOMAIN}" : 1]>'
    return need("onnx.parser", "onnx").parse_function(head + FUNCTIONS[name])
