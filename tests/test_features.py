"""mfcc, fbank, spectrogram: accuracy, every option, the same bits everywhere."""

import itertools

import numpy as np
import pytest

from pyasr.ops import why_not
from pyasr.ops._fft import bluestein_tables, fft_radices, fft_tables, next_smooth
from pyasr.ops._op import backend
from pyasr.ops._options import EPSILON, WINDOWS, MfccOptions
from pyasr.ops._plan import make_plan

needs_cpp = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
FLOOR = np.float32(np.log(EPSILON))

rng = np.random.default_rng(0)
seconds = np.arange(24000) / 16000
WAVES = {
    "noise": 1000 * rng.standard_normal(24000),
    "sweep": 8000 * np.sin(2 * np.pi * (200 * seconds + 2000 * seconds**2)) + 20 * rng.standard_normal(24000),
    "offset": 10000 + rng.standard_normal(24000),
    "offset that jumps": np.where(seconds < 0.7, -8000, 12000) + 100 * rng.standard_normal(24000),
    "clipped": np.clip(40000 * rng.standard_normal(24000), -32768, 32767),
    "zeros": np.zeros(24000),
    "lowest": np.full(24000, -32768.0),
}
WAVES = {name: np.rint(wave).astype(np.int16) for name, wave in WAVES.items()}


def straight(wave, o):
    """The recipe once more: frame by frame, a DFT by its definition, a dense mel matrix. Shares no code with the plan."""
    x = np.asarray(wave, np.float64)
    length, shift = int(o.sample_rate * 0.001 * o.frame_length_ms), int(o.sample_rate * 0.001 * o.frame_shift_ms)
    size = 1
    while size < length:
        size *= 2
    bins = np.arange(size // 2 + 1)
    dft = np.exp(-2j * np.pi * bins[:, None] * np.arange(length) / size)
    low, high = (1127 * np.log(1 + f / 700) for f in (o.low_freq, o.sample_rate / 2 + o.high_freq))
    width = (high - low) / (o.num_mels + 1)
    mels = 1127 * np.log(1 + bins[:-1] * o.sample_rate / size / 700)
    rows = []
    for first in range(0, len(x) - length + 1, shift):
        frame = x[first : first + length]
        frame = frame - frame.mean()
        energy = np.log(max((frame**2).sum(), EPSILON))
        frame = np.array([v - 0.97 * frame[max(i - 1, 0)] for i, v in enumerate(frame)])
        frame *= (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / (length - 1))) ** 0.85
        power = np.abs(dft @ frame)[:-1] ** 2
        c = [low + (j + 1) * width for j in range(o.num_mels)]
        energies = [(np.clip(1 - np.abs(mels - m) / width, 0, None) * power).sum() for m in c]
        logs = np.log(np.maximum(energies, EPSILON))
        k = np.arange(o.num_ceps)[:, None]
        basis = np.sqrt(2 / o.num_mels) * np.cos(np.pi / o.num_mels * (np.arange(o.num_mels) + 0.5) * k)
        basis[0] = np.sqrt(1 / o.num_mels)
        ceps = basis @ logs * (1 + 11 * np.sin(np.pi * k[:, 0] / 22))
        rows.append([energy, *ceps[1:]])
    return np.array(rows)


@pytest.mark.parametrize("name", ["noise", "sweep", "zeros"])
def test_the_reference_is_the_recipe(name):
    wave = WAVES[name][:4000]
    got = backend("numpy").mfcc(wave, make_plan(MfccOptions()))
    np.testing.assert_allclose(got, straight(wave, MfccOptions()), rtol=2e-6, atol=1e-6)


def errors(got, want):
    return np.abs(got.astype(np.float64) - want)


