"""Streams: the bits of the whole wave however it is cut, bounded memory, copies, threads, bad chunks."""

import copy
import pickle  # streams may travel to worker processes; the package itself never loads one
import sys
import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyasr
from pyasr.features import online
from pyasr.ops import backend, why_not
from pyasr.ops._plan import make_plan

NOISE = np.rint(3000 * np.random.default_rng(0).standard_normal(24000) + 500).astype(np.int16)
CHUNKS = (1, 79, 80, 159, 160, 161, 399, 400, 401, 1023, 5000)
# Frames that overlap once, often and not at all, of even and odd length, mirrored and not.
DIALECTS = {
    "kaldi": {},
    "mirrored": {"snip_edges": False},
    "odd scale": {"snip_edges": False, "scale": 1000.0},
    "odd length": {"snip_edges": False, "frame_length_ms": 25.07},
    "odd length, far apart": {"snip_edges": False, "frame_length_ms": 25.07, "frame_shift_ms": 15},
    "windowed energy": {"raw_energy": False, "remove_dc": False},
    "often": {"frame_shift_ms": 0.7, "snip_edges": False, "frame_length_ms": 5, "num_mels": 5, "num_ceps": 5},
    "gaps": {"frame_shift_ms": 63.1},
    "mirrored gaps": {"frame_shift_ms": 63.1, "snip_edges": False},
    "back to back": {"frame_shift_ms": 25, "snip_edges": False},
    "centered": {"center": True, "n_fft": 512, "window": "hann", "full_scale": 1.0, "log": "db", "log_floor": 1e-10},
    "centered, the last one dropped": {"center": True, "drop_last": True, "hop_length": 300, "win_length": 301},
    "padded at the end": {"pad_end": True, "preemph_signal": True, "window": "rectangular", "triangles": "bins"},
    "padded gaps": {"pad_end": True, "frame_shift_ms": 63.1},
    "odd FFT": {"n_fft": 449, "preemph_signal": True, "spectral_energy": True},
    "dither": {"dither": 1.0, "dither_seed": 3},
    "dither, mirrored": {"dither": 0.3, "snip_edges": False, "raw_energy": False},
}


def wave_of(dtype, n):
    return NOISE[:n] if dtype == "int16" else (NOISE[:n] / 32768).astype(dtype)


def stream_of(stream, wave, cuts):
    return np.concatenate([*(stream.accept(part) for part in np.split(wave, cuts)), stream.finish()])


@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_chunks_of_one_size_give_the_bits_of_the_whole_wave(dialect, dtype):
    changes = {k: v for k, v in DIALECTS[dialect].items() if k != "scale" or dtype != "int16"}
    stream = pyasr.OnlineFeatures(16000, **changes)
    for n in (0, 1, 79, 80, 279, 280, 281, 399, 400, 401, 560, 840, 6007):
        wave = wave_of(dtype, n)
        want = pyasr.mfcc(wave, 16000, **changes)
        for chunk in CHUNKS if n < 900 else CHUNKS[1:]:
            stream.reset()
            np.testing.assert_array_equal(stream_of(stream, wave, range(chunk, n, chunk)), want)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    cuts=st.lists(st.integers(0, 5000), max_size=30).map(sorted),
    dialect=st.sampled_from(sorted(DIALECTS)),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_chunks_of_any_size_give_the_bits_of_the_whole_wave(cuts, dialect, dtype):
    wave, changes = wave_of(dtype, 5000), DIALECTS[dialect]
    stream = pyasr.OnlineFeatures(16000, **changes)
    np.testing.assert_array_equal(stream_of(stream, wave, cuts), pyasr.mfcc(wave, 16000, **changes))


@pytest.mark.parametrize("kind", ["fbank", "spectrogram"])
def test_every_kind_streams(kind):
    changes = {"num_mels": 80} if kind == "fbank" else {}
    stream = pyasr.OnlineFeatures(16000, pyasr.MfccOptions(snip_edges=False), kind=kind, **changes)
    want = getattr(pyasr, kind)(NOISE, 16000, snip_edges=False, **changes)
    np.testing.assert_array_equal(stream_of(stream, NOISE, range(320, 24000, 320)), want)


@pytest.mark.parametrize("column", [c for c in ("numpy", "numba") if why_not(c) is None])
@pytest.mark.parametrize("snip_edges", [True, False])
def test_other_columns_stream(column, snip_edges, monkeypatch):
    monkeypatch.setattr(online, "backend", lambda: backend(column))
    stream = pyasr.OnlineFeatures(16000, snip_edges=snip_edges)
    want = backend(column).mfcc(NOISE[:6000], make_plan(stream.options))
    np.testing.assert_array_equal(stream_of(stream, NOISE[:6000], range(320, 6000, 320)), want)


