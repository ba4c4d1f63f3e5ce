"""Augmentation: masks on features; speed, volume and noise on waves. Each is a function of its input and its stream."""

import math

import numpy as np
import pytest

from pyasr.augment import add_noise, add_noise_at, mask_times, perturb_speed, perturb_volume, spec_augment
from pyasr.counter import stream

LD = {"time_masks": 2, "longest_time": 100, "share": 1.0, "freq_masks": 2, "widest_freq": 27}
DTYPES = [np.int16, np.float32, np.float64]


def tone(n, dtype=np.float64, hz=440.0, rate=16000):
    wave = 0.3 * np.sin(2 * np.pi * hz / rate * np.arange(n))
    return np.rint(32768 * wave).astype(dtype) if dtype == np.int16 else wave.astype(dtype)


def hiss(n, seed=0, dtype=np.float64):
    wave = 0.1 * np.random.default_rng(seed).standard_normal(n)
    return np.rint(32768 * wave).astype(dtype) if dtype == np.int16 else wave.astype(dtype)


# Masks


def test_mask_times_draws_a_width_and_a_begin_per_mask():
    """Recorded runs go on to the same bits: neither the draws nor their order may change."""
    for seed in range(50):
        rng, frames = stream("mask", seed), 3 + seed
        want = np.ones((frames, 2))
        for _ in range(3):
            width = int(rng.integers(0, min(8, frames // 4) + 1))
            begin = int(rng.integers(0, frames - width + 1))
            want[begin : begin + width] = 0
        x, again = np.ones((frames, 2)), stream("mask", seed)
        assert mask_times(x, again, 3, 8) is x
        np.testing.assert_array_equal(x, want)
        assert again.random() == rng.random()


def spans(line):
    """(begin, end) of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], line.astype(int), [0]])))
    return list(zip(edges[::2], edges[1::2], strict=True))


@pytest.mark.parametrize(("frames", "share", "longest"), [(200, 1.0, 100), (200, 0.2, 40), (9, 0.25, 2), (3, 0.3, 0)])
def test_time_masks_stay_within_their_bounds(frames, share, longest):
    widths = set()
    for seed in range(400):
        one = LD | {"time_masks": 1, "freq_masks": 0, "share": share}
        masked = spec_augment(np.ones((frames, 4)), stream(seed), **one) == 0
        assert (masked.all(axis=1) == masked.any(axis=1)).all()
        found = spans(masked[:, 0])
        widths |= {0} if not found else {e - b for b, e in found}
        assert len(found) <= 1
    assert max(widths) <= longest
    assert min(widths) == 0
    assert max(widths) >= 0.9 * longest


@pytest.mark.parametrize(("width", "widest"), [(80, 27), (13, 13)])
def test_frequency_masks_stay_within_their_bounds(width, widest):
    widths, places = set(), set()
    for seed in range(600):
        masked = spec_augment(np.ones((5, width)), stream(seed), **(LD | {"time_masks": 0, "freq_masks": 1})) == 0
        assert (masked.all(axis=0) == masked.any(axis=0)).all()
        for begin, end in spans(masked[0]):
            widths.add(end - begin)
            places |= {begin, end}
    assert max(widths) == widest
    assert {0, width} <= places


def test_masks_take_their_value_and_leave_the_rest():
    x = np.random.default_rng(0).standard_normal((300, 80)).astype(np.float32)
    before = x.copy()
    y = spec_augment(x, stream(1), **LD, value=-7.5)
    assert y.dtype == np.float32
    masked = y != x
    assert masked.any()
    assert not masked.all()
    assert (y[masked] == np.float32(-7.5)).all()
    rows, columns = masked.all(axis=1), masked.all(axis=0)
    np.testing.assert_array_equal(masked, rows[:, None] | columns)
    assert len(spans(rows)) <= 2
    assert len(spans(columns)) <= 2
    np.testing.assert_array_equal(x, before)
    np.testing.assert_array_equal(y, spec_augment(x, stream(1), **LD, value=-7.5))
    assert not np.array_equal(y, spec_augment(x, stream(2), **LD, value=-7.5))


def test_widths_are_uniform():
    counts = np.zeros(11)
    for seed in range(4400):
        masked = spec_augment(
            np.ones((100, 1)),
            stream("width", seed),
            time_masks=1,
            longest_time=10,
            share=1.0,
            freq_masks=0,
            widest_freq=0,
        )
        counts[int((masked == 0).sum())] += 1
    assert ((counts - 400) ** 2 / 400).sum() < 29.6  # χ² of 10 degrees of freedom, p = 0.001


@pytest.mark.parametrize("shape", [(0, 4), (1, 1), (0, 0), (1, 80)])
def test_features_too_short_for_masks(shape):
    assert spec_augment(np.ones(shape), stream(0), **LD).shape == shape


def test_no_masks_give_a_copy():
    x = np.ones((5, 3))
    y = spec_augment(x, stream(0), **(LD | {"time_masks": 0, "freq_masks": 0}))
    np.testing.assert_array_equal(y, x)
    assert not np.shares_memory(x, y)


def test_add_noise_has_its_deviation():
    y = add_noise(np.zeros((500, 40), np.float32), stream(0), 0.3)
    assert y.dtype == np.float32
    assert abs(y.std() - 0.3) < 0.01


# Speed

soxr = pytest.mark.usefixtures("needs_soxr")


@pytest.fixture
def needs_soxr():
    pytest.importorskip("soxr", reason='needs the extra "train"')


@soxr
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [0.5, 0.9, 1.0, 1.1, 1.0371, 2.0])
def test_speed_changes_length_and_keeps_dtype(factor, dtype):
    for n in (0, 1, 2, 99, 8000, 16001):
        wave = tone(n, dtype)
        before = wave.copy()
        y = perturb_speed(wave, 16000, factor)
        assert abs(len(y) - round(n / factor)) <= 1
        assert y.dtype == dtype
        assert y.ndim == 1
        assert not np.shares_memory(y, wave)
        np.testing.assert_array_equal(wave, before)
        np.testing.assert_array_equal(y, perturb_speed(wave, 16000, factor))


@soxr
@pytest.mark.parametrize(("dtype", "atol"), [(np.int16, 5e-5), (np.float32, 1e-4), (np.float64, 1e-4)])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_speed_changes_pitch_and_tempo_together(factor, dtype, atol):
    """A tone of f Hz becomes one of f · factor Hz, of the same phase and amplitude."""
    y = perturb_speed(tone(16000, dtype), 16000, factor).astype(np.float64)
    want = tone(len(y), np.float64, 440 * factor)
    middle = slice(1000, -1000)
    np.testing.assert_allclose(y[middle] / (32768 if dtype == np.int16 else 1), want[middle], atol=atol)


@soxr
def test_what_would_pass_the_nyquist_frequency_is_gone():
    y = perturb_speed(tone(16000, hz=7800), 16000, 1.25)
    assert np.abs(y[1000:-1000]).max() < 1e-4


@soxr
def test_silence_stays_silent_and_full_scale_does_not_wrap():
    assert not perturb_speed(np.zeros(4000, np.int16), 16000, 0.9).any()
    square = np.where(np.arange(4000) // 40 % 2, 32767, -32768).astype(np.int16)
    y = perturb_speed(square, 16000, 0.9).astype(int)  # overshoots at the edges: they are clipped
    at = (np.arange(len(y)) * 0.9 % 40 > 10) & (np.arange(len(y)) * 0.9 % 40 < 30)
    at[:100] = at[-100:] = False
    np.testing.assert_array_equal(y[at] > 0, (np.arange(len(y)) * 0.9 // 40 % 2 == 1)[at])


@soxr
def test_speed_of_strided_waves():
    wave = tone(4000, np.float32)
    both = np.stack([wave, wave], axis=1)
    np.testing.assert_array_equal(perturb_speed(both[:, 0], 16000, 1.1), perturb_speed(wave, 16000, 1.1))


# Volume


@pytest.mark.parametrize("dtype", DTYPES)
def test_volume_is_a_gain_within_its_bounds(dtype):
    wave, gains = tone(400, dtype), []
    for seed in range(300):
        y = perturb_volume(wave, stream(seed), -12.0, 6.0)
        assert y.dtype == dtype
        loudest = int(np.argmax(np.abs(wave.astype(float))))
        gain = y[loudest] / wave[loudest]
        gains.append(20 * math.log10(gain))
        np.testing.assert_allclose(y, gain * wave.astype(np.float64), atol=1.5 if dtype == np.int16 else 1e-6)
    tolerance = 1e-2 if dtype == np.int16 else 1e-6
    assert -12 - tolerance <= min(gains) < -11
    assert 5 < max(gains) <= 6 + tolerance
    assert abs(np.mean(gains) + 3) < 1.2
    np.testing.assert_array_equal(y, perturb_volume(wave, stream(299), -12.0, 6.0))


def test_loud_int16_is_clipped():
    wave = np.array([-32768, -20000, -1, 0, 1, 20000, 32767], np.int16)
    y = perturb_volume(wave, stream(0), 20.0, 20.0)
    np.testing.assert_array_equal(y, [-32768, -32768, -10, 0, 10, 32767, 32767])


# Noise


def snr(wave, mixed):
    added = mixed.astype(np.float64) - wave.astype(np.float64)
    return 10 * math.log10(np.mean(wave.astype(np.float64) ** 2) / np.mean(added**2))


@pytest.mark.parametrize("noise_dtype", DTYPES)
@pytest.mark.parametrize(("dtype", "atol"), [(np.int16, 2e-2), (np.float32, 1e-4), (np.float64, 1e-9)])
@pytest.mark.parametrize("db", [-5.0, 0.0, 10.0, 30.0])
def test_noise_has_its_ratio(db, dtype, atol, noise_dtype):
    wave = tone(8000, dtype) // 8 if dtype == np.int16 else tone(8000, dtype)  # room for the noise
    for n in (37, 7999, 8000, 8001, 50000):
        noise = hiss(n, dtype=noise_dtype)
        mixed = add_noise_at(wave, noise, db, stream(n))
        assert mixed.dtype == dtype
        assert mixed.shape == wave.shape
        assert abs(snr(wave, mixed) - db) < atol


@pytest.mark.parametrize(("loud", "soft"), [(1e200, 1e-200), (1e-200, 1e200), (1e-200, 1e-200)])
def test_any_scale_has_its_ratio(loud, soft):
    mixed = add_noise_at(loud * tone(800), soft * hiss(800), 20.0, stream(0))
    assert abs(snr(tone(800), mixed / loud) - 20) < 1e-9


def test_noise_is_a_stretch_that_is_repeated_where_it_is_short():
    wave = tone(100)
    for n in (1, 7, 99, 100, 101, 1000):
        noise = 1.0 + np.arange(n)
        begins = set()
        for seed in range(40):
            added = add_noise_at(wave, noise, 0.0, stream(seed)) - wave
            matches = []
            for begin in range(n if n < 100 else n - 99):
                stretch = np.array([noise[(begin + i) % n] for i in range(100)])
                if np.allclose(added * (stretch[0] / added[0]), stretch, rtol=1e-9):
                    matches.append(begin)
            assert len(matches) == 1
            begins.add(matches[0])
        assert len(begins) == 1 if n in (1, 100) else len(begins) > 1


def test_noise_depends_on_its_stream_alone():
    wave, noise = tone(100), hiss(5000)
    before = wave.copy(), noise.copy()
    y = add_noise_at(wave, noise, 10.0, stream("noise", 1))
    np.random.default_rng().random(3)
    np.testing.assert_array_equal(y, add_noise_at(wave, noise, 10.0, stream("noise", 1)))
    assert not np.array_equal(y, add_noise_at(wave, noise, 10.0, stream("noise", 2)))
    np.testing.assert_array_equal(wave, before[0])
    np.testing.assert_array_equal(noise, before[1])


# Doors

WAVE, RNG = np.ones(10), stream(0)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: spec_augment([[1.0]], RNG, **LD), TypeError, "^spec_augment: features must be a NumPy array, got list"),
        (lambda: spec_augment(np.ones(3), RNG, **LD), ValueError, r"features must have shape \(T, F\), got \(3,\)"),
        (lambda: spec_augment(np.ones((2, 2)), 0, **LD), TypeError, "rng must be a numpy.random.Generator, got int"),
        (lambda: spec_augment(np.ones((2, 2)), RNG, **(LD | {"share": 1.5})), ValueError, r"share must lie in \[0.0, 1.0\]"),
        (lambda: spec_augment(np.ones((2, 2)), RNG, **(LD | {"time_masks": -1})), ValueError, "time_masks must lie in"),
        (lambda: spec_augment(np.ones((2, 2)), RNG, **LD, value=np.nan), ValueError, "value must lie in .* got nan"),
        (lambda: spec_augment(np.ones((2, 2), np.float32), RNG, **LD, value=1e39), ValueError, r"got 1e\+39"),
        (lambda: perturb_speed(WAVE, 16000, 0), ValueError, r"^perturb_speed: factor must lie in \[0.25, 4.0\], got 0.0"),
        (lambda: perturb_speed(WAVE, 16000, np.nan), ValueError, "factor must lie in"),
        (lambda: perturb_speed(WAVE, 16000.0, 1.1), TypeError, "sample_rate must be an integer, got float"),
        (lambda: perturb_speed(WAVE, 100, 1.1), ValueError, "sample_rate must lie in"),
        (lambda: perturb_speed(WAVE[None], 16000, 1.1), ValueError, r"wave must have shape \(N,\), got \(1, 10\)"),
        (lambda: perturb_speed(WAVE.astype(np.uint8), 16000, 1.1), TypeError, "wave must have dtype int16 or float32 or"),
        (lambda: perturb_volume(WAVE, RNG, 3.0, -3.0), ValueError, "^perturb_volume: high_db must lie in"),
        (lambda: perturb_volume(WAVE, None, 0.0, 1.0), TypeError, "rng must be a numpy.random.Generator, got NoneType"),
        (lambda: perturb_volume(np.array([0.0, np.inf]), RNG, 0, 1), ValueError, "wave must be finite, got inf at 1"),
        (lambda: add_noise_at(WAVE, WAVE, np.inf, RNG), ValueError, "^add_noise_at: snr_db must lie in"),
        (lambda: add_noise_at(WAVE, np.ones(0), 0.0, RNG), ValueError, "noise must hold at least one sample"),
        (lambda: add_noise_at(WAVE, np.zeros(30), 0.0, RNG), ValueError, "noise must not be silent"),
        (lambda: add_noise_at(np.zeros(9), WAVE, 0.0, RNG), ValueError, "wave must not be silent"),
        (lambda: add_noise_at(WAVE, [1.0], 0.0, RNG), TypeError, "noise must be a NumPy array, got list"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_no_samples_stay_no_samples():
    assert perturb_volume(np.zeros(0, np.int16), RNG, -3.0, 3.0).shape == (0,)
    assert add_noise_at(np.zeros(0), WAVE, 0.0, RNG).shape == (0,)
