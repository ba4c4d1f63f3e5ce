"""The numba column of lstm_forward and lstm_backward: products in NumPy, the cell compiled.

Sequences are ranked by falling length, so that step s works on its first rows alone; row begin[s] + r of every array belongs to
step s and rank r. float32 has its own exp, which vectorizes; float64 calls the C library.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numba
import numpy as np

from pyasr.ops import _recurrent as rec

f32 = np.float32


@numba.njit(inline="always", error_model="numpy")
def _exp32(x):  # type: ignore[no-untyped-def]
    """exp with a relative error of 1e-7; Cody and Waite's reduction and the well-known Cephes polynomial. NaN passes."""
    x = f32(-87.3365) if x < f32(-87.3365) else x
    x = f32(88.3762) if x > f32(88.3762) else x
    t = x * f32(1.44269504) + f32(12582912.0)  # 1.5 * 2^23: adding and subtracting it rounds to the nearest integer
    k = t - f32(12582912.0)
    r = (x - k * f32(0.693359375)) - k * f32(-2.12194440e-4)
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    p = p * (r * r) + r + f32(1.0)
    return p * np.int32((np.int32(k) + np.int32(127)) << np.int32(23)).view(np.float32)


@numba.njit(inline="always", error_model="numpy")
def _sigmoid32(x):  # type: ignore[no-untyped-def]
    return f32(1) / (f32(1) + _exp32(-x))


@numba.njit(inline="always", error_model="numpy")
def _tanh32(x):  # type: ignore[no-untyped-def]
    a = abs(x)
    s = x * x
    q = f32(-5.70498872745e-3)
    q = q * s + f32(2.06390887954e-2)
    q = q * s - f32(5.37397155531e-2)
    q = q * s + f32(1.33314422036e-1)
    q = q * s - f32(3.33332819422e-1)
    big = f32(1) - f32(2) / (_exp32(a + a) + f32(1))
    return x + x * (s * q) if a < f32(0.625) else (-big if x < f32(0) else big)


@numba.njit(inline="always", error_model="numpy")
def _sigmoid64(x):  # type: ignore[no-untyped-def]
    return 1.0 / (1.0 + math.exp(-x))


@numba.njit(inline="always", error_model="numpy")
def _tanh64(x):  # type: ignore[no-untyped-def]
    return math.tanh(x)


def _compiled(sigmoid: Callable, tanh: Callable, one: np.floating) -> tuple[Callable, Callable]:
    """The cell, forward and backward, for one floating type."""

    @numba.njit(nogil=True, error_model="numpy", boundscheck=False, fastmath={"contract", "nsz"})
    def forward(gates, c_before, c, h):  # type: ignore[no-untyped-def]
        """gates [n,4*H]: in, before the nonlinearities; out, behind them. c_before, c, h [n,H]."""
        H = c.shape[1]
        for r in range(c.shape[0]):
            i, f, g, o = gates[r, :H], gates[r, H : 2 * H], gates[r, 2 * H : 3 * H], gates[r, 3 * H :]
            before, c_row, h_row = c_before[r], c[r], h[r]
            for j in range(H):
                i[j], f[j], g[j], o[j] = sigmoid(i[j]), sigmoid(f[j]), tanh(g[j]), sigmoid(o[j])
                c_row[j] = f[j] * before[j] + i[j] * g[j]
                h_row[j] = o[j] * tanh(c_row[j])

    @numba.njit(nogil=True, error_model="numpy", boundscheck=False, fastmath={"contract", "nsz"})
    def backward(gates, c_before, c, dh, dc, dgates):  # type: ignore[no-untyped-def]
        """dgates [n,4*H] from dh and dc [n,H] behind the step; dc becomes that before it."""
        H = c.shape[1]
        for r in range(c.shape[0]):
            i, f, g, o = gates[r, :H], gates[r, H : 2 * H], gates[r, 2 * H : 3 * H], gates[r, 3 * H :]
            di, df, dg, do = dgates[r, :H], dgates[r, H : 2 * H], dgates[r, 2 * H : 3 * H], dgates[r, 3 * H :]
            before, c_row, dh_row, dc_row = c_before[r], c[r], dh[r], dc[r]
            for j in range(H):
                th = tanh(c_row[j])
                d = dc_row[j] + dh_row[j] * o[j] * (one - th * th)
                dc_row[j] = d * f[j]
                di[j] = d * g[j] * i[j] * (one - i[j])
                df[j] = d * before[j] * f[j] * (one - f[j])
                dg[j] = d * i[j] * (one - g[j] * g[j])
                do[j] = dh_row[j] * th * o[j] * (one - o[j])

    return forward, backward


_CELLS = {
    np.dtype(np.float32): _compiled(_sigmoid32, _tanh32, f32(1)),
    np.dtype(np.float64): _compiled(_sigmoid64, _tanh64, np.float64(1)),
}


@dataclass(frozen=True, repr=False)
class NumbaLstmSaved:
    """What forward keeps; everything but x is its own."""

    x: np.ndarray  # [T,B,D] the caller's
    order: np.ndarray  # [B] rank -> sequence
    begin: np.ndarray  # [T+1]
    w_ih: np.ndarray  # [S,4*H,D]
    w_hh: np.ndarray  # [S,4*H,H]
    frame: tuple[np.ndarray, ...]  # per direction, [frames]: the row of x as [T*B,D]
    gates: np.ndarray  # [S,frames,4*H]
    h: np.ndarray  # [S,B+frames,H] the initial states by rank, then those behind each row
    c: np.ndarray  # [S,B+frames,H]

    @property
    def frames(self) -> int:
        return self.gates.shape[1]


