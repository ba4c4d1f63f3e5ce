"""Batches of waves: the bits of one wave at a time, in every layout, for any number of threads; bad waves by index."""

import numpy as np
import pytest

import pyasr
from pyasr.features import batch

NOISE = np.rint(1000 * np.random.default_rng(0).standard_normal(40000)).astype(np.int16)
LENGTHS = (16000, 0, 399, 400, 39999, 1, 7000, 12345, 560)
WAVES = [NOISE[:n] for n in LENGTHS]
CALLS = {
    "mfcc": {},
    "fbank": {"num_mels": 80, "snip_edges": False},
    "spectrogram": {"options": pyasr.MfccOptions(use_energy=False)},
}


@pytest.mark.parametrize("threads", [1, 2, 3, 9, 16, None])
@pytest.mark.parametrize("kind", CALLS)
def test_each_wave_has_the_bits_that_it_has_alone(kind, threads):
    want = [getattr(pyasr, kind)(wave, 16000, **CALLS[kind]) for wave in WAVES]
    count = [len(w) for w in want]

    padded, lengths = batch(WAVES, 16000, kind=kind, threads=threads, **CALLS[kind])
    assert padded.shape == (len(WAVES), max(count), want[0].shape[1])
    assert padded.dtype == np.float32
    assert lengths.dtype == np.int32
    assert lengths.tolist() == count
    for b, w in enumerate(want):
        np.testing.assert_array_equal(padded[b, : count[b]], w)
        assert not padded[b, count[b] :].any()

    time_major, same = batch(WAVES, 16000, kind=kind, threads=threads, layout="TBF", **CALLS[kind])
    np.testing.assert_array_equal(time_major, padded.transpose(1, 0, 2))
    np.testing.assert_array_equal(same, lengths)
    assert time_major.flags.c_contiguous

    rows, offsets = batch(WAVES, 16000, kind=kind, threads=threads, layout="concatenated", **CALLS[kind])
    np.testing.assert_array_equal(rows, np.concatenate(want))
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [0, *np.cumsum(count)]


@pytest.mark.parametrize("dtype", ["int16", "float32", ">f8"])
def test_a_padded_array_with_lengths_is_the_list_of_its_waves(dtype):
    unit = NOISE if dtype == "int16" else (NOISE / 32768).astype(dtype)
    wide = np.zeros((len(LENGTHS), 40000), dtype)
    for b, n in enumerate(LENGTHS):
        wide[b, :n] = unit[:n]
    want, frames = batch([unit[:n] for n in LENGTHS], 16000)
    for integer in (np.int32, np.int64):
        got, same = batch(wide, 16000, lengths=np.array(LENGTHS, integer))
        np.testing.assert_array_equal(got, want)
        np.testing.assert_array_equal(same, frames)
    whole, frames = batch(wide, 16000)
    assert whole.shape == (len(LENGTHS), 248, 13)
    assert (frames == 248).all()


def test_waves_of_different_dtypes_may_share_a_batch():
    unit = (NOISE / 32768).astype(np.float64)
    got, _ = batch((NOISE, unit), 16000)
    np.testing.assert_array_equal(got[0], pyasr.mfcc(NOISE, 16000))
    np.testing.assert_array_equal(got[1], pyasr.mfcc(unit, 16000))


@pytest.mark.parametrize("threads", [1, 4])
def test_no_waves_and_waves_without_a_frame(threads):
    for waves in ([], (), np.zeros((0, 400), np.float32)):
        assert [x.shape for x in batch(waves, 16000, threads=threads)] == [(0, 0, 13), (0,)]
        assert [x.shape for x in batch(waves, 16000, threads=threads, layout="TBF")] == [(0, 0, 13), (0,)]
        rows, offsets = batch(waves, 16000, threads=threads, layout="concatenated")
        assert rows.shape == (0, 13)
        assert offsets.tolist() == [0]
    features, lengths = batch([NOISE[:399], NOISE[:0]], 16000, threads=threads)
    assert features.shape == (2, 0, 13)
    assert lengths.tolist() == [0, 0]


