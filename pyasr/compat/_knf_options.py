"""The options of kaldi-native-fbank and the plan that they stand for."""

from __future__ import annotations

import copy
import difflib
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Self

import numpy as np

from pyasr.compat._words import LARGEST_COEFF, blackman, even_fft, words_of
from pyasr.ops._door import Door
from pyasr.ops._options import EPSILON
from pyasr.ops._options import MfccOptions as PlanOptions

NORMS = ("", "slaney")

# our option -> the peer's, for messages
_NAMES = {
    "sample_rate": "frame_opts.samp_freq",
    "frame_length_ms": "frame_opts.frame_length_ms",
    "frame_shift_ms": "frame_opts.frame_shift_ms",
    "window": "frame_opts.window_type",
    "dither": "frame_opts.dither",
    "preemph": "frame_opts.preemph_coeff",
    "round_to_power_of_two": "frame_opts.round_to_power_of_two",
    "num_mels": "mel_opts.num_bins",
    "low_freq": "mel_opts.low_freq",
    "high_freq": "mel_opts.high_freq",
    "lifter": "cepstral_lifter",
    "log_floor": "eps",
}


class _Options:
    """A struct of the peer: an attribute has its type from the start, and there are no others."""

    def __setattr__(self, name: str, value: Any) -> None:
        what = type(self).__name__
        types = {f.name: f.type for f in fields(self)}  # type: ignore[arg-type]
        if name not in types:
            near = difflib.get_close_matches(name, types, 1, 0.5)
            raise AttributeError(f"{what} has no option {name!r}" + (f" (did you mean {near[0]!r}?)" if near else ""))
        door, kind = Door(what), types[name]
        if kind == "float":
            value = door.real(name, value)
        elif kind == "int":
            value = door.integer(name, value, -(2**31), 2**31 - 1)
        elif kind == "bool":
            value = door.boolean(name, value)
        elif type(value).__name__ != kind or not isinstance(value, (str, _Options)):
            door.type_error(f"{name} must be {kind}, got {type(value).__name__}")
        # a struct in a struct is a value in the peer
        object.__setattr__(self, name, copy.copy(value) if isinstance(value, _Options) else value)

    def as_dict(self) -> dict[str, Any]:
        """The options as a dict, of dicts for frame_opts and mel_opts."""
        return asdict(self)  # type: ignore[call-overload]

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """What as_dict made; a missing option keeps its default, an unknown one raises."""
        options = cls()
        for name, value in values.items():
            old = getattr(options, name, None)
            setattr(options, name, type(old).from_dict(value) if isinstance(old, _Options) else value)
        return options


@dataclass(kw_only=True)
class FrameExtractionOptions(_Options):
    """Frames and windows: Hz, milliseconds; dither at the scale of the samples.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> knf.FrameExtractionOptions().window_type
    'povey'
    """

    samp_freq: float = 16000.0
    frame_shift_ms: float = 10.0
    frame_length_ms: float = 25.0
    dither: float = 3e-5
    preemph_coeff: float = 0.97
    remove_dc_offset: bool = True
    window_type: str = "povey"
    round_to_power_of_two: bool = True
    blackman_coeff: float = 0.42
    snip_edges: bool = True


@dataclass(kw_only=True)
class MelBanksOptions(_Options):
    """Mel filters: Hz; high_freq ≤ 0 counts from the Nyquist frequency.

    vtln_low and vtln_high have no effect without a warp, which the peer does not offer either. With is_librosa triangles are
    straight in Hz, or between FFT bins (floor_to_int_bin), on Slaney's mel scale (use_slaney_mel_scale) or HTK's, and of unit
    area (norm="slaney") or unit height (norm=""). debug_mel raises.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> knf.MelBanksOptions().num_bins
    25
    """

    num_bins: int = 25
    low_freq: float = 20.0
    high_freq: float = 0.0
    vtln_low: float = 100.0
    vtln_high: float = -500.0
    debug_mel: bool = False
    htk_mode: bool = False
    is_librosa: bool = False
    norm: str = "slaney"
    use_slaney_mel_scale: bool = True
    floor_to_int_bin: bool = False


def _mel_opts() -> MelBanksOptions:
    return MelBanksOptions(num_bins=23)


@dataclass(kw_only=True)
class FbankOptions(_Options):
    """Options of OnlineFbank: 23 mel filters, without energy.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> opts = knf.FbankOptions()
    >>> opts.mel_opts.num_bins = 80
    >>> knf.OnlineFbank(opts).dim
    80
    """

    frame_opts: FrameExtractionOptions = field(default_factory=FrameExtractionOptions)
    mel_opts: MelBanksOptions = field(default_factory=_mel_opts)
    use_energy: bool = False
    energy_floor: float = 0.0
    raw_energy: bool = True
    htk_compat: bool = False
    use_log_fbank: bool = True
    use_log_floor: bool = True
    eps: float = EPSILON
    use_power: bool = True


