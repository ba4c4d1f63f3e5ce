"""rnn_forward, rnn_backward, rnn_jvp: one tanh layer over ragged sequences, one or two directions.

    h_t = tanh(w_ih·x_t + w_hh·h_{t-1} + bias)

Elman 1990; layout as torch.nn.RNN, whose two biases are added here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.ops import _recurrent as rec


@dataclass(frozen=True, repr=False)
class RnnSaved:
    """What forward keeps for backward and jvp; everything but x is its own."""

    x: np.ndarray  # [T,B,D] the caller's
    lengths: np.ndarray  # [B]
    w_ih: np.ndarray  # [S,H,D] float64
    w_hh: np.ndarray  # [S,H,H] float64
    reverse: bool
    h_before: np.ndarray  # [S,T,B,H]
    h: np.ndarray  # [S,T,B,H]

    @property
    def frames(self) -> int:
        return int(self.lengths.sum())


def rnn_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, RnnSaved]:
    door = rec.check_forward(rec.RNN, x, lengths, w_ih, w_hh, bias, {"h0": h0}, reverse, threads)
    T, B, H, S = (door[d] for d in "TBHS")
    w_x, w_h, b = (w.astype(np.float64) for w in (w_ih, w_hh, bias))
    hn = rec.or_zeros(h0, (S, B, H))
    h_before, h_after, y = np.zeros((S, T, B, H)), np.zeros((S, T, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            h = hn[s]
            for t in rec.frames(T, s, reverse):
                now = rec.active(lengths, t)
                h_before[s, t] = h
                h = np.where(now, np.tanh(x[t] @ w_x[s].T + h @ w_h[s].T + b[s]), h)
                h_after[s, t], y[t, :, s] = h, np.where(now, h, 0)
            hn[s] = h
    saved = RnnSaved(x, lengths.copy(), w_x, w_h, bool(reverse), h_before, h_after)
    return y.reshape(T, B, S * H).astype(x.dtype), hn.astype(x.dtype), saved


def rnn_backward(
    saved: RnnSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray]:
    door, k = rec.open_saved(rec.RNN, "backward", saved, RnnSaved)
    dtype = k.x.dtype
    rec.check_backward(rec.RNN, door, dtype, dy, {"dhn": dhn}, dw_ih, dw_hh, dbias, need_dx, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dx, dh0 = np.zeros((T, B, D)), rec.or_zeros(dhn, (S, B, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh = dh0[s]
            to_w_ih, to_w_hh, to_bias = np.zeros((H, D)), np.zeros((H, H)), np.zeros(H)
            for t in reversed(rec.frames(T, s, k.reverse)):
                now = rec.active(k.lengths, t)
                dpre = np.where(now, (dh + dy[t, :, s * H : (s + 1) * H]) * (1 - k.h[s, t] ** 2), 0)
                to_w_ih += dpre.T @ np.where(now, k.x[t], 0)
                to_w_hh += dpre.T @ k.h_before[s, t]
                to_bias += dpre.sum(axis=0)
                dx[t] += dpre @ k.w_ih[s]
                dh = np.where(now, dpre @ k.w_hh[s], dh)
            dh0[s] = dh
            dw_ih[s] += to_w_ih.astype(dtype)
            dw_hh[s] += to_w_hh.astype(dtype)
            dbias[s] += to_bias.astype(dtype)
    return dx.astype(dtype) if need_dx else None, dh0.astype(dtype)


def rnn_jvp(
    saved: RnnSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    door, k = rec.open_saved(rec.RNN, "jvp", saved, RnnSaved)
    dtype = k.x.dtype
    rec.check_jvp(rec.RNN, door, dtype, dx, dw_ih, dw_hh, dbias, {"dh0": dh0}, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dw_x, dw_h, db = rec.or_zeros(dw_ih, (S, H, D)), rec.or_zeros(dw_hh, (S, H, H)), rec.or_zeros(dbias, (S, H))
    dhn, dy = rec.or_zeros(dh0, (S, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh = dhn[s]
            for t in rec.frames(T, s, k.reverse):
                now = rec.active(k.lengths, t)
                dpre = np.where(now, k.x[t], 0) @ dw_x[s].T + k.h_before[s, t] @ dw_h[s].T + db[s] + dh @ k.w_hh[s].T
                if dx is not None:
                    dpre = dpre + dx[t] @ k.w_ih[s].T
                dh = np.where(now, (1 - k.h[s, t] ** 2) * dpre, dh)
                dy[t, :, s] = np.where(now, dh, 0)
            dhn[s] = dh
    return dy.reshape(T, B, S * H).astype(dtype), dhn.astype(dtype)


ROWS = rec.table(rec.RNN, rnn_forward, rnn_backward, rnn_jvp)
