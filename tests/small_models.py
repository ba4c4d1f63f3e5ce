"""What the tests of second-order training share: small models whose batches tell their labels."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

import pyasr
from pyasr.batches import pad
from pyasr.layers import Linear
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not
from pyasr.text import pad_labels

F, SYMBOLS = 3, 4
BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_kind = pytest.mark.parametrize("kind", ["words", "ctc"])


def built(kind, backend="numpy", dtype="float64", hidden=2, layers=1, dropout=0.0):
    """A small model, its criterion and three batches of utterances that tell their labels."""
    params = pyasr.Params(pyasr.backend(backend), dtype)
    options = {"hidden": hidden, "dropout": dropout}
    if kind == "words":
        model = pyasr.models.word_classifier(params, F, SYMBOLS, **options)
    else:
        model = pyasr.models.lstm_ctc(params, F, SYMBOLS, layers=layers, stack=2, **options)
    params.init(5)
    rng, batches = np.random.default_rng(2), []
    for size in (2, 3, 1):
        lengths = rng.integers(8, 15, size)
        labels = [rng.integers(1, SYMBOLS, 2).astype("i4") for _ in lengths]
        features = [
            0.3 * rng.standard_normal((n, F)) + np.eye(SYMBOLS, F)[label[0]]
            for n, label in zip(lengths, labels, strict=True)
        ]
        x, n = pad([f.astype(dtype) for f in features])
        batches.append((x, n, np.array([u[0] for u in labels], "i4") if kind == "words" else pad_labels(labels)))
    return model, (SoftmaxCrossEntropy if kind == "words" else Ctc)(params.ops), batches


def weights_of(params):
    """Where weights lie in the flat vector; elsewhere are gaps."""
    probe = params.zeros()
    for name in params.names():
        params.view(probe, name)[...] = 1
    return np.flatnonzero(probe)


class Watched:
    """A backend whose cg tells what it was asked and what it went through."""

    def __init__(self, ops):
        self.ops, self.calls, self.iterates = ops, [], []

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def cg(self, A, b, x0, *, callback, **options):
        def seen(x):
            self.iterates[-1].append(x.copy())
            callback(x)

        self.calls.append({"b": b, "x0": x0, **options})
        self.iterates.append([])
        return self.ops.cg(A, b, x0, callback=seen, **options)


def watched(model):
    model.params.ops = Watched(model.params.ops)
    return model.params.ops


class Squares:
    """Half the squared distance of y to its targets, times `curved` in the curvature that it claims."""

    def __init__(self, curved=1.0, limit=math.inf, sign=1.0):
        self.curved, self.limit, self.sign = curved, limit, sign

    def __call__(self, y, lengths, targets):
        error = y - targets
        total = 0.5 * float((error**2).sum())
        return SimpleNamespace(
            sum=total if np.abs(y).max(initial=0) < self.limit else math.nan, count=len(y), sum_grad=self.sign * error,
            sum_curvature=lambda v: self.curved * v,
        )  # fmt: skip


def least_squares(rows=40, inputs=6):
    """A linear layer, its batches, and the loss of the best weights."""
    params = pyasr.Params(pyasr.backend("numpy"), "float64")
    model = Linear(params, "out", inputs, 2)
    params.init(1)
    rng = np.random.default_rng(4)
    x, targets = rng.standard_normal((rows, inputs)), 3 * rng.standard_normal((rows, 2))
    inputs_and_one = np.hstack([x, np.ones((rows, 1))])
    best = inputs_and_one @ np.linalg.lstsq(inputs_and_one, targets, rcond=None)[0]
    batches = [(x[i : i + 10], None, targets[i : i + 10]) for i in range(0, rows, 10)]
    return model, batches, 0.5 * float(((best - targets) ** 2).sum()) / rows
