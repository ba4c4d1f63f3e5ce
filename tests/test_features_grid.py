"""Features in every dialect against a float64 implementation from the formulas, and Kaldi's against kaldi-native-fbank."""

import collections
import dataclasses
import itertools
import os
import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.datasets import an4, fsdd
from pyasr.datasets.digits import synthesize
from pyasr.features.presets import PRESETS, preset
from pyasr.ops import rows, why_not
from pyasr.ops._op import backend, has
from pyasr.ops._options import PAD_MODES, WINDOWS, MfccOptions
from pyasr.ops._plan import make_plan

ORACLE = runpy.run_path(str(Path(__file__).parent / "oracle" / "features_f64.py"))
KNF = runpy.run_path(str(Path(__file__).with_name("knf_extractors.py")))
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
RATES = (8000, 11025, 16000, 22050, 44100, 48000)
SETS = 240
BATCHES = 12


def primes(low, high):
    return [n for n in range(low, high) if all(n % d for d in range(2, int(n**0.5) + 1))]


def speech(rate, n, rng):
    """At int16 scale: voiced stretches, hiss and near-silence."""
    t = np.arange(n) / rate
    glide = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 1.3 * t)) / rate
    voiced = sum(np.sin(k * glide + k) / k for k in range(1, int(rate / 2 / 180)))
    on = np.clip(3 * np.sin(2 * np.pi * 5.1 * t), 0, 1)
    x = 4000 * on * voiced + 600 * (1 - on) * rng.standard_normal(n) + 15 * rng.standard_normal(n)
    return np.rint(np.clip(x, -32768, 32767))


