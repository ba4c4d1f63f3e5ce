"""torchaudio.compliance.kaldi: mfcc, fbank and spectrogram, keyword for keyword, with NumPy arrays.

    import pyasr.compat.torchaudio_kaldi as kaldi

Names, order and defaults are those of torchaudio 2. What differs:

  * waveform is a NumPy array [channels, N] of int16, float32 or float64, or a tensor on the CPU (anything with .numpy()); the
    result is a NumPy array, float32 whatever came in. Samples are taken at the scale given, as there: Kaldi's models expect
    int16 scale.
  * channel=-1 "expects mono", and more than one channel raises; torchaudio takes the first without a word.
  * A wave shorter than a frame has no frames, [0, F]; torchaudio asserts. Repeated mirroring makes snip_edges=False work
    down to half a shift.
  * A NaN or infinite sample raises; torchaudio returns NaN. So does an empty mel filter, a row of log(2⁻²³) there.
  * dither adds the same noise in every call, a function of frame and sample alone; torchaudio's comes from torch.randn.
  * A vtln_warp that lets vtln_low and vtln_high cross raises.

All errors are ValueError or TypeError that name the argument.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from pyasr import features
from pyasr.compat._words import LARGEST_COEFF, blackman, even_fft, words_of
from pyasr.ops._door import Door
from pyasr.ops._options import MfccOptions, unknown

__all__ = ["fbank", "mfcc", "spectrogram"]

WINDOWS = ("hamming", "hanning", "povey", "rectangular", "blackman")

# our option -> torchaudio's argument
_NAMES = {
    "sample_rate": "sample_frequency",
    "frame_length_ms": "frame_length",
    "frame_shift_ms": "frame_shift",
    "window": "window_type",
    "dither": "dither",
    "preemph": "preemphasis_coefficient",
    "remove_dc": "remove_dc_offset",
    "snip_edges": "snip_edges",
    "num_mels": "num_mel_bins",
    "low_freq": "low_freq",
    "high_freq": "high_freq",
    "vtln_warp": "vtln_warp",
    "vtln_low": "vtln_low",
    "vtln_high": "vtln_high",
    "num_ceps": "num_ceps",
    "lifter": "cepstral_lifter",
    "use_energy": "use_energy",
    "raw_energy": "raw_energy",
    "energy_floor": "energy_floor",
    "htk_compat": "htk_compat",
    "use_power": "use_power",
    "use_log_fbank": "use_log_fbank",
    "round_to_power_of_two": "round_to_power_of_two",
    "wave": "waveform",
}


def _channel(door: Door, waveform: Any, channel: Any) -> np.ndarray:
    """The [N] of one channel."""
    if not isinstance(waveform, np.ndarray) and hasattr(waveform, "numpy"):
        waveform = waveform.numpy()
    if not isinstance(waveform, np.ndarray):
        door.type_error(f"waveform must be a NumPy array or a CPU tensor, got {type(waveform).__name__}")
    if waveform.ndim != 2:
        text = f"waveform must have shape (channels, samples), got {waveform.shape}"
        door.value_error(text + (": pass waveform[None]" if waveform.ndim == 1 else ""))
    channels = len(waveform)
    if channels == 0:
        door.value_error(f"waveform must have a channel, got shape {waveform.shape}")
    channel = door.integer("channel", channel, -1, channels - 1)
    if channel < 0 and channels > 1:
        text = f"channel=-1 expects one channel, got waveform of shape {waveform.shape}: choose one with channel="
        door.value_error(text + (", or pass waveform.T" if channels > waveform.shape[1] else ""))
    return waveform[max(channel, 0)]


def _features(function: str, given: dict[str, Any], **stop: int) -> np.ndarray:
    """stop: where the pipeline ends, as options that the function does not have."""
    door = Door(function)
    wave = _channel(door, given["waveform"], given["channel"])
    window = given["window_type"]
    if not isinstance(window, str) or window not in WINDOWS:
        door.value_error(unknown("window_type", window, WINDOWS))
    coeff = door.real("blackman_coeff", given["blackman_coeff"], -LARGEST_COEFF, LARGEST_COEFF)
    seconds = door.real("min_duration", given["min_duration"])
    center = door.boolean("subtract_mean", given["subtract_mean"])
    if "use_energy" in given:  # None would be Kaldi's default
        door.boolean("use_energy", given["use_energy"])
    values: dict[str, Any] = {
        ours: given[theirs] for ours, theirs in _NAMES.items() if theirs in given and ours != "wave"
    }
    for name, low in (("num_mel_bins", 3), ("num_ceps", 1)):  # 0 would make another kind of features
        if name in given:
            door.integer(name, given[name], low, 8192)
    with words_of(function, _NAMES):
        options = even_fft(MfccOptions(**values | stop, scale=1.0))
        if window == "blackman" and coeff != 0.42:
            options = dataclasses.replace(options, window=blackman(options.frame_length, coeff))
        if wave.size < seconds * options.sample_rate:
            return np.empty(0, np.float32)
        y = getattr(features, function)(wave, options.sample_rate, options)
    if center and len(y):
        y -= y.mean(axis=0, dtype=np.float64).astype(np.float32)
    return y


def spectrogram(
    waveform: Any,
    blackman_coeff: float = 0.42,
    channel: int = -1,
    dither: float = 0.0,
    energy_floor: float = 1.0,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    min_duration: float = 0.0,
    preemphasis_coefficient: float = 0.97,
    raw_energy: bool = True,
    remove_dc_offset: bool = True,
    round_to_power_of_two: bool = True,
    sample_frequency: float = 16000.0,
    snip_edges: bool = True,
    subtract_mean: bool = False,
    window_type: str = "povey",
) -> np.ndarray:
    """Log power spectrum, [T, fft/2 + 1] float32, log energy in column 0.

    waveform [channels, N] is an array or CPU tensor; frame_length and frame_shift are milliseconds, min_duration seconds: a
    shorter wave gives an empty array [0]. Raises ValueError or TypeError for a bad argument, naming it; see the module for
    what differs from torchaudio.

    Source: torchaudio.compliance.kaldi.spectrogram; Kaldi, feat/feature-spectrogram.cc.

    >>> from pyasr.compat import torchaudio_kaldi as kaldi
    >>> kaldi.spectrogram(np.zeros((1, 16000), np.float32)).shape
    (98, 257)
    """
    return _features("spectrogram", locals(), num_mels=0, num_ceps=0)


def fbank(
    waveform: Any,
    blackman_coeff: float = 0.42,
    channel: int = -1,
    dither: float = 0.0,
    energy_floor: float = 1.0,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    high_freq: float = 0.0,
    htk_compat: bool = False,
    low_freq: float = 20.0,
    min_duration: float = 0.0,
    num_mel_bins: int = 23,
    preemphasis_coefficient: float = 0.97,
    raw_energy: bool = True,
    remove_dc_offset: bool = True,
    round_to_power_of_two: bool = True,
    sample_frequency: float = 16000.0,
    snip_edges: bool = True,
    subtract_mean: bool = False,
    use_energy: bool = False,
    use_log_fbank: bool = True,
    use_power: bool = True,
    vtln_high: float = -500.0,
    vtln_low: float = 100.0,
    vtln_warp: float = 1.0,
    window_type: str = "povey",
) -> np.ndarray:
    """Log mel energies, [T, num_mel_bins] float32; with use_energy a column of log energy first (last with htk_compat).

    Arguments and errors are those of `spectrogram`; low_freq and high_freq are in Hz, high_freq ≤ 0 counts from the Nyquist
    frequency.

    Source: torchaudio.compliance.kaldi.fbank; Kaldi, feat/feature-fbank.cc.

    >>> from pyasr.compat import torchaudio_kaldi as kaldi
    >>> kaldi.fbank(np.zeros((1, 16000), np.float32), num_mel_bins=80, use_energy=True).shape
    (98, 81)
    """
    return _features("fbank", locals(), num_ceps=0)


def mfcc(
    waveform: Any,
    blackman_coeff: float = 0.42,
    cepstral_lifter: float = 22.0,
    channel: int = -1,
    dither: float = 0.0,
    energy_floor: float = 1.0,
    frame_length: float = 25.0,
    frame_shift: float = 10.0,
    high_freq: float = 0.0,
    htk_compat: bool = False,
    low_freq: float = 20.0,
    num_ceps: int = 13,
    min_duration: float = 0.0,
    num_mel_bins: int = 23,
    preemphasis_coefficient: float = 0.97,
    raw_energy: bool = True,
    remove_dc_offset: bool = True,
    round_to_power_of_two: bool = True,
    sample_frequency: float = 16000.0,
    snip_edges: bool = True,
    subtract_mean: bool = False,
    use_energy: bool = False,
    vtln_high: float = -500.0,
    vtln_low: float = 100.0,
    vtln_warp: float = 1.0,
    window_type: str = "povey",
) -> np.ndarray:
    """Mel-frequency cepstral coefficients, [T, num_ceps] float32; c0 is not log energy unless use_energy=True.

    Arguments and errors are those of `fbank`; cepstral_lifter 0 is none.

    Source: torchaudio.compliance.kaldi.mfcc; Kaldi, feat/feature-mfcc.cc.

    >>> from pyasr.compat import torchaudio_kaldi as kaldi
    >>> kaldi.mfcc(np.zeros((2, 16000), np.float32), channel=1).shape
    (98, 13)
    """
    return _features("mfcc", locals())
