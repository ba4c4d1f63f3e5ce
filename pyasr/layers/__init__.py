"""Layers. Each brings its own way back: forward, backward, jvp. To add one: a class with the three verbs in a file of its own
concept, and one line in the list of tests/test_layers.py."""

from pyasr.layers._layer import EVAL, Chain, Layer, Mode, chain
from pyasr.layers.activations import Relu, Sigmoid, Tanh
from pyasr.layers.dropout import Dropout
from pyasr.layers.frozen import FrozenRecurrent
from pyasr.layers.linear import Linear
from pyasr.layers.pooling import MeanOverTime
from pyasr.layers.recurrent import Gru, Lstm, Rnn
from pyasr.layers.stacking import FrameStack

__all__ = [
    "EVAL",
    "Chain",
    "Dropout",
    "FrameStack",
    "FrozenRecurrent",
    "Gru",
    "Layer",
    "Linear",
    "Lstm",
    "MeanOverTime",
    "Mode",
    "Relu",
    "Rnn",
    "Sigmoid",
    "Tanh",
    "chain",
]
