"""Writes dialects.npz: what seven toolkits make of three short waves, in float64, rounded to float32. Run by hand:

    pip install numpy                              # and, for the check against the toolkits themselves,
    pip install torch torchaudio librosa python_speech_features
    python tests/oracle/make_dialects.py

HTK and NeMo are written out here after their sources (HTK 3.4: HSigP.c; NeMo 2: FilterbankFeatures in features.py). The others
are settings of features_f64.py, spelled out below and not taken from the package's presets. What is installed of torchaudio,
librosa and python_speech_features is run too, and has to agree.

Waves are int16; an array features_<dialect>_<kind>_<wave> belongs to each.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OUT = Path(__file__).with_name("dialects.npz")
F64 = runpy.run_path(str(Path(__file__).with_name("features_f64.py")))


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options that features_f64 reads, with Kaldi's defaults."""

    sample_rate: float = 16000.0
    scale: float | None = None
    full_scale: float = 32768.0
    preemph: float = 0.97
    preemph_signal: bool = False
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
    window: str = "povey"
    periodic: bool | None = None
    remove_dc: bool = True
    use_power: bool = True
    power_over_fft: bool = False
    num_mels: int = 23
    low_freq: float = 20.0
    high_freq: float = 0.0
    mel_scale: str = "htk"
    triangles: str = "mel"
    mel_norm: str | None = None
    htk_mode: bool = False
    vtln_warp: float = 1.0
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


def settings(**changes: Any) -> Callable[[str, np.ndarray, int], np.ndarray]:
    return lambda kind, wave, rate: F64["features"](kind, wave, Settings(sample_rate=rate, **changes))


def python_speech_features(kind: str, wave: np.ndarray, rate: int) -> np.ndarray:
    """0.6: psf.mfcc(x, rate, nfft=512) and psf.logfbank at int16 scale; frames are rounded half up."""
    size = 512 if rate * 0.025 <= 512 else 1024
    o = Settings(
        sample_rate=rate, win_length=int(rate * 0.025 + 0.5), hop_length=int(rate * 0.01 + 0.5), n_fft=size, pad_end=True,
        preemph_signal=True, window="rectangular", remove_dc=False, power_over_fft=True, num_mels=26, low_freq=0.0,
        triangles="bins", log_floor=2.0**-52, floor_mode="zero", spectral_energy=True,
    )  # fmt: skip
    return F64["features"](kind, wave, o)