@dataclass(kw_only=True)
class MfccOptions(_Options):
    """Options of OnlineMfcc: 13 cepstra of 23 mel filters, log energy in place of the first.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> knf.MfccOptions.from_dict({"num_ceps": 20}).num_ceps
    20
    """

    frame_opts: FrameExtractionOptions = field(default_factory=FrameExtractionOptions)
    mel_opts: MelBanksOptions = field(default_factory=_mel_opts)
    num_ceps: int = 13
    use_energy: bool = True
    energy_floor: float = 0.0
    raw_energy: bool = True
    cepstral_lifter: float = 22.0
    htk_compat: bool = False


@dataclass(kw_only=True)
class WhisperFeatureOptions(_Options):
    """Options of OnlineWhisperFbank: dim mel filters, 80 or 128 of Whisper's models. frame_opts has no effect, as in the peer.

    >>> from pyasr.compat import kaldi_native_fbank as knf
    >>> knf.WhisperFeatureOptions(dim=128).as_dict()["dim"]
    128
    """

    frame_opts: FrameExtractionOptions = field(default_factory=FrameExtractionOptions)
    dim: int = 80


def _filters(door: Door, mel: MelBanksOptions) -> dict[str, Any]:
    """Our options of these filters."""
    if mel.debug_mel:
        door.value_error("mel_opts.debug_mel must be False, got True: nothing is printed")
    values: dict[str, Any] = {
        "num_mels": door.integer("mel_opts.num_bins", mel.num_bins, 3, 8192),
        "low_freq": mel.low_freq,
        "high_freq": mel.high_freq,
        "htk_mode": mel.htk_mode,
    }
    if not mel.is_librosa:
        return values
    if mel.norm not in NORMS:
        door.value_error(f"mel_opts.norm must be '' or 'slaney', got {mel.norm!r}")
    return values | {
        "mel_scale": "slaney" if mel.use_slaney_mel_scale else "htk",
        "triangles": "inner_bins" if mel.floor_to_int_bin else "hz",
        "mel_norm": mel.norm or None,
    }


def _floors(door: Door, o: FbankOptions) -> dict[str, Any]:
    """Our options of the floor under the logs. The peer's floor under the energy is Kaldi's whatever that one is."""
    floor = EPSILON if np.float32(o.eps) == np.float32(EPSILON) else o.eps
    if not o.use_log_fbank or (o.use_log_floor and floor == EPSILON):
        return {}
    if o.use_energy and (floor > EPSILON or not o.use_log_floor):
        door.value_error(
            f"eps must be at most 2**-23 and use_log_floor True with use_energy, whose floor is 2**-23, got {o.eps:g} and "
            f"{o.use_log_floor}"
        )
    energy_floor = max(o.energy_floor, EPSILON) if o.use_energy else o.energy_floor
    return {"log_floor": floor, "floor_mode": "max" if o.use_log_floor else "add", "energy_floor": energy_floor}


def options_of(function: str, o: FbankOptions | MfccOptions) -> PlanOptions:
    """The options of our own features that these are."""
    door, frame = Door(function), o.frame_opts
    values: dict[str, Any] = {
        "sample_rate": frame.samp_freq,
        "frame_length_ms": frame.frame_length_ms,
        "frame_shift_ms": frame.frame_shift_ms,
        "window": frame.window_type,
        "preemph": frame.preemph_coeff,
        "remove_dc": frame.remove_dc_offset,
        "dither": frame.dither,
        "snip_edges": frame.snip_edges,
        "round_to_power_of_two": frame.round_to_power_of_two,
        "use_energy": o.use_energy,
        "raw_energy": o.raw_energy,
        "energy_floor": o.energy_floor,
        "htk_compat": o.htk_compat,
        **_filters(door, o.mel_opts),
    }
    if isinstance(o, MfccOptions):
        values |= {"num_ceps": door.integer("num_ceps", o.num_ceps, 1, 8192), "lifter": o.cepstral_lifter}
    else:
        values |= {"num_ceps": 0, "use_log_fbank": o.use_log_fbank, "use_power": o.use_power, **_floors(door, o)}
    with words_of(function, _NAMES):
        options = even_fft(PlanOptions(**values, scale=1.0))
        if frame.window_type == "blackman" and np.float32(frame.blackman_coeff) != np.float32(0.42):
            coeff = door.real("frame_opts.blackman_coeff", frame.blackman_coeff, -LARGEST_COEFF, LARGEST_COEFF)
            options = replace(options, window=blackman(options.frame_length, coeff))
        return options


def whisper_options(function: str, o: WhisperFeatureOptions) -> PlanOptions:
    """Whisper's power spectra and filters on Kaldi's mirrored frames, without a log."""
    dim = Door(function).integer("dim", o.dim, 3, 8192)
    with words_of(function, {"num_mels": "dim"}):
        return PlanOptions(
            window="hann", preemph=0.0, remove_dc=False, snip_edges=False, round_to_power_of_two=False, num_mels=dim,
            low_freq=0.0, mel_scale="slaney", triangles="hz", mel_norm="slaney", use_log_fbank=False, num_ceps=0, scale=1.0,
        )  # fmt: skip
