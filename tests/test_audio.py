"""Recordings in: every container gives mono float32, and a header is not believed."""

import io
import struct

import numpy as np
import pytest

import pyasr

soundfile = pytest.importorskip("soundfile", reason='needs the extra "train"')


def tone(rate=8000, seconds=0.5):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize(("suffix", "tolerance"), [("wav", 4e-5), ("flac", 4e-5), ("ogg", 0.05)])
def test_reads_containers(tmp_path, suffix, tolerance):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, tone(), 8000)
    wave, rate = pyasr.load(path)
    assert rate == 8000
    assert wave.dtype == np.float32
    assert wave.ndim == 1
    assert wave.flags.c_contiguous
    assert np.abs(wave - tone()).max() < tolerance
    np.testing.assert_array_equal(pyasr.load(str(path))[0], wave)
    np.testing.assert_array_equal(pyasr.load(io.BytesIO(path.read_bytes()))[0], wave)


def test_channels_are_averaged(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.stack([tone(), -0.5 * tone(), tone()], axis=1), 8000, subtype="FLOAT")
    np.testing.assert_allclose(pyasr.load(path)[0], 0.5 * tone(), atol=1e-7)


def test_full_scale_integers_are_one(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.array([-32768, 0, 16384, 32767], np.int16), 8000)
    np.testing.assert_array_equal(pyasr.load(path)[0], np.array([-1, 0, 0.5, 32767 / 32768], np.float32))


@pytest.mark.parametrize(("source", "target"), [(16000, 8000), (8000, 16000), (44100, 8000)])
def test_resamples(tmp_path, source, target):
    pytest.importorskip("soxr", reason='needs the extra "train"')
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(source), source, subtype="FLOAT")
    wave, rate = pyasr.load(path, target)
    assert rate == target
    assert wave.dtype == np.float32
    assert abs(len(wave) - target // 2) <= 1
    middle = slice(target // 10, -target // 10)
    assert np.abs(wave - tone(target)[: len(wave)])[middle].max() < 1e-3


def test_a_long_file_is_decoded_in_blocks(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 8000)
    want = pyasr.load(path)[0]
    monkeypatch.setattr("pyasr.audio.BLOCK", 7)
    np.testing.assert_array_equal(pyasr.load(path)[0], want)


def test_an_empty_recording_is_an_empty_wave(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0, np.float32), 8000)
    assert pyasr.load(path)[0].shape == (0,)


def header(channels=1, rate=8000, data_bytes=16):
    """A PCM16 wav whose header says whatever is asked for."""
    fmt = struct.pack("<HHIIHH", 1, channels, rate, (rate * channels * 2) % 2**32, channels * 2, 16)
    body = b"fmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", data_bytes) + bytes(16)
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WAVE" + body


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (header(channels=9), "1 to 8 channels, got 9"),
        (header(rate=500), r"sample rate in \[1000, 384000\] Hz, got 500"),
        (header(rate=2_000_000), "sample rate in .* got 2000000"),
        (b"", "not a recording"),
        (b"not a recording at all", "not a recording"),
        (header()[:30], "not a recording"),
    ],
)
def test_absurd_headers_are_refused_by_name(tmp_path, data, message):
    path = tmp_path / "strange.wav"
    path.write_bytes(data)
    with pytest.raises(ValueError, match=f"strange.wav.*{message}"):
        pyasr.load(path)


def sphere(samples, byte_format="01", coding="pcm", width=2):
    """A NIST sphere file: 1024 bytes of header, then samples."""
    fields = [
        f"channel_count -i 1\nsample_count -i {len(samples)}\nsample_rate -i 16000\nsample_n_bytes -i {width}",
        f"sample_byte_format -s{len(byte_format)} {byte_format}\nsample_coding -s{len(coding)} {coding}\nend_head\n",
    ]
    return "\n".join(["NIST_1A\n   1024", *fields]).encode().ljust(1024) + samples.tobytes()


@pytest.mark.parametrize(("byte_format", "dtype"), [("01", "<i2"), ("10", ">i2")])
def test_reads_nist_sphere_in_both_byte_orders(tmp_path, byte_format, dtype):
    samples = np.array([0, 1, -1, 256, 32767, -32768])
    path = tmp_path / "a.sph"
    path.write_bytes(sphere(samples.astype(dtype), byte_format))
    wave, rate = pyasr.load(path)
    assert rate == 16000
    np.testing.assert_array_equal(wave, (samples / 32768).astype(np.float32))


def test_compressed_and_cut_sphere_files_are_refused(tmp_path):
    path = tmp_path / "a.sph"
    for data in (sphere(np.zeros(9, "<i2"), coding="pcm,embedded-shorten-v2.00"), sphere(np.zeros(9, "<i2"))[:1000]):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"a.sph is not a recording that libsndfile can read: "):
            pyasr.load(path)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_stretch_is_that_part_of_the_whole(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, np.stack([tone(), 0.5 * tone()], 1), 8000)
    whole = pyasr.load(path)[0]
    for start, duration, want in (
        (0.0, None, whole),
        (0.25, None, whole[2000:]),
        (0.1, 0.2, whole[800:2400]),
        (0.1, 0.0, whole[:0]),
        (0.25, 0.2599, whole[2000:]),  # a rounded duration
    ):
        np.testing.assert_allclose(pyasr.load(path, start=start, duration=duration)[0], want, atol=1e-6)
    assert len(pyasr.load(path, 16000, start=0.25)[0]) == 4000


