"""Dither: Philox and Box-Muller, and noise that is a function of seed, frame and sample."""

import numpy as np
import pytest

import pyasr
from pyasr.ops import rows, why_not
from pyasr.ops._frames import noise, philox
from pyasr.ops._op import backend, has
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None and has(rows()["fbank"], c)]
# Log energies alone are looked at: of the noise itself.
PLAIN = {"preemph": 0.0, "remove_dc": False, "num_ceps": 0, "use_energy": True, "window": "rectangular"}
SILENCE = np.zeros(160 * 3000, np.int16)
VOICED = np.rint(3000 * np.sin(np.arange(16000) / 9) + 900 * np.sin(np.arange(16000) / 2.3)).astype(np.int16)


def energies(column, wave=SILENCE, first_frame=0, **changes):
    plan = make_plan(MfccOptions(**{**PLAIN, "dither": 1.0, **changes}))
    return np.exp(backend(column).fbank(wave, plan, first_frame=first_frame)[:, 0].astype(np.float64))


@pytest.mark.parametrize(
    ("counter", "key", "words"),
    [
        ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
        ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
        ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
    ],
)
def test_philox_gives_the_words_of_random123(counter, key, words):
    low, high = (int(word, 16) for word in key.split())
    got = philox(tuple(np.array(int(word, 16), np.uint64) for word in counter.split()), low | high << 32)
    assert [f"{int(word):08x}" for word in got] == words.split()


def test_noise_is_normal_and_independent():
    x = noise(np.arange(2000), 400, 7)
    n = x.size
    assert abs(x.mean()) <= 5 / np.sqrt(n)
    assert abs(x.std() - 1) <= 5 / np.sqrt(2 * n)
    assert abs((x**3).mean()) <= 5 * np.sqrt(15 / n)
    assert abs((x**4).mean() - 3) <= 5 * np.sqrt(96 / n)
    edges = np.array([-2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0])
    shares = [0.0227501, 0.1586553, 0.3820886, 0.5, 0.6179114, 0.8413447, 0.9772499]
    np.testing.assert_allclose([(x < e).mean() for e in edges], shares, atol=2.5 / np.sqrt(n))
    for a, b in ((x[:-1], x[1:]), (x[:, :-1], x[:, 1:]), (x[:, ::2], x[:, 1::2]), (x[:-1, 160:], x[1:, :-160]),
                 (x, noise(np.arange(2000), 400, 8))):  # fmt: skip
        assert abs((a * b).mean()) <= 5 / np.sqrt(a.size)
        assert abs((a**2 * b**2).mean() - 1) <= 5 * np.sqrt(8 / a.size)


def test_noise_goes_by_the_number_of_a_frame():
    x = noise(np.array([0, 5, 2**32, 2**32 + 5]), 401, 3)
    np.testing.assert_array_equal(x[1:2], noise(np.array([5]), 401, 3))
    np.testing.assert_array_equal(x[:, :7], noise(np.array([0, 5, 2**32, 2**32 + 5]), 7, 3))
    assert len(np.unique(x)) == x.size


@pytest.mark.parametrize("column", COLUMNS)
def test_energies_of_dithered_silence(column):
    """Σ of 400 squares: mean 400, deviation √800; neighbors are independent though 240 of their samples are the same."""
    e = energies(column)
    n = len(e)
    assert n == 2998
    assert abs(e.mean() - 400) <= 5 * np.sqrt(800 / n)
    assert abs(e.std() / np.sqrt(800) - 1) <= 0.1
    for lag in (1, 2):
        assert abs(np.corrcoef(e[:-lag], e[lag:])[0, 1]) <= 5 / np.sqrt(n)
    assert not np.array_equal(e, energies(column, dither_seed=1))
    assert abs(np.corrcoef(e, energies(column, dither_seed=2**40))[0, 1]) <= 5 / np.sqrt(n)
    np.testing.assert_allclose(energies(column, dither=2.0), 4 * e, rtol=1e-5)
    np.testing.assert_array_equal(energies(column), e)
    np.testing.assert_allclose(energies(column, full_scale=1.0, dither=1.0), e, rtol=1e-5)


@pytest.mark.parametrize("column", COLUMNS)
def test_first_frame_shifts_the_noise(column):
    whole = energies(column, SILENCE[:16000])
    np.testing.assert_allclose(energies(column, SILENCE[1600:16000], first_frame=10), whole[10:], rtol=1e-6)
    far = energies(column, SILENCE[:4000], first_frame=2**32 - 3)
    assert len(np.unique(far)) == len(far)
    np.testing.assert_allclose(energies(column, SILENCE[:4000], first_frame=2**32)[:5], far[3:8], rtol=1e-6)


@pytest.mark.parametrize("column", [c for c in COLUMNS if c != "numpy"])
@pytest.mark.parametrize(
    "changes",
    [{}, {"snip_edges": False}, {"center": True, "pad_mode": "reflect", "n_fft": 601}, {"win_length": 333}],
    ids=str,
)
def test_columns_add_the_same_noise(column, changes):
    plan = make_plan(MfccOptions(num_mels=40, num_ceps=0, dither=20.0, dither_seed=2**63 + 11, **changes))
    got, want = (backend(c).fbank(VOICED, plan) for c in (column, "numpy"))
    assert np.abs(got - want).max() <= 5e-4


@pytest.mark.parametrize("column", COLUMNS)
def test_no_dither_no_noise(column):
    plans = [make_plan(MfccOptions(num_ceps=0, dither_seed=seed)) for seed in (0, 1)]
    a, b = (backend(column).fbank(VOICED, plan) for plan in plans)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("changes", [{}, {"snip_edges": False}, {"frame_shift_ms": 40.0}], ids=str)
def test_a_stream_has_the_noise_of_the_whole_wave(changes):
    changes = {"dither": 3.0, "dither_seed": 5, **changes}
    whole = pyasr.mfcc(VOICED, 16000, **changes)
    stream, rng, at, parts = pyasr.OnlineFeatures(16000, **changes), np.random.default_rng(1), 0, []
    while at < len(VOICED):
        n = int(rng.integers(1, 900))
        parts.append(stream.accept(VOICED[at : at + n]))
        at += n
    np.testing.assert_array_equal(np.concatenate([*parts, stream.finish()]), whole)
