"""The recurrent kernels against the machine: the least time that their flops and their weights take, over the time they took.

The least time of a call is the larger of flops over the multiply-add peak and the bytes of the recurrent weights, once per step
and direction of the pass, over the read bandwidth of the level of cache that holds them packed; both are of probe.py, in the same
run. Inputs, activations and the nonlinearities are left out: the limit is a bound from below.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import probe
from _layers import OPS, SHAPES, Scope, gradients_like, normal, step
from _own import random_weights

import pyasr

MARKS = {"recurrent step": 0.85, "forward": 0.75, "forward + backward": 0.7}


@dataclass(frozen=True)
class Line:
    """One call of a kernel, and what it must at least do."""

    kernel: str
    shape: tuple[int, int, int, int]  # T, B, D, H
    run: Callable[[], Any]
    passes: int  # over the recurrent weights, per step

    @property
    def flops(self) -> float:
        T, B, D, H = self.shape
        return (2 if self.passes == 1 else 6) * T * B * 4 * H * (D + H)

    @property
    def weights(self) -> float:
        """Bytes of the packed recurrent weights."""
        return 16.0 * self.shape[3] ** 2


def frozen(weights: list[np.ndarray]) -> Any:
    """A frozen Lstm of one layer with these weights."""
    _, rows, D = weights[0].shape
    params = pyasr.Params(OPS)
    layer = pyasr.layers.Lstm(params, "lstm", D, rows // 4)
    params.init(seed=0)
    for name, w in zip(("weight_ih", "weight_hh", "bias"), weights, strict=True):
        params[f"lstm.{name}_l0"][:] = w
    return layer.freeze()


def lines(scope: Scope) -> Iterator[Line]:
    """With D = 1 and weights packed beforehand a forward is the recurrent product and the cells."""
    steps = [("recurrent step", 200, B, 1, H) for H in (256, 512, 1024) for B in (4, 8, 16, 32)]
    whole = [(kernel, *shape[:4]) for shape in SHAPES for kernel in ("forward", "forward + backward")]
    for kernel, T, B, D, H in (*steps, *whole):
        T = scope.T(T)
        x, lengths, weights = normal("roofline", (T, B, D)), np.full(B, T, np.int32), random_weights(D, H)
        if kernel == "recurrent step":
            yield Line(kernel, (T, B, D, H), functools.partial(frozen(weights).forward, x, threads=scope.threads), 1)
        elif kernel == "forward + backward":
            dy, gradient = normal("roofline", (T, B, H)), gradients_like(weights)
            run = functools.partial(step, "lstm", x, lengths, weights, dy, gradient, scope.threads)
            yield Line(kernel, (T, B, D, H), run, 2)
        else:
            run = functools.partial(OPS.lstm_forward, x, lengths, *weights, threads=scope.threads)
            yield Line(kernel, (T, B, D, H), run, 1)


def measure(scope: Scope, limits: probe.Limits, rounds: int) -> list[dict[str, Any]]:
    """The best round of each line, as a share of its limit; a kernel that beats the multiply-add probe becomes the limit."""
    timed = [(of, probe.best_of(of.run, scope.threads, rounds)) for of in lines(scope)]
    for of, seconds in timed:
        limits.others[f"{of.kernel} {of.shape}, GFLOP/s"] = of.flops / seconds / 1e9
    peak, found = 1e9 * limits.flops_peak(), []
    for of, seconds in timed:
        level = next((n for n in probe.LEVELS if n >= of.weights), probe.LEVELS[-1])
        by_flops = of.flops / peak
        by_weights = of.passes * of.shape[0] * of.weights / (1e9 * limits.read[level])
        share, mark = max(by_flops, by_weights) / seconds, scope.mark(MARKS[of.kernel])
        found.append(
            {
                "kernel": of.kernel,
                "shape": dict(zip("TBDH", of.shape, strict=True)),
                "seconds": seconds,
                "GFLOP/s": of.flops / seconds / 1e9,
                "weights, bytes": of.weights,
                "read, GB/s": limits.read[level],
                "bound": "weights" if by_weights > by_flops else "flops",
                "share of the roofline": share,
                "share of the peak": by_flops / seconds,
                "mark": mark,
                "met": None if mark is None else share >= mark,
            }
        )
    return found