def slaney(size: int, rate: int, bands: int) -> np.ndarray:
    """librosa.filters.mel(sr=rate, n_fft=size, n_mels=bands): [bands, size // 2 + 1]"""
    edge, step = 1000.0 / (200.0 / 3.0), np.log(6.4) / 27.0
    top = edge + np.log(rate / 2 / 1000.0) / step
    points = np.linspace(0.0, top, bands + 2)
    hz = np.where(points < edge, points * 200.0 / 3.0, 1000.0 * np.exp((points - edge) * step))
    ramps = hz[:, None] - np.arange(size // 2 + 1) * rate / size
    rise, fall = -ramps[:-2] / np.diff(hz)[:-1, None], ramps[2:] / np.diff(hz)[1:, None]
    return np.clip(np.minimum(rise, fall), 0, None) * (2.0 / (hz[2:] - hz[:-2]))[:, None]


def htk(kind: str, wave: np.ndarray, rate: int) -> np.ndarray:
    """HCopy with the HTK Book's tutorial: TARGETKIND = MFCC_0 or FBANK, USEHAMMING, PREEMCOEF 0.97, NUMCHANS 26, CEPLIFTER 22,
    NUMCEPS 12; USEPOWER, ENORMALISE and ZMEANSOURCE off."""
    chans, length, shift = 26, int(rate * 0.025), int(rate * 0.010)
    points = 2
    while points < length:
        points *= 2
    half = points // 2
    # InitFBank; indices from 1: bin k of HTK is bin k − 1 of an FFT
    center = [c / (chans + 1) * 1127.0 * np.log(1.0 + rate / 2 / 700.0) for c in range(1, chans + 2)]
    channel, weight = {}, {}
    for k in range(2, half + 1):
        mel = 1127.0 * np.log(1.0 + (k - 1) * rate / points / 700.0)
        c = sum(m < mel for m in center)  # the last center below, 0 for none
        low = center[c - 1] if c else 0.0
        channel[k], weight[k] = c, (center[c] - mel) / (center[c] - low)
    rows = []
    for begin in range(0, len(wave) - length + 1, shift):
        s = wave[begin : begin + length].astype(np.float64)
        for i in range(length - 1, 0, -1):  # PreEmphasise
            s[i] -= 0.97 * s[i - 1]
        s[0] *= 1.0 - 0.97
        s *= 0.54 - 0.46 * np.cos(2 * np.pi / (length - 1) * np.arange(length))  # Ham
        magnitude = np.abs(np.fft.fft(s, points))
        bank = np.zeros(chans + 2)
        for k in range(2, half + 1):  # Wave2FBank
            part = weight[k] * magnitude[k - 1]
            bank[channel[k]] += part
            bank[channel[k] + 1] += magnitude[k - 1] - part
        logs = np.log(np.maximum(bank[1 : chans + 1], 1.0))
        if kind == "fbank":
            rows.append(logs)
            continue
        scale = np.sqrt(2.0 / chans)  # FBank2MFCC, WeightCepstrum, FBank2C0
        c = [scale * sum(logs[k] * np.cos(j * np.pi / chans * (k + 0.5)) for k in range(chans)) for j in range(1, 13)]
        c = [v * (1.0 + 11.0 * np.sin(j * np.pi / 22.0)) for j, v in enumerate(c, 1)]
        rows.append([*c, scale * logs.sum()])
    return np.array(rows)


def nemo(kind: str, wave: np.ndarray, rate: int) -> np.ndarray:
    """AudioToMelSpectrogramPreprocessor(sample_rate=rate, features=80, dither=0, pad_to=0), [T, 80]."""
    x = wave.astype(np.float64) / 32768.0
    window, hop = int(0.025 * rate), int(0.01 * rate)
    size = 2 ** int(np.ceil(np.log2(window)))
    x = np.concatenate([x[:1], x[1:] - 0.97 * x[:-1]])
    hann = np.zeros(size)
    hann[(size - window) // 2 :][:window] = np.hanning(window)  # torch.stft puts it in the middle
    padded = np.concatenate([np.zeros(size // 2), x, np.zeros(size // 2)])
    frames = np.stack([padded[i * hop :][:size] for i in range(1 + len(x) // hop)])
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    logs = np.log(power @ slaney(size, rate, 80).T + 2.0**-24)[: len(x) // hop]  # get_seq_len: one frame less
    mean = logs.sum(axis=0) / len(logs)
    deviation = np.sqrt(((logs - mean) ** 2).sum(axis=0) / (len(logs) - 1)) + 1e-5
    return (logs - mean) / deviation


UNIT = {"full_scale": 1.0, "preemph": 0.0, "remove_dc": False, "use_energy": False, "center": True, "window": "hann",
        "mel_scale": "slaney", "triangles": "hz", "mel_norm": "slaney", "low_freq": 0.0, "log_floor": 1e-10}  # fmt: skip
DIALECTS: dict[str, Callable[[str, np.ndarray, int], np.ndarray]] = {
    "kaldi": settings(),
    "htk": htk,
    "librosa": settings(**UNIT, n_fft=2048, win_length=2048, hop_length=512, num_mels=128, log="db", dynamic_range=80.0,
                        num_ceps=20, lifter=0.0, lifter_start=1),
    "torchaudio": settings(full_scale=1.0, use_energy=False, energy_floor=1.0),
    "python_speech_features": python_speech_features,
    "whisper": settings(**UNIT, n_fft=400, win_length=400, hop_length=160, pad_mode="reflect", drop_last=True, num_mels=80,
                        log="log10", dynamic_range=8.0, log_gain=0.25, log_offset=1.0),
    "nemo": nemo,
}  # fmt: skip
FBANK_ALONE = ("whisper", "nemo")
RATES = {"voiced": 16000, "hiss": 16000, "music": 22050}


def waves() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20240607)

    def voiced(rate: int, n: int, pitch: float) -> np.ndarray:
        t = np.arange(n) / rate
        glide = 2 * np.pi * (pitch * t + 70 * t**2)
        return (
            sum(np.sin(k * glide + k * k) / k for k in range(1, 25)) * 3500 * (0.52 - 0.48 * np.cos(2 * np.pi * 5 * t))
        )

    noise = rng.standard_normal(4800)
    made = {
        "voiced": voiced(16000, 4800, 130) + 25 * noise,
        "hiss": 300 + 900 * noise * np.linspace(0.01, 1, 4800),
        "music": voiced(22050, 6000, 330) + 15 * rng.standard_normal(6000),
    }
    return {name: np.rint(np.clip(x, -32768, 32767)).astype(np.int16) for name, x in made.items()}


def peers(wave: np.ndarray, rate: int) -> dict[tuple[str, str], tuple[Any, float]]:
    """What the toolkits that are installed give, and how near it has to be: they compute in float32 in part."""
    out: dict[tuple[str, str], tuple[Any, float]] = {}
    unit = wave / 32768.0
    installed = {name for name in ("librosa", "torchaudio", "python_speech_features") if importlib.util.find_spec(name)}
    if "librosa" in installed:
        import librosa

        out["librosa", "mfcc"] = librosa.feature.mfcc(y=unit, sr=rate).T, 1e-3
        mel = librosa.feature.melspectrogram(y=unit, sr=rate)
        out["librosa", "fbank"] = librosa.power_to_db(mel).T, 1e-3
    if "torchaudio" in installed:
        import torch
        import torchaudio.compliance.kaldi as kaldi

        x = torch.from_numpy(unit)[None]
        out["torchaudio", "mfcc"] = kaldi.mfcc(x, sample_frequency=rate).numpy(), 1e-3
        out["torchaudio", "fbank"] = kaldi.fbank(x, sample_frequency=rate).numpy(), 1e-3
        x = torch.from_numpy(wave.astype(np.float64))[None]
        kaldis = {"sample_frequency": rate, "energy_floor": 0.0}
        out["kaldi", "mfcc"] = kaldi.mfcc(x, use_energy=True, **kaldis).numpy(), 1e-3
        out["kaldi", "fbank"] = kaldi.fbank(x, **kaldis).numpy(), 1e-3
    if "python_speech_features" in installed:
        import python_speech_features as psf

        size = 512 if rate * 0.025 <= 512 else 1024
        out["python_speech_features", "mfcc"] = psf.mfcc(wave, rate, nfft=size), 1e-8
        out["python_speech_features", "fbank"] = psf.logfbank(wave, rate, nfft=size), 1e-8
    return out


def main() -> None:
    made = waves()
    arrays: dict[str, Any] = {f"wave_{name}": wave for name, wave in made.items()}
    for wave_name, wave in made.items():
        rate = RATES[wave_name]
        theirs = peers(wave, rate)
        for dialect, compute in DIALECTS.items():
            if dialect == "whisper" and rate != 16000:
                continue
            for kind in ("fbank",) if dialect in FBANK_ALONE else ("mfcc", "fbank"):
                y = compute(kind, wave, rate)
                if (dialect, kind) in theirs:
                    peer, limit = theirs[dialect, kind]
                    off = np.abs(peer - y).max()
                    print(f"{dialect} {kind} of {wave_name}: {off:.1e} from the toolkit")
                    if not off <= limit:
                        raise AssertionError(f"{dialect} {kind} of {wave_name}: {off:.1e} from the toolkit")
                arrays[f"features_{dialect}_{kind}_{wave_name}"] = y.astype(np.float32)
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT.name}: {OUT.stat().st_size} bytes, {len(arrays)} arrays")


if __name__ == "__main__":
    main()
