"""The options of a feature, checked once: Kaldi's names and defaults, and what other toolkits do differently."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.ops._door import Door
from pyasr.ops._filters import empty_filters

EPSILON = 2.0**-23  # Kaldi's floor under every logarithm: FLT_EPSILON
SMALLEST_FLOOR = 2.0**-125  # float32 has no denormal numbers above it
WINDOWS = ("povey", "hamming", "hanning", "hann", "blackman", "rectangular", "sine")
PAD_MODES = ("constant", "reflect", "symmetric", "edge")
LARGEST_FFT = 65536
LARGEST_SAMPLE = 2.0**40  # times scale; the float32 power of 65536 such samples does not overflow


def unknown(what: str, got: Any, known: Any) -> str:
    """'<what> must be one of …, got …' with the nearest match."""
    near = difflib.get_close_matches(str(got), known, 1, 0.5)
    return f"{what} must be one of {', '.join(known)}, got {got!r}" + (f" (did you mean {near[0]!r}?)" if near else "")


@dataclass(frozen=True, kw_only=True)
class MfccOptions:
    """Options of mfcc, fbank and spectrogram; names, meaning and defaults are Kaldi's where Kaldi has the option.

    Samples
    sample_rate           Hz
    scale                 factor that brings samples to int16 scale. None: 1 for int16 arrays, 32768 for floating ones,
                          whose samples lie in [−1, 1]
    full_scale            what the arithmetic takes a full-scale sample for: 32768 (Kaldi), or 1 (librosa, Whisper)
    preemph               x[i] − preemph·x[i−1] inside each frame, in [0, 1]; x[0] − preemph·x[0] at its start
    preemph_signal        preemphasis of the whole wave before it is cut and padded; x[0] stays as it is
    dither, dither_seed   standard deviation (at full_scale) of noise that is added to every sample of every frame, a
                          function of the seed, the frame's number and the sample's alone

    Frames
    frame_length_ms, frame_shift_ms
                          milliseconds; samples are truncated, as Kaldi does: 25 ms at 44100 Hz are 1102
    win_length, hop_length
                          the same in samples; None: from the milliseconds
    n_fft                 points of the FFT, at least the frame's samples, any number. None: by round_to_power_of_two
    round_to_power_of_two the next power of two; False: the frame's length
    snip_edges            True: only frames that fit; False: one per shift, the wave mirrored at both ends
    center                librosa's and torch.stft's frames: n_fft/2 samples of padding at either end, the window in the
                          middle of n_fft points
    pad_mode              of center: constant (zeros), reflect, symmetric (the end sample is repeated), edge
    drop_last             center without the last frame (Whisper, NeMo)
    pad_end               zeros after the end complete the last frame; a wave shorter than a frame has one
    window                povey, hamming, hanning, blackman, sine (symmetric), rectangular, hann (periodic), or a tuple of
                          the window's values
    periodic              other than the window's usual: True divides by its length, False by one less
    remove_dc             subtract each frame's mean

    Spectrum and filters
    use_power             power spectrum; False: magnitudes
    power_over_fft        the spectrum is divided by n_fft (python_speech_features)
    num_mels              mel filters; 0 stops at the spectrum (what `spectrogram` does)
    low_freq, high_freq   Hz; high_freq ≤ 0 counts from the Nyquist frequency
    mel_scale             "htk" (Kaldi's as well) or "slaney" (linear below 1 kHz)
    triangles             what is straight about the filters' sides: "mel" (the Nyquist bin has no part in them), "hz", or
                          "bins", whose corners are FFT bins rounded down; "inner_bins" as well, but a filter whose first
                          two corners are one bin lacks it (kaldi-native-fbank)
    mel_norm              None; "slaney" (unit area of the triangle: Slaney's where triangles are straight in Hz); or a
                          number p ≥ 1: unit p-norm (inf: unit peak)
    htk_mode              HTK's mel filters: energies at least 1, and for triangles in mel weight 0 at the first bin of the
                          first filter
    vtln_warp             warp factor of vocal tract length normalization, 1 for none
    vtln_low, vtln_high   Hz between which the warp is linear; a negative vtln_high counts from the Nyquist frequency
    allow_empty           filters without an FFT bin give 0 before the log; False: they are an error

    Logarithm and cepstra
    use_log_fbank         take the log (fbank and spectrogram)
    log                   "ln", "log10" or "db" (10·log10)
    log_floor             smallest argument of the log; None: 2⁻²³
    floor_mode            "max" (nothing is smaller), "add" (it is added), "zero" (it stands for 0 alone)
    log_gain, log_offset  the log times log_gain plus log_offset
    dynamic_range         the log (before gain and offset) is at least the wave's largest one minus this; None: no limit
    num_ceps              coefficients; 0 stops at the mel filters (what `fbank` does)
    dct_type, dct_norm    1, 2 or 3; "ortho" or None, as SciPy
    lifter, lifter_start  cepstral lifter, 0 for none; the index of coefficient 0 in it: 0 (Kaldi) or 1 (librosa)
    use_energy            natural log energy in place of coefficient 0 (mfcc) and bin 0 (spectrogram), or as a column of its
                          own (fbank). None is Kaldi's default: True, False for fbank
    raw_energy            energy before preemphasis and window
    spectral_energy       energy is the sum of the spectrum, whatever raw_energy says (python_speech_features)
    energy_floor          smallest energy; 0 for log_floor alone
    htk_compat            energy or c0 last, c0 times √2
    normalize             of the result over the wave: None, "per_feature" (each column to mean 0 and deviation 1) or
                          "all_features" (all of them together); deviations are those of NeMo, unbiased plus 10⁻⁵

    Everything is checked here: TypeError and ValueError name the option, what it got and what it wants.

    >>> pyasr.MfccOptions(sample_rate=8000, num_mels=15).fft_size
    256
    """

    sample_rate: float = 16000.0
    scale: float | None = None
    full_scale: float = 32768.0
    preemph: float = 0.97
    preemph_signal: bool = False
    dither: float = 0.0
    dither_seed: int = 0
    frame_length_ms: float = 25.0
    frame_shift_ms: float = 10.0
    win_length: int | None = None
    hop_length: int | None = None
    n_fft: int | None = None
    round_to_power_of_two: bool = True
    snip_edges: bool = True
    center: bool = False
    pad_mode: str = "constant"
    drop_last: bool = False
    pad_end: bool = False
    window: str | tuple[float, ...] = "povey"
    periodic: bool | None = None
    remove_dc: bool = True
    use_power: bool = True
    power_over_fft: bool = False
    num_mels: int = 23
    low_freq: float = 20.0
    high_freq: float = 0.0
    mel_scale: str = "htk"
    triangles: str = "mel"
    mel_norm: str | float | None = None
    htk_mode: bool = False
    vtln_warp: float = 1.0
    vtln_low: float = 100.0
    vtln_high: float = -500.0
    allow_empty: bool = False
    use_log_fbank: bool = True
    log: str = "ln"
    log_floor: float | None = None
    floor_mode: str = "max"
    log_gain: float = 1.0
    log_offset: float = 0.0
    dynamic_range: float | None = None
    num_ceps: int = 13
    dct_type: int = 2
    dct_norm: str | None = "ortho"
    lifter: float = 22.0
    lifter_start: int = 0
    use_energy: bool | None = None
    raw_energy: bool = True
    spectral_energy: bool = False
    energy_floor: float = 0.0
    htk_compat: bool = False
    normalize: str | None = None

    def __post_init__(self) -> None:
        door = Door("MfccOptions")
        self._check_types(door)
        self._check_frames(door)
        if self.num_mels:
            self._check_filters(door)
        self._check_results(door)

    def _check_types(self, door: Door) -> None:
        """Each option by itself."""
        reals: dict[str, tuple[float, ...]] = {
            "sample_rate": (10.0, 1e7), "full_scale": (2.0**-24, 2.0**24), "preemph": (0.0, 1.0), "dither": (0.0, 1e6),
            "frame_length_ms": (0.0, 1e6), "frame_shift_ms": (0.0, 1e6), "low_freq": (0.0,), "high_freq": (),
            "vtln_warp": (0.1, 10.0), "vtln_low": (), "vtln_high": (), "log_gain": (1e-6, 1e6), "log_offset": (-1e6, 1e6),
            "lifter": (0.0, 1e6), "energy_floor": (0.0, 1e30),
        }  # fmt: skip
        for name, limits in reals.items():
            door.real(name, getattr(self, name), *limits)
        for name, low, high in (
            ("scale", 2.0**-24, 2.0**24),
            ("log_floor", SMALLEST_FLOOR, 1e30),
            ("dynamic_range", 0.0, 1e6),
        ):
            if getattr(self, name) is not None:
                door.real(name, getattr(self, name), low, high)
        for name in (
            "preemph_signal", "round_to_power_of_two", "snip_edges", "center", "drop_last", "pad_end", "remove_dc", "use_power",
            "power_over_fft", "htk_mode", "allow_empty", "use_log_fbank", "raw_energy", "spectral_energy", "htk_compat",
        ):  # fmt: skip
            door.boolean(name, getattr(self, name))
        for name in ("periodic", "use_energy"):
            if getattr(self, name) is not None:
                door.boolean(name, getattr(self, name))
        integers = {
            "dither_seed": (0, 2**64 - 1), "num_mels": (0, 8192), "num_ceps": (0, 8192), "dct_type": (1, 3),
            "lifter_start": (0, 1),
        }  # fmt: skip
        for name, (least, most) in integers.items():
            door.integer(name, getattr(self, name), least, most)
        for name in ("win_length", "hop_length", "n_fft"):
            if getattr(self, name) is not None:
                door.integer(name, getattr(self, name), 1, LARGEST_FFT)
        door.choice("pad_mode", self.pad_mode, PAD_MODES)
        door.choice("mel_scale", self.mel_scale, ("htk", "slaney"))
        door.choice("triangles", self.triangles, ("mel", "hz", "bins", "inner_bins"))
        door.choice("log", self.log, ("ln", "log10", "db"))
        door.choice("floor_mode", self.floor_mode, ("max", "add", "zero"))
        if self.normalize is not None:
            door.choice("normalize", self.normalize, ("per_feature", "all_features"))
        if self.dct_norm is not None:
            door.choice("dct_norm", self.dct_norm, ("ortho",))
        if isinstance(self.mel_norm, str):
            if self.mel_norm != "slaney":
                door.value_error(f"mel_norm must be None, 'slaney' or a number p, got {self.mel_norm!r}")
        elif self.mel_norm is not None and not (isinstance(self.mel_norm, float) and self.mel_norm == np.inf):
            door.real("mel_norm", self.mel_norm, 1.0, 1e3)
        self._check_window(door)

    def _check_window(self, door: Door) -> None:
        if isinstance(self.window, str):
            if self.window not in WINDOWS:
                door.value_error(unknown("window", self.window, WINDOWS))
            return
        if not isinstance(self.window, tuple):
            door.type_error(f"window must be a string or a tuple of numbers, got {type(self.window).__name__}")
        for i, value in enumerate(self.window):
            door.real(f"window[{i}]", value, -1e6, 1e6)
        if self.periodic is not None:
            door.value_error(f"periodic must be None for a window that is given by its values, got {self.periodic}")

    def _check_frames(self, door: Door) -> None:
        rate = f"at sample_rate = {self.sample_rate:g}"
        if not 1 <= self.frame_shift <= LARGEST_FFT:
            door.value_error(f"frame_shift_ms must give 1 to {LARGEST_FFT} samples, got {self.frame_shift} {rate}")
        if not 2 <= self.frame_length <= LARGEST_FFT:
            door.value_error(f"frame_length_ms must give 2 to {LARGEST_FFT} samples, got {self.frame_length} {rate}")
        if self.fft_size < self.frame_length:
            door.value_error(f"n_fft must be at least the frame's {self.frame_length} samples, got {self.n_fft}")
        if isinstance(self.window, tuple) and len(self.window) != self.frame_length:
            door.value_error(f"window must have the frame's {self.frame_length} values, got {len(self.window)}")
        if self.center and self.pad_end:
            door.value_error("pad_end must be False with center, whose padding is its own, got True")
        if not self.snip_edges and (self.center or self.pad_end):
            other = "center" if self.center else "pad_end"
            door.value_error(f"snip_edges must be True with {other}, got False: each says where the frames lie")
        if self.drop_last and not self.center:
            door.value_error("drop_last must be False without center, got True")
        if self.preemph_signal and not self.snip_edges:
            door.value_error(
                "preemph_signal must be False with snip_edges=False, which mirrors the wave as it is, got True"
            )

    def _check_filters(self, door: Door) -> None:
        if self.num_mels < 3 and self.triangles == "mel":
            door.value_error(f"num_mels must be 0 or at least 3, got {self.num_mels}")
        if self.num_ceps > self.num_mels:
            door.value_error(f"num_ceps must be at most num_mels = {self.num_mels}, got {self.num_ceps}")
        nyquist, high = self.sample_rate / 2, self.highest_freq
        if high > nyquist:
            door.value_error(f"high_freq must be at most the Nyquist frequency {nyquist:g}, got {high:g}")
        if self.low_freq >= high:
            door.value_error(f"low_freq must be below high_freq = {high:g} Hz, got {self.low_freq:g}")
        if self.vtln_warp != 1:
            if "bins" in self.triangles:
                door.value_error(f"vtln_warp must be 1 for triangles={self.triangles!r}, got {self.vtln_warp:g}")
            low, top = self.vtln_low, self.highest_vtln
            if not self.low_freq < low < top < high:
                door.value_error(
                    f"vtln_low and vtln_high must rise between low_freq = {self.low_freq:g} and high_freq = {high:g} Hz, "
                    f"got {low:g} and {top:g}"
                )
            if low * max(1.0, self.vtln_warp) >= top * min(1.0, self.vtln_warp):
                door.value_error(f"vtln_warp must leave room between {low:g} and {top:g} Hz, got {self.vtln_warp:g}")
        empty = empty_filters(self)
        if len(empty) and not self.allow_empty:
            listed = ", ".join(map(str, empty[:12])) + (", …" if len(empty) > 12 else "")
            door.value_error(
                f"num_mels must leave every mel filter an FFT bin, got {self.num_mels}: filters {listed} have none "
                f"(bins are {self.sample_rate / self.fft_size:g} Hz apart): use fewer filters, longer frames or allow_empty=True"
            )

    def _check_results(self, door: Door) -> None:
        if not self.use_log_fbank and self.kind == "mfcc":
            door.value_error("use_log_fbank=False is for fbank and spectrogram only, got options of mfcc")
        if self.dynamic_range is not None:
            if self.energy != "none":
                door.value_error(
                    f"dynamic_range must be None with use_energy, which it would clip, got {self.dynamic_range!r}"
                )
            if not self.use_log_fbank:
                door.value_error(f"dynamic_range must be None without a log, got {self.dynamic_range!r}")
        if self.kind == "mfcc" and self.dct_type == 1 and self.num_mels < 2:
            door.value_error(f"dct_type=1 needs num_mels of at least 2, got {self.num_mels}")

    @property
    def kind(self) -> str:
        """The row that takes these options: "mfcc", "fbank" or "spectrogram"."""
        return "spectrogram" if self.num_mels == 0 else "fbank" if self.num_ceps == 0 else "mfcc"

    @property
    def frame_length(self) -> int:
        """Samples of a frame."""
        return int(self.sample_rate * 0.001 * self.frame_length_ms) if self.win_length is None else int(self.win_length)

    @property
    def frame_shift(self) -> int:
        """Samples from frame to frame."""
        return int(self.sample_rate * 0.001 * self.frame_shift_ms) if self.hop_length is None else int(self.hop_length)

    @property
    def fft_size(self) -> int:
        n = self.frame_length
        if self.n_fft is not None:
            return int(self.n_fft)
        return 1 << (n - 1).bit_length() if self.round_to_power_of_two else n

    @property
    def highest_freq(self) -> float:
        """Hz, with a high_freq ≤ 0 resolved."""
        return self.high_freq if self.high_freq > 0 else self.sample_rate / 2 + self.high_freq

    @property
    def highest_vtln(self) -> float:
        """Hz, with a negative vtln_high resolved."""
        return self.vtln_high if self.vtln_high >= 0 else self.sample_rate / 2 + self.vtln_high

    @property
    def energy(self) -> str:
        """ "none", "raw", "windowed" or "spectral"."""
        used = self.kind != "fbank" if self.use_energy is None else self.use_energy
        return "none" if not used else "spectral" if self.spectral_energy else "raw" if self.raw_energy else "windowed"

    @property
    def floor(self) -> float:
        return EPSILON if self.log_floor is None else float(self.log_floor)

    @property
    def whole_wave(self) -> str | None:
        """Which option makes every frame depend on the whole wave, so that it cannot be streamed; None: none does."""
        for name in ("dynamic_range", "normalize"):
            if getattr(self, name) is not None:
                return name
        return "pad_mode" if self.center and self.pad_mode != "constant" else None

    @property
    def num_features(self) -> int:
        """F: columns of the result."""
        if self.kind == "spectrogram":
            return self.fft_size // 2 + 1
        return self.num_ceps if self.kind == "mfcc" else self.num_mels + (self.energy != "none")

    @property
    def first_sample(self) -> int:
        """Where frame 0 begins; below 0 in the padding."""
        n = self.fft_size
        if self.center:
            return (n - self.frame_length) // 2 - n // 2
        return 0 if self.snip_edges else self.frame_shift // 2 - self.frame_length // 2

    @property
    def padding(self) -> str:
        """What lies beyond the ends of the wave."""
        return self.pad_mode if self.center else "constant" if self.pad_end else "symmetric"

    @property
    def frame_rule(self) -> tuple[int, int, int, int]:
        """(least, few, base, add): n samples have 0 frames if n = 0, few if n < least, else base + (n + add) // shift."""
        length, n = self.frame_length, self.fft_size
        if self.center:
            return 1, 0, 1 - self.drop_last, 2 * (n // 2) - n
        if self.pad_end:
            return length + 1, 1, 1, self.frame_shift - 1 - length
        return (length, 0, 1, -length) if self.snip_edges else (1, 0, 0, self.frame_shift // 2)

    def num_frames(self, n: int) -> int:
        """T: frames of a wave of n samples."""
        least, few, base, add = self.frame_rule
        return 0 if n == 0 else few if n < least else base + (n + add) // self.frame_shift
