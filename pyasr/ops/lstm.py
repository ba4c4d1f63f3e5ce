"""lstm_forward, lstm_backward, lstm_jvp: one LSTM layer over ragged sequences, one or two directions.

    i, f, g, o = σ, σ, tanh, σ of  w_ih·x_t + w_hh·h_{t-1} + bias
    c_t = f ⊙ c_{t-1} + i ⊙ g          h_t = o ⊙ tanh(c_t)

Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000); gate order and layout as torch.nn.LSTM, whose two biases
are added here. The tangents are the R-operator of Pearlmutter 1994.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.ops import _recurrent as rec


@dataclass(frozen=True, repr=False)
class LstmSaved:
    """What forward keeps for backward and jvp; everything but x is its own. B, T and so on as in docs/architecture.md."""

    x: np.ndarray  # [T,B,D] the caller's
    lengths: np.ndarray  # [B]
    w_ih: np.ndarray  # [S,4*H,D] float64
    w_hh: np.ndarray  # [S,4*H,H] float64
    reverse: bool
    gates: np.ndarray  # [S,T,4,B,H] i, f, g, o after their nonlinearity
    h_before: np.ndarray  # [S,T,B,H]
    c_before: np.ndarray  # [S,T,B,H]
    c: np.ndarray  # [S,T,B,H]

    @property
    def frames(self) -> int:
        return int(self.lengths.sum())


def lstm_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    c0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, LstmSaved]:
    states = {"h0": h0, "c0": c0}
    door = rec.check_forward("lstm_forward", 4, x, lengths, w_ih, w_hh, bias, states, reverse, threads)
    T, B, H, S = (door[d] for d in "TBHS")
    w_x, w_h, b = (w.astype(np.float64) for w in (w_ih, w_hh, bias))
    hn, cn = rec.or_zeros(h0, (S, B, H)), rec.or_zeros(c0, (S, B, H))
    gates, h_before, c_before = np.zeros((S, T, 4, B, H)), np.zeros((S, T, B, H)), np.zeros((S, T, B, H))
    c_after, y = np.zeros((S, T, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            h, c = hn[s], cn[s]
            for t in rec.frames(T, s, reverse):
                now = rec.active(lengths, t)
                h_before[s, t], c_before[s, t] = h, c
                pre = x[t] @ w_x[s].T + h @ w_h[s].T + b[s]
                i, f, o = (rec.sigmoid(pre[:, q * H : (q + 1) * H]) for q in (0, 1, 3))
                g = np.tanh(pre[:, 2 * H : 3 * H])
                c = np.where(now, f * c + i * g, c)
                h = np.where(now, o * np.tanh(c), h)
                gates[s, t], c_after[s, t], y[t, :, s] = (i, f, g, o), c, np.where(now, h, 0)
            hn[s], cn[s] = h, c
    saved = LstmSaved(x, lengths.copy(), w_x, w_h, bool(reverse), gates, h_before, c_before, c_after)
    return y.reshape(T, B, S * H).astype(x.dtype), hn.astype(x.dtype), cn.astype(x.dtype), saved


def lstm_backward(
    saved: LstmSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    dcn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray, np.ndarray]:
    door, k = rec.open_saved("lstm_backward", saved, LstmSaved)
    dtype = k.x.dtype
    rec.check_backward(door, 4, dtype, dy, {"dhn": dhn, "dcn": dcn}, dw_ih, dw_hh, dbias, need_dx, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dx, dh0, dc0 = np.zeros((T, B, D)), rec.or_zeros(dhn, (S, B, H)), rec.or_zeros(dcn, (S, B, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh, dc = dh0[s], dc0[s]
            to_w_ih, to_w_hh, to_bias = np.zeros((4 * H, D)), np.zeros((4 * H, H)), np.zeros(4 * H)
            for t in reversed(rec.frames(T, s, k.reverse)):
                now = rec.active(k.lengths, t)
                (i, f, g, o), tanh_c = k.gates[s, t], np.tanh(k.c[s, t])
                dh_t = dh + dy[t, :, s * H : (s + 1) * H]
                dc_t = dc + dh_t * o * (1 - tanh_c**2)
                di, df = dc_t * g * i * (1 - i), dc_t * k.c_before[s, t] * f * (1 - f)
                dg, do = dc_t * i * (1 - g**2), dh_t * tanh_c * o * (1 - o)
                dpre = np.where(now, np.concatenate([di, df, dg, do], axis=1), 0)
                to_w_ih += dpre.T @ np.where(now, k.x[t], 0)
                to_w_hh += dpre.T @ k.h_before[s, t]
                to_bias += dpre.sum(axis=0)
                dx[t] += dpre @ k.w_ih[s]
                dh, dc = np.where(now, dpre @ k.w_hh[s], dh), np.where(now, dc_t * f, dc)
            dh0[s], dc0[s] = dh, dc
            dw_ih[s] += to_w_ih.astype(dtype)
            dw_hh[s] += to_w_hh.astype(dtype)
            dbias[s] += to_bias.astype(dtype)
    return dx.astype(dtype) if need_dx else None, dh0.astype(dtype), dc0.astype(dtype)


def lstm_jvp(
    saved: LstmSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    dc0: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    door, k = rec.open_saved("lstm_jvp", saved, LstmSaved)
    dtype = k.x.dtype
    rec.check_jvp(door, 4, dtype, dx, dw_ih, dw_hh, dbias, {"dh0": dh0, "dc0": dc0}, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dw_x, dw_h, db = (
        rec.or_zeros(dw_ih, (S, 4 * H, D)),
        rec.or_zeros(dw_hh, (S, 4 * H, H)),
        rec.or_zeros(dbias, (S, 4 * H)),
    )
    dhn, dcn, dy = rec.or_zeros(dh0, (S, B, H)), rec.or_zeros(dc0, (S, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh, dc = dhn[s], dcn[s]
            for t in rec.frames(T, s, k.reverse):
                now = rec.active(k.lengths, t)
                (i, f, g, o), tanh_c = k.gates[s, t], np.tanh(k.c[s, t])
                dpre = np.where(now, k.x[t], 0) @ dw_x[s].T + k.h_before[s, t] @ dw_h[s].T + db[s] + dh @ k.w_hh[s].T
                if dx is not None:
                    dpre = dpre + dx[t] @ k.w_ih[s].T
                dpi, dpf, dpg, dpo = (dpre[:, q * H : (q + 1) * H] for q in range(4))
                di, df, dg, do = dpi * i * (1 - i), dpf * f * (1 - f), dpg * (1 - g**2), dpo * o * (1 - o)
                dc = np.where(now, df * k.c_before[s, t] + f * dc + di * g + i * dg, dc)
                dh = np.where(now, do * tanh_c + o * (1 - tanh_c**2) * dc, dh)
                dy[t, :, s] = np.where(now, dh, 0)
            dhn[s], dcn[s] = dh, dc
    return dy.reshape(T, B, S * H).astype(dtype), dhn.astype(dtype), dcn.astype(dtype)


TWINS = ("pyasr.ops._numba_lstm:forward", "pyasr.ops._numba_lstm:backward")
ROWS = rec.table(lstm_forward, lstm_backward, lstm_jvp, gates=4, numba=TWINS)
