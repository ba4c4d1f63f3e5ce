"""pyasr.compat.kaldi_native_fbank: a named error where the peer dies, or answers with garbage."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.compat import kaldi_native_fbank as knf

EXTRACTORS = runpy.run_path(str(Path(__file__).with_name("knf_extractors.py")))
NOISE, make, run = (EXTRACTORS[name] for name in ("NOISE", "make", "run"))


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"frame_opts.frame_shift_ms": 0.0}, r"^OnlineMfcc: frame_opts\.frame_shift_ms must give 1 to"),
        ({"frame_opts.frame_length_ms": 0.0}, r"frame_opts\.frame_length_ms must give 2 to"),
        ({"frame_opts.window_type": "foo"}, r"frame_opts\.window_type must be one of povey, .*got 'foo'"),
        ({"frame_opts.samp_freq": -16000.0}, r"frame_opts\.samp_freq must lie in"),
        ({"frame_opts.preemph_coeff": 2.0}, r"frame_opts\.preemph_coeff must lie in"),
        ({"frame_opts.dither": -1.0}, r"frame_opts\.dither must lie in"),
        ({"frame_opts.blackman_coeff": 1e9, "frame_opts.window_type": "blackman"}, r"blackman_coeff must lie in"),
        (
            {"frame_opts.frame_length_ms": 25.07, "frame_opts.round_to_power_of_two": False},
            "even frame length, got 401",
        ),
        ({"num_ceps": 40}, r"num_ceps must be at most mel_opts\.num_bins = 23, got 40"),
        ({"num_ceps": 0}, "num_ceps must lie in"),
        ({"mel_opts.num_bins": 200}, r"mel_opts\.num_bins must leave every mel filter an FFT bin, got 200"),
        ({"mel_opts.num_bins": 0}, r"mel_opts\.num_bins must lie in"),
        ({"mel_opts.high_freq": 20000.0}, r"mel_opts\.high_freq must be at most the Nyquist frequency 8000"),
        (
            {"mel_opts.low_freq": 5000.0, "mel_opts.high_freq": 1000.0},
            r"mel_opts\.low_freq must be below mel_opts\.high_freq",
        ),
        ({"mel_opts.is_librosa": True, "mel_opts.norm": "l2"}, r"mel_opts\.norm must be '' or 'slaney', got 'l2'"),
        ({"mel_opts.debug_mel": True}, r"mel_opts\.debug_mel must be False"),
    ],
    ids=str,
)
def test_bad_options_are_named(changes, text):
    with pytest.raises(ValueError, match=text):
        make(knf, "Mfcc", changes)


@pytest.mark.parametrize("changes", [{"eps": 1e-3}, {"use_log_floor": False}], ids=str)
def test_a_floor_that_the_energy_would_not_share_is_named(changes):
    assert make(knf, "Fbank", changes).dim == 23
    with pytest.raises(
        ValueError, match=r"^OnlineFbank: eps must be at most 2\*\*-23 and use_log_floor True with use_energy"
    ):
        make(knf, "Fbank", {**changes, "use_energy": True})
    assert make(knf, "Fbank", {**changes, "use_energy": True, "use_log_fbank": False}).dim == 24
    with pytest.raises(ValueError, match=r"^OnlineFbank: eps must lie in"):
        make(knf, "Fbank", {"eps": 0.0})


def test_whisper_has_filters_that_fit():
    for dim, text in ((0, "dim must lie in"), (200, "dim must leave every mel filter an FFT bin, got 200")):
        with pytest.raises(ValueError, match=f"^OnlineWhisperFbank: {text}"):
            knf.OnlineWhisperFbank(knf.WhisperFeatureOptions(dim=dim))


@pytest.mark.parametrize(
    ("name", "value", "error", "text"),
    [
        ("num_cep", 3, AttributeError, r"^MfccOptions has no option 'num_cep' \(did you mean 'num_ceps'\?\)"),
        ("num_ceps", 2.5, TypeError, "^MfccOptions: num_ceps must be an integer, got float"),
        ("num_ceps", "a", TypeError, "num_ceps must be an integer, got str"),
        ("cepstral_lifter", np.nan, ValueError, "cepstral_lifter must be finite"),
        ("use_energy", 1, TypeError, "use_energy must be True or False, got int"),
        ("frame_opts", {}, TypeError, "frame_opts must be FrameExtractionOptions, got dict"),
        (
            "mel_opts",
            knf.FrameExtractionOptions(),
            TypeError,
            "mel_opts must be MelBanksOptions, got FrameExtractionOptions",
        ),
    ],
)
def test_an_option_has_its_type_when_it_is_set(name, value, error, text):
    opts = knf.MfccOptions()
    with pytest.raises(error, match=text):
        setattr(opts, name, value)
    assert opts == knf.MfccOptions()


BROKEN = NOISE.copy()
BROKEN[5000] = np.nan


@pytest.mark.parametrize(
    ("rate", "wave", "error", "text"),
    [
        (8000, NOISE, ValueError, "sampling_rate must be that of the options, 16000, got 8000"),
        (-16000, NOISE, ValueError, "sampling_rate must be that of the options"),
        ("16000", NOISE, TypeError, "sampling_rate must be a real number, got str"),
        (16000, BROKEN, ValueError, "waveform must be finite, got nan at 5000"),
        (16000, BROKEN.tolist(), ValueError, "waveform must be finite, got nan at 5000"),
        (16000, [-np.inf, 0.0], ValueError, "waveform must be finite, got -inf at 0"),
        (16000, [1e300], ValueError, "waveform must lie within"),
        (16000, np.zeros((4, 16000), np.float32), ValueError, r"got shape \(4, 16000\): take waveform\[0\]"),
        (16000, np.float32(1), ValueError, r"one-dimensional, got shape \(\)"),
        (16000, NOISE.astype(complex), TypeError, "signed integers, got complex"),
        (16000, NOISE > 0, TypeError, "signed integers, got bool"),
        (16000, np.zeros(400, np.uint8), TypeError, "signed integers, got uint8"),
        (16000, "abc", TypeError, "waveform must be numbers, got str"),
        (16000, None, TypeError, "got object"),
        (16000, [[1.0], [2.0, 3.0]], TypeError, "waveform must be a one-dimensional array or list of numbers"),
    ],
    ids=lambda x: type(x).__name__,
)
def test_bad_waves_are_named_and_change_nothing(rate, wave, error, text):
    online = make(knf, "Mfcc", {})
    online.accept_waveform(16000, NOISE[:1000])
    with pytest.raises(error, match=f"^accept_waveform: .*{text}"):
        online.accept_waveform(rate, wave)
    online.accept_waveform(16000, NOISE[1000:])
    np.testing.assert_array_equal(online.get_frames(), run(knf, "Mfcc", {}, NOISE))


def test_bad_requests_are_named():
    online = make(knf, "Mfcc", {})
    with pytest.raises(ValueError, match="get_frame: no frame is ready"):
        online.get_frame(0)
    online.accept_waveform(16000, NOISE[:1600])
    online.pop(2)
    for call, text in (
        (lambda: online.get_frame(1000), r"get_frame: frame must lie in \[2, 7\], got 1000"),
        (lambda: online.get_frame(-1), r"get_frame: frame must lie in \[2, 7\], got -1"),
        (lambda: online.get_frame(1), r"got 1$"),
        (lambda: online.get_frames(0, 4), r"get_frames: first must lie in \[2, 4\], got 0"),
        (lambda: online.get_frames(2, 9), r"get_frames: last must lie in \[2, 8\], got 9"),
        (lambda: online.pop(7), r"pop: n must lie in \[0, 6\], got 7"),
        (lambda: online.pop(-1), r"pop: n must lie in \[0, 6\], got -1"),
    ):
        with pytest.raises(ValueError, match=text):
            call()
    with pytest.raises(TypeError, match="frame must be an integer"):
        online.get_frame(2.0)
    online.input_finished()
    online.input_finished()
    with pytest.raises(RuntimeError, match=r"accept_waveform: no samples are taken after input_finished\(\)"):
        online.accept_waveform(16000, NOISE)
    for cls, opts in (
        (knf.OnlineMfcc, knf.FbankOptions()),
        (knf.OnlineFbank, None),
        (knf.OnlineWhisperFbank, knf.FbankOptions()),
    ):
        with pytest.raises(TypeError, match=f"^{cls.__name__}: opts must be"):
            cls(opts)
