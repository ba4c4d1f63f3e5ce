"""Connected speech: symbols frame by frame, for CTC."""

from __future__ import annotations

from pyasr.layers import Chain, Dropout, FrameStack, Layer, Linear, chain
from pyasr.layers.recurrent import cell_named
from pyasr.params import Params


def lstm_ctc(
    params: Params, input_size: int, symbols: int, *, hidden: int = 128, layers: int = 2, dropout: float = 0.3,
    stack: int = 3, bidirectional: bool = True, cell: str = "lstm",
) -> Chain:  # fmt: skip
    """Features [T, B, input_size] -> logits [⌈T / stack⌉, B, symbols]: stacked frames, LSTMs in one or both directions, linear.

    symbols counts the blank; hidden is the size of each direction; dropout comes before every LSTM but the first. With one
    direction a frame of logits depends on the past alone, and Mode(bptt=K) may cut the gradient. With cell "gru" or "rnn" those
    layers stand in place of the LSTMs. Raises ValueError for another cell.

    Source: Graves, Fernández, Gomez, Schmidhuber, ICML 2006, with stacked frames as Sak et al., Interspeech 2015.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.models.lstm_ctc(params, 39, 29, hidden=8)
    >>> params.init(seed=0)
    >>> lengths = np.array([20, 11], "i4")
    >>> logits, saved = model.forward(np.zeros((20, 2, 39), "f4"), lengths)
    >>> logits.shape, model.out_lengths(lengths)
    ((7, 2, 29), array([7, 4], dtype=int32))
    """
    recurrent = cell_named("lstm_ctc", cell)
    stages: list[Layer] = [FrameStack(params, stack)]
    size = stack * input_size
    for k in range(layers):
        if k > 0:
            stages.append(Dropout(params, f"dropout{k}", dropout))
        layer = recurrent(params, f"{cell}{k}", size, hidden, bidirectional=bidirectional)
        stages.append(layer)
        size = layer.output_size
    return chain(*stages, Linear(params, "out", size, symbols))
