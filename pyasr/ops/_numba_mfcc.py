"""The numba column of mfcc: one frame after the other, in float64, with the plan's own FFT tables."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from pyasr.ops._options import EPSILON
from pyasr.ops._plan import MfccPlan, sample_scale
from pyasr.ops.mfcc import check


@numba.njit(nogil=True, cache=True)
def _fft(
    re: np.ndarray, im: np.ndarray, radices: np.ndarray, tw_re: np.ndarray, tw_im: np.ndarray, tmp_re: np.ndarray,
    tmp_im: np.ndarray,
) -> None:  # fmt: skip
    """In place, see pyasr.ops._plan.fft_tables."""
    n = re.size
    m, w = n, 0
    for r in radices:
        q = m // r
        roots = w + q * (r - 1)
        for b in range(0, n, m):
            for j in range(q):
                at, t = b + j, w + j * (r - 1)
                if r == 4:
                    i0, i1, i2, i3 = at, at + q, at + 2 * q, at + 3 * q
                    sr, si, tr, ti = re[i0] + re[i2], im[i0] + im[i2], re[i0] - re[i2], im[i0] - im[i2]
                    ur, ui, vr, vi = re[i1] + re[i3], im[i1] + im[i3], re[i1] - re[i3], im[i1] - im[i3]
                    re[i0], im[i0] = sr + ur, si + ui
                    xr, xi = tr + vi, ti - vr
                    re[i1], im[i1] = xr * tw_re[t] - xi * tw_im[t], xr * tw_im[t] + xi * tw_re[t]
                    xr, xi = sr - ur, si - ui
                    re[i2], im[i2] = xr * tw_re[t + 1] - xi * tw_im[t + 1], xr * tw_im[t + 1] + xi * tw_re[t + 1]
                    xr, xi = tr - vi, ti + vr
                    re[i3], im[i3] = xr * tw_re[t + 2] - xi * tw_im[t + 2], xr * tw_im[t + 2] + xi * tw_re[t + 2]
                elif r == 2:
                    xr, xi = re[at] - re[at + q], im[at] - im[at + q]
                    re[at] += re[at + q]
                    im[at] += im[at + q]
                    re[at + q], im[at + q] = xr * tw_re[t] - xi * tw_im[t], xr * tw_im[t] + xi * tw_re[t]
                else:
                    for p in range(r):
                        tmp_re[p], tmp_im[p] = re[at + p * q], im[at + p * q]
                    for k in range(r):
                        xr, xi = tmp_re[0], tmp_im[0]
                        for p in range(1, r):
                            g = roots + (p * k) % r
                            xr += tmp_re[p] * tw_re[g] - tmp_im[p] * tw_im[g]
                            xi += tmp_re[p] * tw_im[g] + tmp_im[p] * tw_re[g]
                        if k:
                            g = t + k - 1
                            xr, xi = xr * tw_re[g] - xi * tw_im[g], xr * tw_im[g] + xi * tw_re[g]
                        re[at + k * q], im[at + k * q] = xr, xi
        w = roots + (0 if r in (2, 4) else r)
        m = q


@numba.njit(nogil=True, cache=True)
def _frames(
    wave: np.ndarray, scale: float, shift: int, start: int, window: np.ndarray, radices: np.ndarray, tw_re: np.ndarray,
    tw_im: np.ndarray, order: np.ndarray, split_re: np.ndarray, split_im: np.ndarray, mel_begin: np.ndarray,
    mel_offset: np.ndarray, mel_weight: np.ndarray, dct: np.ndarray, preemph: float, remove_dc: bool, energy_kind: int,
    energy_floor: float, power: bool, mel_floor: float, htk_compat: bool, out: np.ndarray,
) -> None:  # fmt: skip
    length, half, n = window.size, order.size, wave.size
    x = np.empty(length)
    re, im = np.empty(half), np.empty(half)
    tmp_re, tmp_im = np.empty(half), np.empty(half)
    p = np.empty(half + 1)
    mel = np.empty(mel_begin.size)
    for f in range(out.shape[0]):
        total = 0.0
        for i in range(length):
            at = f * shift + start + i
            if at < 0 or at >= n:
                at %= 2 * n
                if at >= n:
                    at = 2 * n - 1 - at
            x[i] = wave[at] * scale
            total += x[i]
        energy = 0.0
        mean = total / length if remove_dc else 0.0
        for i in range(length):
            x[i] -= mean
            energy += x[i] * x[i]
        for i in range(length - 1, 0, -1):
            x[i] = (x[i] - preemph * x[i - 1]) * window[i]
        x[0] = (x[0] - preemph * x[0]) * window[0]
        if energy_kind == 2:
            energy = 0.0
            for i in range(length):
                energy += x[i] * x[i]

        re[:] = 0.0
        im[:] = 0.0
        for i in range(length // 2):
            re[i], im[i] = x[2 * i], x[2 * i + 1]
        if length % 2:
            re[length // 2] = x[length - 1]
        _fft(re, im, radices, tw_re, tw_im, tmp_re, tmp_im)
        p[0], p[half] = (re[0] + im[0]) ** 2, (re[0] - im[0]) ** 2
        for k in range(1, half // 2 + 1):
            a, b = order[k], order[half - k]
            sr, si, dr, di = re[a] + re[b], im[a] - im[b], re[a] - re[b], im[a] + im[b]
            gr, gi = di * split_re[k] + dr * split_im[k], di * split_im[k] - dr * split_re[k]
            p[k] = 0.25 * ((sr + gr) ** 2 + (si + gi) ** 2)
            p[half - k] = 0.25 * ((sr - gr) ** 2 + (si - gi) ** 2)
        if not power:
            for k in range(half + 1):
                p[k] = math.sqrt(p[k])

        for j in range(mel.size):
            total = 0.0
            for i in range(mel_offset[j], mel_offset[j + 1]):
                total += mel_weight[i] * p[mel_begin[j] + i - mel_offset[j]]
            mel[j] = math.log(max(total, mel_floor))
        ceps = dct.shape[0]
        shifted = 1 if htk_compat else 0  # c0 last
        for k in range(ceps):
            total = 0.0
            for j in range(mel.size):
                total += mel[j] * dct[k, j]
            if k == 0 and energy_kind:
                total = math.log(max(energy, energy_floor))
            elif k == 0 and htk_compat:
                total *= math.sqrt(2.0)
            out[f, (k - shifted) % ceps] = total


def mfcc() -> Callable[..., np.ndarray]:
    """The twin of the row mfcc; it compiles at its first call for a dtype."""

    def twin(
        wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None
    ) -> np.ndarray:
        out = check("mfcc", wave, plan, out, threads)
        o = plan.options
        if "numba" not in plan.cache:
            tables: list[Any] = [np.ascontiguousarray(t) for t in (plan.twiddle.real, plan.twiddle.imag)]
            tables += [np.ascontiguousarray(t) for t in (plan.split.real, plan.split.imag)]
            plan.cache["numba"] = tables
        tw_re, tw_im, split_re, split_im = plan.cache["numba"]
        start = 0 if o.snip_edges else plan.shift // 2 - plan.length // 2
        if len(out):
            _frames(
                wave, sample_scale(o, wave.dtype), plan.shift, start, plan.window, plan.radices, tw_re, tw_im, plan.order,
                split_re, split_im, plan.mel_begin, plan.mel_offset, plan.mel_weight, plan.dct, float(o.preemph),
                bool(o.remove_dc), ("none", "raw", "windowed").index(o.energy), max(EPSILON, float(o.energy_floor)),
                bool(o.use_power), 1.0 if o.htk_mode else EPSILON, bool(o.htk_compat), out,
            )  # fmt: skip
        return out

    return twin
