"""pyasr.compat.kaldi_native_fbank: the peer's names and numbers, streaming without a seam, errors where the peer dies."""

import copy
import pickle  # options may travel to worker processes; the package itself never loads one
import runpy
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.compat import kaldi_native_fbank as knf

try:
    import kaldi_native_fbank as peer
except ModuleNotFoundError as error:
    if error.name != "kaldi_native_fbank":
        raise
    peer = None

needs_peer = pytest.mark.skipif(peer is None, reason="kaldi-native-fbank is not installed")
EXTRACTORS = runpy.run_path(str(Path(__file__).with_name("knf_extractors.py")))
NOISE, make, run = (EXTRACTORS[name] for name in ("NOISE", "make", "run"))
OPTIONS = ["FrameExtractionOptions", "MelBanksOptions", "FbankOptions", "MfccOptions", "WhisperFeatureOptions"]


def speech(rate, samples, rng):
    """Voiced stretches, hiss and pauses at int16 scale."""
    t = np.arange(samples) / rate
    glide = 2 * np.pi * np.cumsum(140 + 40 * np.sin(2 * np.pi * 1.3 * t)) / rate
    voiced = sum(np.sin(k * glide + k) / k for k in range(1, int(rate / 2 / 180)))
    on = np.clip(3 * np.sin(2 * np.pi * 2.1 * t), 0, 1)
    x = 4000 * on * voiced + 600 * (1 - on) * rng.standard_normal(samples) + 15 * rng.standard_normal(samples)
    return np.rint(x).astype(np.float32)


def flat(values, prefix=""):
    out = {}
    for name, value in values.items():
        out |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return out


# the peer's names


@needs_peer
@pytest.mark.parametrize("name", OPTIONS)
def test_options_and_defaults_are_the_peers(name):
    ours, theirs = flat(getattr(knf, name)().as_dict()), flat(getattr(peer, name)().as_dict())
    assert list(ours) == list(theirs)
    for option, value in theirs.items():
        want = np.float32(value) if isinstance(value, float) else value
        got = np.float32(ours[option]) if isinstance(value, float) else ours[option]
        assert type(ours[option]) is type(value)
        assert got == want, option


@needs_peer
@pytest.mark.parametrize("name", ["OnlineFbank", "OnlineMfcc", "OnlineWhisperFbank"])
def test_every_public_name_is_there(name):
    public = {n for n in dir(getattr(peer, name)) if not n.startswith("_")}
    assert {n for n in dir(getattr(knf, name)) if not n.startswith("_")} == public | {"get_frames"}


@needs_peer
def test_what_is_left_out_is_named():
    names = {n for n, value in vars(peer).items() if callable(value) and not n.startswith("_")}
    later = () if hasattr(peer, "OnlinePitch") else knf.LEFT_OUT[knf.LEFT_OUT.index("StftResult") + 1 :]  # since 1.23
    assert names == (set(knf.__all__) | set(knf.LEFT_OUT)) - set(later)
    with pytest.raises(AttributeError, match="no attribute 'OnlineNemoFbank': it is left out"):
        _ = knf.OnlineNemoFbank


def test_options_are_values():
    opts = knf.MfccOptions()
    frame = knf.FrameExtractionOptions(samp_freq=8000)
    opts.frame_opts = frame
    frame.samp_freq = 44100.0
    assert opts.frame_opts.samp_freq == 8000.0
    assert knf.MfccOptions.from_dict(opts.as_dict()) == opts == copy.deepcopy(opts) == pickle.loads(pickle.dumps(opts))
    mfcc = knf.OnlineMfcc(opts)
    opts.num_ceps = 5
    assert mfcc.dim == 13


# the peer's numbers

RATES = [8000, 16000, 44100]


