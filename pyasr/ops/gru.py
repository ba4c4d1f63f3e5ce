"""gru_forward, gru_backward, gru_jvp: one GRU layer over ragged sequences, one or two directions.

    r, z = σ of  w_ih·x_t + w_hh·h_{t-1} + bias
    n = tanh(w_ih·x_t + bias_n + r ⊙ (w_hh·h_{t-1} + bias_hn))
    h_t = (1 − z) ⊙ n + z ⊙ h_{t-1}

Cho et al. 2014 in the form of torch.nn.GRU: r multiplies what comes behind w_hh, so the bias of that place stays apart. Weights
have the rows r, z, n, the bias r, z, n and hn; of torch's two biases those of r and z are added. Arguments are those of lstm_*
without c and options. On the cpp backend an infinity in x or h makes the rest of its utterance NaN; the reference saturates.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.ops import _recurrent as rec


@dataclass(frozen=True, repr=False)
class GruSaved:
    """What forward keeps for backward and jvp; everything but x is its own. B, T and so on as in docs/architecture.md."""

    x: np.ndarray  # [T,B,D] the caller's
    lengths: np.ndarray  # [B]
    w_ih: np.ndarray  # [S,3*H,D] float64
    w_hh: np.ndarray  # [S,3*H,H] float64
    reverse: bool
    gates: np.ndarray  # [S,T,4,B,H] r, z, n after their nonlinearity, and what r multiplies
    h_before: np.ndarray  # [S,T,B,H]

    @property
    def frames(self) -> int:
        return int(self.lengths.sum())


def gru_forward(
    x: np.ndarray,
    lengths: np.ndarray,
    w_ih: np.ndarray,
    w_hh: np.ndarray,
    bias: np.ndarray,
    h0: np.ndarray | None = None,
    *,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, GruSaved]:
    door = rec.check_forward(rec.GRU, x, lengths, w_ih, w_hh, bias, {"h0": h0}, reverse, threads)
    T, B, H, S = (door[d] for d in "TBHS")
    w_x, w_h, b = (w.astype(np.float64) for w in (w_ih, w_hh, bias))
    hn = rec.or_zeros(h0, (S, B, H))
    gates, h_before, y = np.zeros((S, T, 4, B, H)), np.zeros((S, T, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            h = hn[s]
            for t in rec.frames(T, s, reverse):
                now = rec.active(lengths, t)
                from_x, from_h = x[t] @ w_x[s].T + b[s, : 3 * H], h @ w_h[s].T
                r = rec.sigmoid(from_x[:, :H] + from_h[:, :H])
                z = rec.sigmoid(from_x[:, H : 2 * H] + from_h[:, H : 2 * H])
                hidden = from_h[:, 2 * H :] + b[s, 3 * H :]
                n = np.tanh(from_x[:, 2 * H :] + r * hidden)
                gates[s, t], h_before[s, t] = (r, z, n, hidden), h
                h = np.where(now, (1 - z) * n + z * h, h)
                y[t, :, s] = np.where(now, h, 0)
            hn[s] = h
    saved = GruSaved(x, lengths.copy(), w_x, w_h, bool(reverse), gates, h_before)
    return y.reshape(T, B, S * H).astype(x.dtype), hn.astype(x.dtype), saved


def gru_backward(
    saved: GruSaved,
    dy: np.ndarray,
    dhn: np.ndarray | None = None,
    *,
    dw_ih: np.ndarray,
    dw_hh: np.ndarray,
    dbias: np.ndarray,
    need_dx: bool = True,
    threads: int | None = None,
) -> tuple[np.ndarray | None, np.ndarray]:
    door, k = rec.open_saved(rec.GRU, "backward", saved, GruSaved)
    dtype = k.x.dtype
    rec.check_backward(rec.GRU, door, dtype, dy, {"dhn": dhn}, dw_ih, dw_hh, dbias, need_dx, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dx, dh0 = np.zeros((T, B, D)), rec.or_zeros(dhn, (S, B, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh = dh0[s]
            to_w_ih, to_w_hh, to_bias = np.zeros((3 * H, D)), np.zeros((3 * H, H)), np.zeros(4 * H)
            for t in reversed(rec.frames(T, s, k.reverse)):
                now = rec.active(k.lengths, t)
                (r, z, n, hidden), h = k.gates[s, t], k.h_before[s, t]
                dh_t = np.where(now, dh + dy[t, :, s * H : (s + 1) * H], 0)
                dn = dh_t * (1 - z) * (1 - n**2)
                dz, dr = dh_t * (h - n) * z * (1 - z), dn * hidden * r * (1 - r)
                from_x = np.where(now, np.concatenate([dr, dz, dn], axis=1), 0)
                from_h = np.where(now, np.concatenate([dr, dz, dn * r], axis=1), 0)
                to_w_ih += from_x.T @ np.where(now, k.x[t], 0)
                to_w_hh += from_h.T @ h
                to_bias += np.concatenate([from_x, from_h[:, 2 * H :]], axis=1).sum(axis=0)
                dx[t] += from_x @ k.w_ih[s]
                dh = np.where(now, dh_t * z + from_h @ k.w_hh[s], dh)
            dh0[s] = dh
            dw_ih[s] += to_w_ih.astype(dtype)
            dw_hh[s] += to_w_hh.astype(dtype)
            dbias[s] += to_bias.astype(dtype)
    return dx.astype(dtype) if need_dx else None, dh0.astype(dtype)


def gru_jvp(
    saved: GruSaved,
    dx: np.ndarray | None = None,
    dw_ih: np.ndarray | None = None,
    dw_hh: np.ndarray | None = None,
    dbias: np.ndarray | None = None,
    dh0: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    door, k = rec.open_saved(rec.GRU, "jvp", saved, GruSaved)
    dtype = k.x.dtype
    rec.check_jvp(rec.GRU, door, dtype, dx, dw_ih, dw_hh, dbias, {"dh0": dh0}, threads)
    T, B, D, H, S = (door[d] for d in "TBDHS")
    dw_x, dw_h = rec.or_zeros(dw_ih, (S, 3 * H, D)), rec.or_zeros(dw_hh, (S, 3 * H, H))
    db, dhn, dy = rec.or_zeros(dbias, (S, 4 * H)), rec.or_zeros(dh0, (S, B, H)), np.zeros((T, B, S, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh = dhn[s]
            for t in rec.frames(T, s, k.reverse):
                now = rec.active(k.lengths, t)
                (r, z, n, hidden), h = k.gates[s, t], k.h_before[s, t]
                from_x = np.where(now, k.x[t], 0) @ dw_x[s].T + db[s, : 3 * H]
                if dx is not None:
                    from_x = from_x + dx[t] @ k.w_ih[s].T
                from_h = h @ dw_h[s].T + dh @ k.w_hh[s].T
                dr = (from_x[:, :H] + from_h[:, :H]) * r * (1 - r)
                dz = (from_x[:, H : 2 * H] + from_h[:, H : 2 * H]) * z * (1 - z)
                dhidden = from_h[:, 2 * H :] + db[s, 3 * H :]
                dn = (from_x[:, 2 * H :] + dr * hidden + r * dhidden) * (1 - n**2)
                dh = np.where(now, (1 - z) * dn + dz * (h - n) + z * dh, dh)
                dy[t, :, s] = np.where(now, dh, 0)
            dhn[s] = dh
    return dy.reshape(T, B, S * H).astype(dtype), dhn.astype(dtype)


ROWS = rec.table(rec.GRU, gru_forward, gru_backward, gru_jvp)
