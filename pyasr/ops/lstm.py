"""lstm_forward, lstm_backward, lstm_jvp: one LSTM layer over ragged sequences, one or two directions.

    i, f, g, o = σ, σ, tanh, σ of  w_ih·x_t + w_hh·h_{t-1} + bias
    c_t = f ⊙ c_{t-1} + i ⊙ g          h_t = o ⊙ tanh(c_t)

Hochreiter & Schmidhuber 1997 with forget gates (Gers et al. 2000); gate order and layout as torch.nn.LSTM, whose two biases
are added here. The tangents are the R-operator of Pearlmutter 1994. With all options (p: peephole, of i, f and o; m: state_mask;
k: keep_c and keep_h):

    i, f = σ of  … + w_hh·(m ⊙ h_{t-1}) + … + p ⊙ c_{t-1}          o = σ(… + p_o ⊙ n)
    n = f ⊙ c_{t-1} + i ⊙ g, held within ±cell_clip
    c_t = k_c ⊙ c_{t-1} + (1 − k_c) ⊙ n          h_t = k_h ⊙ h_{t-1} + (1 − k_h) ⊙ projection·(o ⊙ tanh(n))

Peepholes: Gers, Schraudolph & Schmidhuber 2002, and as in ONNX; projection: Sak, Senior & Beaufays 2014, and as proj_size of
torch; state_mask with one mask per sequence: Gal & Ghahramani 2016; keep_c, keep_h: zoneout, Krueger et al. 2017. cell_clip 0
is none; the gradient of a cell that was clipped is 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pyasr.ops import _recurrent as rec


@dataclass(frozen=True, repr=False)
class LstmSaved:
    """What forward keeps for backward and jvp; x and the masks are the caller's, the rest is its own.

    R is the size of h: H, or that of the projection. B, T and so on as in docs/architecture.md.
    """

    x: np.ndarray  # [T,B,D]
    lengths: np.ndarray  # [B]
    w_ih: np.ndarray  # [S,4*H,D] float64
    w_hh: np.ndarray  # [S,4*H,R] float64
    with_: rec.LstmOptions
    reverse: bool
    gates: np.ndarray  # [S,T,4,B,H] i, f, g, o after their nonlinearity
    h_before: np.ndarray  # [S,T,B,R] behind its mask
    c_before: np.ndarray  # [S,T,B,H]
    n: np.ndarray  # [S,T,B,H] the cell before it is mixed with that before
    free: np.ndarray  # [S,T,B,H] whether n was not clipped

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
    peephole: np.ndarray | None = None,
    projection: np.ndarray | None = None,
    cell_clip: float = 0.0,
    state_mask: np.ndarray | None = None,
    keep_h: np.ndarray | None = None,
    keep_c: np.ndarray | None = None,
    reverse: bool = False,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, LstmSaved]:
    with_ = rec.LstmOptions(peephole, projection, cell_clip, state_mask, keep_h, keep_c)
    door = rec.check_forward(
        rec.LSTM, x, lengths, w_ih, w_hh, bias, {"h0": h0, "c0": c0}, reverse, threads, with_=with_
    )
    T, B, H, S, R = (door[d] for d in "TBHSR")
    w_x, w_h, b = (w.astype(np.float64) for w in (w_ih, w_hh, bias))
    with_ = with_.copied()
    hn, cn = rec.or_zeros(h0, (S, B, R)), rec.or_zeros(c0, (S, B, H))
    gates, h_before, c_before = np.zeros((S, T, 4, B, H)), np.zeros((S, T, B, R)), np.zeros((S, T, B, H))
    cell, free, y = np.zeros((S, T, B, H)), np.zeros((S, T, B, H), bool), np.zeros((T, B, S, R))
    limit = float(cell_clip) or np.inf
    with np.errstate(all="ignore"):
        for s in range(S):
            h, c, (p_i, p_f, p_o) = hn[s], cn[s], with_.peepholes(s, H)
            for t in rec.frames(T, s, reverse):
                now, keep_c_t, keep_h_t = rec.active(lengths, t), with_.kept_c(t, s, H), with_.kept_h(t, s, R)
                h_before[s, t], c_before[s, t] = with_.masked(h, s), c
                pre = x[t] @ w_x[s].T + h_before[s, t] @ w_h[s].T + b[s]
                i = rec.sigmoid(pre[:, :H] + p_i * c)
                f = rec.sigmoid(pre[:, H : 2 * H] + p_f * c)
                g = np.tanh(pre[:, 2 * H : 3 * H])
                n = f * c + i * g
                free[s, t] = ~(np.abs(n) > limit)
                n = np.clip(n, -limit, limit)
                o = rec.sigmoid(pre[:, 3 * H :] + p_o * n)
                to_h = with_.project(o * np.tanh(n), s)
                h = np.where(now, keep_h_t * h + (1 - keep_h_t) * to_h, h)
                c = np.where(now, keep_c_t * c + (1 - keep_c_t) * n, c)
                gates[s, t], cell[s, t], y[t, :, s] = (i, f, g, o), n, np.where(now, h, 0)
            hn[s], cn[s] = h, c
    saved = LstmSaved(x, lengths.copy(), w_x, w_h, with_, bool(reverse), gates, h_before, c_before, cell, free)
    return y.reshape(T, B, S * R).astype(x.dtype), hn.astype(x.dtype), cn.astype(x.dtype), saved


def lstm_backward(
    saved: LstmSaved,
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
    door, k = rec.open_saved(rec.LSTM, "backward", saved, LstmSaved)
    dtype, with_ = k.x.dtype, k.with_
    extra = {"dpeephole": dpeephole, "dprojection": dprojection}
    rec.check_backward(
        rec.LSTM, door, dtype, dy, {"dhn": dhn, "dcn": dcn}, dw_ih, dw_hh, dbias, need_dx, threads,
        with_=with_, extra=extra,
    )  # fmt: skip
    T, B, D, H, S, R = (door[d] for d in "TBDHSR")
    dx, dh0, dc0 = np.zeros((T, B, D)), rec.or_zeros(dhn, (S, B, R)), rec.or_zeros(dcn, (S, B, H))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh, dc, (p_i, p_f, p_o) = dh0[s], dc0[s], with_.peepholes(s, H)
            to_w_ih, to_w_hh, to_bias = np.zeros((4 * H, D)), np.zeros((4 * H, R)), np.zeros(4 * H)
            to_peephole, to_projection = np.zeros((3, H)), np.zeros((R, H))
            for t in reversed(rec.frames(T, s, k.reverse)):
                now, keep_c, keep_h = rec.active(k.lengths, t), with_.kept_c(t, s, H), with_.kept_h(t, s, R)
                (i, f, g, o), c, tanh_n = k.gates[s, t], k.c_before[s, t], np.tanh(k.n[s, t])
                dh_t = dh + dy[t, :, s * R : (s + 1) * R]
                dr = np.where(now, (1 - keep_h) * dh_t, 0)
                dm = with_.project_back(dr, s)
                do = dm * tanh_n * o * (1 - o)
                dn = (1 - keep_c) * dc + dm * o * (1 - tanh_n**2) + p_o * do
                dn = np.where(k.free[s, t], dn, 0)
                di, df, dg = dn * g * i * (1 - i), dn * c * f * (1 - f), dn * i * (1 - g**2)
                dpre = np.where(now, np.concatenate([di, df, dg, do], axis=1), 0)
                to_w_ih += dpre.T @ np.where(now, k.x[t], 0)
                to_w_hh += dpre.T @ k.h_before[s, t]
                to_bias += dpre.sum(axis=0)
                to_peephole += np.where(now, [di * c, df * c, do * k.n[s, t]], 0).sum(axis=1)
                to_projection += dr.T @ (o * tanh_n)
                dx[t] += dpre @ k.w_ih[s]
                dh = np.where(now, keep_h * dh_t + with_.masked(dpre @ k.w_hh[s], s), dh)
                dc = np.where(now, keep_c * dc + dn * f + p_i * di + p_f * df, dc)
            dh0[s], dc0[s] = dh, dc
            dw_ih[s] += to_w_ih.astype(dtype)
            dw_hh[s] += to_w_hh.astype(dtype)
            dbias[s] += to_bias.astype(dtype)
            if dpeephole is not None:
                dpeephole[s] += to_peephole.reshape(3 * H).astype(dtype)
            if dprojection is not None:
                dprojection[s] += to_projection.astype(dtype)
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
    dpeephole: np.ndarray | None = None,
    dprojection: np.ndarray | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    door, k = rec.open_saved(rec.LSTM, "jvp", saved, LstmSaved)
    dtype, with_ = k.x.dtype, k.with_
    extra = {"dpeephole": dpeephole, "dprojection": dprojection}
    rec.check_jvp(
        rec.LSTM, door, dtype, dx, dw_ih, dw_hh, dbias, {"dh0": dh0, "dc0": dc0}, threads, with_=with_, extra=extra
    )
    T, B, D, H, S, R = (door[d] for d in "TBDHSR")
    dw_x, dw_h = rec.or_zeros(dw_ih, (S, 4 * H, D)), rec.or_zeros(dw_hh, (S, 4 * H, R))
    db, dp = rec.or_zeros(dbias, (S, 4 * H)), rec.or_zeros(dpeephole, (S, 3 * H)).reshape(S, 3, H)
    dhn, dcn, dy = rec.or_zeros(dh0, (S, B, R)), rec.or_zeros(dc0, (S, B, H)), np.zeros((T, B, S, R))
    with np.errstate(all="ignore"):
        for s in range(S):
            dh, dc, (p_i, p_f, p_o) = dhn[s], dcn[s], with_.peepholes(s, H)
            for t in rec.frames(T, s, k.reverse):
                now, keep_c, keep_h = rec.active(k.lengths, t), with_.kept_c(t, s, H), with_.kept_h(t, s, R)
                (i, f, g, o), c, n = k.gates[s, t], k.c_before[s, t], k.n[s, t]
                tanh_n = np.tanh(n)
                dpre = np.where(now, k.x[t], 0) @ dw_x[s].T + k.h_before[s, t] @ dw_h[s].T + db[s]
                dpre = dpre + with_.masked(dh, s) @ k.w_hh[s].T
                if dx is not None:
                    dpre = dpre + dx[t] @ k.w_ih[s].T
                dpi, dpf, dpg, dpo = (dpre[:, q * H : (q + 1) * H] for q in range(4))
                di, df = (dpi + p_i * dc + dp[s, 0] * c) * i * (1 - i), (dpf + p_f * dc + dp[s, 1] * c) * f * (1 - f)
                dn = np.where(k.free[s, t], df * c + f * dc + di * g + i * dpg * (1 - g**2), 0)
                do = (dpo + p_o * dn + dp[s, 2] * n) * o * (1 - o)
                dr = with_.project(do * tanh_n + o * (1 - tanh_n**2) * dn, s)
                if dprojection is not None:
                    dr = dr + (o * tanh_n) @ dprojection[s].T
                dh = np.where(now, keep_h * dh + (1 - keep_h) * dr, dh)
                dc = np.where(now, keep_c * dc + (1 - keep_c) * dn, dc)
                dy[t, :, s] = np.where(now, dh, 0)
            dhn[s], dcn[s] = dh, dc
    return dy.reshape(T, B, S * R).astype(dtype), dhn.astype(dtype), dcn.astype(dtype)


TWINS = ("pyasr.ops._numba_lstm:forward", "pyasr.ops._numba_lstm:backward")
ROWS = rec.table(rec.LSTM, lstm_forward, lstm_backward, lstm_jvp, numba=TWINS)
