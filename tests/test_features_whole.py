"""What depends on the whole wave, what a NaN touches, and presets by name: on every column."""

import numpy as np
import pytest

import pyasr
from pyasr.ops import backend, why_not
from pyasr.ops._plan import make_plan

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
NOISE = 0.1 * np.random.default_rng(0).standard_normal(40000).astype(np.float32)
NOISE[:20000] *= 1e-4
RANGED = {"librosa": "mfcc", "whisper": "fbank", "nemo": "fbank"}


def features(column, kind, wave, options, **keywords):
    return getattr(backend(column), kind)(wave, make_plan(options), **keywords)


def options_of(name, kind="mfcc", **changes):
    stop = {"mfcc": {}, "fbank": {"num_ceps": 0}, "spectrogram": {"num_mels": 0, "num_ceps": 0}}
    return pyasr.features.preset(name, 16000, **stop[kind], **changes)


@pytest.mark.parametrize("column", COLUMNS)
def test_no_log_lies_further_below_the_largest(column):
    for preset, limit in (("whisper", 2.0), ("librosa", 80.0)):
        for kind in ("fbank", "spectrogram"):
            y = features(column, kind, NOISE, options_of(preset, kind))
            assert y.max() - y.min() == pytest.approx(limit, abs=1e-5), preset
            free = features(column, kind, NOISE, options_of(preset, kind, dynamic_range=None))
            np.testing.assert_allclose(y, np.maximum(free, free.max() - np.float32(limit)), atol=1e-5)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("how", ["per_feature", "all_features"])
def test_normalized_features_have_mean_0_and_deviation_1(column, how):
    y = features(column, "fbank", NOISE, options_of("nemo", "fbank", normalize=how))
    axis = 0 if how == "per_feature" else None
    np.testing.assert_allclose(y.mean(axis=axis, dtype=float), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=axis, ddof=1, dtype=float), 1, atol=1e-4)
    one = features(column, "fbank", NOISE[:170], options_of("nemo", "fbank", normalize="per_feature"))
    assert one.shape == (1, 80)
    assert (one == 0).all()


@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
@pytest.mark.parametrize("preset", [*RANGED, "python_speech_features"])
def test_the_same_bits_for_any_number_of_threads_and_in_a_batch(preset):
    kind = RANGED.get(preset, "mfcc")
    changes = {"allow_empty": True}
    want = getattr(pyasr, kind)(NOISE, 16000, preset, threads=1, **changes)
    for threads in (2, 5):
        got = getattr(pyasr, kind)(NOISE, 16000, preset, threads=threads, **changes)
        np.testing.assert_array_equal(got, want)
    waves = [NOISE[:7000], NOISE, NOISE[:1], NOISE[100:]]
    cuts = {
        "BTF": lambda y, counts, b: y[b, : counts[b]],
        "TBF": lambda y, counts, b: y[: counts[b], b],
        "concatenated": lambda y, offsets, b: y[offsets[b] : offsets[b + 1]],
    }
    for layout, cut in cuts.items():
        y, counts = pyasr.features.batch(waves, 16000, preset, kind=kind, layout=layout, **changes)
        for b, wave in enumerate(waves):
            want = getattr(pyasr, kind)(wave, 16000, preset, **changes)
            np.testing.assert_array_equal(cut(y, counts, b), want)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_nan_is_raised_or_marks_its_frames(column, dtype):
    wave = NOISE[20000:26000].astype(dtype)
    for kind in ("mfcc", "fbank", "spectrogram"):
        for changes in ({}, {"snip_edges": False}, {"preemph_signal": True, "pad_end": True}):
            options = options_of("kaldi", kind, **changes)
            want = features(column, kind, wave, options)
            for at in (0, 399, 2560, 5999):
                bad = wave.copy()
                bad[at] = np.inf if at % 2 else np.nan
                with pytest.raises(ValueError, match=f"wave must be finite, got (nan|inf) at {at}"):
                    features(column, kind, bad, options)
                got = features(column, kind, bad, options, nan="propagate")
                hit = np.isnan(got).any(axis=1)
                assert (np.isnan(got).all(axis=1) == hit).all()
                frames = [f for f in range(len(got)) if np.abs(plan_center(options, f) - at) < 200.5 + bool(changes)]
                assert set(np.flatnonzero(hit)) >= {f for f in frames if np.abs(plan_center(options, f) - at) < 200}
                assert set(np.flatnonzero(hit)) <= set(frames) | mirrored(options, at, len(wave), len(got))
                if at > 399 or column != "cpp":  # the first frame's mean centers all samples of the cpp column
                    np.testing.assert_array_equal(got[~hit], want[~hit])
                else:
                    np.testing.assert_allclose(got[~hit], want[~hit], atol=2e-4)


def plan_center(options, f):
    return options.first_sample + f * options.frame_shift + (options.frame_length - 1) / 2


def mirrored(options, at, n, frames):
    """Frames over an end, where the wave is mirrored."""
    if options.snip_edges:
        return set()
    return {f for f in range(frames) if plan_center(options, f) < 200 or plan_center(options, f) > n - 201}


