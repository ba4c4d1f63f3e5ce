"""Recurrent layers: LSTM, GRU and tanh RNN, stacked, in one or two directions."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.counter import stream
from pyasr.layers._layer import Mode
from pyasr.layers._recurrent import Recurrent
from pyasr.ops._door import Door
from pyasr.params import Params, lstm_bias, zeros


class Lstm(Recurrent):
    """LSTM over x [T, B, input_size] -> y [T, B, S·hidden_size], S = 2 when bidirectional; states begin at zero.

    Gates are i, f, g, o as in torch.nn.LSTM. Entries of layer k: `name.weight_ih_l{k}` [S, 4H, D], `name.weight_hh_l{k}`
    [S, 4H, H], `name.bias_l{k}` [S, 4H]. Weights begin uniform in ±1/√H, biases at zero but for the forget gates at 1.

    peephole: the gates i, f and o see the cell, with `name.peephole_l{k}` [S, 3H], which begins at zero (Gers, Schraudolph and
    Schmidhuber, JMLR 3, 2002). proj_size P: h is projected to P numbers by `name.weight_hr_l{k}` [S, P, H], as in torch and in
    Sak, Senior and Beaufays, Interspeech 2014; y is [T, B, S·P] then, and weight_hh [S, 4H, P]. cell_clip: cells are held within
    ±cell_clip; 0 does not.

    recurrent_dropout: in training h is masked on its way to the next frame, one mask per sequence, unit, direction and layer,
    and scaled by 1 / (1 − p) (Gal and Ghahramani, NIPS 2016). zoneout_h, zoneout_c: in training each unit of h, or of the cell,
    keeps its value of the frame before with this probability; in evaluation it takes that share of it (Krueger et al., ICLR
    2017). Masks are functions of (seed, step, micro_batch, rank, name, k) and the shape, drawn on the host.

    A mode with bptt = K cuts the gradient after every K frames, which changes no mask. ValueError when the layer is
    bidirectional, and, from the row, when the backend knows no such option.

    Raises TypeError and ValueError for sizes, probabilities outside [0, 1) and a negative cell_clip.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> lstm = pyasr.layers.Lstm(params, "lstm", 39, 64, bidirectional=True)
    >>> small = pyasr.layers.Lstm(params, "small", 128, 64, proj_size=16, peephole=True, zoneout_h=0.1)
    >>> params.init(seed=0)
    >>> lengths = np.array([7, 3], "i4")
    >>> y, saved = lstm.forward(np.zeros((7, 2, 39), "f4"), lengths)
    >>> y.shape, small.forward(y, lengths)[0].shape
    ((7, 2, 128), (7, 2, 16))
    """

    op, gates, bias_gates = "lstm", 4, 4

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False, peephole: bool = False, proj_size: int = 0, cell_clip: float = 0.0,
        recurrent_dropout: float = 0.0, zoneout_h: float = 0.0, zoneout_c: float = 0.0,
    ) -> None:  # fmt: skip
        door = Door("Lstm")
        self.cell_clip = door.real("cell_clip", cell_clip, 0.0, 1e30)
        if 0 < self.cell_clip < 1e-30:
            door.value_error(f"cell_clip must be 0 or at least 1e-30, got {cell_clip!r}")
        rates = {"recurrent_dropout": recurrent_dropout, "zoneout_h": zoneout_h, "zoneout_c": zoneout_c}
        for word, rate in rates.items():
            if door.real(word, rate, 0.0, 1.0) == 1:
                door.value_error(f"{word} must be below 1, got 1.0")
        self.recurrent_dropout, self.zoneout_h, self.zoneout_c = map(float, rates.values())
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=lstm_bias(),
            peephole=peephole, proj_size=proj_size,
        )  # fmt: skip

    def _options(self, k: int, frames: int, batch: int, mode: Mode) -> tuple[dict[str, Any], dict[str, Any]]:
        S, H, R = self.directions, self.hidden_size, self.state_size
        whole: dict[str, Any] = {"cell_clip": self.cell_clip} if self.cell_clip else {}
        if self.recurrent_dropout and mode.train:
            kept = self._drawn("recurrent_dropout", k, (S, batch, R), mode) >= self.recurrent_dropout
            whole["state_mask"] = self._factors(kept / (1 - self.recurrent_dropout))
        along_time = {}
        for state, rate, size in (("h", self.zoneout_h, R), ("c", self.zoneout_c, H)):
            if rate and mode.train:
                keep = self._drawn(f"zoneout_{state}", k, (frames, batch, S * size), mode) < rate
                along_time[f"keep_{state}"] = self._factors(keep)
            elif rate:
                along_time[f"keep_{state}"] = self._factors(np.full((frames, batch, S * size), rate))
        return whole, along_time

    def _drawn(self, what: str, k: int, shape: tuple[int, ...], mode: Mode) -> np.ndarray:
        """Uniform in [0, 1). The frames come first, so that those of an utterance do not depend on how many follow."""
        return stream(what, mode.seed, mode.step, mode.micro_batch, mode.rank, self.name, k).random(shape, "float32")

    def _factors(self, a: np.ndarray) -> Any:
        return self.params.ops.xp.asarray(a.astype(self.params.dtype))


class Gru(Recurrent):
    """GRU over x [T, B, input_size] -> y [T, B, S·hidden_size], as torch.nn.GRU: gates r, z, n and h = (1 − z) ⊙ n + z ⊙ h.

    Entries of layer k: `name.weight_ih_l{k}` [S, 3H, D], `name.weight_hh_l{k}` [S, 3H, H], `name.bias_l{k}` [S, 4H] of r, z, n
    and hn: r multiplies what comes behind W_hh, n = tanh(W x + b_n + r ⊙ (W_hh h + b_hn)), so there b has two parts. Weights
    begin uniform in ±1/√H, biases at zero. States and bptt are as in Lstm.

    Source: Cho et al., EMNLP 2014, in the form of torch.nn.GRU.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> gru = pyasr.layers.Gru(params, "gru", 39, 64, num_layers=2)
    >>> params.init(seed=0)
    >>> y, saved = gru.forward(np.zeros((7, 2, 39), "f4"), np.array([7, 3], "i4"))
    >>> y.shape, gru.state_dict()["bias_hh_l1"].shape
    ((7, 2, 64), (192,))
    """

    op, gates, bias_gates = "gru", 3, 4

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=zeros
        )

    @staticmethod
    def split_bias(bias: Any) -> tuple[Any, Any]:
        r, z, n, hn = np.split(bias, 4, axis=-1)
        return np.concatenate([r, z, n], axis=-1), np.concatenate([np.zeros_like(r), np.zeros_like(z), hn], axis=-1)

    @staticmethod
    def join_bias(bias_ih: Any, bias_hh: Any) -> Any:
        H = bias_ih.shape[-1] // 3
        both = bias_ih[..., : 2 * H] + bias_hh[..., : 2 * H]
        return np.concatenate([both, bias_ih[..., 2 * H :], bias_hh[..., 2 * H :]], axis=-1)


class Rnn(Recurrent):
    """tanh RNN, h = tanh(W_ih x + W_hh h + b), with the layout of a plain Lstm and H for 4H; as torch.nn.RNN."""

    op, gates, bias_gates = "rnn", 1, 1

    def __init__(
        self, params: Params, name: str, input_size: int, hidden_size: int, *, num_layers: int = 1,
        bidirectional: bool = False,
    ) -> None:  # fmt: skip
        super().__init__(
            params, name, input_size, hidden_size, num_layers=num_layers, bidirectional=bidirectional, bias=zeros
        )


CELLS: dict[str, type[Lstm] | type[Gru] | type[Rnn]] = {"lstm": Lstm, "gru": Gru, "rnn": Rnn}


def cell_named(function: str, cell: str) -> type[Lstm] | type[Gru] | type[Rnn]:
    """The layer that `cell` names. Raises TypeError and ValueError in the name of `function`."""
    return CELLS[Door(function).choice("cell", cell, tuple(CELLS))]