def option_set(seed):
    """A kind, changes and a wave. Drawn again where a mel filter holds no bin or an FFT is odd: the peer's answer is garbage."""
    rng = np.random.default_rng([5, seed])

    def draw(*choices):
        return choices[rng.integers(len(choices))]

    while True:
        kind, rate = draw("Mfcc", "Fbank"), RATES[seed % 3]
        bins = draw(15, 23, 40) if kind == "Mfcc" else draw(23, 40, 64, 80)
        changes = {
            "frame_opts.samp_freq": float(rate),
            "frame_opts.frame_length_ms": draw(20.0, 25.0, 32.0),
            "frame_opts.frame_shift_ms": draw(10.0, 12.5, 8.0),
            "frame_opts.window_type": draw("povey", "hamming", "hanning", "blackman", "rectangular", "hann", "sine"),
            "frame_opts.preemph_coeff": draw(0.97, 0.0, 0.9, 1.0),
            "frame_opts.remove_dc_offset": draw(True, True, False),
            "frame_opts.round_to_power_of_two": draw(True, True, False),
            "frame_opts.snip_edges": draw(True, False),
            "mel_opts.num_bins": bins,
            "mel_opts.low_freq": draw(20.0, 0.0, 64.0),
            "mel_opts.high_freq": draw(0.0, -400.0, 3800.0),
            "mel_opts.htk_mode": draw(False, False, True),
            "use_energy": draw(True, False),
            "raw_energy": draw(True, False),
            "energy_floor": draw(0.0, 1.0, 1e7),
            "htk_compat": draw(True, False),
        }
        if kind == "Mfcc":
            changes |= {"num_ceps": draw(12, 13, bins), "cepstral_lifter": draw(22.0, 0.0)}
        else:
            changes |= {"use_power": draw(True, False), "use_log_fbank": draw(True, True, False)}
        if rng.random() < 0.3:
            changes |= {
                "mel_opts.is_librosa": True,
                "mel_opts.norm": draw("slaney", ""),
                "mel_opts.use_slaney_mel_scale": draw(True, False),
                "mel_opts.floor_to_int_bin": draw(False, True),
            }
        if changes["frame_opts.window_type"] == "blackman":
            changes["frame_opts.blackman_coeff"] = draw(0.42, 0.3, 0.5)
        if kind == "Fbank" and not changes["use_energy"]:
            changes |= {"use_log_floor": draw(True, False), "eps": draw(2.0**-23, 2.0**-24, 0.5)}
        try:
            make(knf, kind, changes)
        except ValueError as error:
            assert "an FFT bin" in str(error) or "an even frame length" in str(error), str(error)
            continue
        return kind, changes, speech(rate, rate // 2 + int(rng.integers(100)), rng)


SETS = 120


def distance(seed):
    """Largest difference from the peer; without logs in parts of the frame's largest number. And whether it has logs."""
    kind, changes, wave = option_set(seed)
    rate = changes["frame_opts.samp_freq"]
    got, want = (run(m, kind, changes, wave, rate) for m in (knf, peer))
    assert got.shape == want.shape
    assert np.isfinite(want).all()
    off = np.abs(got.astype(np.float64) - want)
    logs = changes.get("use_log_fbank", True)
    if not logs:
        off /= np.abs(want).max(axis=1, keepdims=True)
    return off.max(), logs


@needs_peer
def test_numbers_are_the_peers_on_a_grid_of_options():
    """The peer itself misses the float64 result by up to 1.2e-3; its mel filters are float32, good to 2e-5."""
    off, logs = map(np.array, zip(*map(distance, range(SETS)), strict=True))
    assert logs.sum() >= 80
    assert off.max() <= 2e-3, f"set {off.argmax()}: {option_set(int(off.argmax()))[1]}"
    assert (off[logs] <= 5e-4).mean() >= 0.97, np.sort(off[logs])[-8:]
    assert off[~logs].max() <= 2e-5


@needs_peer
@pytest.mark.parametrize(("dim", "n"), [(80, 8000), (128, 8000), (40, 79), (80, 80), (80, 16001)])
def test_whisper_numbers_are_the_peers(dim, n):
    """float32 sums of 400 products in the peer: up to 1e-5 of the largest band."""
    wave = speech(16000, n, np.random.default_rng(3)) / 32768
    got, want = [], []
    for module, frames in ((knf, got), (peer, want)):
        opts = module.WhisperFeatureOptions()
        opts.dim = dim
        opts.frame_opts.samp_freq = 8000  # of no effect
        online = module.OnlineWhisperFbank(opts)
        assert online.dim == dim
        for at in range(0, n, 3000):
            online.accept_waveform(16000, wave[at : at + 3000].tolist())
        online.input_finished()
        frames.extend(online.get_frame(i).copy() for i in range(online.num_frames_ready))
    assert len(got) == len(want) == (n + 80) // 160
    if got:
        assert np.abs(np.array(got) - np.array(want)).max() <= 1e-5 * np.abs(want).max()


@needs_peer
def test_dither_is_as_strong_as_the_peers():
    """On silence nothing else is there: bands of both have the same distribution of logs."""
    changes = {"frame_opts.dither": 1.0, "frame_opts.frame_shift_ms": 25.0}
    got, want = (run(m, "Fbank", changes, np.zeros(400 * 3000, np.float32)).astype(np.float64) for m in (knf, peer))
    error = np.sqrt((got.var(axis=0) + want.var(axis=0)) / len(got))
    assert (np.abs(got.mean(axis=0) - want.mean(axis=0)) <= 5 * error).all()
    np.testing.assert_allclose(got.std(axis=0), want.std(axis=0), rtol=0.15)


def test_dither_repeats_and_has_the_peers_default():
    wave = NOISE / 32768
    opts = knf.FbankOptions()
    frames = []
    for portion in (8000, 333):
        online = knf.OnlineFbank(opts)
        for at in range(0, len(wave), portion):
            online.accept_waveform(16000, wave[at : at + portion])
        frames.append(online.get_frames())
    np.testing.assert_array_equal(frames[0], frames[1])
    np.testing.assert_array_equal(frames[0], pyasr.fbank(wave, 16000, scale=1.0, dither=3e-5))
    assert not np.array_equal(frames[0], run(knf, "Fbank", {}, wave))  # whose dither is 0


@needs_peer
@pytest.mark.parametrize("kind", ["Mfcc", "Fbank"])
@pytest.mark.parametrize("snip", [True, False])
@pytest.mark.parametrize("n", [0, 1, 79, 80, 100, 399, 400, 401, 560, 8000])
def test_waves_of_any_length(n, snip, kind):
    changes = {"frame_opts.snip_edges": snip}
    got, want = (run(m, kind, changes, NOISE[:n]) for m in (knf, peer))
    np.testing.assert_allclose(got, want, atol=5e-4)


@needs_peer
@pytest.mark.parametrize("snip", [True, False])
def test_frames_are_ready_when_the_peers_are(snip):
    ours, theirs = (make(m, "Fbank", {"frame_opts.snip_edges": snip}) for m in (knf, peer))
    assert ours.frame_shift_in_seconds == pytest.approx(theirs.frame_shift_in_seconds)
    for at in range(0, 3000, 37):
        for online in (ours, theirs):
            online.accept_waveform(16000, NOISE[at : at + 37].tolist())
        assert ours.num_frames_ready == theirs.num_frames_ready, at
    ours.pop(3), theirs.pop(3)
    for online in (ours, theirs):
        online.input_finished()
    assert ours.num_frames_ready == theirs.num_frames_ready
    last = ours.num_frames_ready - 1
    assert [o.is_last_frame(i) for o in (ours, theirs) for i in (last, last - 1)] == [True, False, True, False]


# one stream, any portions

SHAPES = [
    {},
    {"frame_opts.frame_shift_ms": 40.0},
    {"frame_opts.frame_shift_ms": 20.0, "frame_opts.frame_length_ms": 30.0},
    {"frame_opts.frame_shift_ms": 0.25, "frame_opts.frame_length_ms": 8.0},
    {"frame_opts.remove_dc_offset": False, "use_energy": True, "raw_energy": False},
]


@pytest.mark.parametrize("snip", [True, False])
@pytest.mark.parametrize("kind", ["Mfcc", "Fbank"])
@pytest.mark.parametrize("changes", SHAPES, ids=str)
def test_portions_give_the_bits_of_the_whole(changes, kind, snip):
    changes = {**changes, "frame_opts.snip_edges": snip}
    wave = NOISE[:4321] + 2000
    rng, online, at = np.random.default_rng(7), make(knf, kind, changes), 0
    while at < len(wave):
        n = int(rng.integers(1, 700))
        online.accept_waveform(16000, wave[at : at + n])
        at += n
    online.input_finished()
    function = pyasr.mfcc if kind == "Mfcc" else pyasr.fbank
    names = {"frame_opts.remove_dc_offset": "remove_dc"}
    renamed = {names.get(name, name.rpartition(".")[2]): value for name, value in changes.items()}
    want = function(wave, 16000, scale=1.0, **renamed)
    assert online.get_frames().tobytes() == want.tobytes()


def test_samples_of_any_kind_give_the_same_bits():
    wave = np.rint(NOISE).astype(np.int16)
    want = run(knf, "Mfcc", {}, wave)
    wide = np.zeros((len(wave), 2), np.float32)
    wide[:, 1] = wave
    for other in (
        wave.astype("f4"),
        wave.astype("f8"),
        wave.astype(">f4"),
        wave.astype("i8"),
        wave.tolist(),
        wide[:, 1],
    ):
        np.testing.assert_array_equal(run(knf, "Mfcc", {}, other), want)


def test_the_callers_array_may_change_afterwards():
    wave = NOISE.copy()
    online = make(knf, "Mfcc", {})
    online.accept_waveform(16000, wave[:3210])
    wave[:3210] = 0
    online.accept_waveform(16000, wave[3210:])
    np.testing.assert_array_equal(online.get_frames(), run(knf, "Mfcc", {}, NOISE))


def test_frames_are_copies_and_keep_their_numbers():
    online = make(knf, "Mfcc", {})
    online.accept_waveform(16000, NOISE)
    whole = online.get_frames()
    one = online.get_frame(0)
    kept = one.copy()
    online.pop(20)
    online.accept_waveform(16000, NOISE)
    np.testing.assert_array_equal(one, kept)
    online.get_frame(20)[:] = 0
    np.testing.assert_array_equal(online.get_frame(20), whole[20])
    np.testing.assert_array_equal(online.get_frames(last=48), whole[20:])
    np.testing.assert_array_equal(online.get_frames(30, 40), whole[30:40])
    assert online.num_frames_ready == 98
    assert online.get_frames(98).shape == (0, 13)


def test_memory_of_a_long_stream_is_bounded():
    online = make(knf, "Fbank", {"frame_opts.snip_edges": False})
    for _ in range(400):
        online.accept_waveform(16000, NOISE)
        online.pop(online.num_frames_ready - online._frames.first)
        assert len(online._frames.blocks) <= 1
        assert len(pickle.dumps(online._stream)) < 12_000
    assert online.num_frames_ready >= 400 * 50 - 2


def test_threads_may_share_an_extractor():
    online = make(knf, "Mfcc", {})
    chunk = np.full(160, 100.0, np.float32)
    seen, errors = [], []

    def work():
        try:
            for _ in range(200):
                online.accept_waveform(16000, chunk)
                first = online.num_frames_ready
                if first:
                    seen.append(online.get_frame(first - 1))
        except BaseException as error:
            errors.append(error)
            raise

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert online.num_frames_ready == 1 + (4 * 200 * 160 - 400) // 160
    assert len(np.unique(np.array(seen), axis=0)) == 1


def test_import_brings_no_peer():
    code = (
        "import sys, pyasr; before = set(sys.modules);"
        "assert not any(m.startswith('pyasr.compat') for m in before);"
        "import pyasr.compat.kaldi_native_fbank, pyasr.compat.torchaudio_kaldi;"
        "assert not {'kaldi_native_fbank', 'torch', 'torchaudio'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
