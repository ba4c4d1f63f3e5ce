"""mfcc, fbank and spectrogram: the kernel for 512 points with its options and edges, small frames of other sizes for the other
one, Bluestein's convolution, float64 second tries, and what depends on the whole wave."""

import numpy as np

from pyasr.features import preset
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan

# Frames of 21 samples or so: what one thread after the other does takes its time here.
SMALL = {
    "sample_rate": 1000.0,
    "win_length": 21,
    "hop_length": 8,
    "num_mels": 4,
    "num_ceps": 3,
    "low_freq": 0.0,
    "lifter": 0.0,
}


def case(n, dtype="float32", options=None, *, name=None, quiet=0.0, mutate=False, offset=100.0, bad=None, **changes):
    """quiet: how far the noise is below one strong tone, which leaves filters to float64."""
    options = preset(name, **changes) if name else MfccOptions(**{**(options or {}), **changes})

    def make(ops):
        rng = np.random.default_rng(n)
        x = 3000.0 * rng.standard_normal(n) + offset
        if quiet:
            x = 9000.0 * np.sin(0.05 * np.arange(n)) + quiet * rng.standard_normal(n)
        x = np.clip(x, -32768, 32767)
        wave = (x / 32768.0 if dtype != "int16" else x).astype(dtype)
        if bad is not None:
            wave[bad] = np.nan
        return (ops.xp.asarray(wave), make_plan(options)), {"nan": "propagate" if bad is not None else "raise"}

    return {"row": options.kind, "make": make, "mutate": mutate}


CASES = {
    # 512 points: 32 frames a block
    "kaldi, 34 frames, int16": case(400 + 33 * 160 + 7, "int16", mutate=True),
    "kaldi, 3 frames, float32": case(721),
    "kaldi, 3 frames, float64": case(725, "float64"),
    "no samples": case(0),
    "too few samples": case(399, "int16"),
    "one frame": case(400, "int16"),
    "weak filters": case(1500, "int16", quiet=0.001, mutate=True),
    "mirrored edges, c0": case(900, snip_edges=False, use_energy=False),
    "windowed energy, HTK order": case(900, raw_energy=False, htk_compat=True),
    "an odd shift": case(900, "int16", hop_length=81),
    "a scale that is no power of 2": case(900, scale=30000.0),
    "a scale for integers": case(900, "int16", scale=0.5),
    "python_speech_features": case(900, "int16", name="python_speech_features"),
    "librosa's tile": case(900, name="librosa", n_fft=512, hop_length=160),
    "an offset": case(900, "float64", offset=20000.0),
    "sample 500 is NaN": case(1200, bad=500),
    "filters": case(1100, num_ceps=0, num_mels=80, high_freq=-400.0),
    "filters with energy, no log, HTK order": case(900, num_ceps=0, use_energy=True, use_log_fbank=False, htk_compat=True),
    "htk": case(900, "int16", name="htk"),
    "nemo": case(900, name="nemo", mutate=True, num_ceps=0),
    "spectrum": case(900, "int16", num_mels=0, num_ceps=0),
    "spectrum of magnitudes, without energy": case(900, num_mels=0, num_ceps=0, use_power=False, use_energy=False),
    # 256, 400, 1024 and 2048 points
    "8 kHz, 33 frames, int16": case(200 + 32 * 80 + 3, "int16", sample_rate=8000.0),
    "8 kHz, weak filters": case(700, "int16", quiet=0.001, sample_rate=8000.0),
    "8 kHz, spectrum": case(400, sample_rate=8000.0, num_mels=0, num_ceps=0),
    "400 points": case(900, mutate=True, n_fft=400, num_mels=40),
    "400 points, spectrum of magnitudes": case(900, "int16", n_fft=400, num_mels=0, num_ceps=0, use_power=False),
    "24 kHz, 18 frames": case(600 + 17 * 240, "int16", sample_rate=24000.0, num_mels=40),
    "24 kHz, spectral energy": case(900, sample_rate=24000.0, num_ceps=0, spectral_energy=True),
    "44.1 kHz": case(1102 + 2 * 441, "int16", sample_rate=44100.0, num_mels=40, use_energy=False),
    # other sizes: a block a frame
    "32 points, int16": case(200, "int16", SMALL, mutate=True),
    "32 points, float64": case(60, "float64", SMALL),
    "32 points, magnitudes, added floor": case(60, "float32", SMALL, use_power=False, floor_mode="add"),
    "32 points, weak filters": case(80, "int16", SMALL, quiet=0.001, mutate=True, num_ceps=0),
    "32 points, one is NaN": case(80, "float32", SMALL, bad=40, mutate=False),
    "30 points": case(70, "float32", SMALL, n_fft=30),
    "50 points, spectral energy": case(70, "float32", SMALL, n_fft=50, spectral_energy=True, htk_compat=True),
    "2 points": case(9, "float32", SMALL, win_length=2, num_mels=0, num_ceps=0, dct_type=2),
    "64 points, 8 k": case(500, "int16", sample_rate=2000.0, num_mels=5, num_ceps=4, n_fft=64, win_length=50, hop_length=20),
    "Bluestein, 21 points": case(60, "float32", SMALL, round_to_power_of_two=False, mutate=True),
    "Bluestein, 34 points, windowed energy": case(60, "int16", SMALL, n_fft=34, raw_energy=False, num_mels=0, num_ceps=0),
    "dynamic range of cepstra": case(3000, "int16", SMALL, dynamic_range=1.0, use_energy=False, mutate=True),
    "dynamic range of filters": case(90, "float32", SMALL, dynamic_range=1.0, use_energy=False, num_ceps=0),
    "dynamic range, NaN": case(90, "float32", SMALL, dynamic_range=1.0, use_energy=False, bad=3),
    "normalized, one frame": case(21, "float32", SMALL, normalize="per_feature"),
    "normalized, all columns": case(300, "int16", SMALL, normalize="all_features", mutate=True),
    "whisper": case(1000, name="whisper"),
}  # fmt: skip
# deltas and cmvn are no rows: tests/test_cuda_on_cpu_features.py has their cases.
REASONS = dict.fromkeys((430, 431, 435, 436), "left out by tests/test_cuda_on_cpu_features.py, which then fails")
