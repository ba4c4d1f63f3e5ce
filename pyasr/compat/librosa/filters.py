"""librosa.filters.mel, and how librosa's names for filters and windows read as options."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from pyasr.compat._shared import PLAIN, dense_filters, made
from pyasr.compat._words import words_of
from pyasr.ops._door import Door
from pyasr.ops._options import LARGEST_FFT, MfccOptions, unknown

__all__ = ["mel"]

# our option -> librosa's argument
NAMES = {
    "sample_rate": "sr", "num_mels": "n_mels", "low_freq": "fmin", "high_freq": "fmax", "mel_norm": "norm",
    "frame_length_ms": "win_length", "frame_shift_ms": "hop_length", "num_ceps": "n_mfcc", "dct_norm": "norm", "wave": "y",
    "waves": "y",
}  # fmt: skip

_ALIASES = {
    "hann": "hann han", "hamming": "hamming hamm ham", "blackman": "blackman black blk",
    "rectangular": "boxcar box ones rect rectangular",
}  # fmt: skip
_WINDOWS = {alias: ours for ours, aliases in _ALIASES.items() for alias in aliases.split()}


def window_values(door: Door, window: Any, n: int) -> str | tuple[float, ...]:
    """The option for a window of n samples: a name (SciPy's are periodic) or its values."""
    if isinstance(window, str):
        if window not in _WINDOWS:
            door.value_error(
                unknown("window", window, list(_WINDOWS)) + ": pass scipy.signal.get_window(name, win_length)"
            )
        return _WINDOWS[window]
    if callable(window):
        window = window(n)
    elif not isinstance(window, (np.ndarray, list)):
        door.type_error(
            f"window must be a name, a callable or an array, got {type(window).__name__}: pass "
            "scipy.signal.get_window(window, win_length)"
        )
    values = np.asarray(window, np.float64)
    if values.shape != (n,):
        door.value_error(f"window must have shape ({n},), win_length, got {values.shape}")
    return tuple(values.tolist())


def mel_options(
    door: Door, *, sr: Any, n_mels: Any = 128, fmin: Any = 0.0, fmax: Any = None, htk: Any = False, norm: Any = "slaney",
) -> dict[str, Any]:  # fmt: skip
    """Options of the filters."""
    rate = door.real("sr", sr, 10.0, 1e7)
    if fmax is not None and door.real("fmax", fmax) <= 0:
        door.value_error(f"fmax must be positive, got {fmax!r}")
    return PLAIN | {
        "sample_rate": rate,
        "num_mels": door.integer("n_mels", n_mels, 1, 8192),
        "low_freq": fmin,
        # an odd rate halves to a number that may lie a rounding error above the other half
        "high_freq": 0.0 if fmax is None else min(float(fmax), rate / 2) if fmax <= rate / 2 * (1 + 1e-12) else fmax,
        "mel_scale": "htk" if door.boolean("htk", htk) else "slaney",
        "triangles": "hz",
        "mel_norm": norm,
    }


@functools.lru_cache(maxsize=64)
def _has_empty(options: MfccOptions) -> bool:
    """Whether a filter has no FFT bin; one that begins at 0 Hz does not count."""
    return not (dense_filters(options).max(axis=1)[options.low_freq == 0 :] > 0).all()


def warn_of_empty(options: MfccOptions, depth: int = 3) -> None:
    """librosa's warning, of the caller `depth` up."""
    if _has_empty(options):
        warnings.warn(
            f"Empty filters detected in mel frequency basis: n_mels = {options.num_mels} of n_fft = {options.fft_size} at "
            f"sr = {options.sample_rate:g}. Try a higher n_fft or fewer n_mels.",
            stacklevel=depth,
        )


def dtype_of(door: Door, dtype: Any) -> np.dtype:
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        door.type_error(f"dtype must be float32 or float64, got {dtype!r}")
    if wanted not in (np.float32, np.float64):
        door.type_error(f"dtype must be float32 or float64, got {wanted.name}")
    return wanted


def mel(
    *,
    sr: float,
    n_fft: int,
    n_mels: int = 128,
    fmin: float = 0.0,
    fmax: float | None = None,
    htk: bool = False,
    norm: str | float | None = "slaney",
    dtype: Any = np.float32,
) -> np.ndarray:
    """Mel filters as a matrix [n_mels, n_fft/2 + 1] of dtype float32 or float64.

    sr, fmin and fmax in Hz, fmax None is sr / 2. htk=True takes HTK's mel scale, False Slaney's. norm: "slaney" (unit area in
    Hz), None, or a number p ≥ 1 (inf: unit peak). A filter without an FFT bin is a row of zeros and gives a UserWarning.

    Raises ValueError and TypeError naming the argument.

    Source: librosa.filters.mel; Slaney, Auditory Toolbox, 1998.

    >>> from pyasr.compat import librosa
    >>> librosa.filters.mel(sr=16000, n_fft=400, n_mels=80).shape
    (80, 201)
    """
    door = Door("mel")
    kind = dtype_of(door, dtype)
    door.integer("n_fft", n_fft, 2, LARGEST_FFT)
    values = mel_options(door, sr=sr, n_mels=n_mels, fmin=fmin, fmax=fmax, htk=htk, norm=norm)
    with words_of("mel", NAMES):
        options = made(**values, n_fft=n_fft, win_length=n_fft, hop_length=1, num_ceps=0)
    warn_of_empty(options)
    return dense_filters(options).astype(kind)
