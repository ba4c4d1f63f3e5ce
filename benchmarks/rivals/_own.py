"""Ratios of our own calls: two threads to one, tangents to a forward, a Gauss-Newton product to a gradient."""

from __future__ import annotations

import functools
import importlib.util
import os
from collections.abc import Iterator
from typing import Any

import numpy as np
from _layers import OPS, SHAPES, Scope, gradients_like, normal, step
from _report import Race, close

import pyasr
from pyasr import _cpu
from pyasr.counter import stream


def random_weights(D: int, H: int, S: int = 1) -> list[np.ndarray]:
    """w_ih, w_hh and bias of an LSTM, uniform as torch's."""
    shapes = (S, 4 * H, D), (S, 4 * H, H), (S, 4 * H)
    return [stream("lstm benchmark", *shape).uniform(-(H**-0.5), H**-0.5, shape).astype(np.float32) for shape in shapes]


def bidirectional(scope: Scope) -> Iterator[Race]:
    """Forward and backward in two directions, by the wall clock; before it, what the machine makes of two threads at best."""
    if len(os.sched_getaffinity(0)) < 2:
        print("bidirectional: this process has one CPU")
        return
    rounds = 1_000_000
    yield Race(
        "multiply-adds in registers, two threads", "pyasr", functools.partial(_cpu._probe, "fma", rounds, 2),
        {"one thread": functools.partial(_cpu._probe, "fma", 2 * rounds, 1)}, clock="wall",
    )  # fmt: skip
    for T, B, D, H, *_ in SHAPES:
        T = scope.T(T)
        x, dy, lengths = normal("both", (T, B, D)), normal("both", (T, B, 2 * H)), np.full(B, T, np.int32)
        weights = random_weights(D, H, 2)
        gradient = gradients_like(weights)
        two, one = (functools.partial(step, "lstm", x, lengths, weights, dy, gradient, n) for n in (2, 1))
        (y, dx), dw_hh = two(), gradient["dw_hh"].copy()
        want_y, want_dx = one()
        if not (np.array_equal(y, want_y) and np.array_equal(dx, want_dx) and np.array_equal(dw_hh, gradient["dw_hh"])):
            raise SystemExit("bidirectional: two threads give other bits than one: nothing was timed")
        yield Race(
            f"bidirectional lstm, T{T} B{B} D{D} H{H}, two threads", "pyasr", two, {"one thread": one}, scope.mark(1.5),
            clock="wall",
        )  # fmt: skip


def jvp(scope: Scope) -> Iterator[Race]:
    """Tangents along a direction of the weights; checked by a central difference in float64."""
    for T, B, D, H, *_ in SHAPES:
        T = scope.T(T)
        x, lengths, weights = normal("jvp", (T, B, D)), np.full(B, T, np.int32), random_weights(D, H)
        along = [normal("along", w.shape) / np.float32(w[0].size ** 0.5) for w in weights]
        forward = functools.partial(OPS.lstm_forward, x, lengths, *weights, threads=scope.threads)
        saved = forward()[-1]
        tangents = functools.partial(OPS.lstm_jvp, saved, None, *along, threads=scope.threads)
        sides = []
        for by in (1e-4, -1e-4):
            moved = [w + by * v.astype(np.float64) for w, v in zip(weights, along, strict=True)]
            sides.append(OPS.lstm_forward(x.astype(np.float64), lengths, *moved, threads=scope.threads)[0])
        close("lstm jvp", tangents()[0], (sides[0] - sides[1]) / 2e-4, 1e-4)
        yield Race(
            f"lstm jvp over a forward, T{T} B{B} D{D} H{H}", "pyasr", forward, {"jvp": tangents}, scope.mark(2.2),
            at_most=True,
        )  # fmt: skip


