"""mfcc, fbank and spectrogram on the emulated device, beyond their cases: ragged batches, bad samples, memory, alignment."""

import gc
import itertools
import weakref

import numpy as np
import pytest

from pyasr.features import preset
from pyasr.ops import backend
from pyasr.ops._compare import relative_error
from pyasr.ops._cuda import mfcc as column
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan

SMALL = MfccOptions(
    sample_rate=1000.0,
    win_length=21,
    hop_length=8,
    num_mels=4,
    num_ceps=3,
    low_freq=0.0,
    snip_edges=False,
    use_energy=False,
)
KALDI = MfccOptions()
PLANS = {
    "32 points": SMALL,
    "512 points": KALDI,
    "dynamic range": preset(
        "whisper", n_fft=32, win_length=32, hop_length=8, num_mels=4, num_ceps=0, sample_rate=1000.0
    ),
    "cepstra under a dynamic range": MfccOptions(**{**vars(SMALL), "dynamic_range": 1.0}),
    "normalized": MfccOptions(**{**vars(SMALL), "normalize": "per_feature"}),
}


def samples(n, dtype="int16", seed=0):
    x = np.random.default_rng(seed).normal(100.0, 3000.0, n)
    return (x if dtype == "int16" else x / 32768).astype(dtype)


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("name", PLANS)
def test_a_ragged_batch_has_the_bits_of_its_waves(emulated, name, dtype):
    plan = make_plan(PLANS[name])
    ops, sizes = getattr(emulated, plan.kind), np.array([900, 0, 401, 30, 1300])
    wave = samples(int(sizes.sum()) + 5, dtype)
    offsets = 5 + np.append(0, np.cumsum(sizes))
    alone = [ops(wave[b:e].copy(), plan) for b, e in itertools.pairwise(offsets)]
    waves = column.Ragged(emulated.device, plan, offsets)
    got = column.ragged(emulated.device, plan.kind, wave, plan, waves)
    np.testing.assert_array_equal(waves.frames, [len(y) for y in alone])
    assert got.tobytes() == b"".join(y.tobytes() for y in alone)
    for layout in ("BTF", "TBF"):
        waves = column.Ragged(emulated.device, plan, offsets, layout)
        out = np.full((*waves.shape, plan.features), np.nan, np.float32)
        assert column.ragged(emulated.device, plan.kind, wave, plan, waves, out=out) is out
        for b, y in enumerate(alone):
            rows = out[b] if layout == "BTF" else out[:, b]
            np.testing.assert_array_equal(rows[: len(y)], y)
            assert (rows[len(y) :] == 0).all()


def test_same_bits_for_any_alignment(emulated):
    plan, both = make_plan(KALDI), {}
    for dtype in ("int16", "float32"):
        wave = samples(1111, dtype)
        for shift in range(9):
            moved = np.zeros(wave.size + shift, dtype)[shift:]
            moved[:] = wave
            both.setdefault(dtype, set()).add(emulated.mfcc(moved, plan).tobytes())
    assert [len(b) for b in both.values()] == [1, 1]


# N -> rate and, where they are not 25 and 10 ms, samples of a frame
TILES = {256: (8000, {}), 400: (16000, {"n_fft": 400}), 512: (16000, {}), 1024: (24000, {}), 2048: (44100, {})}