@pytest.mark.parametrize("layout", ["BTF", "TBF", "concatenated"])
@pytest.mark.parametrize("threads", [1, 2, 16])
def test_the_first_bad_wave_is_named(layout, threads):
    waves = [np.zeros(n, np.float32) for n in (800, 100, 900, 1000)]
    waves[1][99], waves[3][0] = np.nan, np.inf
    with pytest.raises(ValueError, match=r"^features.batch: waves\[1\] must be finite, got nan at 99$"):
        batch(waves, 16000, layout=layout, threads=threads)


def test_loud_int16_waves_beside_a_bad_one_are_not_blamed():
    waves = [NOISE, NOISE, np.full(500, 17.0), NOISE]
    with pytest.raises(ValueError, match=r"waves\[2\] must lie in \[-1, 1\], got 17.0 at 0: pass scale=1"):
        batch(waves, 16000, threads=2)


@pytest.mark.parametrize(
    ("waves", "changes", "error", "text"),
    [
        (NOISE, {}, ValueError, r"waves must be a sequence of waves or an array \(B, N\), got shape \(40000,\)"),
        (iter(WAVES), {}, TypeError, r"waves must be a list, a tuple or an array \(B, N\), got list_iterator"),
        ([NOISE, NOISE[None]], {}, ValueError, r"waves\[1\] must be one-dimensional, got shape \(1, 40000\)"),
        ([NOISE, [0.0] * 400], {}, TypeError, r"waves\[1\] must be a NumPy array, got list"),
        ([NOISE, NOISE.astype(int)], {}, TypeError, r"waves\[1\] must have dtype int16, float32 or float64, got int64"),
        (WAVES, {"lengths": np.zeros(9, np.int32)}, ValueError, "the waves of a list have their own"),
        (NOISE.reshape(4, -1), {"lengths": np.zeros(3, np.int32)}, ValueError, r"lengths must have shape \(4,\)"),
        (NOISE.reshape(4, -1), {"lengths": [1, 2, 3, 4]}, TypeError, "lengths must be a NumPy array"),
        (NOISE.reshape(2, -1), {"lengths": np.array([1, 20001])}, ValueError, r"N = 20000\], got 20001 at 1"),
        (WAVES, {"layout": "FBT"}, ValueError, 'layout must be "BTF", "TBF" or "concatenated", got \'FBT\''),
        (WAVES, {"kind": "plp"}, ValueError, 'kind must be "mfcc", "fbank" or "spectrogram", got \'plp\''),
        (WAVES, {"threads": 0}, ValueError, "threads must lie in"),
        (WAVES, {"num_cep": 3}, TypeError, r"did you mean 'num_ceps'\?"),
    ],
)
def test_bad_input(waves, changes, error, text):
    with pytest.raises(error, match=f"^features.batch: .*({text})"):
        batch(waves, 16000, **changes)


@pytest.mark.parametrize("layout", ["BTF", "TBF", "concatenated"])
def test_features_go_where_they_are_wanted(layout):
    waves = [NOISE[:3000], NOISE[:300], NOISE[100:5000]]
    want, counts = pyasr.features.batch(waves, 16000, layout=layout)
    out = np.full(want.shape, np.nan, np.float32)
    got, again = pyasr.features.batch(waves, 16000, layout=layout, out=out)
    assert got is out
    np.testing.assert_array_equal(out, want)
    np.testing.assert_array_equal(again, counts)
    for bad, error, text in (
        (np.zeros((2, *want.shape[1:]), np.float32), ValueError, r"out must have shape \("),
        (want.astype(np.float64), TypeError, "out must have dtype float32, got float64"),
        (np.asfortranarray(want), ValueError, "out must be C-contiguous"),
        (want.tolist(), TypeError, "out must be a NumPy array, got list"),
    ):
        with pytest.raises(error, match="^features.batch: " + text):
            pyasr.features.batch(waves, 16000, layout=layout, out=bad)
    want.flags.writeable = False
    with pytest.raises(ValueError, match=r"^features\.batch: out must be writable"):
        pyasr.features.batch(waves, 16000, layout=layout, out=want)


def test_out_may_not_be_a_wave():
    memory = np.zeros(98 * 13 + 16000, np.float32)
    wave, out = memory[:16000], memory[8000 : 8000 + 98 * 13].reshape(1, 98, 13)
    with pytest.raises(ValueError, match=r"^features\.batch: out and waves\[0\] must not share memory"):
        pyasr.features.batch([wave], 16000, out=out)