# A float32 FFT gives every bin 1e-7 of the largest one, so a lone weak bin may be off by a few 1e-4 in its log; the lifter
# multiplies a log's error by up to 12.
@needs_cpp
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("name", [n for n in WAVES if n != "sweep"])
def test_accuracy(name, dtype):
    wave = WAVES[name] if dtype == "int16" else (WAVES[name] / 32768.0).astype(dtype)
    mfcc, fbank = make_plan(MfccOptions()), make_plan(MfccOptions(num_mels=80, num_ceps=0))
    e = errors(backend("cpp").mfcc(wave, mfcc), backend("numpy").mfcc(wave, mfcc))
    assert e[:, 1:].max() <= 3e-4
    assert np.sqrt((e**2).mean()) <= 3e-5
    assert e[:, 0].max() <= 5e-6
    e = errors(backend("cpp").fbank(wave, fbank), backend("numpy").fbank(wave, fbank))
    # An offset unlike the first frame's is rounded with the samples: 20000 under a noise of 100.
    factor = 3 if name == "offset that jumps" else 1
    assert e.max() <= factor * 3e-4
    assert np.sqrt((e**2).mean()) <= factor * 1e-5


@needs_cpp
@pytest.mark.parametrize("name", ["sweep", "tone"])
def test_tones_are_exact_in_proportion_to_their_power(name):
    """Between the lines of a pure tone a log shows rounding alone, in every float32 implementation."""
    wave = WAVES["sweep"] if name == "sweep" else (8000 * np.sin(2 * np.pi * 440 * seconds)).astype(np.int16)
    plan = make_plan(MfccOptions(num_mels=80, num_ceps=0, use_log_fbank=False))
    want = backend("numpy").fbank(wave, plan).astype(np.float64)
    got = backend("cpp").fbank(wave, plan)
    assert (errors(got, want) / want.sum(axis=1, keepdims=True)).max() <= 4e-6


@needs_cpp
def test_a_constant_frame_is_the_floor():
    """In frames without a change; the offset of the wave as a whole differs from theirs."""
    wave = np.concatenate([np.full(4000, 123), np.full(4000, -20001), np.full(4000, 32767)]).astype(np.int16)
    plan = make_plan(MfccOptions(num_ceps=0, use_energy=True))
    got = backend("cpp").fbank(wave, plan)
    inside = [f for f in range(len(got)) if len(set(wave[f * 160 : f * 160 + 400].tolist())) == 1]
    np.testing.assert_array_equal(got[inside], FLOOR)


@needs_cpp
def test_int16_and_floating_waves_give_the_same_bits():
    plan = make_plan(MfccOptions())
    got = [
        backend("cpp").mfcc(w, plan)
        for w in (WAVES["noise"], (WAVES["noise"] / 32768).astype("f4"), WAVES["noise"] / 32768)
    ]
    assert got[0].tobytes() == got[1].tobytes() == got[2].tobytes()
    scaled = make_plan(MfccOptions(scale=1.0))
    assert backend("cpp").mfcc(WAVES["noise"].astype("f8"), scaled).tobytes() == got[0].tobytes()


