"""Presets: what other toolkits compute when nobody says otherwise, as changes to Kaldi's defaults."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from pyasr.ops._door import Door
from pyasr.ops._options import MfccOptions, unknown

# Samples as they are, in [−1, 1].
_UNIT = {"full_scale": 1.0, "preemph": 0.0, "remove_dc": False, "use_energy": False}
_SLANEY = {"mel_scale": "slaney", "triangles": "hz", "mel_norm": "slaney", "low_freq": 0.0}


def _kaldi(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """compute-mfcc-feats, compute-fbank-feats and compute-spectrogram-feats without dither."""
    return {}


def _htk(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """HCopy with the configuration of the HTK Book's tutorial (MFCC_0, 26 channels): magnitudes, c0 last."""
    return {
        "window": "hamming", "remove_dc": False, "use_power": False, "num_mels": 26, "low_freq": 0.0, "htk_mode": True,
        "htk_compat": True, "use_energy": False,
    }  # fmt: skip


def _librosa(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """librosa 0.11: feature.mfcc, and power_to_db of melspectrogram for fbank."""
    n = changes.get("n_fft", 2048)
    return _UNIT | _SLANEY | {
        "n_fft": n, "win_length": n, "hop_length": 512, "center": True, "window": "hann", "num_mels": 128, "log": "db",
        "log_floor": 1e-10, "dynamic_range": 80.0, "num_ceps": 20, "lifter": 0.0, "lifter_start": 1,
    }  # fmt: skip


def _torchaudio(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """torchaudio.compliance.kaldi on what torchaudio.load returns."""
    return {"full_scale": 1.0, "use_energy": False, "energy_floor": 1.0}


def _python_speech_features(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """python_speech_features 0.6: mfcc, logfbank. Samples of a frame are rounded half up. 512 points; a longer frame, which it
    cuts off with a warning, takes the next power of two."""
    default = {"win_length": int(0.025 * rate + 0.5)}
    given = {name: changes[name] for name in ("win_length", "frame_length_ms") if name in changes} or default
    length = MfccOptions(sample_rate=rate, hop_length=1, num_mels=0, num_ceps=0, **given).frame_length
    return default | {
        "hop_length": int(0.01 * rate + 0.5), "n_fft": max(512, 1 << (length - 1).bit_length()), "pad_end": True,
        "preemph_signal": True, "window": "rectangular", "remove_dc": False, "power_over_fft": True, "num_mels": 26,
        "low_freq": 0.0, "triangles": "bins", "log_floor": 2.0**-52, "floor_mode": "zero", "spectral_energy": True,
    }  # fmt: skip


def _whisper(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """whisper.audio.log_mel_spectrogram, for fbank; the large-v3 models take num_mels=128. Nothing is padded to 30 s."""
    return _UNIT | _SLANEY | {
        "n_fft": 400, "win_length": 400, "hop_length": 160, "center": True, "pad_mode": "reflect", "drop_last": True,
        "window": "hann", "num_mels": 80, "log": "log10", "log_floor": 1e-10, "dynamic_range": 8.0, "log_gain": 0.25,
        "log_offset": 1.0,
    }  # fmt: skip


def _nemo(rate: float, changes: Mapping[str, Any]) -> dict[str, Any]:
    """NeMo 2: AudioToMelSpectrogramPreprocessor with 80 features, for fbank; without dither and pad_to."""
    return _UNIT | _SLANEY | {
        "preemph": 0.97, "preemph_signal": True, "center": True, "drop_last": True, "window": "hanning", "num_mels": 80,
        "log_floor": 2.0**-24, "floor_mode": "add", "normalize": "per_feature",
    }  # fmt: skip


_PRESETS: dict[str, Callable[[float, Mapping[str, Any]], dict[str, Any]]] = {
    "kaldi": _kaldi, "htk": _htk, "librosa": _librosa, "torchaudio": _torchaudio,
    "python_speech_features": _python_speech_features, "whisper": _whisper, "nemo": _nemo,
}  # fmt: skip
PRESETS = tuple(_PRESETS)

# An option in other units that a given one replaces.
_REPLACES = {"frame_length_ms": "win_length", "frame_shift_ms": "hop_length", "round_to_power_of_two": "n_fft"}


_NAMES = tuple(f.name for f in dataclasses.fields(MfccOptions) if f.name != "sample_rate")


def check_names(op: str, changes: Mapping[str, Any]) -> None:
    """TypeError for the first change that is no option, with the nearest one; the sample rate has an argument of its own."""
    for name in changes:
        if name not in _NAMES:
            Door(op).type_error(unknown("keyword", name, _NAMES))


def with_changes(options: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Options by name with changes; what a change replaces is None, unless it is changed as well."""
    replaced = {other: None for given, other in _REPLACES.items() if given in changes}
    return {**options, **replaced, **changes}


def preset(name: str, sample_rate: float = 16000.0, **changes: Any) -> MfccOptions:
    """The options of a preset: "kaldi", "htk", "librosa", "torchaudio", "python_speech_features", "whisper" or "nemo", at a
    sample rate in Hz, with single options changed.

    A frame_length_ms, frame_shift_ms or round_to_power_of_two that is given replaces the preset's win_length, hop_length or
    n_fft; with librosa's, win_length is n_fft unless it is given.

    Raises ValueError for an unknown name, TypeError for an unknown keyword, and what `pyasr.MfccOptions` raises.

    >>> options = pyasr.features.preset("whisper", num_mels=128)
    >>> options.hop_length, options.dynamic_range
    (160, 8.0)
    """
    if name not in _PRESETS:
        Door("preset").value_error(unknown("name", name, PRESETS))
    rate = Door("preset").real("sample_rate", sample_rate, 10.0, 1e7)
    check_names("preset", changes)
    return MfccOptions(**with_changes(_PRESETS[name](rate, changes), changes), sample_rate=sample_rate)


# What another value of an option does to the features.
_EFFECTS = {
    "sample_rate": "what all frequencies and times are counted in",
    "scale": "what a sample of the input counts for",
    "dither_seed": "which noise is added",
    "vtln_warp": "where the filters lie: the frequencies of another length of the vocal tract",
    "vtln_low": "where the warp begins",
    "vtln_high": "where the warp ends",
    "allow_empty": "whether filters between two FFT bins are an error",
    "use_log_fbank": "energies instead of their logs",
    "dct_type": "the basis of the cepstra",
    "dct_norm": "scales the cepstra",
    "raw_energy": "energy before or after preemphasis and window",
    "full_scale": "the level of all logs: a factor s adds 2 ln s to each log power, and floors bite elsewhere",
    "preemph": "raises high frequencies before the spectrum is taken",
    "preemph_signal": "preemphasis of the wave once, so that a frame's first sample knows the one before it",
    "dither": "adds noise: no two computations agree unless they share the generator",
    "frame_length_ms": "samples of a frame",
    "frame_shift_ms": "frames per second",
    "win_length": "samples of a frame",
    "hop_length": "frames per second",
    "n_fft": "distance of the FFT bins under the filters",
    "round_to_power_of_two": "distance of the FFT bins under the filters",
    "snip_edges": "number of frames and what lies in the first and last ones",
    "center": "number of frames; the first one is centered at sample 0 instead of beginning there",
    "pad_mode": "what the first and last frames see beyond the ends",
    "drop_last": "one frame less",
    "pad_end": "one frame more when the last one does not fit",
    "window": "leakage between bins, and a constant in all logs",
    "periodic": "the window by one sample in its length",
    "remove_dc": "an offset of the recording reaches the lowest filters",
    "use_power": "magnitudes halve every log",
    "power_over_fft": "a constant, ln n_fft, in every log",
    "num_mels": "number and width of the filters",
    "low_freq": "where the filters begin",
    "high_freq": "where the filters end",
    "mel_scale": "where the filters lie: Slaney's are equally spaced below 1 kHz",
    "triangles": "the shape of the filters, most of all of wide ones",
    "mel_norm": "the level of each filter: unit area favors narrow, low ones",
    "htk_mode": "energies below 1 count as 1",
    "log": "the unit of the logs: 1 neper of power is 4.34 dB or 0.434 decades",
    "log_floor": "what silence becomes",
    "floor_mode": "what near-silence becomes",
    "log_gain": "scales the result",
    "log_offset": "shifts the result",
    "dynamic_range": "what is quiet depends on the loudest part of the wave: cannot be streamed",
    "num_ceps": "columns",
    "lifter": "scales the higher coefficients",
    "lifter_start": "scales the higher coefficients",
    "use_energy": "column 0 is log energy instead of the sum of the logs, or there is one more column (fbank)",
    "spectral_energy": "energy after preemphasis and window, of the spectrum",
    "energy_floor": "smallest energy",
    "htk_compat": "c0 or energy last, and c0 times √2",
    "normalize": "mean and deviation of the wave are removed: cannot be streamed",
}


def _in_effect(options: MfccOptions, name: str) -> Any:
    """An option's value with what None or a frequency counted from Nyquist's stands for, at the options' sample rate."""
    o = options
    resolved = {
        "win_length": o.frame_length, "hop_length": o.frame_shift, "n_fft": o.fft_size, "high_freq": o.highest_freq,
        "vtln_high": o.highest_vtln, "log_floor": o.floor, "use_energy": o.energy != "none",
    }  # fmt: skip
    return resolved.get(name, getattr(o, name))


def explain(first: str | MfccOptions, second: str | MfccOptions, sample_rate: float = 16000.0) -> None:
    """Print which options differ between two presets (or MfccOptions), and what each difference does to the features.

    Values are those in effect: samples where a length was given in milliseconds, the floor and the energy that None stands for.
    sample_rate in Hz is that of the presets. Raises ValueError for an unknown preset, TypeError for anything else.

    >>> pyasr.features.explain("kaldi", "torchaudio")
    option        kaldi    torchaudio  what it does
    full_scale    32768.0  1.0         the level of all logs: a factor s adds 2 ln s to each log power, and floors bite elsewhere
    use_energy    True     False       column 0 is log energy instead of the sum of the logs, or there is one more column (fbank)
    energy_floor  0.0      1.0         smallest energy
    """
    names, options = [], []
    for argument, what in (("first", first), ("second", second)):
        if isinstance(what, MfccOptions):
            names.append(argument)
            options.append(what)
        elif isinstance(what, str):
            names.append(what)
            options.append(preset(what, sample_rate))
        else:
            Door("explain").type_error(f"{argument} must be MfccOptions or a preset's name, got {type(what).__name__}")
    table = [("option", *names, "what it does")]
    for field in dataclasses.fields(MfccOptions):
        values = [_in_effect(o, field.name) for o in options]
        if values[0] != values[1] and getattr(options[0], field.name) != getattr(options[1], field.name):
            table.append((field.name, *map(str, values), _EFFECTS[field.name]))
    if len(table) == 1:
        print(f"{names[0]} and {names[1]} have the same options")
        return
    widths = [max(len(row[i]) for row in table) for i in range(3)]
    for row in table:
        print("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip())