class Problem:
    """Two LSTM layers, a linear one and CTC: the gradient, and the Gauss-Newton product Jᵀ H J v along a direction v."""

    V, D, H = 32, 80, 256

    def __init__(self, T: int, B: int) -> None:
        self.params = pyasr.Params(OPS)
        lstm = pyasr.layers.Lstm(self.params, "lstm", self.D, self.H, num_layers=2)
        self.model = pyasr.layers.chain(lstm, pyasr.layers.Linear(self.params, "out", self.H, self.V))
        self.params.init(seed=0)
        self.criterion = pyasr.losses.Ctc(OPS)
        self.x, self.lengths = normal("newton", (T, B, self.D)), np.full(B, T, np.int32)
        self.labels = stream("newton benchmark").integers(1, self.V, (B, max(T // 5, 1))).astype(np.int32)
        self.v = self.params.zeros()
        for name, shape in self.params.shapes().items():
            self.params.view(self.v, name)[...] = normal(f"direction of {name}", shape)
        logits, self.saved = self.model.forward(self.x, self.lengths)
        self.loss = self.criterion(logits, self.lengths, self.labels)
        self.out = self.params.zeros()

    def gradient(self) -> np.ndarray:
        logits, saved = self.model.forward(self.x, self.lengths)
        loss = self.criterion(logits, self.lengths, self.labels)
        self.out[:] = 0
        self.model.backward(saved, loss.grad, self.out, need_dx=False)
        return self.out

    def product(self) -> np.ndarray:
        tangent = self.model.jvp(self.saved, None, self.v)
        self.out[:] = 0
        self.model.backward(self.saved, self.loss.curvature(tangent), self.out, need_dx=False)
        return self.out

    def torch_product(self) -> Any:
        """The same product by differentiating the gradient's inner product; its oneDNN cells know no second derivative."""
        import torch

        lstm, out = torch.nn.LSTM(self.D, self.H, num_layers=2), torch.nn.Linear(self.H, self.V)
        params, along = [], []
        for name, p in [*lstm.named_parameters(), *out.named_parameters()]:
            ours = f"out.{name}" if name in ("weight", "bias") else "lstm." + name.replace("bias_ih", "bias")
            of_v = np.zeros(tuple(p.shape), np.float32)
            with torch.no_grad():
                p.zero_()
                if "bias_hh" not in name:
                    p.copy_(torch.from_numpy(self.params[ours].reshape(of_v.shape)))
                    of_v[...] = self.params.view(self.v, ours).reshape(of_v.shape)
            params.append(p)
            along.append(torch.from_numpy(of_v))
        x = torch.from_numpy(self.x)
        with torch.no_grad():
            y = out(lstm(x)[0]).softmax(-1)

        def product() -> Any:
            with torch.backends.mkldnn.flags(enabled=False):
                logits = out(lstm(x)[0])
                w = torch.zeros_like(logits, requires_grad=True)
                g = torch.autograd.grad(logits, params, w, create_graph=True)
                (tangent,) = torch.autograd.grad(g, w, along, retain_graph=True)
                curved = y * tangent
                curved = (curved - y * curved.sum(-1, keepdim=True)) / x.shape[1]
                return dict(
                    zip(
                        [n for n, _ in lstm.named_parameters()],
                        torch.autograd.grad(logits, params, curved),
                        strict=False,
                    )
                )

        return product


def newton(scope: Scope) -> Iterator[Race]:
    """One product against one gradient, and against torch's double backward where torch is installed."""
    T, B = scope.T(100), 8
    problem = Problem(T, B)
    v, product = problem.v.astype(np.float64), problem.product().astype(np.float64)
    tangent = problem.model.jvp(problem.saved, None, problem.v)
    curved = float(np.sum(tangent * problem.loss.curvature(tangent), dtype=np.float64))
    close("Gauss-Newton product, v·Gv", v @ product, curved, 1e-4)
    name = f"Gauss-Newton product, 2 x lstm + linear + ctc, T{T} B{B} D80 H256 V32"
    yield Race(
        f"{name}, over a gradient",
        "pyasr",
        problem.gradient,
        {"product": problem.product},
        scope.mark(1.6),
        at_most=True,
    )
    if importlib.util.find_spec("torch") is None:
        print(f"{name}: torch is not installed")
        return
    theirs, ours = problem.torch_product(), problem.params.view(problem.product(), "lstm.weight_hh_l0")
    close("Gauss-Newton product, lstm.weight_hh_l0", ours[0], theirs()["weight_hh_l0"], 1e-3)
    yield Race(name, "torch", problem.product, {"double backward": theirs}, rounds=3)
