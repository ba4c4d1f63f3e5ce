"""One word per recording."""

from __future__ import annotations

from pyasr.layers import Chain, Dropout, Layer, Linear, MeanOverTime, chain
from pyasr.layers.recurrent import cell_named
from pyasr.params import Params


def word_classifier(
    params: Params, input_size: int, classes: int, *, hidden: int = 64, layers: int = 1, dropout: float = 0.0,
    bidirectional: bool = True, cell: str = "lstm",
) -> Chain:  # fmt: skip
    """Features [T, B, input_size] -> logits [B, classes]: LSTMs in one or both directions, the mean over time, a linear map.

    hidden is the size of each direction; dropout comes before every layer but the first. With cell "gru" or "rnn"
    those layers stand in place of the LSTMs. Raises ValueError for another cell.

    >>> params = pyasr.Params(pyasr.backend("numpy"))
    >>> model = pyasr.models.word_classifier(params, 39, 10, hidden=8)
    >>> params.init(seed=0)
    >>> logits, saved = model.forward(np.zeros((20, 3, 39), "f4"), np.array([20, 11, 5], "i4"))
    >>> logits.shape
    (3, 10)
    """
    recurrent = cell_named("word_classifier", cell)
    stack: list[Layer] = []
    size = input_size
    for k in range(layers):
        if k > 0:
            stack.append(Dropout(params, f"dropout{k}", dropout))
        layer = recurrent(params, f"{cell}{k}", size, hidden, bidirectional=bidirectional)
        stack.append(layer)
        size = layer.output_size
    pool, out = MeanOverTime(params), Linear(params, "out", size, classes)
    return chain(*stack, pool, Dropout(params, "dropout", dropout), out)