def test_a_stretch_outside_the_file_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 8000)
    for arguments, message in (
        ({"start": 0.5}, r"a.wav must be longer than start = 0.5 s, got 0.500 s"),
        ({"start": 0.25, "duration": 0.3}, r"a.wav must last until start \+ duration = 0.55 s, got 0.500 s"),
        ({"start": -1}, r"start must lie in \[0.0, 1000000.0\], got -1.0"),
        ({"duration": 1e5}, r"duration must lie in \[0.0, 7200\], got 100000.0"),
        ({"duration": float("nan")}, "duration must lie in .* got nan"),
    ):
        with pytest.raises(ValueError, match=message):
            pyasr.load(path, **arguments)
    monkeypatch.setattr("pyasr.audio.MAX_SECONDS", 0.4)
    assert len(pyasr.load(path, start=0.25)[0]) == 2000  # the limit is on what is decoded


def test_two_hours_are_the_limit(tmp_path, monkeypatch):
    path = tmp_path / "long.wav"
    soundfile.write(path, tone(), 8000)
    monkeypatch.setattr("pyasr.audio.MAX_SECONDS", 0.4)
    with pytest.raises(ValueError, match=r"long.wav must last at most longest = 0.4 s, got 0.5 s"):
        pyasr.load(path)
    monkeypatch.undo()
    assert len(pyasr.load(path, longest=0.5)[0]) == 4000
    with pytest.raises(ValueError, match=r"long.wav must last at most longest = 0.3 s, got 0.5 s"):
        pyasr.load(path, longest=0.3)
    with pytest.raises(ValueError, match=r"load: longest must lie in \[0.0, 7200\], got 7201.0"):
        pyasr.load(path, longest=7201)


@pytest.mark.parametrize("seed", range(4))
def test_damaged_files_raise_value_error_or_give_finite_sound(tmp_path, seed):
    path, rng = tmp_path / "a.wav", np.random.default_rng(seed)
    soundfile.write(path, tone(seconds=0.05), 8000)
    good = bytearray(path.read_bytes())
    for _ in range(100):
        bad = good.copy()
        for i in rng.integers(0, 60, 3):
            bad[i] = rng.integers(256)
        try:
            wave, _ = pyasr.load(io.BytesIO(bytes(bad)))
        except ValueError as e:
            assert str(e).startswith("load: ")
        else:
            assert np.isfinite(wave).all()


def test_not_a_number_is_refused(tmp_path):
    path = tmp_path / "nan.wav"
    soundfile.write(path, np.array([0, np.nan, 0], np.float32), 8000, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan.wav holds NaN or infinite samples"):
        pyasr.load(path)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing.wav"):
        pyasr.load(tmp_path / "nothing.wav")
    with pytest.raises(IsADirectoryError, match="is a directory"):
        pyasr.load(tmp_path)
    with pytest.raises(TypeError, match="path must be a file name or a binary file object, got int"):
        pyasr.load(3)
    for rate in (True, 8000.0, "8000"):
        with pytest.raises(TypeError, match="sample_rate must be an integer, got"):
            pyasr.load(tmp_path / "a.wav", rate)
    with pytest.raises(ValueError, match=r"sample_rate must lie in \[1000, 384000\], got 0"):
        pyasr.load(tmp_path / "a.wav", 0)


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    soundfile.write(path, tone(), 8000)
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(ImportError, match=r'pip install "pyasr-kernels\[train\]"'):
        pyasr.load(path)


def test_headerless_samples_and_odd_files_are_refused_in_words(tmp_path):
    raw, text, closed = tmp_path / "a.raw", io.StringIO("abc"), io.BytesIO(b"abc")
    raw.write_bytes(b"\0" * 100)
    closed.close()
    for source, error, message in (
        (raw, ValueError, r"load: .*a\.raw must have a header that says its sample rate, got headerless samples"),
        (text, TypeError, "load: path must be a file name or a binary file object, got StringIO"),
        (closed, ValueError, "load: path must be an open file object, got a closed one"),
        ("/dev/null", ValueError, "load: /dev/null is not a regular file"),
    ):
        with pytest.raises(error, match=message):
            pyasr.load(source)


@pytest.mark.parametrize("form", ["WAV", "OGG", "NIST", "FLAC"])
@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_file_that_is_cut_short_is_named(tmp_path, form, share):
    whole = io.BytesIO()
    soundfile.write(whole, tone(16000, 2.0), 16000, format=form)
    data = whole.getvalue()
    path = tmp_path / "short.xyz"
    path.write_bytes(data[: int(share * len(data))])
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(ValueError, match=r"is cut short|is not a recording"):
            pyasr.load(source)
    path.write_bytes(data)
    assert len(pyasr.load(path)[0]) == 32000


def test_a_wav_that_was_streamed_has_no_length_in_its_header(tmp_path):
    whole = io.BytesIO()
    soundfile.write(whole, tone(), 8000, format="WAV")
    data = bytearray(whole.getvalue())
    for size in (0xFFFFFFFF, 0x7FFFFFFF):
        data[4:8] = data[40:44] = struct.pack("<I", size)
        assert len(pyasr.load(io.BytesIO(data))[0]) == 4000
