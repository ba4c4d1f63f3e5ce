"""Connected speech: symbols frame by frame, for CTC."""

from __future__ import annotations

from pyasr.layers import Chain, Dropout, FrameStack, Layer, Linear, Lstm, chain
from pyasr.params import Params


def lstm_ctc(
    params: Params, input_size: int, symbols: int, *, hidden: int = 128, layers: int = 2, dropout: float = 0.3,
    stack: int = 3,
) -> Chain:  # fmt: skip
    """Features [T, B, input_size] -> logits [⌈T / stack⌉, B, symbols]: stacked frames, bidirectional LSTMs, a linear map.

    symbols counts the blank; hidden is the size of each direction; dropout comes before every LSTM but the first.

    Source: Graves, Fernández, Gomez, Schmidhuber, ICML 2006, with stacked frames as Sak et al., Interspeech 2015.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.models.lstm_ctc(params, 39, 29, hidden=8)
    >>> params.init(seed=0)
    >>> lengths = np.array([20, 11], "i4")
    >>> logits, saved = model.forward(np.zeros((20, 2, 39), "f4"), lengths)
    >>> logits.shape, model.out_lengths(lengths)
    ((7, 2, 29), array([7, 4], dtype=int32))
    """
    stages: list[Layer] = [FrameStack(params, stack)]
    for k in range(layers):
        if k > 0:
            stages.append(Dropout(params, f"dropout{k}", dropout))
        stages.append(
            Lstm(params, f"lstm{k}", stack * input_size if k == 0 else 2 * hidden, hidden, bidirectional=True)
        )
    return chain(*stages, Linear(params, "out", 2 * hidden, symbols))
