"""Recurrent layers and CTC beside torch. A race is added by a generator here and its name in RACES of recurrent.py."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from _report import Race, close

import pyasr
from pyasr.counter import stream

OPS = pyasr.backend("cpp")
SHAPES = (200, 16, 40, 256, 1.25, 4.0), (500, 32, 40, 512, 1.15, None)  # T, B, D, H, mark, mark of ragged lengths
FORWARD = {1: 1.2, 4: 1.6, 8: 1.25}  # B -> mark, at T100 D1024 H1024


@dataclass(frozen=True)
class Scope:
    """How much is run: the threads of both sides, a limit of T (which takes the marks away), and what takes minutes."""

    threads: int
    frames: int | None
    long: bool

    def T(self, whole: int) -> int:
        return min(whole, self.frames or whole)

    def mark(self, wanted: float | None) -> float | None:
        return None if self.frames else wanted


def normal(what: str, shape: tuple[int, ...]) -> np.ndarray:
    """Standard normal float32 numbers."""
    return stream("recurrent benchmark", what, *shape).standard_normal(shape, np.float32)


def weights_of(module: Any) -> list[np.ndarray]:
    """w_ih, w_hh and bias, each [1, ...], of one layer of torch's: its two biases are added where they act alike."""
    w_ih, w_hh, b_ih, b_hh = (p.detach().numpy() for p in module.parameters())
    bias, rows = b_ih + b_hh, 2 * module.hidden_size
    if module.mode == "GRU":  # r multiplies the second bias of n
        bias = np.concatenate([bias[:rows], b_ih[rows:], b_hh[rows:]])
    return [np.ascontiguousarray(w[None]) for w in (w_ih, w_hh, bias)]


def gradients_like(weights: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.zeros_like(w) for name, w in zip(("dw_ih", "dw_hh", "dbias"), weights, strict=True)}


def step(family: str, x: np.ndarray, lengths: np.ndarray, weights: Any, dy: Any, gradient: Any, threads: int) -> Any:
    """Forward and backward with dx, into gradients that begin at zero: y, dx."""
    y, *_, saved = getattr(OPS, f"{family}_forward")(x, lengths, *weights, threads=threads)
    for g in gradient.values():
        g[:] = 0
    return y, getattr(OPS, f"{family}_backward")(saved, dy, **gradient, threads=threads)[0]