def test_a_frame_is_returned_as_soon_as_it_is_whole():
    stream = pyasr.OnlineFeatures(16000)
    assert [len(stream.accept(NOISE[i : i + 80])) for i in range(0, 800, 80)] == [0, 0, 0, 0, 1, 0, 1, 0, 1, 0]
    mirrored = pyasr.OnlineFeatures(16000, snip_edges=False)
    assert [len(mirrored.accept(NOISE[i : i + 80])) for i in range(0, 800, 80)] == [0, 0, 0, 1, 0, 1, 0, 1, 0, 1]
    assert len(mirrored.finish()) == 1


def test_any_layout_of_a_chunk_is_right():
    wave = wave_of("float32", 3000)
    want = pyasr.mfcc(wave, 16000)
    for other in (np.stack([wave, wave], 1)[:, 1], wave[::-1].copy()[::-1], wave.astype(">f4")):
        np.testing.assert_array_equal(stream_of(pyasr.OnlineFeatures(16000), other, range(700, 3000, 700)), want)


def test_a_chunk_is_neither_kept_nor_changed_and_frames_are_the_callers():
    stream, parts, chunk = pyasr.OnlineFeatures(16000), [], np.empty(320, np.int16)
    for i in range(0, 9600, 320):
        chunk[:] = NOISE[i : i + 320]
        parts.append(stream.accept(chunk))
        np.testing.assert_array_equal(chunk, NOISE[i : i + 320])
        assert parts[-1].base is None
    np.testing.assert_array_equal(np.concatenate(parts), pyasr.mfcc(NOISE[:9600], 16000))


@pytest.mark.parametrize("dialect", DIALECTS)
def test_memory_does_not_grow_with_the_stream(dialect):
    stream = pyasr.OnlineFeatures(16000, **{k: v for k, v in DIALECTS[dialect].items() if k != "scale"})
    sizes = set()
    for _ in range(50):
        stream.accept(NOISE[:20000])
        sizes.add(sum(sys.getsizeof(v) for v in vars(stream).values()))
    assert len(sizes) == 1
    assert sizes.pop() < 16000
    assert len(pickle.dumps(stream)) < 8000


@pytest.mark.parametrize("dialect", ["kaldi", "mirrored", "often", "mirrored gaps"])
@pytest.mark.parametrize("duplicate", [lambda x: pickle.loads(pickle.dumps(x)), copy.copy, copy.deepcopy])
def test_copies_go_on_where_the_stream_was(dialect, duplicate):
    changes = DIALECTS[dialect]
    want = pyasr.mfcc(NOISE[:4000], 16000, **changes)
    stream, parts = pyasr.OnlineFeatures(16000, **changes), []
    for i in range(0, 4000, 250):
        other = duplicate(stream)
        parts.append(stream.accept(NOISE[i : i + 250]))
        stream.reset()  # which the copy must not see
        np.testing.assert_array_equal(other.accept(NOISE[i : i + 250]), parts[-1])
        stream = other
    parts.append(duplicate(stream).finish())
    np.testing.assert_array_equal(np.concatenate(parts), want)
    stream.finish()
    with pytest.raises(RuntimeError, match="the stream is finished"):
        duplicate(stream).finish()


def test_threads_share_a_stream():
    """All chunks are the same, so the stream is too, whoever sends them; only the frames' order is the threads'."""
    stream, frames, start = pyasr.OnlineFeatures(16000), [], threading.Barrier(4)
    chunk = NOISE[:100]

    def send():
        start.wait()
        frames.extend([stream.accept(chunk) for _ in range(500)])

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=send) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
    finally:
        sys.setswitchinterval(interval)
    got, want = np.concatenate([*frames, stream.finish()]), pyasr.mfcc(np.tile(chunk, 2000), 16000)
    np.testing.assert_array_equal(got[np.lexsort(got.T)], want[np.lexsort(want.T)])


def test_a_bad_sample_is_named_by_its_place_in_the_stream():
    wave = wave_of("float32", 6000)
    for at in (0, 5, 399, 400, 1500, 5999):
        stream, parts = pyasr.OnlineFeatures(16000, snip_edges=False), []
        for begin in range(0, 6000, 100):
            chunk = wave[begin : begin + 100]
            if begin <= at < begin + 100:
                for value in (np.nan, np.inf):
                    bad = chunk.copy()
                    bad[at - begin] = value
                    with pytest.raises(
                        ValueError, match=rf"^OnlineFeatures.accept: chunk must be finite, got {value} at {at}$"
                    ):
                        stream.accept(bad)
                with pytest.raises(
                    ValueError, match=rf"chunk must lie in \[-1, 1\], got 300.0 at {begin}: pass scale=1"
                ):
                    stream.accept(chunk * 0 + 300)
            parts.append(stream.accept(chunk))
        parts.append(stream.finish())
        np.testing.assert_array_equal(np.concatenate(parts), pyasr.mfcc(wave, 16000, snip_edges=False))