@needs_cpp
@pytest.mark.parametrize("options", [MfccOptions(), MfccOptions(sample_rate=44100), MfccOptions(frame_shift_ms=40)])
def test_a_frame_has_the_same_bits_wherever_it_is_computed(options):
    """Frames from the middle of a wave, in another tile and lane, with the same first frame."""
    plan, wave = make_plan(options), WAVES["noise"]
    whole = backend("cpp").mfcc(wave, plan)
    for first in (1, 5, 16, 17):
        if first < len(whole):
            start = first * plan.shift
            # the constant that centers all samples is the first frame's mean
            moved = np.concatenate([wave[: plan.shift * -(-plan.length // plan.shift)], wave[start:]])
            skip = -(-plan.length // plan.shift)
            part = backend("cpp").mfcc(moved, plan)
            assert part[skip:].tobytes() == whole[first:].tobytes()


@needs_cpp
@pytest.mark.parametrize("n", [15 * 160 + 400, 16 * 160 + 400, 23999, 64 * 160 + 400])
def test_same_bits_for_any_number_of_threads_and_any_length(n):
    plan, wave = make_plan(MfccOptions()), np.tile(WAVES["noise"], 2)
    whole = backend("cpp").mfcc(wave, plan, threads=1)
    for threads in (1, 2, 5):
        got = backend("cpp").mfcc(wave[:n].copy(), plan, threads=threads)
        assert got.tobytes() == whole[: len(got)].tobytes()


SWITCHES = {
    "window": list(WINDOWS),
    "snip_edges": [True, False],
    "remove_dc": [True, False],
    "preemph": [0.97, 0.0, 1.0],
    "use_energy": [True, False],
    "raw_energy": [True, False],
    "energy_floor": [0.0, 1e9],
    "htk_compat": [False, True],
    "htk_mode": [False, True],
    "use_power": [True, False],
    "num_mels": [23, 3, 40],
    "num_ceps": [13, 1, 3],
    "lifter": [22.0, 0.0],
    "low_freq": [20.0, 0.0, 300.0],
    "high_freq": [0.0, -500.0],
    "sample_rate": [16000, 8000, 11025, 22050, 44100],
    "frame_shift_ms": [10.0, 7.3, 25.0, 31.0],
    "frame_length_ms": [25.0, 18.7],
}


def pairwise():
    """Every pair of values of every two switches occurs in one of these option sets."""
    names = list(SWITCHES)
    left = {
        ((a, i), (b, j))
        for a, b in itertools.combinations(names, 2)
        for i in range(len(SWITCHES[a]))
        for j in range(len(SWITCHES[b]))
    }
    sets = []
    while left:
        (a, i), (b, j) = min(left)
        chosen = {a: i, b: j}
        for name in names:
            if name not in chosen:
                gains = [
                    sum(
                        tuple(sorted([(name, v), other], key=lambda p: names.index(p[0]))) in left
                        for other in chosen.items()
                    )
                    for v in range(len(SWITCHES[name]))
                ]
                chosen[name] = int(np.argmax(gains))
        for pair in itertools.combinations([(n, chosen[n]) for n in names], 2):
            left.discard(pair)
        left.discard(((a, i), (b, j)))
        sets.append({n: SWITCHES[n][v] for n, v in chosen.items()})
    return sets


def compatible(options):
    options = dict(options)
    options["num_ceps"] = min(options["num_ceps"], options["num_mels"])
    return options


@needs_cpp
def test_every_two_options_agree_with_the_reference():
    sets = pairwise()
    wave = (WAVES["noise"][:5000] + 200).astype(np.int16)
    assert len(sets) >= 35
    for options in map(compatible, sets):
        o = MfccOptions(**options)
        for plan in (
            make_plan(o),
            make_plan(MfccOptions(**{**options, "num_ceps": 0, "use_log_fbank": o.lifter != 0})),
        ):
            want = getattr(backend("numpy"), plan.kind)(wave, plan).astype(np.float64)
            got = getattr(backend("cpp"), plan.kind)(wave, plan)
            unit = 1.0 if plan.options.use_log_fbank else np.abs(want).max()
            assert errors(got, want).max() <= 1e-3 * unit, options


@pytest.mark.parametrize("column", [c for c in COLUMNS if c != "numpy"])
@pytest.mark.parametrize("options", pairwise()[:8])
def test_every_column_knows_the_options(column, options):
    plan, wave = make_plan(MfccOptions(**compatible(options))), WAVES["noise"][:3000]
    assert errors(backend(column).mfcc(wave, plan), backend("numpy").mfcc(wave, plan)).max(initial=0) <= 1e-3


@needs_cpp
@pytest.mark.parametrize("length", [2, 4, 6, 10, 14, 22, 30, 200, 202, 398, 400, 480, 512, 1102, 2206, 3000])
@pytest.mark.parametrize("rounded", [True, False])
def test_every_fft_size(length, rounded):
    options = MfccOptions(
        sample_rate=16000, frame_length_ms=length / 16 + 1e-6, num_mels=0, num_ceps=0, round_to_power_of_two=rounded,
        use_power=False, use_energy=False,
    )  # fmt: skip
    plan, wave = make_plan(options), WAVES["noise"][:6000]
    assert plan.length == length
    want = np.exp(backend("numpy").spectrogram(wave, plan).astype(np.float64))
    got = np.exp(backend("cpp").spectrogram(wave, plan).astype(np.float64))
    assert np.abs(got - want).max() <= 2e-6 * want.max()


@pytest.mark.parametrize("n", [1, 2, 3, 4, 8, 12, 45, 64, 200, 256, 540, 1024, 1728])
def test_fft_tables(n):
    x = np.random.default_rng(n).standard_normal(n) + 1j
    radices = fft_radices(n)
    table, order = fft_tables(n, radices)
    want, y, m, at = np.fft.fft(x), x.copy(), n, 0
    for r in radices:
        q = m // r
        w = table[at : at + q * (r - 1)].reshape(q, r - 1)
        at += q * (r - 1)
        blocks = np.fft.fft(y.reshape(-1, r, q), axis=1)
        blocks[:, 1:] *= w.T
        y, m = blocks.reshape(-1), q
    assert at == len(table)
    np.testing.assert_allclose(y[order], want, atol=1e-10)


@pytest.mark.parametrize(("n", "length"), [(3, 2), (7, 7), (14, 9), (101, 101), (1102, 1102), (1103, 400)])
def test_bluestein_tables(n, length):
    points = next_smooth(length + n // 2)
    order = fft_tables(points, fft_radices(points))[1]
    chirp, response = bluestein_tables(n, length, order)
    x = np.random.default_rng(n).standard_normal(length)
    spectrum = np.empty(points, complex)
    spectrum[order] = np.fft.fft(x * chirp, points)
    got = np.fft.ifft((spectrum * response * points)[order])[: n // 2 + 1]
    np.testing.assert_allclose(np.abs(got), np.abs(np.fft.rfft(x, n)), atol=1e-10)


def test_filters_of_unit_norm():
    for p in (1, 2.0, 50, 1000.0, np.inf):
        plan = make_plan(MfccOptions(num_mels=80, num_ceps=0, mel_norm=p, allow_empty=True))
        rows = [plan.mel_weight[a:b] for a, b in itertools.pairwise(plan.mel_offset)]
        for row in filter(len, rows):
            peak = row.max()
            assert len(row) ** (-1 / p) * (1 - 1e-12) <= peak <= 1 + 1e-12
            assert peak * np.linalg.norm(row / peak, p) == pytest.approx(1.0, abs=1e-12)


@needs_cpp
def test_the_longest_frames():
    options = MfccOptions(sample_rate=1e6, frame_length_ms=65.536, frame_shift_ms=16.0, num_mels=100, num_ceps=0)
    plan = make_plan(options)
    wave = np.tile(WAVES["noise"], 9)
    assert plan.fft_size == 65536
    assert errors(backend("cpp").fbank(wave, plan), backend("numpy").fbank(wave, plan)).max() <= 3e-4


@needs_cpp
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_band_that_resampling_left_empty(dtype):
    """It holds the rounding of the samples alone, and centering must not add its own."""
    spectrum = np.fft.rfft(WAVES["noise"] / 32768.0)
    spectrum[len(spectrum) // 2 :] = 0
    wave = (np.fft.irfft(spectrum) + 0.001).astype(dtype)
    for options in (MfccOptions(num_mels=80, num_ceps=0), MfccOptions()):
        plan, kind = make_plan(options), options.kind
        assert (
            errors(getattr(backend("cpp"), kind)(wave, plan), getattr(backend("numpy"), kind)(wave, plan)).max() <= 3e-4
        )


DRIFTS = {
    "ramp": (np.linspace(-30000, 30000, 24000), 1.0),
    "slow sine": (20000 * np.sin(np.pi * seconds), 1.0),
    "fade": (20000 * np.exp(-seconds * 8) * np.random.default_rng(3).standard_normal(24000), 1.0),
    "slow sine far above what it carries": (20000 * np.sin(np.pi * seconds), 1e-3),
    "fade to nothing": (20000 * np.exp(-seconds * 12) * np.random.default_rng(4).standard_normal(24000), 0.0),
}


@needs_cpp
@pytest.mark.parametrize("name", DRIFTS)
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
def test_quiet_frames_beside_loud_ones_and_on_a_drift(name, dtype):
    """The samples were centered once for the whole wave: float32 has rounded what is far from there."""
    wave, noise = DRIFTS[name]
    wave = wave + noise * np.random.default_rng(5).standard_normal(24000)
    wave = np.rint(wave).astype(np.int16) if dtype == "int16" else (wave / 32768).astype(dtype)
    for options in (
        MfccOptions(num_mels=80, num_ceps=0),
        MfccOptions(),
        MfccOptions(raw_energy=False),
        MfccOptions(num_mels=0, num_ceps=0),
        MfccOptions(num_mels=80, num_ceps=0, preemph=0.0, use_power=False),
    ):
        plan = make_plan(options)
        want = getattr(backend("numpy"), plan.kind)(wave, plan)
        assert errors(getattr(backend("cpp"), plan.kind)(wave, plan), want).max() <= 3e-4, options