def both_ways(family: str, shape: tuple[int, int, int, int], scope: Scope, lengths: np.ndarray | None = None) -> Race:
    """Forward and backward with dx, over whole sequences or, with lengths, over ragged ones that torch packs."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    T, B, D, H = shape
    torch.manual_seed(0)
    layer = getattr(torch.nn, family.upper())(D, H)
    mine, dy = normal("x", (T, B, D)), normal("dy", (T, B, H))
    x, their_dy = torch.from_numpy(mine.copy()).requires_grad_(), torch.from_numpy(dy)
    weights, limits = weights_of(layer), np.full(B, T, np.int32) if lengths is None else lengths
    gradient, their_lengths = gradients_like(weights), torch.from_numpy(limits.astype(np.int64))

    def theirs() -> Any:
        layer.zero_grad(set_to_none=True)
        x.grad = None
        if lengths is None:
            y, _ = layer(x)
        else:
            packed, _ = layer(pack_padded_sequence(x, their_lengths, enforce_sorted=False))
            y, _ = pad_packed_sequence(packed, total_length=T)
        y.backward(their_dy)
        return y

    ours = functools.partial(step, family, mine, limits, weights, dy, gradient, scope.threads)
    want, (got, dx) = theirs(), ours()
    close(f"{family} y", got, want.detach(), 1e-5)
    close(f"{family} dx", dx, x.grad, 1e-4)
    close(f"{family} dw_hh", gradient["dw_hh"][0], layer.weight_hh_l0.grad, 1e-4)
    close(f"{family} dw_ih", gradient["dw_ih"][0], layer.weight_ih_l0.grad, 1e-4)
    form = f"nn.{family.upper()}" + ("" if lengths is None else ", packed")
    name = f"{family} forward + backward, T{T} B{B} D{D} H{H}" + ("" if lengths is None else ", ragged")
    return Race(name, "torch", ours, {form: theirs})


def lstm(scope: Scope) -> Iterator[Race]:
    for T, B, D, H, mark, _ in SHAPES:
        race = both_ways("lstm", (scope.T(T), B, D, H), scope)
        race.mark = scope.mark(mark)
        yield race


def gru(scope: Scope) -> Iterator[Race]:
    for T, B, D, H, *_ in SHAPES:
        yield both_ways("gru", (scope.T(T), B, D, H), scope)


def ragged(scope: Scope) -> Iterator[Race]:
    """Lengths uniform in [T/2, T]. torch takes 20 s for a packed call of the larger shape: only where it is asked for."""
    for T, B, D, H, _, mark in SHAPES[: 1 + scope.long]:
        T = scope.T(T)
        lengths = stream("ragged benchmark", T).integers(T // 2, T, B, np.int32, endpoint=True)
        lengths[0] = T
        race = both_ways("lstm", (T, B, D, H), scope, lengths)
        race.mark, race.rounds = scope.mark(mark), 5 if H == 256 else 2
        yield race


def forward(scope: Scope) -> Iterator[Race]:
    """Inference: weights given per call, and those of a layer that packed them once, in float32 and bfloat16."""
    import torch

    T, D, H = scope.T(100), 1024, 1024
    torch.manual_seed(0)
    module = torch.nn.LSTM(D, H)
    weights = weights_of(module)
    params = pyasr.Params(OPS)
    layer = pyasr.layers.Lstm(params, "lstm", D, H)
    params.init(seed=0)
    layer.load_state_dict({name: w.numpy() for name, w in module.state_dict().items()})
    for B, mark in FORWARD.items():
        x, lengths = normal("forward", (T, B, D)), np.full(B, T, np.int32)
        theirs = functools.partial(torch.inference_mode()(module), torch.from_numpy(x))
        want = theirs()[0]
        ours = functools.partial(OPS.lstm_forward, x, lengths, *weights, threads=scope.threads)
        close(f"lstm forward B{B}", ours()[0], want, 1e-5)
        name = f"lstm forward, T{T} B{B} D{D} H{H}"
        yield Race(name, "torch", ours, {"nn.LSTM": theirs}, scope.mark(mark))
        for storage, wanted, tolerance in (("float32", mark, 1e-5), ("bfloat16", 1.8 if B == 1 else None, 2e-2)):
            frozen = layer.freeze(storage=storage)
            ours = functools.partial(frozen.forward, x, lengths, state=None, threads=scope.threads)
            close(f"lstm frozen {storage} B{B}", ours()[0], want, tolerance)
            yield Race(f"{name}, frozen {storage}", "torch", ours, {"nn.LSTM": theirs}, scope.mark(wanted))


def ctc(scope: Scope) -> Iterator[Race]:
    import torch

    T, B = scope.T(500), 32
    U = min(50, T // 4)  # labels that a short T still holds
    for V, mark in ((32, 20.0), (5000, 5.0)):
        logits = normal("ctc", (T, B, V))
        labels = stream("ctc benchmark", V).integers(1, V, (B, U)).astype(np.int32)
        lengths, label_lengths = np.full(B, T, np.int32), np.full(B, U, np.int32)
        x = torch.from_numpy(logits.copy()).requires_grad_()
        rest = [torch.from_numpy(a.astype(np.int64)) for a in (labels, lengths, label_lengths)]

        def theirs(x: Any = x, rest: Any = rest) -> Any:
            x.grad = None
            loss = torch.nn.functional.ctc_loss(x.log_softmax(-1), *rest, reduction="none")
            loss.sum().backward()
            return loss

        ours = functools.partial(OPS.ctc_loss, logits, lengths, labels, label_lengths, threads=scope.threads)
        want, (loss, dlogits) = theirs(), ours()
        close("ctc loss", loss, want.detach(), 1e-5)
        close("ctc dlogits", dlogits, x.grad, 1e-2)  # theirs is the less accurate: see tests/test_oracle.py
        del dlogits
        yield Race(
            f"ctc_loss, T{T} B{B} U{U} V{V}", "torch", ours, {"log_softmax + ctc_loss + backward": theirs},
            scope.mark(mark),
        )  # fmt: skip