def test_samples_between_frames_are_checked():
    stream = pyasr.OnlineFeatures(16000, frame_shift_ms=100)
    stream.accept(np.zeros(500, np.float32))
    with pytest.raises(ValueError, match=r"got nan at 700$"):
        stream.accept(np.where(np.arange(300) == 200, np.nan, 0).astype(np.float32))


@pytest.mark.parametrize(
    ("chunk", "error", "text"),
    [
        ([0.0] * 400, TypeError, "chunk must be a NumPy array, got list"),
        (np.zeros((400, 1), np.float32), ValueError, r"got shape \(400, 1\): take chunk\[0\]"),
        (np.zeros(400, np.uint8), TypeError, "chunk must have dtype int16, float32 or float64, got uint8"),
        (np.zeros(400, np.float64), TypeError, "chunk must have the dtype of the stream, float32, got float64"),
    ],
)
def test_bad_chunks(chunk, error, text):
    stream = pyasr.OnlineFeatures(16000)
    stream.accept(np.zeros(320, np.float32))
    with pytest.raises(error, match=f"^OnlineFeatures.accept: .*{text}"):
        stream.accept(chunk)
    assert len(stream.accept(np.zeros(80, np.float32))) == 1


def test_a_refused_first_chunk_does_not_choose_the_dtype():
    stream = pyasr.OnlineFeatures(16000)
    with pytest.raises(ValueError, match="got nan at 0"):
        stream.accept(np.full(400, np.nan))
    assert len(stream.accept(NOISE[:400])) == 1


def test_a_finished_stream_takes_nothing_until_reset():
    stream = pyasr.OnlineFeatures(16000)
    stream.accept(NOISE[:500])
    assert stream.finish().shape == (0, 13)
    for call in (stream.finish, lambda: stream.accept(NOISE[:500])):
        with pytest.raises(RuntimeError, match="the stream is finished"):
            call()
    stream.reset()
    np.testing.assert_array_equal(stream.accept(wave_of("float64", 900)), pyasr.mfcc(wave_of("float64", 900), 16000))


def test_bad_options():
    for arguments, error, text in (
        ({"kind": "mfc"}, ValueError, 'kind must be "mfcc", "fbank" or "spectrogram"'),
        ({"num_cep": 3}, TypeError, "did you mean 'num_ceps'"),
        ({"kind": "fbank", "num_ceps": 3}, TypeError, "num_ceps has no meaning for fbank"),
        ({"options": pyasr.MfccOptions(sample_rate=8000)}, ValueError, "that of the options, 8000, got 16000"),
    ):
        with pytest.raises(error, match=f"^OnlineFeatures: .*{text}"):
            pyasr.OnlineFeatures(16000, **arguments)


@pytest.mark.parametrize(
    ("options", "changes", "text"),
    [
        ("librosa", {}, r"dynamic_range must be None in a stream, got 80\.0"),
        ("whisper", {}, r"dynamic_range must be None in a stream, got 8\.0"),
        ("nemo", {}, "normalize must be None in a stream, got 'per_feature'"),
        ("kaldi", {"center": True, "pad_mode": "reflect"}, "pad_mode must be 'constant' in a stream, got 'reflect'"),
    ],
)
def test_what_needs_the_whole_wave_is_refused(options, changes, text):
    with pytest.raises(ValueError, match="^OnlineFeatures: " + text):
        pyasr.OnlineFeatures(16000, options, **changes)
    whole = {"librosa": {"dynamic_range": None}, "nemo": {"normalize": None}, "kaldi": {"center": True}}
    if options in whole:
        pyasr.OnlineFeatures(16000, options, **whole[options])


@pytest.mark.parametrize("changes", [{}, {"snip_edges": False}, {"center": True}, {"preemph_signal": True}])
def test_a_nan_reaches_the_frames_that_see_it_and_no_other(changes):
    wave = wave_of("float32", 6000).copy()
    want = pyasr.mfcc(wave, 16000, **changes)
    wave[[3000, 3001]] = np.nan, np.inf
    whole = pyasr.mfcc(wave, 16000, nan="propagate", **changes)
    stream = pyasr.OnlineFeatures(16000, nan="propagate", **changes)
    np.testing.assert_array_equal(stream_of(stream, wave, range(160, 6000, 160)), whole)
    hit = np.isnan(whole).all(axis=1)
    assert 2 <= hit.sum() <= 4
    np.testing.assert_array_equal(whole[~hit], want[~hit])
    with pytest.raises(ValueError, match="chunk must be finite, got nan at 3000"):
        stream_of(pyasr.OnlineFeatures(16000, **changes), wave, range(160, 6000, 160))