def _steps(begin: np.ndarray, B: int) -> list[tuple[slice, slice, slice]]:
    """Per step: its rows among gates; the rows of h and c before it and behind it."""
    out, before = [], 0
    for s in range(len(begin) - 1):
        first, n = int(begin[s]), int(begin[s + 1] - begin[s])
        if n == 0:
            break
        out.append((slice(first, first + n), slice(before, before + n), slice(B + first, B + first + n)))
        before = B + first
    return out


def _or_zeros(x: np.ndarray | None, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return np.zeros(shape, dtype) if x is None else x


def forward() -> Callable:
    return lstm_forward


def backward() -> Callable:
    return lstm_backward


def lstm_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    *,
    peephole: np.ndarray | None = None,
    projection: np.ndarray | None = None,
    cell_clip: float = 0.0,
    state_mask: np.ndarray | None = None,
    keep_h: np.ndarray | None = None,
    keep_c: np.ndarray | None = None,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, NumbaLstmSaved]:
    with_ = rec.LstmOptions(peephole, projection, cell_clip, state_mask, keep_h, keep_c)
    states = {"h0": h0, "c0": c0}
    door = rec.check_forward(rec.LSTM, x, lengths, w_ih, w_hh, bias, states, reverse, threads, with_=with_)
    for name, value in vars(with_).items():
        if value is not None and not (name == "cell_clip" and value == 0):
            got = value if name == "cell_clip" else type(value).__name__
            door.value_error(f"{name} must be left out on the numba backend (numpy and cpp have it), got {got}")
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dtype, cell = x.dtype, _CELLS[x.dtype][0]
    order = np.argsort(-lengths.astype(np.int64), kind="stable")
    rows = np.array([int((lengths > s).sum()) for s in range(T)], np.int64)
    begin = np.concatenate([np.zeros(1, np.int64), np.cumsum(rows)])
    step, rank = np.repeat(np.arange(T), rows), np.arange(begin[-1]) - np.repeat(begin[:-1], rows)
    sequence = order[rank]
    frame = tuple((lengths[sequence] - 1 - step if reverse or s == 1 else step) * B + sequence for s in range(S))
    h, c = np.zeros((2, S, B + int(begin[-1]), H), dtype)
    gates, y = np.empty((S, int(begin[-1]), 4 * H), dtype), np.zeros((T * B, S, H), dtype)
    last = np.where(lengths > 0, B + begin[np.maximum(lengths - 1, 0)], 0)  # of each sequence, but for its rank
    last[order] += np.arange(B)
    with np.errstate(all="ignore"):
        for s in range(S):
            h[s, :B], c[s, :B] = _or_zeros(h0, (S, B, H), dtype)[s, order], _or_zeros(c0, (S, B, H), dtype)[s, order]
            gates[s] = x.reshape(T * B, D)[frame[s]] @ w_ih[s].T + bias[s]
            for row, before, after in _steps(begin, B):
                gates[s, row] += h[s, before] @ w_hh[s].T
                cell(gates[s, row], c[s, before], c[s, after], h[s, after])
            y[frame[s], s] = h[s, B:]
    saved = NumbaLstmSaved(x, order, begin, w_ih.copy(), w_hh.copy(), frame, gates, h, c)
    return y.reshape(T, B, S * H), h[:, last], c[:, last], saved


def lstm_backward(
    saved: NumbaLstmSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    dcn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    dpeephole: np.ndarray | None = None,
    dprojection: np.ndarray | None = None,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    door, k = rec.open_saved(rec.LSTM, "backward", saved, NumbaLstmSaved)
    dtype = k.x.dtype
    rec.check_backward(
        rec.LSTM, door, dtype, dy, {"dhn": dhn, "dcn": dcn}, dw_ih, dw_hh, dbias, need_dx, threads,
        extra={"dpeephole": dpeephole, "dprojection": dprojection},
    )  # fmt: skip
    T, B, D, H, S = (door[d] for d in "TBDHS")
    cell, steps = _CELLS[dtype][1], _steps(k.begin, B)
    dx = np.zeros((T * B, D), dtype) if need_dx else None
    dh0, dc0 = np.empty((2, S, B, H), dtype)
    added = []
    with np.errstate(all="ignore"):
        for s in range(S):
            dh, dc = _or_zeros(dhn, (S, B, H), dtype)[s, k.order], _or_zeros(dcn, (S, B, H), dtype)[s, k.order]
            to_h = dy.reshape(T * B, S, H)[k.frame[s], s]
            dgates, h_before = np.empty_like(k.gates[s]), np.empty_like(k.h[s, B:])
            for row, before, after in reversed(steps):
                n = row.stop - row.start
                h_before[row] = k.h[s, before]
                dh[:n] += to_h[row]
                cell(k.gates[s, row], k.c[s, before], k.c[s, after], dh[:n], dc[:n], dgates[row])
                dh[:n] = dgates[row] @ k.w_hh[s]
            dh0[s, k.order], dc0[s, k.order] = dh, dc
            x = k.x.reshape(T * B, D)[k.frame[s]]
            added.append((dgates.T @ x, dgates.T @ h_before, dgates.sum(axis=0)))
            if dx is not None:
                dx[k.frame[s]] += dgates @ k.w_ih[s]
    for s, (to_w_ih, to_w_hh, to_bias) in enumerate(added):
        dw_ih[s] += to_w_ih
        dw_hh[s] += to_w_hh
        dbias[s] += to_bias
    return None if dx is None else dx.reshape(T, B, D), dh0, dc0
