"""Who computes the same features as who: the dialects, and the peers in them as their users call them, array in and array out.

A peer is added by a function here, which imports it, and its name in the dialect whose numbers it computes.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import _report
import numpy as np

import pyasr
from pyasr.counter import stream
from pyasr.datasets.digits import synthesize
from pyasr.features.extract import plan_of

RATE = 16000
Features = Callable[[np.ndarray], np.ndarray]  # wave [N] → [T, F]


def speech(seconds: float) -> np.ndarray:
    """Synthetic spoken digits on a floor of noise 60 dB below full scale, float32 in [−1, 1]."""
    length, parts = round(seconds * RATE), []
    while sum(map(len, parts)) < length:
        parts.append(synthesize(range(10), ("features", len(parts)), sample_rate=RATE).wave)
    noise = 1e-3 * stream("features", "floor").standard_normal(length)
    return (np.concatenate(parts)[:length] + noise).astype(np.float32)


def kaldi_native_fbank(kind: str, size: int) -> Features:
    import kaldi_native_fbank as knf

    options = knf.MfccOptions() if kind == "mfcc" else knf.FbankOptions()
    extractor = knf.OnlineMfcc if kind == "mfcc" else knf.OnlineFbank
    options.frame_opts.dither = 0
    if kind == "fbank":
        options.mel_opts.num_bins = size

    def features(wave: np.ndarray) -> np.ndarray:
        online = extractor(options)
        online.accept_waveform(RATE, wave)
        online.input_finished()
        return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)])

    return features


def torchaudio(kind: str, size: int) -> Features:
    import torch
    from torchaudio.compliance import kaldi

    options: dict[str, Any] = {"num_ceps": size, "use_energy": True} if kind == "mfcc" else {"num_mel_bins": size}

    def features(wave: np.ndarray) -> np.ndarray:
        return getattr(kaldi, kind)(
            torch.from_numpy(wave)[None], sample_frequency=RATE, energy_floor=0.0, dither=0.0, **options
        ).numpy()

    return features


def librosa(n_fft: int) -> Features:
    import librosa

    def features(wave: np.ndarray) -> np.ndarray:
        return librosa.feature.mfcc(y=wave, sr=RATE, n_mfcc=13, n_fft=n_fft, hop_length=160, n_mels=23).T

    return features


def python_speech_features() -> Features:
    import python_speech_features

    return lambda wave: python_speech_features.mfcc(wave, RATE)


def faster_whisper() -> Features:
    """Its file of features alone: the package's own __init__ wants a decoder of recordings and a network's runtime."""
    package = importlib.util.find_spec("faster_whisper")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("No module named 'faster_whisper'", name="faster_whisper")
    file = f"{package.submodule_search_locations[0]}/feature_extractor.py"
    spec = importlib.util.spec_from_file_location("faster_whisper_feature_extractor", file)
    if spec is None or spec.loader is None:
        raise ImportError(f"faster_whisper: {file} is no module", name="faster_whisper")
    module = ModuleType(spec.name)
    spec.loader.exec_module(module)
    extract = module.FeatureExtractor()
    return lambda wave: extract(wave, padding=0).T


def openai_whisper() -> Features:
    from whisper.audio import log_mel_spectrogram

    return lambda wave: log_mel_spectrogram(wave).numpy().T


@dataclass(frozen=True)
class Dialect:
    """Features that several packages compute: ours by a preset, theirs by name of the distribution."""

    name: str
    kind: str
    preset: str
    peers: dict[str, Callable[[], Features]]
    changes: dict[str, Any] = field(default_factory=dict)
    seconds: float = 60.0
    scale: str = "int16"  # of the samples that peers take: "unit" is [−1, 1]; "int16" 32768 times that; "dtype" int16
    tolerance: float = 5e-4  # of an answer that counts as the same
    relative: bool = False  # whether that is of the largest value

    def plan(self) -> Any:
        return plan_of("benchmark", self.kind, RATE, self.preset, self.changes)

    def ours(self, threads: int) -> Features:
        """The public function."""
        function = getattr(pyasr, self.kind)
        return lambda wave: function(wave, RATE, self.preset, threads=threads, **self.changes)

    def column(self, name: str, threads: int) -> Features:
        """Another column of the op table."""
        row, plan = getattr(pyasr.backend(name), self.kind), self.plan()
        return lambda wave: row(wave, plan, threads=threads)

    def agreement(self, who: str, got: np.ndarray, want: np.ndarray) -> float:
        """The largest difference of two answers; the end of the run where it is too large."""
        scale = float(np.abs(want).max()) if self.relative else 1.0
        return _report.near(f"{self.name}, {who}", got, want, self.tolerance * scale)

    def our_wave(self, wave: np.ndarray) -> np.ndarray:
        return self.their_wave(wave) if self.scale == "dtype" else wave

    def their_wave(self, wave: np.ndarray) -> np.ndarray:
        if self.scale == "dtype":
            return np.rint(32768 * wave).astype(np.int16)
        return wave * np.float32(32768) if self.scale == "int16" else wave


def _librosa(n_fft: int) -> Dialect:
    changes = {"n_fft": n_fft, "hop_length": 160, "num_mels": 23, "num_ceps": 13}
    return Dialect(
        f"MFCC-13, librosa, n_fft {n_fft}", "mfcc", "librosa", {"librosa": lambda: librosa(n_fft)}, changes,
        scale="unit", tolerance=1e-3, relative=True,
    )  # fmt: skip


DIALECTS = (
    Dialect("MFCC-13, Kaldi", "mfcc", "kaldi", {
        "kaldi-native-fbank": lambda: kaldi_native_fbank("mfcc", 13), "torchaudio": lambda: torchaudio("mfcc", 13),
    }),
    Dialect("log mel 80, Kaldi", "fbank", "kaldi", {
        "kaldi-native-fbank": lambda: kaldi_native_fbank("fbank", 80), "torchaudio": lambda: torchaudio("fbank", 80),
    }, {"num_mels": 80}),
    _librosa(512),
    _librosa(400),
    Dialect(
        "MFCC-13, python_speech_features", "mfcc", "python_speech_features",
        {"python_speech_features": python_speech_features}, scale="dtype", tolerance=1e-3,
        relative=True,
    ),
    Dialect(
        "log mel 80, Whisper", "fbank", "whisper",
        {"faster-whisper": faster_whisper, "openai-whisper": openai_whisper}, seconds=30.0, scale="unit", tolerance=1e-3,
        relative=True,
    ),
)  # fmt: skip
PEERS = tuple(dict.fromkeys(peer for dialect in DIALECTS for peer in dialect.peers))
