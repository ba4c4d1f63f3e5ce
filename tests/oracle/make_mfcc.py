"""Writes mfcc_knf.npz: short synthetic waves and what kaldi-native-fbank makes of them. Run by hand:

    pip install kaldi-native-fbank numpy
    python tests/oracle/make_mfcc.py

Every array named wave_* is int16. features_<case> belongs to the case of that name below, which tests/test_features.py
reads back from the file as JSON: {"kind", "wave", "options"}, options in pyasr's names. kaldi-native-fbank takes samples
at whatever scale it is given: here at int16 scale.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kaldi_native_fbank as knf
import numpy as np

OUT = Path(__file__).with_name("mfcc_knf.npz")


def waves() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(20240229)
    t = np.arange(4000) / 16000
    glide = 2 * np.pi * (120 * t + 60 * t**2)
    voiced = sum(np.sin(k * glide) / k for k in range(1, 20)) * 3000 * (0.55 - 0.45 * np.cos(2 * np.pi * 4 * t))
    return {
        "noise": (1000 * rng.standard_normal(4000)).astype(np.int16),
        "voiced": (voiced + 30 * rng.standard_normal(4000)).astype(np.int16),
        "offset": (5000 + 300 * rng.standard_normal(4000)).astype(np.int16),
    }


CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "mfcc_noise": ("mfcc", "noise", {}),
    "mfcc_voiced": ("mfcc", "voiced", {}),
    "mfcc_offset": ("mfcc", "offset", {}),
    "mfcc_edges": ("mfcc", "voiced", {"snip_edges": False}),
    "mfcc_htk": ("mfcc", "voiced", {"htk_compat": True, "use_energy": False, "window": "hamming"}),
    "mfcc_htk_energy": ("mfcc", "voiced", {"htk_compat": True, "raw_energy": False, "window": "blackman"}),
    "mfcc_8k": ("mfcc", "noise", {"sample_rate": 8000, "num_mels": 15, "num_ceps": 12, "lifter": 0.0}),
    "mfcc_44k": ("mfcc", "noise", {"sample_rate": 44100, "num_mels": 40, "num_ceps": 20, "high_freq": -100.0}),
    "mfcc_floor": ("mfcc", "voiced", {"energy_floor": 1e9, "remove_dc": False, "preemph": 0.0}),
    "fbank_23": ("fbank", "voiced", {}),
    "fbank_80": ("fbank", "voiced", {"num_mels": 80, "high_freq": -400.0, "snip_edges": False}),
    "fbank_energy": ("fbank", "noise", {"use_energy": True, "window": "rectangular"}),
    "fbank_magnitude": ("fbank", "noise", {"use_power": False, "window": "hanning", "low_freq": 100.0}),
    "fbank_htk_mode": ("fbank", "voiced", {"htk_mode": True, "use_energy": True, "htk_compat": True}),
}


def reference(kind: str, wave: np.ndarray, options: dict[str, Any]) -> np.ndarray:
    o = knf.MfccOptions() if kind == "mfcc" else knf.FbankOptions()
    o.frame_opts.dither = 0
    o.use_energy = kind == "mfcc"
    names = {
        "sample_rate": (o.frame_opts, "samp_freq"),
        "window": (o.frame_opts, "window_type"),
        "preemph": (o.frame_opts, "preemph_coeff"),
        "remove_dc": (o.frame_opts, "remove_dc_offset"),
        "snip_edges": (o.frame_opts, "snip_edges"),
        "num_mels": (o.mel_opts, "num_bins"),
        "low_freq": (o.mel_opts, "low_freq"),
        "high_freq": (o.mel_opts, "high_freq"),
        "htk_mode": (o.mel_opts, "htk_mode"),
        "lifter": (o, "cepstral_lifter"),
    }
    for name, value in options.items():
        place, theirs = names.get(name, (o, name))
        setattr(place, theirs, value)
    online = knf.OnlineMfcc(o) if kind == "mfcc" else knf.OnlineFbank(o)
    online.accept_waveform(options.get("sample_rate", 16000), wave.astype(np.float32).tolist())
    online.input_finished()
    return np.stack([online.get_frame(i) for i in range(online.num_frames_ready)]).astype(np.float32)


def main() -> None:
    made = waves()
    arrays: dict[str, Any] = {f"wave_{name}": wave for name, wave in made.items()}
    for name, (kind, wave, options) in CASES.items():
        arrays[f"features_{name}"] = reference(kind, made[wave], options)
    cases = {name: {"kind": k, "wave": w, "options": o} for name, (k, w, o) in CASES.items()}
    arrays["cases"] = np.frombuffer(json.dumps(cases).encode(), np.uint8)
    np.savez_compressed(OUT, **arrays)
    print(f"{OUT}: {OUT.stat().st_size} bytes, {len(CASES)} cases")


if __name__ == "__main__":
    main()
