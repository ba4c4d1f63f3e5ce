"""Recurrent layers: LSTM and tanh RNN, stacked, in one or two directions."""

from __future__ import annotations

from pyasr.layers._recurrent import Recurrent
from pyasr.params import Params, lstm_bias, zeros


class Lstm(Recurrent):
    """LSTM over x [T, B, input_size] -> y [T, B, S·hidden_size], S = 2 when bidirectional; states begin at zero.

    Gates are i, f, g, o as in torch.nn.LSTM. Entries of layer k: `name.weight_ih_l{k}` [S, 4H, D], `name.weight_hh_l{k}`
    [S, 4H, H], `name.bias_l{k}` [S, 4H]. Weights begin uniform in ±1/√H, biases at zero but for the forget gates at 1.

    A mode with bptt = K cuts the gradient after every K frames; ValueError when the layer is bidirectional.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> lstm = pyasr.layers.Lstm(params, "lstm", 39, 64, bidirectional=True)
    >>> params.init(seed=0)
    >>> y, saved = lstm.forward(np.zeros((7, 2, 39), "f4"), np.array([7, 3], "i4"))
    >>> y.shape
    (7, 2, 128)
    """

    op, gates = "lstm", 4

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=lstm_bias()
        )


class Rnn(Recurrent):
    """tanh RNN, h = tanh(W_ih x + W_hh h + b), with the layout and options of Lstm and H for 4H; as torch.nn.RNN."""

    op, gates = "rnn", 1

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=zeros
        )
