"""The numba column of mfcc, fbank and spectrogram: one frame after the other, in float64, with the plan's own FFT tables.

What is one small matrix product or pass per wave stays NumPy's: preemphasis of the wave, noise, cepstra, normalization.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numba
import numpy as np

from pyasr.ops._frames import arithmetic_scale, noise
from pyasr.ops._options import PAD_MODES, SMALLEST_FLOOR
from pyasr.ops._plan import MfccPlan
from pyasr.ops.mfcc import check, finished, touched

_BLOCK = 1024  # frames whose noise lies in memory at a time
_ENERGIES = ("none", "raw", "windowed", "spectral")
_FLOORS = ("max", "add", "zero")


@numba.njit(nogil=True, cache=True)
def _fft(re: np.ndarray, im: np.ndarray, radices: np.ndarray, tw: np.ndarray, roots: np.ndarray) -> None:
    """In place, see pyasr.ops._fft.fft_tables; roots[r, k] = e^{−2πik/r}."""
    n = re.size
    tmp = np.empty(8, np.complex128)
    m, w = n, 0
    for r in radices:
        q = m // r
        for b in range(0, n, m):
            for j in range(q):
                at, t = b + j, w + j * (r - 1)
                if r == 4:
                    i0, i1, i2, i3 = at, at + q, at + 2 * q, at + 3 * q
                    sr, si, tr, ti = re[i0] + re[i2], im[i0] + im[i2], re[i0] - re[i2], im[i0] - im[i2]
                    ur, ui, vr, vi = re[i1] + re[i3], im[i1] + im[i3], re[i1] - re[i3], im[i1] - im[i3]
                    re[i0], im[i0] = sr + ur, si + ui
                    xr, xi = tr + vi, ti - vr
                    re[i1], im[i1] = xr * tw[t].real - xi * tw[t].imag, xr * tw[t].imag + xi * tw[t].real
                    xr, xi = sr - ur, si - ui
                    re[i2], im[i2] = (
                        xr * tw[t + 1].real - xi * tw[t + 1].imag,
                        xr * tw[t + 1].imag + xi * tw[t + 1].real,
                    )
                    xr, xi = tr - vi, ti + vr
                    re[i3], im[i3] = (
                        xr * tw[t + 2].real - xi * tw[t + 2].imag,
                        xr * tw[t + 2].imag + xi * tw[t + 2].real,
                    )
                else:
                    for p in range(r):
                        tmp[p] = complex(re[at + p * q], im[at + p * q])
                    for k in range(r):
                        x = tmp[0]
                        for p in range(1, r):
                            x += tmp[p] * roots[r, (p * k) % r]
                        if k:
                            x *= tw[t + k - 1]
                        re[at + k * q], im[at + k * q] = x.real, x.imag
        w += q * (r - 1)
        m = q


@numba.njit(nogil=True, cache=True)
def _place(i: int, n: int, padding: int) -> int:
    """As pyasr.ops._frames.padded; paddings are numbered as in PAD_MODES."""
    if 0 <= i < n:
        return i
    if padding == 0:
        return -1
    if padding == 3:
        return 0 if i < 0 else n - 1
    if padding == 2:
        i %= 2 * n
        return i if i < n else 2 * n - 1 - i
    i %= max(2 * n - 2, 1)
    return i if i < n else 2 * n - 2 - i


@numba.njit(nogil=True, cache=True)
def _log(x: float, mode: int, floor: float, smallest: float) -> float:
    if mode == 0:
        x = max(x, floor)
    elif mode == 1:
        x += floor
    elif x == 0.0:
        x = floor
    return math.log(max(x, smallest))


@numba.njit(nogil=True, cache=True)
def _bands(
    stream: np.ndarray, start: int, shift: int, padding: int, dither: float, extra: np.ndarray, window: np.ndarray,
    fft_size: int, radices: np.ndarray, tw: np.ndarray, roots: np.ndarray, order: np.ndarray, split: np.ndarray,
    chirp: np.ndarray, response: np.ndarray, gain: float, mel_begin: np.ndarray, mel_offset: np.ndarray,
    mel_weight: np.ndarray, preemph: float, remove_dc: bool, energy_kind: int, power: bool, least: float, log: bool,
    mode: int, floor: float, smallest: float, log_gain: float, log_offset: float, out: np.ndarray, energies: np.ndarray,
) -> None:  # fmt: skip
    length, points, n, half = window.size, order.size, stream.size, fft_size // 2
    x = np.empty(length)
    re, im = np.empty(points), np.empty(points)
    p = np.empty(half + 1)
    for f in range(out.shape[0]):
        total = 0.0
        for i in range(length):
            at = _place(f * shift + start + i, n, padding)
            x[i] = stream[at] if at >= 0 else 0.0
            if dither:
                x[i] += dither * extra[f, i]
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
        if chirp.size:
            for i in range(length):
                re[i], im[i] = gain * x[i] * chirp[i].real, gain * x[i] * chirp[i].imag
            _fft(re, im, radices, tw, roots)
            z = np.empty(points, np.complex128)
            for k in range(points):
                at = order[k]
                z[k] = complex(re[at], im[at]) * response[at]
            for k in range(points):
                re[k], im[k] = z[k].real, -z[k].imag
            _fft(re, im, radices, tw, roots)
            for k in range(half + 1):
                p[k] = re[order[k]] ** 2 + im[order[k]] ** 2
        else:
            for i in range(length // 2):
                re[i], im[i] = gain * x[2 * i], gain * x[2 * i + 1]
            if length % 2:
                re[length // 2] = gain * x[length - 1]
            _fft(re, im, radices, tw, roots)
            p[0], p[half] = (re[0] + im[0]) ** 2, (re[0] - im[0]) ** 2
            for k in range(1, half // 2 + 1):
                a, b = order[k], order[half - k]
                sr, si, dr, di = re[a] + re[b], im[a] - im[b], re[a] - re[b], im[a] + im[b]
                gr, gi = di * split[k].real + dr * split[k].imag, di * split[k].imag - dr * split[k].real
                p[k] = 0.25 * ((sr + gr) ** 2 + (si + gi) ** 2)
                p[half - k] = 0.25 * ((sr - gr) ** 2 + (si - gi) ** 2)
        if not power:
            for k in range(half + 1):
                p[k] = math.sqrt(p[k])
        if energy_kind == 3:
            energy = p.sum()
        energies[f] = energy

        for j in range(out.shape[1]):
            if mel_begin.size:
                total = 0.0
                for i in range(mel_offset[j], mel_offset[j + 1]):
                    total += mel_weight[i] * p[mel_begin[j] + i - mel_offset[j]]
                total = max(total, least)
            else:
                total = p[j]
            out[f, j] = _log(total, mode, floor, smallest) * log_gain + log_offset if log else total


def _roots() -> np.ndarray:
    table = np.zeros((9, 8), np.complex128)
    for r in (2, 3, 5, 8):
        table[r, :r] = np.exp(-2j * np.pi * np.arange(r) / r)
    return table


_ROOTS = _roots()


def _stream(wave: np.ndarray, plan: MfccPlan) -> np.ndarray:
    """The wave at full_scale, preemphasized where the whole of it is."""
    x = wave.astype(np.float64)
    if plan.options.preemph_signal:
        x[1:] -= plan.options.preemph * x[:-1]
    return x * arithmetic_scale(plan, wave.dtype)


def _compute(wave: np.ndarray, plan: MfccPlan, out: np.ndarray, first_frame: int) -> None:
    o, frames = plan.options, len(out)
    stream = _stream(wave, plan)
    bands = np.empty((frames, len(plan.mel_begin) or plan.fft_size // 2 + 1))
    energies = np.empty(frames)
    block = _BLOCK if o.dither else max(frames, 1)
    for first in range(0, frames, block):
        last = min(first + block, frames)
        extra = (
            noise(first_frame + np.arange(first, last), plan.length, o.dither_seed) if o.dither else np.zeros((0, 0))
        )
        _bands(
            stream, plan.start + first * plan.shift, plan.shift, PAD_MODES.index(o.padding), float(o.dither), extra,
            plan.window, plan.fft_size, plan.radices, plan.twiddle, _ROOTS, plan.order, plan.split, plan.chirp,
            plan.response, plan.spectrum_gain, plan.mel_begin, plan.mel_offset, plan.mel_weight,
            0.0 if o.preemph_signal else float(o.preemph), bool(o.remove_dc), _ENERGIES.index(o.energy), bool(o.use_power),
            1.0 if o.htk_mode else 0.0, bool(o.use_log_fbank), _FLOORS.index(o.floor_mode), o.floor, SMALLEST_FLOOR,
            plan.log_gain, plan.log_offset, bands[first:last], energies[first:last],
        )  # fmt: skip
    out[...] = finished(bands, energies, plan)


def _twin(op: str) -> Callable[..., np.ndarray]:
    def twin(
        wave: np.ndarray, plan: MfccPlan, *, out: np.ndarray | None = None, threads: int | None = None, nan: str = "raise",
        first_frame: int = 0,
    ) -> np.ndarray:  # fmt: skip
        out = check(op, wave, plan, out, threads, nan, first_frame)
        marked = touched(wave, plan, len(out))
        if marked is not None:
            wave = np.where(np.isfinite(wave), wave, 0).astype(wave.dtype)
        if len(out):
            _compute(wave, plan, out, first_frame)
        if marked is not None:
            out[marked] = np.nan
        return out

    return twin


def mfcc() -> Callable[..., np.ndarray]:
    """The twins of the rows; what they share compiles once, at the first call."""
    return _twin("mfcc")


def fbank() -> Callable[..., np.ndarray]:
    return _twin("fbank")


def spectrogram() -> Callable[..., np.ndarray]:
    return _twin("spectrogram")
