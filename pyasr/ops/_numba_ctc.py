"""The Numba twin of ctc_loss: one utterance after the other, float64 inside.

A probability is m · 2^e with e of its own, held in a float64 and -inf for zero: adding needs no exp or log, and a cell can lie
any number of binary orders below its neighbors.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops.ctc import check


def ctc_loss() -> Callable[..., Any]:
    """Compiles and returns the twin."""
    import numba

    jit = numba.njit(nogil=True, error_model="numpy")
    half = 0.5 ** np.arange(1100)  # 2^-d; smaller factors are zero

    @jit
    def add(m0: float, e0: float, m1: float, e1: float) -> tuple[float, float]:
        if e0 < e1:
            m0, e0, m1, e1 = m1, e1, m0, e0
        d = e0 - e1  # NaN when both are zero
        return (m0 + m1 * half[int(d)] if d < 1100.0 else m0), e0

    @jit
    def product(m0: float, e0: float, m1: float, e1: float) -> tuple[float, float]:
        m, e = math.frexp(m0 * m1)
        return m, (e0 + e1 + e if m > 0.0 else -math.inf)

    @jit
    def split_exp(x: float) -> tuple[float, float]:
        if x == -math.inf:
            return 0.0, -math.inf
        e = np.rint(x * 1.4426950408889634)
        r = (x - e * 6.93145751953125e-1) - e * 1.42860682030941723212e-6
        return math.exp(min(max(r, -0.5), 0.5)), e

    @jit
    def softmax(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """y [V] = softmax of x [V]; returns the largest x and log sum exp(x - largest)."""
        largest = -math.inf
        for k in range(len(x)):
            largest = max(largest, x[k])
        total = 0.0
        for k in range(len(x)):
            y[k] = math.exp(x[k] - largest)
            total += y[k]
        for k in range(len(x)):
            y[k] /= total
        return largest, math.log(total)

    @jit
    def utterance(x: np.ndarray, label: np.ndarray, blank: int, y: np.ndarray, dx: np.ndarray) -> float:
        """dx [T,V] = gradient and the returned loss of logits x [T,V] with T ≥ 1; inf where the labels do not fit."""
        frames, size = len(x), 2 * len(label) + 1
        possible = len(label) + np.sum(label[1:] == label[:-1]) <= frames
        symbol = np.full(size, blank)
        symbol[1::2] = label
        em, ee = np.zeros((frames, size)), np.zeros((frames, size))  # emissions
        am, ae = np.zeros((frames, size)), np.full((frames, size), -math.inf)  # alpha
        log_z = 0.0
        for t in range(frames):
            largest, log_total = softmax(x[t], y)
            if math.isnan(log_total):
                return math.nan
            if not possible:
                continue
            dx[t] = y
            log_z += log_total
            for s in range(size):
                em[t, s], ee[t, s] = split_exp(float(x[t, symbol[s]]) - largest)
                m, e = 0.0, -math.inf
                if t == 0:
                    if s < 2:
                        m, e = 1.0, 0.0
                else:
                    m, e = am[t - 1, s], ae[t - 1, s]
                    if s > 0:
                        m, e = add(m, e, am[t - 1, s - 1], ae[t - 1, s - 1])
                    if s > 2 and s % 2 == 1 and symbol[s] != symbol[s - 2]:
                        m, e = add(m, e, am[t - 1, s - 2], ae[t - 1, s - 2])
                am[t, s], ae[t, s] = product(m, e, em[t, s], ee[t, s])
        if not possible:
            return math.inf
        pm, pe = am[-1, size - 1], ae[-1, size - 1]
        if size > 1:
            pm, pe = add(pm, pe, am[-1, size - 2], ae[-1, size - 2])
        if pe == -math.inf:
            return math.inf

        bm, be = np.zeros(size + 2), np.full(size + 2, -math.inf)  # beta times emission of the frame behind
        occupancy = np.zeros(size)
        for t in range(frames - 1, -1, -1):
            mass = 0.0
            for s in range(size):
                if t == frames - 1:
                    m, e = (1.0, 0.0) if s >= size - 2 else (0.0, -math.inf)
                else:
                    m, e = add(bm[s], be[s], bm[s + 1], be[s + 1])
                    if s % 2 == 1 and s + 2 < size and symbol[s] != symbol[s + 2]:
                        m, e = add(m, e, bm[s + 2], be[s + 2])
                d = ae[t, s] + e - pe
                occupancy[s] = math.ldexp(am[t, s] * m, int(d)) if d > -1100.0 else 0.0
                mass += occupancy[s]
                bm[s], be[s] = product(m, e, em[t, s], ee[t, s])
            for s in range(size):
                dx[t, symbol[s]] -= occupancy[s] / mass
        return log_z - math.log(pm) - pe * math.log(2.0)

    @jit
    def batch(
        logits: np.ndarray, lengths: np.ndarray, labels: np.ndarray, label_lengths: np.ndarray, blank: int,
        zero_infinity: bool, loss: np.ndarray, dlogits: np.ndarray,
    ) -> None:  # fmt: skip
        y = np.zeros(logits.shape[2])
        for b in range(len(lengths)):
            frames, count = lengths[b], label_lengths[b]
            if frames == 0:
                value = 0.0 if count == 0 else math.inf
            else:
                dx = np.zeros((frames, logits.shape[2]))
                value = utterance(logits[:frames, b], labels[b, :count], blank, y, dx)
                if value < math.inf:
                    dlogits[:frames, b] = dx
                elif math.isnan(value):
                    dlogits[:frames, b] = math.nan
            loss[b] = 0.0 if zero_infinity and value == math.inf else value

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
        loss, dlogits = np.zeros(len(lengths), logits.dtype), np.zeros_like(logits)
        batch(logits, lengths, labels, label_lengths, int(blank), bool(zero_infinity), loss, dlogits)
        return loss, dlogits

    return ctc_loss