@pytest.mark.parametrize("column", COLUMNS)
def test_a_nan_is_in_every_frame_of_what_depends_on_the_whole_wave(column):
    wave = NOISE[20000:26000].copy()
    wave[3000] = np.nan
    assert np.isnan(features(column, "fbank", wave, options_of("whisper", "fbank"), nan="propagate")).all()
    wave[3001] = 17
    with pytest.raises(ValueError, match=r"wave must lie in \[-1, 1\], got 17.0 at 3001"):
        features(column, "fbank", wave, options_of("whisper", "fbank"), nan="propagate")


def test_presets_by_name_and_as_options():
    for name in pyasr.features.PRESETS:
        options = pyasr.features.preset(name, 16000, num_mels=20, num_ceps=10)
        got = pyasr.mfcc(NOISE, 16000, name, num_mels=20, num_ceps=10)
        np.testing.assert_array_equal(got, pyasr.mfcc(NOISE, 16000, options))
        assert got.shape[1] == 10
    assert pyasr.features.preset("python_speech_features", 44100).frame_length == 1103
    sizes = [(8000, {}, 512), (44100, {}, 2048), (8000, {"frame_length_ms": 80.0}, 1024), (16000, {"n_fft": 400}, 400)]
    for rate, changes, size in sizes:
        assert pyasr.features.preset("python_speech_features", rate, **changes).fft_size == size
    assert pyasr.features.preset("librosa", n_fft=1024).frame_length == 1024
    assert pyasr.features.preset("librosa", frame_length_ms=20.0).frame_length == 320
    with pytest.raises(
        ValueError, match=r"^preset: name must be one of kaldi, .* got 'wisper' .did you mean 'whisper'"
    ):
        pyasr.features.preset("wisper")


def test_milliseconds_replace_samples_by_name_and_as_options():
    options = pyasr.features.preset("whisper")
    for changes in ({"frame_length_ms": 20.0}, {"frame_shift_ms": 5.0}, {"round_to_power_of_two": True}):
        by_name = pyasr.fbank(NOISE, 16000, "whisper", **changes)
        np.testing.assert_array_equal(pyasr.fbank(NOISE, 16000, options, **changes), by_name)
        assert not np.array_equal(by_name, pyasr.fbank(NOISE, 16000, options))
    both = {"frame_length_ms": 20.0, "win_length": 300}
    assert pyasr.features.preset("whisper", **both).frame_length == 300


def test_an_unknown_option_of_a_preset_names_the_nearest():
    with pytest.raises(TypeError, match=r"^preset: keyword must be one of .* got 'num_mel' .did you mean 'num_mels'"):
        pyasr.features.preset("kaldi", num_mel=40)
    with pytest.raises(TypeError, match=r"^features.batch: keyword must be one of .* got 'outs'"):
        pyasr.features.batch([NOISE], 16000, outs=np.zeros((1, 1, 13), np.float32))


def test_out_may_not_lie_in_a_strided_wave():
    memory = np.zeros(16000, np.float32)
    with pytest.raises(ValueError, match=r"^mfcc: wave and out must not share memory"):
        pyasr.mfcc(memory[::2], 16000, out=memory[: 48 * 13].reshape(48, 13))
    big = memory.astype(">f4")
    out = np.frombuffer(big.data, np.float32)[: 98 * 13].reshape(98, 13)
    with pytest.raises(ValueError, match=r"^mfcc: wave and out must not share memory"):
        pyasr.mfcc(big, 16000, out=out)


def test_explain_prints_what_differs(capsys):
    pyasr.features.explain("kaldi", "librosa")
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["option", "kaldi", "librosa", "what", "it", "does"]
    rows = {line.split()[0]: line for line in lines[1:]}
    assert {"full_scale", "mel_scale", "dynamic_range", "window", "center"} <= set(rows)
    assert rows["dynamic_range"].split()[1:3] == ["None", "80.0"]
    assert all(len(line.split("  ")) >= 4 for line in rows.values()), "every difference says what it does"
    pyasr.features.explain("whisper", pyasr.features.preset("whisper", num_mels=128))
    assert capsys.readouterr().out.splitlines()[1].split()[:3] == ["num_mels", "80", "128"]
    pyasr.features.explain("whisper", "nemo")
    rows = {line.split()[0]: line for line in capsys.readouterr().out.splitlines()[1:]}
    assert rows["n_fft"].split()[1:3] == ["400", "512"]
    assert not {"win_length", "hop_length"} & set(rows), "400 samples and 25 ms are the same at 16 kHz"
    pyasr.features.explain("nemo", "nemo")
    assert capsys.readouterr().out == "nemo and nemo have the same options\n"
    with pytest.raises(TypeError, match="second must be MfccOptions or a preset's name, got int"):
        pyasr.features.explain("kaldi", 3)


def test_every_option_has_its_sentence():
    from dataclasses import fields

    from pyasr.features.presets import _EFFECTS

    assert set(_EFFECTS) == {f.name for f in fields(pyasr.MfccOptions)}
