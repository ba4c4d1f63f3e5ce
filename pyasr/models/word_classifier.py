"""One word per recording."""

from __future__ import annotations

from pyasr.layers import Chain, Dropout, Layer, Linear, Lstm, MeanOverTime, chain
from pyasr.params import Params


def word_classifier(
    params: Params, input_size: int, classes: int, *, hidden: int = 64, layers: int = 1, dropout: float = 0.0,
    bidirectional: bool = True,
) -> Chain:  # fmt: skip
    """Features [T, B, input_size] -> logits [B, classes]: LSTMs in one or both directions, the mean over time, a linear map.

    hidden is the size of each direction; dropout comes before every layer but the first.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.models.word_classifier(params, 39, 10, hidden=8)
    >>> params.init(seed=0)
    >>> logits, saved = model.forward(np.zeros((20, 3, 39), "f4"), np.array([20, 11, 5], "i4"))
    >>> logits.shape
    (3, 10)
    """
    stack: list[Layer] = []
    size = input_size
    for k in range(layers):
        if k > 0:
            stack.append(Dropout(params, f"dropout{k}", dropout))
        lstm = Lstm(params, f"lstm{k}", size, hidden, bidirectional=bidirectional)
        stack.append(lstm)
        size = lstm.output_size
    pool, out = MeanOverTime(params), Linear(params, "out", size, classes)
    return chain(*stack, pool, Dropout(params, "dropout", dropout), out)
