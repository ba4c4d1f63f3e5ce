"""Mel scales and the filters on them, as sparse rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyasr.ops._options import MfccOptions

# Slaney's scale (Auditory Toolbox): linear to 1 kHz, then a factor of 6.4 in 27 steps.
_LINEAR = 200.0 / 3.0
_KNEE = 1000.0
_STEP = np.log(6.4) / 27.0


def mel(hz: Any, scale: str = "htk") -> Any:
    """The mel of Hz: 1127 ln(1 + f/700) of HTK and Kaldi, or Slaney's."""
    hz = np.asarray(hz, np.float64)
    if scale == "htk":
        return 1127.0 * np.log(1.0 + hz / 700.0)
    above = _KNEE / _LINEAR + np.log(np.maximum(hz, _KNEE) / _KNEE) / _STEP
    return np.where(hz < _KNEE, hz / _LINEAR, above)


def hz(mels: Any, scale: str = "htk") -> Any:
    """The inverse of mel."""
    mels = np.asarray(mels, np.float64)
    if scale == "htk":
        return 700.0 * (np.exp(mels / 1127.0) - 1.0)
    above = _KNEE * np.exp(_STEP * (np.maximum(mels, _KNEE / _LINEAR) - _KNEE / _LINEAR))
    return np.where(mels < _KNEE / _LINEAR, mels * _LINEAR, above)


def vtln(o: MfccOptions, f: Any) -> Any:
    """Hz warped as Kaldi does: three straight pieces, 1/warp in the middle, the ends of the band kept."""
    if o.vtln_warp == 1:
        return f
    low, high, warp = o.low_freq, o.highest_freq, o.vtln_warp
    left, right = o.vtln_low * max(1.0, warp), o.highest_vtln * min(1.0, warp)
    warped = np.interp(f, [low, left, right, high], [low, left / warp, right / warp, high])
    return np.where((f < low) | (f > high), f, warped)


def corners(o: MfccOptions) -> np.ndarray:
    """[num_mels + 2] on the axis of the triangles: filter j rises from corner j to j + 1 and falls to j + 2."""
    if o.triangles == "bins" and o.mel_scale == "htk":
        # step by step as python_speech_features: a corner that falls on a bin must round to the same side
        bottom, top = (2595.0 * np.log10(1.0 + f / 700.0) for f in (o.low_freq, o.highest_freq))
        at = 700.0 * (10.0 ** (np.linspace(bottom, top, o.num_mels + 2) / 2595.0) - 1.0)
        return np.floor((o.fft_size + 1) * at / o.sample_rate)
    low, high = mel(o.low_freq, o.mel_scale), mel(o.highest_freq, o.mel_scale)
    at = low + (high - low) / (o.num_mels + 1) * np.arange(o.num_mels + 2)
    if o.vtln_warp != 1:
        at = mel(vtln(o, hz(at, o.mel_scale)), o.mel_scale)
    if o.triangles == "mel":
        return at
    if o.triangles == "hz":
        return hz(at, o.mel_scale)
    at = hz(at, o.mel_scale)
    # the Nyquist frequency is a corner of an odd FFT size: rounding must not miss it
    at[0], at[-1] = o.low_freq, o.highest_freq
    return np.floor((o.fft_size + 1) * at / o.sample_rate)


def bins(o: MfccOptions) -> np.ndarray:
    """The FFT bins on that axis. Kaldi's filters leave out the Nyquist bin."""
    k = np.arange(o.fft_size // 2 + 1)
    if "bins" in o.triangles:
        return k.astype(np.float64)
    at = k * (o.sample_rate / o.fft_size)
    return mel(at[: (o.fft_size + 1) // 2], o.mel_scale) if o.triangles == "mel" else at


def _ends(o: MfccOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Corners, bins, and first and last-but-one bin of each filter."""
    c, k = corners(o), bins(o)
    first = np.searchsorted(k, c[:-2], "right")
    if o.triangles == "bins":  # a side of no width leaves its bin to the side that falls from there, with weight 1
        first = np.where(c[:-2] == c[1:-1], np.searchsorted(k, c[:-2], "left"), first)
    return c, k, first, np.maximum(np.searchsorted(k, c[2:], "left"), first)


def empty_filters(o: MfccOptions) -> np.ndarray:
    """The filters in which no bin lies."""
    _, _, first, last = _ends(o)
    return np.flatnonzero(first >= last)


def filter_table(o: MfccOptions) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """begin [M] int32, offset [M + 1] int32, weight float64: filter j weighs the bins from begin[j] on with
    weight[offset[j] : offset[j + 1]]."""
    c, k, first, last = _ends(o)
    weights = []
    for j, (b, e) in enumerate(zip(first, last, strict=True)):
        at = k[b:e]
        with np.errstate(divide="ignore", invalid="ignore"):  # sides of no width, of the triangles in bins
            up, down = (at - c[j]) / (c[j + 1] - c[j]), (c[j + 2] - at) / (c[j + 2] - c[j + 1])
        row = np.where(at < c[j + 1], up, down) if "bins" in o.triangles else np.minimum(up, down)
        if o.mel_norm == "slaney" and row.size:
            row = row * (2.0 / (c[j + 2] - c[j]))
        elif o.mel_norm is not None and row.any():
            peak = row.max()  # the powers of what is below 1 underflow
            row = row / (peak * np.linalg.norm(row / peak, o.mel_norm))  # type: ignore[arg-type]
        weights.append(row)
    if o.htk_mode and o.triangles == "mel" and o.low_freq != 0 and weights[0].size:
        weights[0][0] = 0.0
    offset = np.cumsum([0, *(len(w) for w in weights)])
    return first.astype(np.int32), offset.astype(np.int32), np.concatenate(weights)


def dct_table(o: MfccOptions) -> np.ndarray:
    """[num_ceps, num_mels] float64: the DCT with the lifter folded in. Scaling as in scipy.fft.dct."""
    k, n, m = np.arange(o.num_ceps)[:, None], np.arange(o.num_mels), o.num_mels
    if o.dct_type == 1:
        table = 2.0 * np.cos(np.pi * k * n / (m - 1))
        table[:, [0, -1]] /= 2.0
        if o.dct_norm:  # SciPy scales the first and last input by √2, and so the outputs
            table[:, [0, -1]] *= np.sqrt(2.0)
            table *= 0.5 * np.sqrt(2.0 / (m - 1))
            table[(k[:, 0] == 0) | (k[:, 0] == m - 1)] /= np.sqrt(2.0)
    elif o.dct_type == 2:
        table = 2.0 * np.cos(np.pi / m * (n + 0.5) * k)
        if o.dct_norm:
            table *= np.sqrt(0.5 / m)
            table[0] /= np.sqrt(2.0)
    else:
        table = 2.0 * np.cos(np.pi / m * (k + 0.5) * n)
        table[:, 0] /= 2.0
        if o.dct_norm:
            table *= np.sqrt(0.5 / m)
            table[:, 0] *= np.sqrt(2.0)
    if o.lifter:
        table = table * (1.0 + 0.5 * o.lifter * np.sin(np.pi * (k + o.lifter_start) / o.lifter))
    return table