@pytest.mark.parametrize("dtype", ["int16", "float32"])
@pytest.mark.parametrize("fft", TILES)
def test_sizes_with_a_kernel_of_their_own_have_the_spectra_of_the_reference(emulated, fft, dtype):
    """Bin by bin, of two tiles: every lane and round of the transforms."""
    rate, changes = TILES[fft]
    options = MfccOptions(sample_rate=rate, num_mels=0, num_ceps=0, use_energy=False, use_log_fbank=False, **changes)
    plan = make_plan(options)
    assert plan.fft_size == fft
    assert emulated.device.native.mfcc_tile_lanes(fft) > 0
    each = emulated.device.native.mfcc_frames_each(fft)
    wave = samples(plan.length + plan.shift * each, dtype)
    got, want = (ops.spectrogram(wave, plan).astype("f8") for ops in (emulated, backend("numpy")))
    assert got.shape == (each + 1, fft // 2 + 1)
    # against the rounding of the largest bin, which is 2^-24 of its root times a few
    assert np.abs(np.sqrt(got) - np.sqrt(want)).max() < 1e-6 * np.sqrt(want.max())


@pytest.mark.parametrize("options", [SMALL, KALDI])
def test_a_constant_wave_is_silence(emulated, options):
    """Bit for bit: nothing of an offset is left for the logs to see."""
    plan = make_plan(options)
    want = emulated.mfcc(np.zeros(500, np.int16), plan)
    np.testing.assert_array_equal(emulated.mfcc(np.full(500, 12345, np.int16), plan), want)
    np.testing.assert_array_equal(emulated.mfcc(np.full(500, 0.3, np.float32), plan), want)


@pytest.mark.parametrize("kind", ["tile", "frame", "float64"])
def test_devices_with_little_memory_give_the_same_features(emulated, kind):
    """What does not fit into shared memory goes to the kernel for all sizes, or to device memory."""
    changes = {"tile": {}, "frame": {"num_mels": 300, "num_ceps": 0, "allow_empty": True},
               "float64": {"n_fft": 16384, "win_length": 21}}[kind]  # fmt: skip
    plan = make_plan(MfccOptions(**changes))
    wave = samples(900)
    native = emulated.device.native
    plans = native.mfcc_plans(
        plan.fft_size, plan.length, plan.shift, len(plan.mel_begin), plan.features, len(plan.order)
    )
    assert [plans["tile"] > 0, plans["float64_memory"] > 0] == {
        "tile": [True, False], "frame": [False, False], "float64": [False, True],
    }[kind]  # fmt: skip
    got, want = (getattr(ops, plan.kind)(wave[:600], plan) for ops in (emulated, backend("numpy")))
    assert relative_error(got.astype("f8"), want.astype("f8")) < 2e-6


@pytest.mark.parametrize(
    ("name", "fits"), [("sm_75", True), ("sm_80", True), ("sm_86", True), ("sm_89", True), ("sm_90", True)]
)
def test_16_khz_fits_everywhere(emulated, name, fits):
    emulated.properties(name)
    plans = emulated.device.native.mfcc_plans(512, 400, 160, 80, 80, 256)
    assert (plans["tile"] > 0) is fits
    assert plans["float64_memory"] == 0
    for fft, length, shift in ((256, 200, 80), (400, 400, 160), (1024, 600, 240)):
        assert emulated.device.native.mfcc_plans(fft, length, shift, 80, 80, fft // 2)["tile"] > 0
    large = emulated.device.native.mfcc_plans(2048, 2048, 512, 128, 128, 1024)["tile"] > 0
    assert large is (name in ("sm_80", "sm_90"))


BAD = {
    "nan": (np.nan, {}, r"mfcc: wave must be finite, got nan at 41"),
    "inf": (-np.inf, {}, r"mfcc: wave must be finite, got -inf at 41"),
    "large": (17.0, {}, r"mfcc: wave must lie in \[-1, 1\], got 17\.0 at 41: pass scale=1"),
    "large for its scale": (
        2.0**43,
        {"scale": 1.0},
        r"mfcc: wave must lie within 1099511627776\.0 for scale=1\.0, got 8796093022208\.0 at 41",
    ),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("bad", BAD)
def test_a_bad_sample_is_named(emulated, bad, dtype):
    value, changes, text = BAD[bad]
    plan = make_plan(MfccOptions(**{**vars(SMALL), **changes}))
    wave = samples(100, dtype)
    wave[[41, 70]] = value
    with pytest.raises(ValueError, match=text):
        emulated.mfcc(wave, plan)
    got = emulated.mfcc(wave, plan, nan="propagate")
    seen = np.isnan(got).all(axis=1)
    assert seen.any()
    assert not np.isnan(got[~seen]).any()
    if "large" not in bad:
        np.testing.assert_array_equal(np.isnan(backend("numpy").mfcc(wave, plan, nan="propagate")), np.isnan(got))


def test_a_bad_sample_of_a_batch_is_named_by_its_wave(emulated):
    plan, wave = make_plan(SMALL), samples(100, "float32")
    wave[70] = np.inf
    waves = column.Ragged(emulated.device, plan, [0, 50, 100])
    with pytest.raises(ValueError, match=r"mfcc: waves\[1\] must be finite, got inf at 20"):
        column.ragged(emulated.device, "mfcc", wave, plan, waves)
    got = column.ragged(emulated.device, "mfcc", wave, plan, waves, nan="propagate")
    assert np.isfinite(got[: waves.frames[0]]).all()
    assert np.isnan(got).any()


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        ({"plan": make_plan(MfccOptions(dither=1.0))}, ValueError, r"plan must be one without dither on a CUDA device, got"),
        ({"plan": make_plan(MfccOptions(num_ceps=0))}, ValueError, r"plan must be one for mfcc, got one for fbank"),
        ({"plan": None}, TypeError, r"plan must be an MfccPlan, got NoneType"),
        ({"wave": [1, 2]}, TypeError, r"wave must be a CUDA array, got list"),
        ({"wave": np.ndarray}, TypeError, r"wave must be a CUDA array, got type"),
        ({"wave": np.zeros(9, "i4")}, TypeError, r"wave must have dtype int16 or float32 or float64, got int32"),
        ({"wave": np.zeros(900, "i2")[::2]}, ValueError, r"wave must be C-contiguous"),
        ({"out": np.zeros((1, 12), "f4")}, ValueError, r"out must have shape"),
        ({"nan": "drop"}, ValueError, r"nan must be"),
    ],
)  # fmt: skip
def test_bad_arguments_are_named(emulated, change, error, text):
    arguments = {"wave": samples(400), "plan": make_plan(KALDI), **change}
    with pytest.raises(error, match=f"mfcc: {text}"):
        emulated.mfcc(arguments.pop("wave"), arguments.pop("plan"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (([0],), r"Ragged: offsets must be integers \(B\+1,\) with B > 0"),
        (([0.0, 1.0],), r"Ragged: offsets must be integers"),
        (([0, 5, 3],), r"Ragged: offsets must not decrease"),
        (([0, 5], "FTB"), r"Ragged: layout must be"),
    ],
)
def test_bad_batches_are_named(emulated, arguments, text):
    with pytest.raises(ValueError, match=text):
        column.Ragged(emulated.device, make_plan(SMALL), *arguments)


def test_waves_belong_to_their_plan_and_samples(emulated):
    plan = make_plan(SMALL)
    waves = column.Ragged(emulated.device, plan, [0, 60])
    with pytest.raises(ValueError, match=r"mfcc: wave must have at least the 60 samples of waves, got 59"):
        column.ragged(emulated.device, "mfcc", samples(59), plan, waves)
    with pytest.raises(ValueError, match=r"mfcc: plan must be the one that waves was made for"):
        column.ragged(emulated.device, "mfcc", samples(60), make_plan(KALDI), waves)
    with pytest.raises(TypeError, match=r"mfcc: waves must be a Ragged, got list"):
        column.ragged(emulated.device, "mfcc", samples(60), plan, [0, 60])


def test_tables_are_uploaded_once_and_freed_with_the_plan(emulated):
    make_plan.cache_clear()
    plan = make_plan(SMALL)
    first, again = emulated.mfcc(samples(60), plan), emulated.mfcc(samples(60), plan)
    np.testing.assert_array_equal(first, again)
    (kept,) = plan.cache["cuda"].values()
    table, place = weakref.ref(kept), weakref.ref(plan)
    del kept, plan
    make_plan.cache_clear()
    gc.collect()
    assert place() is None
    assert table() is None
