"""Features from their formulas, in float64, one step after the other: no sparse tables, no plan, nothing of the package.

`features(kind, wave, options)` reads the attributes of a MfccOptions as its docstring explains them, and nothing that MfccOptions
derives from them. Frames are cut from a wave that was padded first, as librosa, torch.stft and python_speech_features do it;
filters are a dense matrix, made bin by bin as Kaldi does it; the DCTs are the sums of SciPy's documentation. Noise (dither) is
not here.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

KALDI_FLOOR = float(np.finfo(np.float32).eps)


def sizes(o: Any) -> tuple[int, int, int]:
    """Samples of a frame and from frame to frame, and points of the FFT."""
    length = o.win_length or int(o.sample_rate * 0.001 * o.frame_length_ms)
    shift = o.hop_length or int(o.sample_rate * 0.001 * o.frame_shift_ms)
    size = o.n_fft
    if size is None:
        size = length
        if o.round_to_power_of_two:
            size = 1
            while size < length:
                size *= 2
    return length, shift, size


def samples(wave: np.ndarray, o: Any) -> np.ndarray:
    """At full scale; preemphasis of the whole wave."""
    scale = o.scale if o.scale is not None else 1.0 if wave.dtype.kind == "i" else 32768.0
    x = np.array(wave, np.float64) * scale * (o.full_scale / 32768.0)
    if o.preemph_signal and len(x):
        x = np.append(x[0], x[1:] - o.preemph * x[:-1])
    return x


def cut(x: np.ndarray, o: Any) -> np.ndarray:
    """[T, length]"""
    length, shift, size = sizes(o)
    n = len(x)
    if n == 0:
        return np.zeros((0, length))
    if o.center:  # torch.stft: frames of n_fft points; the window, and so the frame, in the middle of them
        x = np.pad(x, size // 2, o.pad_mode)
        count = 1 + (n + 2 * (size // 2) - size) // shift - o.drop_last
        begin = (size - length) // 2
    elif o.pad_end:  # python_speech_features: framesig
        count = 1 if n <= length else 1 + int(np.ceil((n - length) / shift))
        x, begin = np.append(x, np.zeros(count * shift + length)), 0
    elif o.snip_edges:
        count, begin = 0 if n < length else 1 + (n - length) // shift, 0
    else:  # Kaldi: the middle of frame f is the middle of shift f; −1 → 0, −2 → 1, n → n − 1, repeatedly
        count = (n + shift // 2) // shift
        left, right = length, length + shift
        x = np.pad(x, (left, right), "symmetric")
        begin = left + shift // 2 - length // 2
    return np.array([x[begin + f * shift :][:length] for f in range(count)]).reshape(count, length)


def window(o: Any, n: int) -> np.ndarray:
    if not isinstance(o.window, str):
        return np.array(o.window)
    periodic = o.window == "hann" if o.periodic is None else o.periodic
    t = np.linspace(0, 1, n + 1)[:-1] if periodic else np.linspace(0, 1, n)
    cos1, cos2 = np.cos(2 * np.pi * t), np.cos(4 * np.pi * t)
    return {
        "rectangular": np.ones(n),
        "hanning": 0.5 - 0.5 * cos1,
        "hann": 0.5 - 0.5 * cos1,
        "povey": (0.5 - 0.5 * cos1) ** 0.85,
        "hamming": 0.54 - 0.46 * cos1,
        "blackman": 0.42 - 0.5 * cos1 + 0.08 * cos2,
        "sine": np.sin(np.pi * t),
    }[o.window]


def to_mel(f: float, scale: str) -> float:
    if scale == "htk":
        return 1127.0 * np.log(1.0 + f / 700.0)
    return 3.0 * f / 200.0 if f < 1000.0 else 15.0 + 27.0 * np.log(f / 1000.0) / np.log(6.4)


def to_hz(m: float, scale: str) -> float:
    if scale == "htk":
        return 700.0 * (np.e ** (m / 1127.0) - 1.0)
    return 200.0 * m / 3.0 if m < 15.0 else 1000.0 * 6.4 ** ((m - 15.0) / 27.0)


def warped(f: float, o: Any, low: float, high: float) -> float:
    """Kaldi's VtlnWarpFreq."""
    w, nyquist = o.vtln_warp, o.sample_rate / 2
    l = o.vtln_low * max(1.0, w)
    h = (o.vtln_high if o.vtln_high >= 0 else nyquist + o.vtln_high) * min(1.0, w)
    if f < low or f > high:
        return f
    if f < l:
        return low + (l / w - low) / (l - low) * (f - low)
    return f / w if f < h else high + (high - h / w) / (high - h) * (f - high)


