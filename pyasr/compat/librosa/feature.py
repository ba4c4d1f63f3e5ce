"""librosa.feature.mfcc, melspectrogram and delta."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np

from pyasr import features
from pyasr.compat._shared import dense_filters, made
from pyasr.compat._words import words_of
from pyasr.compat.librosa.core import power_to_db
from pyasr.compat.librosa.filters import NAMES, dtype_of, mel_options, warn_of_empty, window_values
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._filters import dct_table
from pyasr.ops._options import LARGEST_FFT, PAD_MODES, MfccOptions, unknown
from pyasr.ops._plan import window_table

__all__ = ["delta", "melspectrogram", "mfcc"]

_TOP_DB = 80.0
_FRAMES = {
    "n_fft": 2048, "hop_length": 512, "win_length": None, "window": "hann", "center": True, "pad_mode": "constant", "power": 2.0,
}  # fmt: skip
_BEYOND = {"interp": "", "nearest": "edge", "mirror": "reflect", "constant": "constant", "wrap": "wrap"}
_FILTERS = {"n_mels": 128, "fmin": 0.0, "fmax": None, "htk": False, "norm": "slaney", "dtype": np.float32}


def _keywords(door: Door, given: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    for name in given:
        if name not in known:
            door.type_error(unknown("keyword", name, list(known)))
    return known | given


def _given(door: Door, y: Any) -> np.ndarray:
    if not isinstance(y, np.ndarray):
        door.type_error(f"y must be a NumPy array, got {type(y).__name__}")
    if y.dtype.newbyteorder("=") not in FLOATS:
        door.type_error(
            f"y must have dtype float32 or float64, got {y.dtype.name}: divide integers by their full scale"
        )
    if y.ndim == 0 or 0 in y.shape[:-1]:
        door.value_error(f"y must have shape (…, samples), got {y.shape}")
    return y


def _wave(y: np.ndarray) -> np.ndarray:
    """[C, N] of y (…, N)."""
    return y.reshape(math.prod(y.shape[:-1]), y.shape[-1])


def _spectrum(door: Door, S: Any) -> np.ndarray:
    S = np.asarray(S)
    if S.dtype.kind not in "fiu" or S.ndim < 2:
        door.value_error(f"S must be real with shape (…, bins, frames), got {S.dtype.name} {S.shape}")
    return S


def _options(door: Door, a: dict[str, Any], sr: Any, n: int) -> MfccOptions:
    """The options of log-free mel energies of waves of n samples."""
    n_fft = door.integer("n_fft", a["n_fft"], 2, LARGEST_FFT)
    length = n_fft if a["win_length"] is None else door.integer("win_length", a["win_length"], 2, n_fft)
    shift = length // 4 if a["hop_length"] is None else a["hop_length"]
    center, mode = door.boolean("center", a["center"]), a["pad_mode"]
    if center and (not isinstance(mode, str) or mode not in PAD_MODES):
        door.value_error(unknown("pad_mode", mode, PAD_MODES))
    if n < n_fft:
        text = f"n_fft={n_fft} is too large for input signal of length={n}"
        if not center:
            door.value_error(text + ": frames without center must lie in it")
        warnings.warn(text, stacklevel=4)
    if n == 0 and (mode != "constant" or n_fft % 2):
        door.value_error(f"y must have a sample for pad_mode={mode!r} and n_fft={n_fft}, got shape (…, 0)")
    window = window_values(door, a["window"], length)
    values = mel_options(door, sr=sr, **{name: a[name] for name in _FILTERS if name != "dtype"})
    power = door.real("power", a["power"], 1e-3, 1e3)
    frames: dict[str, Any] = {
        "n_fft": n_fft, "win_length": length, "hop_length": shift, "window": window, "center": center,
        "periodic": True if isinstance(window, str) else None,  # SciPy's are, of every name
        "pad_mode": mode if center else "constant",
    }  # fmt: skip
    with words_of(door.op, NAMES):
        options = made(
            **values,
            **frames,
            num_ceps=0,
            use_power=power == 2,
            use_log_fbank=False,
        )
    if not center and length < n_fft:  # librosa's frames have n_fft samples, the window in their middle
        left = (n_fft - length) // 2
        padded = np.pad(window_table(options), (left, n_fft - length - left))
        options = made(options, window=tuple(padded.tolist()), periodic=None, win_length=n_fft)
    warn_of_empty(options, 5)
    return options


def _rows(door: Door, y: np.ndarray, options: MfccOptions, kind: str) -> np.ndarray:
    """[C, T, F] of [C, N]."""
    waves = y if y.shape[1] else np.zeros((len(y), 1), y.dtype)
    with words_of(door.op, NAMES):
        out, _ = features.batch(waves, options.sample_rate, options, kind=kind)
    return out if y.shape[1] else out[:, :1]  # of no samples there is one frame of padding


def _shaped(out: np.ndarray, y: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """[C, T, F] of y (…, N) → (…, F, T) of the dtype that librosa would return."""
    out = out.swapaxes(1, 2).reshape(*y.shape[:-1], out.shape[2], out.shape[1])
    return out.astype(np.result_type(y.dtype.newbyteorder("="), dtype), copy=False)


def _mel(door: Door, y: np.ndarray, sr: Any, a: dict[str, Any]) -> np.ndarray:
    """(…, M, T) of y (…, N)."""
    wave, dtype = _wave(y), dtype_of(door, a["dtype"])
    options = _options(door, a, sr, wave.shape[1])
    if a["power"] in (1, 2):
        return _shaped(_rows(door, wave, options, "fbank"), y, dtype)
    spectra = _rows(door, wave, made(options, num_mels=0), "spectrogram")  # magnitudes
    return _shaped(spectra ** np.float32(a["power"]) @ dense_filters(options).T.astype(np.float32), y, dtype)


def _cepstra(door: Door, y: np.ndarray, sr: Any, a: dict[str, Any], cepstra: dict[str, Any]) -> np.ndarray:
    """(…, n_mfcc, T) of y (…, N)."""
    wave, dtype = _wave(y), dtype_of(door, a["dtype"])
    options = _options(door, a, sr, wave.shape[1])
    with words_of(door.op, NAMES):
        options = made(options, log="db", log_floor=1e-10, **cepstra)
    if len(wave) == 1:
        return _shaped(_rows(door, wave, made(options, dynamic_range=_TOP_DB), "mfcc"), y, dtype)
    logs = _rows(door, wave, made(options, num_ceps=0), "fbank")
    logs = np.maximum(logs, logs.max() - np.float32(_TOP_DB))  # below the loudest of all channels
    return _shaped(logs @ dct_table(options).T.astype(np.float32), y, dtype)


def melspectrogram(
    *,
    y: np.ndarray | None = None,
    sr: float = 22050,
    S: np.ndarray | None = None,
    n_fft: int = 2048,
    hop_length: int | None = 512,
    win_length: int | None = None,
    window: Any = "hann",
    center: bool = True,
    pad_mode: str = "constant",
    power: float = 2.0,
    **kwargs: Any,
) -> np.ndarray:
    """Mel spectrogram (…, n_mels, frames) of y (…, samples), or of a spectrum S (…, n_fft/2 + 1, frames).

    y is float32 or float64, at any scale; sr in Hz; n_fft, hop_length, win_length in samples. power is the exponent of the
    magnitudes. Further keywords are those of `filters.mel`: n_mels, fmin, fmax, htk, norm, dtype. The result is float32,
    float64 where y, S or dtype is.

    Raises ValueError and TypeError naming the argument; see `pyasr.compat.librosa` for what differs from librosa.

    Source: librosa.feature.melspectrogram.

    >>> from pyasr.compat import librosa
    >>> librosa.feature.melspectrogram(y=np.zeros((2, 22050), np.float32), sr=22050, n_mels=64).shape
    (2, 64, 44)
    """
    door = Door("melspectrogram")
    filters = _keywords(door, kwargs, _FILTERS)
    dtype = dtype_of(door, filters["dtype"])
    given = {name: value for name, value in locals().items() if name in _FRAMES}
    if S is not None:
        S = _spectrum(door, S)
        size = n_fft if n_fft // 2 + 1 == S.shape[-2] else 2 * (S.shape[-2] - 1)
        door.integer("n_fft", size, 2, LARGEST_FFT)
        values = mel_options(door, sr=sr, **{name: filters[name] for name in _FILTERS if name != "dtype"})
        with words_of("melspectrogram", NAMES):
            options = made(**values, n_fft=size, win_length=size, hop_length=1, num_ceps=0)
        warn_of_empty(options)
        return dense_filters(options).astype(dtype) @ S
    return _mel(door, _given(door, y), sr, given | filters)


def mfcc(
    *,
    y: np.ndarray | None = None,
    sr: float = 22050,
    S: np.ndarray | None = None,
    n_mfcc: int = 20,
    dct_type: int = 2,
    norm: str | None = "ortho",
    lifter: float = 0,
    mel_norm: str | float | None = "slaney",
    **kwargs: Any,
) -> np.ndarray:
    """Mel-frequency cepstral coefficients (…, n_mfcc, frames) of y (…, samples), or of log-power mel spectra S
    (…, n_mels, frames).

    y is float32 or float64, at any scale; sr in Hz. Logs are decibels, at most 80 below the loudest of all channels. lifter 0
    is none. Further keywords are those of `melspectrogram` but norm, which is mel_norm here. The result is float32, float64
    where y or S is.

    Raises ValueError and TypeError naming the argument; see `pyasr.compat.librosa` for what differs from librosa.

    Source: librosa.feature.mfcc.

    >>> from pyasr.compat import librosa
    >>> librosa.feature.mfcc(y=np.zeros(22050, np.float32), sr=22050, n_mfcc=13).shape
    (13, 44)
    """
    door = Door("mfcc")
    a = _keywords(door, kwargs, {name: value for name, value in (_FRAMES | _FILTERS).items() if name != "norm"})
    a["norm"] = mel_norm
    count = door.integer("n_mfcc", n_mfcc, 1, 8192)
    door.real("lifter", lifter, 0.0)
    bands = door.integer("n_mels", a["n_mels"], 1, 8192) if S is None else _spectrum(door, S).shape[-2]
    if lifter and count > bands:
        door.value_error(f"n_mfcc must be at most the {bands} mel filters with a lifter, got {n_mfcc}")
    cepstra: dict[str, Any] = {
        "num_ceps": min(count, bands), "dct_type": dct_type, "dct_norm": None if norm == "backward" else norm,
        "lifter": lifter, "lifter_start": 1, "use_log_fbank": True,
    }  # fmt: skip
    if S is None:
        y = _given(door, y)
        if door.real("power", a["power"]) in (1, 2):
            return _cepstra(door, y, sr, a, cepstra)
        S = power_to_db(_mel(door, y, sr, a))
    S = _spectrum(door, S)
    with words_of("mfcc", NAMES):
        options = made(num_mels=bands, triangles="hz", allow_empty=True, use_energy=False, **cepstra)
    return dct_table(options).astype(np.float32 if S.dtype == np.float32 else np.float64) @ S


def delta(data: Any, *, width: int = 9, order: int = 1, axis: int = -1, mode: str = "interp") -> np.ndarray:
    """The order-th derivative along an axis, by a polynomial of that degree fitted to `width` frames: same shape, and float32
    stays float32.

    width is odd and above order. mode says what lies beyond the ends: "interp" (the fit of the first and last `width`
    frames), "nearest" (the end frame), "mirror" (without repeating it), "constant" (zeros) or "wrap".

    Raises ValueError and TypeError naming the argument; so do savgol_filter's other keywords.

    Source: librosa.feature.delta; Savitzky and Golay 1964.

    >>> from pyasr.compat import librosa
    >>> librosa.feature.delta(np.arange(10.0), width=3).round(12).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    """
    door, x = Door("delta"), np.atleast_1d(data)
    if x.dtype.kind not in "fiu":
        door.type_error(f"data must be real numbers, got {x.dtype.name}")
    door.integer("axis", axis, -x.ndim, x.ndim - 1)
    order = door.integer("order", order, 1, 100)
    width = door.integer("width", width, max(3, order + 1), 9999)
    if width % 2 == 0:
        door.value_error(f"width must be odd, got {width}")
    if mode not in _BEYOND:
        door.value_error(unknown("mode", mode, list(_BEYOND)))
    if mode == "interp" and width > x.shape[axis]:
        door.value_error(f"width must be at most the {x.shape[axis]} frames for mode='interp', got {width}")
    half = width // 2
    powers = np.arange(-half, half + 1.0)[:, None] ** np.arange(order + 1)
    taps = math.factorial(order) * np.linalg.pinv(powers)[order]
    ends = [(0, 0)] * x.ndim
    ends[axis] = (half, half)
    dtype = x.dtype if x.dtype in FLOATS else np.dtype(np.float64)
    x = x.astype(np.float64)
    if mode != "interp":
        x = np.pad(x, ends, mode=_BEYOND[mode])  # type: ignore[call-overload]
    y = np.lib.stride_tricks.sliding_window_view(x, width, axis) @ taps
    # the derivative of the polynomial's degree is the same at all of its frames
    return (np.pad(y, ends, mode="edge") if mode == "interp" else y).astype(dtype)
