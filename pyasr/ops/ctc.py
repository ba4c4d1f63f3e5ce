"""ctc_loss: connectionist temporal classification with its log-softmax and its gradient in one call.

The notation is that of Graves, Fernández, Gomez and Schmidhuber, "Connectionist temporal classification" (ICML 2006): alpha
and beta over the labels extended by blanks, here in the log domain, with beta_t leaving out the output of frame t.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door
from pyasr.ops._op import Row


def check(
    logits: Any, lengths: Any, labels: Any, label_lengths: Any, blank: Any, zero_infinity: Any, threads: Any, *,
    op: str = "ctc_loss",
) -> None:  # fmt: skip
    """Raise for bad arguments. Of labels [B,U] only the first label_lengths[b] of row b are looked at."""
    door = Door(op)
    door.array("logits", logits, FLOATS)
    door.read("logits", logits, "T B V", logits.dtype)
    door.read("lengths", lengths, "B", INT32)
    door.read("labels", labels, "B U", INT32)
    door.read("label_lengths", label_lengths, "B", INT32)
    if door["V"] == 0:
        door.value_error("logits must have at least one symbol, got V = 0")
    blank = door.integer("blank", blank, 0, door["V"] - 1)
    door.boolean("zero_infinity", zero_infinity)
    door.threads(threads)
    door.lengths_within("lengths", lengths, door["T"], "T")
    door.lengths_within("label_lengths", label_lengths, door["U"], "U")
    used = np.arange(door["U"]) < label_lengths[:, None]  # [B,U]
    bad = np.argwhere(used & ((labels < 0) | (labels >= door["V"]) | (labels == blank)))
    if bad.size:
        b, u = bad[0]
        door.value_error(
            f"the first label_lengths[{b}] = {label_lengths[b]} of labels[{b}] must lie in [0, V = {door['V']}) and differ "
            f"from blank = {blank}, got {labels[b, u]} at ({b}, {u})"
        )


def log_softmax(x: np.ndarray) -> np.ndarray:
    """log softmax over the last axis; NaN in a row that holds NaN, inf or nothing but -inf."""
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def shifted(x: np.ndarray, by: int) -> np.ndarray:
    """x[s - by] where that exists, -inf elsewhere."""
    out = np.full_like(x, -np.inf)
    out[max(by, 0) : len(x) + min(by, 0)] = x[max(-by, 0) : len(x) - max(by, 0)]
    return out


def forward_backward(log_y: np.ndarray, labels: np.ndarray, blank: int) -> tuple[float, np.ndarray, np.ndarray]:
    """log p(labels | x), the posteriors [T,V] of the symbols at every frame, and their sum [T] before it is made one.

    log_y is [T,V] with T ≥ 1, labels [L]. Where log p is -inf the other two are meaningless.
    """
    frames, size = len(log_y), 2 * len(labels) + 1
    extended = np.full(size, blank)  # l' of the paper: b l1 b l2 b ... b
    extended[1::2] = labels
    may_skip = np.zeros(size, bool)  # from s - 2 to s, over a blank between two different labels
    may_skip[3::2] = labels[1:] != labels[:-1]
    y = log_y[:, extended]  # [T,S]

    alpha = np.full((frames, size), -np.inf)
    alpha[0, :2] = y[0, :2]
    for t in range(1, frames):
        a = np.logaddexp(alpha[t - 1], shifted(alpha[t - 1], 1))
        a = np.logaddexp(a, np.where(may_skip, shifted(alpha[t - 1], 2), -np.inf))
        alpha[t] = a + y[t]

    beta = np.full((frames, size), -np.inf)
    beta[-1, -2:] = 0.0
    for t in range(frames - 2, -1, -1):
        by = beta[t + 1] + y[t + 1]
        b = np.logaddexp(by, shifted(by, -1))
        beta[t] = np.logaddexp(b, shifted(np.where(may_skip, by, -np.inf), -2))

    log_p = np.logaddexp.reduce(alpha[-1, -2:])
    occupancy = np.exp(alpha + beta - log_p)  # [T,S]
    mass = occupancy.sum(1)  # one, up to rounding: every path is somewhere
    posterior = np.zeros_like(log_y)
    np.add.at(posterior.T, extended, (occupancy / mass[:, None]).T)
    return float(log_p), posterior, mass


def ctc_loss(
    logits: np.ndarray,
    lengths: np.ndarray,
    labels: np.ndarray,
    label_lengths: np.ndarray,
    *,
    blank: int = 0,
    zero_infinity: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    check(logits, lengths, labels, label_lengths, blank, zero_infinity, threads)
    loss = np.zeros(len(lengths))
    dlogits = np.zeros(logits.shape)
    with np.errstate(all="ignore"):
        for b, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
            label = labels[b, :count]
            log_y = log_softmax(logits[:frames, b].astype(np.float64))
            if np.isnan(log_y).any():  # the utterance is lost, feasible or not; its neighbors are not
                loss[b], dlogits[:frames, b] = np.nan, np.nan
                continue
            log_p, posterior = (0.0 if count == 0 else -np.inf), np.zeros((0, 1))
            if frames > 0 and count + np.count_nonzero(label[1:] == label[:-1]) <= frames:
                log_p, posterior, _ = forward_backward(log_y, label, blank)
            if log_p > -np.inf:
                dlogits[:frames, b] = np.exp(log_y) - posterior
            loss[b] = 0.0 if zero_infinity and log_p == -np.inf else 0.0 - log_p
        return loss.astype(logits.dtype), dlogits.astype(logits.dtype)


def example(rng: np.random.Generator, size: tuple[int, int, int, int], dtype: np.dtype) -> tuple[tuple, dict]:
    frames, batch, count, symbols = size
    logits = (2 * rng.standard_normal((frames, batch, symbols))).astype(dtype)
    lengths = rng.integers(frames // 2, frames, batch, np.int32, endpoint=True)
    label_lengths = rng.integers(0, count, batch, np.int32, endpoint=True)
    if batch > 1:
        lengths[0], label_lengths[0] = frames, count  # the longest of both
        label_lengths[-1] = 0
    if symbols == 1:
        label_lengths[:] = 0
    labels = rng.integers(1, max(symbols, 2), (batch, count), np.int32)  # few symbols: many repeats
    blank = symbols // 3
    labels[labels == blank] = 0
    labels[np.arange(count) >= label_lengths[:, None]] = -7  # not read
    return (logits, lengths, labels, label_lengths), {"blank": blank}


def loss_bytes(logits: np.ndarray, *_: Any, **__: Any) -> float:
    return 2.0 * logits.nbytes


def lattice_flops(logits: np.ndarray, lengths: np.ndarray, label_lengths: np.ndarray, per_cell: float) -> float:
    """Of the softmax, and of the cells of every lattice."""
    cells = float(np.sum(lengths.astype(np.float64) * (2.0 * label_lengths + 1)))
    return 20.0 * float(lengths.sum()) * logits.shape[2] + per_cell * cells


def loss_flops(
    logits: np.ndarray, lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray, **_: Any
) -> float:
    return lattice_flops(logits, lengths, label_lengths, 60.0)


# Frames, utterances, labels and symbols.
SIZES = (
    (1, 1, 0, 1),
    (3, 0, 2, 4),
    (0, 3, 2, 5),
    (9, 3, 0, 1),
    (7, 4, 3, 2),  # mostly infeasible
    (13, 5, 4, 29),
    (31, 3, 17, 5),
    (67, 3, 33, 29),
    (5, 3, 2, 5000),
    (211, 3, 65, 31),
)
BENCHMARK_SIZE = (500, 32, 50, 32)


ROWS = (
    Row(
        reference=ctc_loss,
        example=example,
        sizes=SIZES,
        benchmark_size=BENCHMARK_SIZE,
        tolerance={"float32": 5e-6, "float64": 1e-11},
        reason="relative rounding of a cell grows with the square root of the frames",
        bytes=loss_bytes,
        flops=loss_flops,
        numba="pyasr.ops._numba_ctc:ctc_loss",
    ),
)
