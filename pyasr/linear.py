"""Linear classifiers: what a recognizer is to be compared with."""

from __future__ import annotations

import numpy as np

from pyasr.counter import stream
from pyasr.losses import Hinge
from pyasr.ops import backend
from pyasr.ops._door import FLOATS, INT32, Door


def linear_svm(
    x: np.ndarray,
    labels: np.ndarray,
    *,
    penalty: float = 0.1,
    epochs: int = 20,
    batch_size: int = 10,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """A support vector machine of many classes, learned by the subgradient method: (weight [V,D], bias [V]), float64.

    x [N,D] holds a feature vector per row, float32 or float64 and finite; labels [N] int32 are 0 … V−1. The class of x is
    (x @ weight.T + bias).argmax(-1).

    Minimized is penalty/2·‖W‖² plus the mean hinge loss of Crammer and Singer over features that are standardized, with a column
    of ones; mean and deviation of every feature are folded into weight and bias, and a feature that never changes gets weight 0.
    Step t is 1/(penalty·t) long, over batches in an order keyed by (seed, epoch), and what is returned is the mean of all
    iterates, the t-th with weight t. The same bits in every run. The error falls as 1/(penalty·t): on few recordings with many
    features 20 epochs end far above the least objective, though seldom with other classes; give more there, or more penalty.

    Raises TypeError and ValueError naming the argument.

    Source: Shalev-Shwartz et al., "Pegasos", Math. Programming 2011; the weights of the mean are those of Lacoste-Julien,
    Schmidt and Bach, "A simpler approach to obtaining an O(1/t) convergence rate", 2012; the loss is `pyasr.losses.Hinge`.

    >>> from pyasr.linear import linear_svm
    >>> x = np.array([[0.0, 1.0], [0.5, 1.5], [3.0, 0.0], [3.5, 0.5], [6.0, 9.0], [6.5, 9.5]])
    >>> weight, bias = linear_svm(x, np.array([0, 0, 1, 1, 2, 2], "i4"), epochs=100)
    >>> (x @ weight.T + bias).argmax(-1)
    array([0, 0, 1, 1, 2, 2])
    """
    door = Door("linear_svm")
    x, labels = door.read("x", x, "N D", FLOATS), door.read("labels", labels, "N", INT32)
    penalty = door.real("penalty", penalty, 0.0)
    if penalty == 0:
        door.value_error("penalty must be above 0, got 0.0")
    epochs, seed = door.integer("epochs", epochs, 1, 2**31 - 1), door.integer("seed", seed, 0, 2**63 - 1)
    batch_size = door.integer("batch_size", batch_size, 1, 2**31 - 1)
    if not len(x) or not np.isfinite(x).all():
        door.value_error(
            f"x must have rows and be finite, got {f'shape {x.shape}' if not len(x) else 'NaN or infinity'}"
        )
    if labels.min() < 0:
        door.value_error(f"labels must be at least 0, got {labels.min()} at {int(labels.argmin())}")
    mean, deviation = x.mean(0, dtype=np.float64), x.std(0, dtype=np.float64)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12 * np.abs(mean))
    rows = np.concatenate([(x - mean) * scale, np.ones((len(x), 1))], axis=1)
    criterion, step = Hinge(backend("numpy")), 0
    weight = np.zeros((int(labels.max()) + 1, rows.shape[1]))
    average = weight.copy()
    for epoch in range(epochs):
        order = stream("linear_svm", seed, epoch).permutation(len(rows))
        for begin in range(0, len(rows), batch_size):
            chosen, step = order[begin : begin + batch_size], step + 1
            grad = criterion(rows[chosen] @ weight.T, None, labels[chosen]).grad.T @ rows[chosen]
            weight *= 1 - 1 / step
            weight -= grad / (penalty * step)
            average += (weight - average) * (2 / (step + 1))  # Σ t·W_t / Σ t
    scaled = average[:, :-1] * scale
    return scaled, average[:, -1] - scaled @ mean