def draw_options(rng):
    """One draw from everything that there is; not every draw makes sense."""

    def one(*choices):
        return choices[rng.integers(len(choices))]

    rate = one(*RATES)
    bins = one(3, 23, 40, 80, 128)
    kind = one("mfcc", "mfcc", "mfcc", "fbank", "fbank", "spectrogram")
    values = {
        "sample_rate": rate,
        "full_scale": one(32768.0, 1.0),
        "preemph": one(0.97, 0.97, 0.0, 1.0),
        "frame_length_ms": one(25.0, 25.0, 20.0, 32.0, 18.7),
        "frame_shift_ms": one(10.0, 10.0, 12.5, 7.3, 40.0),
        "round_to_power_of_two": one(True, True, False),
        "window": one(*WINDOWS),
        "periodic": one(None, None, True, False),
        "remove_dc": one(True, False),
        "use_power": one(True, True, False),
        "power_over_fft": one(False, False, True),
        "num_mels": bins if kind != "spectrogram" else 0,
        "low_freq": one(20.0, 0.0, 300.0),
        "high_freq": one(0.0, 0.0, -400.0, 3700.0),
        "mel_scale": one("htk", "slaney"),
        "triangles": one("mel", "mel", "hz", "hz", "bins", "inner_bins"),
        "mel_norm": one(None, None, "slaney", 1.0, 2.0, np.inf),
        "htk_mode": one(False, False, False, True),
        "vtln_warp": one(1.0, 1.0, 0.9, 1.1),
        "allow_empty": one(False, False, True),
        "use_log_fbank": one(True, True, True, False),
        "log": one("ln", "ln", "log10", "db"),
        "log_floor": one(None, None, 1e-10, 2.0**-24, 1.0),
        "floor_mode": one("max", "max", "add", "zero"),
        "log_gain": one(1.0, 1.0, 0.25),
        "log_offset": one(0.0, 1.0),
        "dynamic_range": one(None, None, None, 8.0, 80.0),
        "num_ceps": one(1, 13, 13, bins) if kind == "mfcc" else 0,
        "dct_type": one(1, 2, 2, 2, 3),
        "dct_norm": one("ortho", "ortho", None),
        "lifter": one(22.0, 22.0, 0.0, 30.5),
        "lifter_start": one(0, 0, 1),
        "use_energy": one(None, True, False, False),
        "raw_energy": one(True, False),
        "spectral_energy": one(False, False, True),
        "energy_floor": one(0.0, 0.0, 1.0, 1e9),
        "htk_compat": one(False, True),
        "normalize": one(None, None, None, "per_feature", "all_features"),
    }
    frames = one("snip", "snip", "mirrored", "center", "center", "pad_end")
    if frames == "mirrored":
        values["snip_edges"] = False
    elif frames == "center":
        values |= {"center": True, "pad_mode": one(*PAD_MODES), "drop_last": one(True, False)}
    elif frames == "pad_end":
        values["pad_end"] = True
    values["preemph_signal"] = one(True, False) if frames != "mirrored" else False
    if rng.random() < 0.5:
        length = int(rate * 0.001 * values["frame_length_ms"])
        values["win_length"] = length
        values["hop_length"] = int(rng.integers(length // 4, 3 * length // 2))
        values["n_fft"] = int(one(length, rng.integers(length, 2 * length + 1), rng.choice(primes(length, 2 * length))))
    return kind, values


def draw_wave(rng, rate):
    """A wave and the scale that it is to be taken at."""
    n = int(rng.integers(rate // 6, rate // 3))
    x = speech(rate, n, rng) if rng.random() < 0.5 else np.rint(1000 * rng.standard_normal(n))
    if rng.random() < 0.3:
        x = x + 700
    dtype = ("int16", "float32", "float64")[rng.integers(3)]
    if dtype == "int16":
        return x.astype(dtype), None
    return (x.astype(dtype), 1.0) if rng.random() < 0.3 else ((x / 32768).astype(dtype), None)


def sample(part):
    """SETS/BATCHES valid sets of options with their waves, and the refusals on the way."""
    rng, sets, refused = np.random.default_rng([20240605, part]), [], []
    while len(sets) < SETS // BATCHES:
        kind, values = draw_options(rng)
        wave, scale = draw_wave(rng, values["sample_rate"])
        try:
            options = MfccOptions(**values, scale=scale)
        except ValueError as error:
            refused.append(str(error))
            continue
        assert options.kind == kind
        sets.append((options, wave))
    return sets, refused


REFUSED = (
    "num_ceps must be at most", "num_mels must leave every mel filter an FFT bin", "use_log_fbank=False is for fbank",
    "dynamic_range must be None", "vtln_warp must be 1 for triangles=", "vtln_low and vtln_high must rise",
)  # fmt: skip


def test_the_grid_is_what_it_says():
    """240 valid sets; a draw that is refused is refused for a reason on this list; every value of every option occurs."""
    seen, count = collections.defaultdict(set), 0
    for part in range(BATCHES):
        sets, refused = sample(part)
        count += len(sets)
        for text in refused:
            assert text.startswith(tuple(f"MfccOptions: {reason}" for reason in REFUSED)), text
        for options, wave in sets:
            for field in dataclasses.fields(options):
                seen[field.name].add(getattr(options, field.name))
            seen["dtype"].add(wave.dtype.name)
            seen["kind"].add(options.kind)
            seen["hop"].add(options.frame_shift > options.frame_length)
            seen["odd FFT"].add(options.fft_size % 2)
            seen["energy"].add(options.energy)
    assert count == SETS
    wanted = {
        "sample_rate": 6, "window": 7, "pad_mode": 4, "num_mels": 6, "mel_norm": 5, "triangles": 4, "log": 3, "log_floor": 4,
        "floor_mode": 3, "dct_type": 3, "dtype": 3, "kind": 3, "energy": 4, "vtln_warp": 3, "normalize": 3, "hop": 2,
        "odd FFT": 2, "preemph": 3, "periodic": 3,
    }  # fmt: skip
    for name, number in wanted.items():
        assert len(seen[name]) == number, (name, seen[name])
    still = {"scale", "dither", "dither_seed", "vtln_low", "vtln_high"}
    assert {name for name, values in seen.items() if len(values) == 1} <= still


def weights(amplitude):
    """[T, F] from amplitudes: what is weaker than the frame's strongest by more than 60 dB counts in proportion to its amplitude.

    Below, float32 and, where a bin vanishes, float64 too leave rounding.
    """
    return np.minimum(1.0, 1e3 * amplitude / np.maximum(amplitude.max(axis=1, keepdims=True), 1e-300))


def error(column, options, wave):
    """Largest error, with logs in nepers of the bands (see `unit` in the oracle), else relative to the largest value."""
    kind = options.kind
    want = ORACLE["features"](kind, wave, options)
    got = getattr(backend(column), kind)(wave, make_plan(options))
    assert got.shape == want.shape
    assert np.isfinite(got).all()
    off = np.abs(got.astype(np.float64) - want)
    if not off.size:
        return 0.0
    if not options.use_log_fbank:
        return off.max() / max(np.abs(want).max(), 1e-300)
    off /= ORACLE["unit"](kind, wave, options)
    if kind == "spectrogram":
        weight = weights(ORACLE["spectrum"](wave, options)[0] ** (0.5 if options.use_power else 1.0))
        if options.energy != "none":
            weight[:, 0] = 1.0
        off *= weight
    return off.max()


# The reference rounds to float32, once and at the end.
LIMIT = {"numpy": 2e-5, "numba": 5e-4, "cpp": 5e-4}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("part", range(BATCHES))
def test_every_column_is_the_formulas(part, column):
    sets = [(o, w) for o, w in sample(part)[0] if has(rows()[o.kind], column)]
    errors = [error(column, *one) for one in sets]
    worst = int(np.argmax(errors))
    assert errors[worst] <= LIMIT[column], f"{errors[worst]:.1e}: {sets[worst][0]}"


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("name", PRESETS)
def test_short_waves_in_every_dialect(name, column):
    """Frames and numbers of waves around a frame, and of none."""
    rng = np.random.default_rng(5)
    for n, kind in itertools.product((0, 1, 79, 399, 400, 401, 553), ("mfcc", "fbank")):
        options = preset(name, **({"num_ceps": 0} if kind == "fbank" else {}))
        if has(rows()[kind], column):
            assert error(column, options, np.rint(1000 * rng.standard_normal(n)).astype(np.int16)) <= LIMIT[column], (
                n,
                kind,
            )


def test_the_cosine_transforms_of_the_formulas_are_scipys():
    fft = pytest.importorskip("scipy.fft", reason="SciPy is the peer")
    x = np.random.default_rng(6).standard_normal((4, 23))
    for kind, norm in itertools.product((1, 2, 3), ("ortho", None)):
        np.testing.assert_allclose(ORACLE["dct"](x, kind, norm), fft.dct(x, kind, norm=norm, axis=1), atol=1e-12)


# kaldi-native-fbank itself


def knf_options(rng):
    """Changes to the peer's options and what they are in ours."""

    def one(*choices):
        return choices[rng.integers(len(choices))]

    kind, rate = one("Mfcc", "Fbank"), float(one(*RATES))
    bins = one(15, 23, 40, 80)
    pairs = {
        "frame_opts.samp_freq": ("sample_rate", rate),
        "frame_opts.frame_length_ms": ("frame_length_ms", one(25.0, 20.0, 32.0)),
        "frame_opts.frame_shift_ms": ("frame_shift_ms", one(10.0, 12.5, 40.0)),
        "frame_opts.window_type": ("window", one(*WINDOWS)),
        "frame_opts.preemph_coeff": ("preemph", one(0.97, 0.0, 1.0)),
        "frame_opts.remove_dc_offset": ("remove_dc", one(True, True, False)),
        "frame_opts.round_to_power_of_two": ("round_to_power_of_two", one(True, True, False)),
        "frame_opts.snip_edges": ("snip_edges", one(True, False)),
        "mel_opts.num_bins": ("num_mels", bins),
        "mel_opts.low_freq": ("low_freq", one(20.0, 0.0, 64.0)),
        "mel_opts.high_freq": ("high_freq", one(0.0, -400.0, 3800.0)),
        "mel_opts.htk_mode": ("htk_mode", one(False, False, True)),
        "use_energy": ("use_energy", one(True, False)),
        "raw_energy": ("raw_energy", one(True, False)),
        "energy_floor": ("energy_floor", one(0.0, 1.0, 1e7)),
        "htk_compat": ("htk_compat", one(True, False)),
    }
    if kind == "Mfcc":
        pairs |= {"num_ceps": ("num_ceps", one(1, 13, bins)), "cepstral_lifter": ("lifter", one(22.0, 0.0))}
    else:
        pairs |= {
            "use_power": ("use_power", one(True, False)),
            "use_log_fbank": ("use_log_fbank", one(True, True, False)),
        }
    theirs = {name: value for name, (_, value) in pairs.items()}
    ours = dict(pairs.values()) | ({} if kind == "Mfcc" else {"num_ceps": 0})
    if rng.random() < 0.3:
        slaney, norm = one(True, False), one("slaney", "")
        theirs |= {"mel_opts.is_librosa": True, "mel_opts.use_slaney_mel_scale": slaney, "mel_opts.norm": norm}
        ours |= {"triangles": "hz", "mel_scale": "slaney" if slaney else "htk", "mel_norm": norm or None}
    return kind, theirs, ours


def test_kaldi_native_fbank_agrees_on_a_grid_of_its_options():
    """The peer itself misses the float64 result by up to 1.2e-3; without a log its float32 filters are good to 2e-5."""
    peer = pytest.importorskip("kaldi_native_fbank", reason="kaldi-native-fbank is the peer")
    rng, logs, linear = np.random.default_rng(20240606), [], []
    while len(logs) < 210:
        kind, theirs, ours = knf_options(rng)
        wave, _ = draw_wave(rng, int(ours["sample_rate"]))
        try:
            options = MfccOptions(**ours, scale=1.0)
        except ValueError as error:  # the peer's answer to these is undefined
            assert str(error).startswith(tuple(f"MfccOptions: {reason}" for reason in REFUSED[:2])), error
            continue
        if options.fft_size % 2:
            continue  # ends the peer's process
        wave = wave.astype(np.float32)
        want = KNF["run"](peer, kind, theirs, wave, ours["sample_rate"])
        got = getattr(backend(), options.kind)(wave, make_plan(options))
        assert got.shape == want.shape
        off = np.abs(got.astype(np.float64) - want)
        if options.use_log_fbank:
            logs.append(off.max(initial=0))
        else:
            linear.append((off / np.abs(want).max(axis=1, keepdims=True)).max(initial=0))
    assert max(logs) <= 2e-3
    assert np.mean(np.array(logs) <= 5e-4) >= 0.97, np.sort(logs)[-12:]
    assert max(linear) <= 2e-5


# bars


def recordings():
    """[(name, wave int16, rate)]: recordings where they are, else synthetic digits."""
    found, data = [], os.environ.get("PYASR_DATA")
    for corpus, step in ((an4, 30), (fsdd, 100)) if data else ():
        name = corpus.__name__.rpartition(".")[2]
        if (Path(data) / name).is_dir():
            for utterance in corpus.load(corpus.locate(Path(data) / name, offline=True)).train[::step]:
                rate = 16000 if corpus is an4 else 8000
                found.append((utterance.name, np.rint(utterance.wave(rate) * 32768).astype(np.int16), rate))
    if found:
        return found
    return [
        (f"digits {seed}", np.rint(synthesize([3, 1, 4, 1, 5], (seed, "grid"), sample_rate=16000).wave * 32767)
         .astype(np.int16), 16000)
        for seed in range(4)
    ]  # fmt: skip


def noises():
    rng = np.random.default_rng(8)
    return [(f"noise {level}", np.rint(level * rng.standard_normal(32000)).astype(np.int16), 16000)
            for level in (30, 1000, 8000)]  # fmt: skip


@pytest.fixture(scope="module")
def bar_waves():
    return recordings() + noises()


needs_cpp = pytest.mark.skipif(why_not("cpp") is not None, reason="the bars are those of the kernel")


@needs_cpp
def test_the_bars_of_fbank_mfcc_and_energy(bar_waves):
    """Against float64, at int16 scale, on every recording."""
    ops = backend("cpp")
    for name, wave, rate in bar_waves:
        fbank = MfccOptions(sample_rate=rate, num_mels=80 if rate == 16000 else 23, num_ceps=0, use_energy=True)
        want = ORACLE["features"]("fbank", wave, fbank)
        off = np.abs(ops.fbank(wave, make_plan(fbank)) - want)
        assert off[:, 0].max() <= 5e-6, name
        assert off[:, 1:].max() <= 3e-4, name
        assert np.sqrt((off[:, 1:] ** 2).mean()) <= 1e-5, name
        mfcc = MfccOptions(sample_rate=rate)
        off = np.abs(ops.mfcc(wave, make_plan(mfcc)) - ORACLE["features"]("mfcc", wave, mfcc))
        assert off.max() <= 3e-4, name


@needs_cpp
def test_the_bar_of_an_offset():
    wave = np.rint(10000 + np.random.default_rng(9).standard_normal(32000)).astype(np.int16)
    for options in (MfccOptions(num_mels=80, num_ceps=0), MfccOptions()):
        want = ORACLE["features"](options.kind, wave, options)
        assert np.abs(getattr(backend("cpp"), options.kind)(wave, make_plan(options)) - want).max() <= 1e-3


@needs_cpp
@pytest.mark.parametrize("hertz", [110, 440, 1000, 3999.5, 7000])
def test_the_bar_of_tones(hertz):
    """Without the log in proportion to the sum; with it like speech, for weak bands are computed in float64."""
    wave = np.rint(12000 * np.sin(2 * np.pi * hertz / 16000 * np.arange(16000))).astype(np.int16)
    options = MfccOptions(num_mels=80, num_ceps=0, use_log_fbank=False)
    want = ORACLE["features"]("fbank", wave, options)
    off = np.abs(backend("cpp").fbank(wave, make_plan(options)) - want)
    assert (off / want.sum(axis=1, keepdims=True)).max() <= 4e-6
    for options in (MfccOptions(num_mels=80, num_ceps=0), MfccOptions()):
        want = ORACLE["features"](options.kind, wave, options)
        assert np.abs(getattr(backend("cpp"), options.kind)(wave, make_plan(options)) - want).max() <= 3e-4


@needs_cpp
def test_the_worst_case_of_before_the_float64_convolution():
    """A frame of 1102 points without a window and with full preemphasis: 8.1e-4 with a float32 Bluestein."""
    options = MfccOptions(
        sample_rate=44100, round_to_power_of_two=False, window="rectangular", preemph=1.0, num_mels=40, num_ceps=0
    )
    rng = np.random.default_rng(10)
    for wave in (speech(44100, 30000, rng), np.rint(1000 * rng.standard_normal(30000))):
        assert error("cpp", options, wave.astype(np.int16)) <= 5e-4