def filters(o: Any, size: int) -> np.ndarray:
    """[num_mels, size // 2 + 1], dense."""
    low, high = o.low_freq, o.high_freq if o.high_freq > 0 else o.sample_rate / 2 + o.high_freq
    ends = to_mel(low, o.mel_scale), to_mel(high, o.mel_scale)
    points = [to_hz(m, o.mel_scale) for m in np.linspace(*ends, o.num_mels + 2)]
    points[0], points[-1] = low, high
    if o.vtln_warp != 1:
        points = [warped(f, o, low, high) for f in points]
    in_bins, in_mel = "bins" in o.triangles, o.triangles == "mel"
    if o.triangles == "bins" and o.mel_scale == "htk":  # in the arithmetic of python_speech_features, which rounds down
        ends = (2595 * np.log10(1 + f / 700.0) for f in (low, high))
        points = [700 * (10 ** (m / 2595.0) - 1) for m in np.linspace(*ends, o.num_mels + 2)]
    if in_bins:
        corners = [np.floor((size + 1) * f / o.sample_rate) for f in points]
    else:
        corners = [to_mel(f, o.mel_scale) if in_mel else f for f in points]
    out = np.zeros((o.num_mels, size // 2 + 1))
    for j in range(o.num_mels):
        left, center, right = corners[j : j + 3]
        for k in range(size // 2 + 1):
            if in_mel and 2 * k == size:
                continue  # Kaldi's loop ends before the Nyquist frequency
            f = k * o.sample_rate / size
            at = k if in_bins else to_mel(f, o.mel_scale) if in_mel else f
            if o.triangles == "bins":  # python_speech_features: get_filterbanks
                if left <= at < center:
                    out[j, k] = (at - left) / (center - left)
                if center <= at < right:
                    out[j, k] = (right - at) / (right - center)
            elif left < at < right:
                out[j, k] = (at - left) / (center - left) if at <= center else (right - at) / (right - center)
        if o.mel_norm == "slaney":
            out[j] *= 2.0 / (right - left) if right > left else 0.0
        elif o.mel_norm is not None and out[j].any():
            out[j] /= np.max(out[j]) if o.mel_norm == np.inf else (out[j] ** o.mel_norm).sum() ** (1 / o.mel_norm)
    if o.htk_mode and o.triangles == "mel" and low != 0 and out[0].any():
        out[0, np.flatnonzero(out[0])[0]] = 0.0
    return out


def floored(x: np.ndarray, o: Any) -> np.ndarray:
    floor = KALDI_FLOOR if o.log_floor is None else o.log_floor
    if o.floor_mode == "max":
        return np.maximum(x, floor)
    return x + floor if o.floor_mode == "add" else np.where(x == 0, floor, x)


def logs(x: np.ndarray, o: Any) -> np.ndarray:
    """Before gain and offset."""
    return {"ln": np.log, "log10": np.log10, "db": lambda x: 10.0 * np.log10(x)}[o.log](floored(x, o))


def log_energy(x: np.ndarray, o: Any) -> np.ndarray:
    return np.log(np.maximum(floored(x, o), max(o.energy_floor, 1e-300)))


def dct(y: np.ndarray, kind: int, norm: str | None) -> np.ndarray:
    """scipy.fft.dct(y, kind, norm=norm), term by term as its documentation has it."""
    n = y.shape[1]
    y, out = y.copy(), np.empty_like(y)
    if norm and kind == 1:
        y[:, [0, -1]] *= np.sqrt(2)
    for k in range(n):
        if kind == 1:
            middle = sum(y[:, i] * np.cos(np.pi * k * i / (n - 1)) for i in range(1, n - 1))
            out[:, k] = y[:, 0] + (-1) ** k * y[:, -1] + 2 * middle
        elif kind == 2:
            out[:, k] = 2 * sum(y[:, i] * np.cos(np.pi * k * (2 * i + 1) / (2 * n)) for i in range(n))
        else:
            first = y[:, 0] * (np.sqrt(2) if norm else 1)
            out[:, k] = first + 2 * sum(y[:, i] * np.cos(np.pi * (2 * k + 1) * i / (2 * n)) for i in range(1, n))
    if not norm:
        return out
    if kind == 1:
        out *= np.sqrt(1 / (2 * (n - 1)))
        out[:, [0, -1]] /= np.sqrt(2)
    else:
        out *= np.sqrt(1 / (2 * n))
        if kind == 2:
            out[:, 0] /= np.sqrt(2)
    return out


def cepstra(y: np.ndarray, o: Any) -> np.ndarray:
    c = dct(y, o.dct_type, o.dct_norm)[:, : o.num_ceps]
    if o.lifter:
        c = c * (1 + o.lifter / 2 * np.sin(np.pi * (np.arange(o.num_ceps) + o.lifter_start) / o.lifter))
    return c


def spectrum(wave: np.ndarray, o: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """[T, n_fft // 2 + 1], and three energies [T]: raw, windowed, spectral."""
    length, _, size = sizes(o)
    x = cut(samples(wave, o), o)
    if o.remove_dc:
        x = x - x.sum(axis=1, keepdims=True) / length
    raw = np.einsum("ti,ti->t", x, x)
    if not o.preemph_signal:
        before = x.copy()
        before[:, 1:] = x[:, :-1]
        x = x - o.preemph * before
    x = x * window(o, length)
    full = np.zeros((len(x), size))
    full[:, :length] = x
    bins = np.abs(np.fft.fft(full, axis=1)[:, : size // 2 + 1])
    if o.use_power:
        bins = bins**2
    if o.power_over_fft:
        bins = bins / size
    return bins, raw, np.einsum("ti,ti->t", x, x), bins.sum(axis=1)


def features(kind: str, wave: np.ndarray, o: Any) -> np.ndarray:
    """[T, F] float64 of kind "mfcc", "fbank" or "spectrogram"."""
    y, raw, windowed, spectral = spectrum(wave, o)
    energy = log_energy(spectral if o.spectral_energy else raw if o.raw_energy else windowed, o)
    use_energy = o.use_energy if o.use_energy is not None else kind != "fbank"
    if kind != "spectrogram":
        y = y @ filters(o, sizes(o)[2]).T
        if o.htk_mode:
            y = np.maximum(y, 1.0)
    if o.use_log_fbank:
        y = logs(y, o)
        if o.dynamic_range is not None and y.size:
            y = np.maximum(y, y.max() - o.dynamic_range)
        y = y * o.log_gain + o.log_offset
    if kind == "mfcc":
        y = cepstra(y, o)
        if use_energy:
            y[:, 0] = energy
        if o.htk_compat:
            first = y[:, :1] if use_energy else y[:, :1] * np.sqrt(2)
            y = np.hstack([y[:, 1:], first])
    elif kind == "spectrogram":
        if use_energy:
            y[:, 0] = energy
    elif use_energy:
        y = np.hstack([y, energy[:, None]] if o.htk_compat else [energy[:, None], y])
    if o.normalize is None or len(y) == 0:
        return y
    # NeMo: the unbiased deviation; of one number it is 0
    axis = 0 if o.normalize == "per_feature" else None
    deviation = y.std(axis=axis, ddof=1) if (len(y) if axis == 0 else y.size) > 1 else 0.0
    return (y - y.mean(axis=axis)) / (deviation + 1e-5)


def unit(kind: str, wave: np.ndarray, o: Any) -> np.ndarray:
    """[F], or a scalar: what an error of one neper of the bands amounts to in each column of a result with logs.

    A dB is 10/ln 10 of it. A cepstrum counts by the Euclidean norm of its row of DCT and lifter, so that orthonormal cepstra
    without lifter count as bands do. Normalization divides by the deviation.
    """
    neper = {"ln": 1.0, "log10": 1 / np.log(10), "db": 10 / np.log(10)}[o.log] * o.log_gain
    use_energy = o.use_energy if o.use_energy is not None else kind != "fbank"
    if kind == "mfcc":
        out = neper * np.sqrt((cepstra(np.eye(o.num_mels), o) ** 2).sum(axis=0))
        if use_energy:
            out[0] = 1.0
        if o.htk_compat:
            out = np.append(out[1:], out[0] * (1.0 if use_energy else np.sqrt(2)))
    elif kind == "spectrogram":
        out = np.full(sizes(o)[2] // 2 + 1, neper)
        out[0] = 1.0 if use_energy else neper
    else:
        out = np.append(np.full(o.num_mels, neper), [1.0] * use_energy)
        out = out if o.htk_compat or not use_energy else np.roll(out, 1)
    if o.normalize is None:
        return out
    plain = features(kind, wave, dataclasses.replace(o, normalize=None))
    return out / (plain.std(axis=0 if o.normalize == "per_feature" else None, ddof=1) + 1e-5)
