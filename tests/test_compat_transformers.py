"""pyasr.compat.transformers beside transformers' own extractors in NumPy: padding, truncation, masks, files, errors."""

import inspect
import itertools
import json
import logging
import warnings

import numpy as np
import pytest

from pyasr.compat import transformers as ours
from pyasr.counter import stream

NAMES = ("WhisperFeatureExtractor", "SeamlessM4TFeatureExtractor")


@pytest.fixture(scope="module")
def peer():
    """transformers with the NumPy path of Whisper, whether torch is installed or not."""
    with warnings.catch_warnings():  # of its imports
        warnings.simplefilter("ignore")
        transformers = pytest.importorskip("transformers", reason="transformers is the peer")
        whisper = pytest.importorskip("transformers.models.whisper.feature_extraction_whisper", reason="its extractor")
        assert transformers.SeamlessM4TFeatureExtractor
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whisper, "is_torch_available", lambda: False)
        yield transformers


def speech_like(seed, n):
    i = np.arange(n)
    return (0.3 * stream(seed, "transformers").standard_normal(n) * 10.0 ** (-4 * i / max(n, 1))).astype(np.float32)


RAGGED = [speech_like(b, n) for b, n in enumerate((16000, 5000, 8001))]


def compare(got, want):
    assert set(got) == set(want)
    for key in want:
        mine, theirs = np.asarray(got[key]), np.asarray(want[key])
        assert mine.shape == theirs.shape, key
        assert mine.dtype == theirs.dtype, key
        assert np.abs(mine - theirs).max(initial=0) <= 5e-5 * np.abs(theirs).max(initial=4), key


def outcomes(mine, theirs, *args, **kwargs):
    """Both results are the same, or both raise; whether there was a result."""
    try:
        want = theirs(*args, **kwargs)
    except (ValueError, TypeError):
        with pytest.raises((ValueError, TypeError), match=type(mine).__name__):
            mine(*args, **kwargs)
        return False
    compare(mine(*args, **kwargs), want)
    return True


@pytest.mark.parametrize("name", NAMES)
def test_names_order_and_defaults(peer, name):
    def arguments(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    for method in ("__init__", "__call__", "pad", "zero_mean_unit_var_norm"):
        mine, theirs = (arguments(getattr(getattr(module, name), method)) for module in (ours, peer))
        assert mine == theirs, method


@pytest.mark.parametrize("do_normalize", [None, True])
@pytest.mark.parametrize("return_attention_mask", [None, True, False])
@pytest.mark.parametrize("pad_to_multiple_of", [None, 160, 1000])
def test_whisper_pads_and_cuts_as_the_peer(peer, pad_to_multiple_of, return_attention_mask, do_normalize):
    count = 0
    mine, theirs = (module.WhisperFeatureExtractor(chunk_length=1) for module in (ours, peer))
    for padding, max_length, truncation in itertools.product(
        ("max_length", "longest", True, "do_not_pad"), (None, 4000, 12001), (True, False)
    ):
        for speech in (RAGGED, RAGGED[1]):
            count += outcomes(
                mine, theirs, speech, padding=padding, max_length=max_length, truncation=truncation, sampling_rate=16000,
                pad_to_multiple_of=pad_to_multiple_of, return_attention_mask=return_attention_mask, return_tensors="np",
                do_normalize=do_normalize,
            )  # fmt: skip
    assert count >= 36


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("return_attention_mask", [None, False])
@pytest.mark.parametrize(("stride", "pad_to_multiple_of"), [(2, 2), (2, None), (1, None), (3, 7), (3, 2)])
def test_seamless_pads_and_cuts_as_the_peer(peer, stride, pad_to_multiple_of, return_attention_mask, normalize):
    count = 0
    mine, theirs = (module.SeamlessM4TFeatureExtractor(stride=stride) for module in (ours, peer))
    for padding, max_length, truncation in itertools.product(
        (True, "longest", "max_length", False), (None, 40, 99), (True, False)
    ):
        for speech in (RAGGED, RAGGED[1]):
            count += outcomes(
                mine, theirs, speech, padding=padding, max_length=max_length, truncation=truncation, sampling_rate=16000,
                pad_to_multiple_of=pad_to_multiple_of, return_attention_mask=return_attention_mask,
                do_normalize_per_mel_bins=normalize, return_tensors="np",
            )  # fmt: skip
    assert count >= 28


@pytest.mark.filterwarnings("ignore:At least one mel filter has all zero values")
@pytest.mark.parametrize(
    "settings",
    [
        {"feature_size": 128},
        {"sampling_rate": 22050, "hop_length": 220, "n_fft": 512},
        {"padding_value": 0.5, "padding_side": "left", "return_attention_mask": True},
        {"chunk_length": 3, "hop_length": 161, "feature_size": 40},
        {"sampling_rate": 8000, "n_fft": 256},
        {"sampling_rate": 4000, "feature_size": 10},
    ],
    ids=str,
)
def test_settings_of_whisper(peer, settings):
    mine, theirs = (module.WhisperFeatureExtractor(**{"chunk_length": 1} | settings) for module in (ours, peer))
    for kwargs in ({}, {"padding": "longest"}, {"do_normalize": True, "return_attention_mask": True}):
        assert outcomes(mine, theirs, RAGGED, **kwargs)
    assert np.abs(mine.mel_filters - theirs.mel_filters).max() <= 1e-12


@pytest.mark.parametrize(
    "settings",
    [{"num_mel_bins": 40}, {"padding_value": 1.5, "padding_side": "left"}, {"return_attention_mask": False}],
    ids=str,
)
def test_settings_of_seamless(peer, settings):
    mine, theirs = (module.SeamlessM4TFeatureExtractor(**settings) for module in (ours, peer))
    for kwargs in ({}, {"padding": "max_length", "max_length": 60, "truncation": True}):
        assert outcomes(mine, theirs, RAGGED, **kwargs)
    assert np.abs(mine.mel_filters - theirs.mel_filters).max() <= 1e-12


@pytest.mark.parametrize("n", [1, 2, 159, 160, 161, 200, 201, 399, 400, 401, 559, 560, 561, 719, 720])
def test_short_waves(peer, n):
    whisper = [module.WhisperFeatureExtractor() for module in (ours, peer)]
    kwargs = {"padding": "longest", "truncation": False, "return_attention_mask": True}
    assert outcomes(*whisper, RAGGED[0][:n], **kwargs) == (n >= 160)
    seamless = [module.SeamlessM4TFeatureExtractor() for module in (ours, peer)]
    for normalize in (True, False):
        least = 560 if normalize else 400  # below, the peer's result is NaN or empty, or it fails
        if n >= least:
            assert outcomes(*seamless, RAGGED[0][:n], do_normalize_per_mel_bins=normalize)
        else:
            with pytest.raises(ValueError, match=rf"raw_speech\[0\] must have at least {least} samples"):
                seamless[0](RAGGED[0][:n], do_normalize_per_mel_bins=normalize)


@pytest.mark.parametrize("name", NAMES)
def test_forms_of_speech(peer, name):
    wave, batch = RAGGED[1], np.stack([RAGGED[0][:5000], RAGGED[1]])
    forms = [
        wave,
        wave.astype(np.float64),
        wave.tolist(),
        tuple(wave[:900].tolist()),
        batch,
        batch.tolist(),
        [wave.tolist()],
    ]
    forms += [RAGGED, [RAGGED[0].tolist(), RAGGED[1].astype(np.float64)], np.rint(30 * batch).astype(np.int16)]
    if name == NAMES[1]:  # the left channel
        forms += [batch[None], [batch, batch[::-1]], [batch.tolist()]]
    for form in forms:
        assert outcomes(getattr(ours, name)(), getattr(peer, name)(), form, sampling_rate=16000)


@pytest.mark.parametrize("name", NAMES)
def test_tensors_in_and_out(peer, name):
    torch = pytest.importorskip("torch", reason="torch makes tensors")
    extractor = getattr(ours, name)()
    want = extractor(RAGGED, return_attention_mask=True)
    assert all(type(value) is np.ndarray for value in want.values())
    got = extractor([torch.from_numpy(x) for x in RAGGED], return_attention_mask=True, return_tensors="pt")
    assert all(type(value) is torch.Tensor for value in got.values())
    assert got.to("cpu") is got
    assert got.to(torch.float64).input_features.dtype == torch.float64
    assert got.attention_mask.dtype == torch.int32
    compare({key: value.float() if value.is_floating_point() else value for key, value in got.items()}, want)
    compare(extractor(torch.from_numpy(np.stack([RAGGED[1]] * 2))), extractor([RAGGED[1]] * 2))


@pytest.mark.parametrize("name", NAMES)
def test_files_go_both_ways(peer, name, tmp_path):
    settings = {"feature_size": 80, "padding_value": 0.25, "padding_side": "left", "some_note": [1, 2]}
    mine, theirs = (getattr(module, name)(**settings) for module in (ours, peer))
    assert mine.to_dict() == theirs.to_dict()
    assert json.loads(mine.to_json_string()) == json.loads(theirs.to_json_string())
    assert repr(mine) == repr(theirs)
    mine.save_pretrained(tmp_path / "mine")
    theirs.save_pretrained(tmp_path / "theirs")
    for folder in ("mine", "theirs"):
        file = tmp_path / folder / "preprocessor_config.json"
        for where in (file.parent, file):
            assert getattr(ours, name).from_pretrained(where).to_dict() == theirs.to_dict()
        assert getattr(ours, name).from_json_file(file).to_dict() == theirs.to_dict()
    assert getattr(peer, name).from_pretrained(str(tmp_path / "mine")).to_dict() == theirs.to_dict()
    changed, unused = getattr(ours, name).from_pretrained(
        tmp_path / "mine", padding_value=1.0, foo=2, return_unused_kwargs=True
    )
    assert (changed.padding_value, unused) == (1.0, {"foo": 2})
    (tmp_path / "nested").mkdir()
    (tmp_path / "nested" / "processor_config.json").write_text(json.dumps({"feature_extractor": mine.to_dict()}))
    assert getattr(ours, name).from_pretrained(tmp_path / "nested").to_dict() == mine.to_dict()


def test_pad_by_itself(peer):
    def rows(*lengths):
        return [stream(n, "rows").standard_normal((n, 3)) for n in lengths]

    mine, theirs = (module.SeamlessM4TFeatureExtractor(padding_value=-1.0) for module in (ours, peer))
    for kwargs in (
        {},
        {"padding": False},
        {"max_length": 5, "truncation": True},
        {"max_length": 9, "padding": "max_length", "pad_to_multiple_of": 4},
        {"return_attention_mask": False, "pad_to_multiple_of": 4},
    ):
        got, want = (e.pad({"input_features": rows(7, 2, 4)}, return_tensors="np", **kwargs) for e in (mine, theirs))
        assert set(got) == set(want)
        for key in want:
            assert got[key].dtype == want[key].dtype
            for one, other in zip(got[key], want[key], strict=True):
                np.testing.assert_array_equal(one, other)
    listed = [{"input_features": x} for x in rows(7, 2)]
    np.testing.assert_array_equal(mine.pad(listed).input_features, theirs.pad(listed).input_features)
    assert dict(mine.pad({"input_features": []})) == dict(theirs.pad({"input_features": []}))


def test_normalization_by_itself(peer):
    waves, mask = np.stack([RAGGED[0][:900], RAGGED[1][:900]]), np.array([[1] * 900, [1] * 300 + [0] * 600])
    for given in (mask, None):
        mine, theirs = (
            module.WhisperFeatureExtractor.zero_mean_unit_var_norm(list(waves), given, 0.5) for module in (ours, peer)
        )
        np.testing.assert_array_equal(mine, theirs)


def test_dither_is_noise_that_repeats():
    silence = np.zeros(16000, np.float32)
    plain, noisy = (ours.WhisperFeatureExtractor(chunk_length=1, dither=d)(silence).input_features for d in (0.0, 1e-3))
    again = ours.WhisperFeatureExtractor(chunk_length=1, dither=1e-3)(silence).input_features
    assert np.ptp(plain) == 0
    np.testing.assert_array_equal(noisy, again)
    assert 0.05 < noisy.std() < 0.5
    assert noisy.mean() > plain.mean() + 0.5


def test_a_missing_sampling_rate_is_logged(caplog):
    with caplog.at_level(logging.WARNING, "pyasr.compat.transformers.sequence"):
        ours.WhisperFeatureExtractor(chunk_length=1)(RAGGED[1])
    assert "pass the `sampling_rate` argument to `WhisperFeatureExtractor()`" in caplog.text


def test_a_batch_feature_is_a_mapping_with_attributes():
    batch = ours.BatchFeature({"a": [1, 2], "b": "text"})
    assert batch.a == batch["a"] == [1, 2]
    assert dict(**batch) == {"a": [1, 2], "b": "text"}
    with pytest.raises(AttributeError, match="BatchFeature has no 'c', it has 'a', 'b'"):
        _ = batch.c
    ragged = ours.BatchFeature({"a": [np.ones(2), np.ones(3)]}, "np")
    assert ragged.a.dtype == object


W, S = ours.WhisperFeatureExtractor(chunk_length=1), ours.SeamlessM4TFeatureExtractor()
WAVE = RAGGED[1]


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: W(WAVE, sampling_rate=8000), ValueError, "sampling_rate must be the extractor's 16000 Hz, got 8000"),
        (lambda: S(WAVE, sampling_rate=8000), ValueError, "sampling_rate must be the extractor's 16000 Hz, got 8000"),
        (lambda: W(np.zeros((2, 2, 500))), ValueError, r"raw_speech\[0\] must have shape \(samples,\), got \(2, 500\)"),
        (lambda: S(np.zeros((2, 2, 2, 500))), ValueError, r"raw_speech\[0\] must have shape \(channels, samples\)"),
        (lambda: W([]), ValueError, "raw_speech must hold a wave, got an empty list"),
        (lambda: W(np.zeros((0, 500))), ValueError, r"raw_speech must hold a wave, got shape \(0, 500\)"),
        (lambda: W(None), TypeError, "raw_speech must be an array or a list, got NoneType"),
        (lambda: W(["a"]), TypeError, "raw_speech must be real numbers"),
        (lambda: W([[1.0, [2.0]]]), ValueError, r"raw_speech\[0\] must be one wave"),
        (lambda: W(WAVE * np.nan), ValueError, r"raw_speech\[0\] must be finite, got nan at 0"),
        (lambda: S([WAVE, WAVE * np.inf]), ValueError, r"raw_speech\[1\] must be finite, got inf"),
        (
            lambda: W(WAVE[:0], padding="longest"),
            ValueError,
            "raw_speech must have at least hop_length = 160 samples, got 0",
        ),
        (lambda: W(RAGGED, padding="do_not_pad"), ValueError, 'padding must be "longest" or "max_length"'),
        (lambda: S(RAGGED, padding=False), ValueError, "padding must be True for waves of different lengths"),
        (lambda: W(WAVE, padding="shortest"), ValueError, 'padding must be "longest", "max_length" or "do_not_pad"'),
        (lambda: S(WAVE, truncation=True), ValueError, "max_length must be given with truncation"),
        (lambda: S(WAVE, padding="max_length"), ValueError, "max_length must be given with padding=max_length"),
        (lambda: W(WAVE, pad_to_multiple_of=0), ValueError, "pad_to_multiple_of must lie in"),
        (lambda: W(WAVE, max_length=-1), ValueError, "max_length must lie in"),
        (lambda: W(WAVE, device="cuda"), ValueError, "device must be \"cpu\", got 'cuda'"),
        (lambda: W(WAVE, return_tensors="tf"), ValueError, 'return_tensors must be "np" or "pt", got \'tf\''),
        (lambda: W.pad({"values": []}), ValueError, "processed_features must be a mapping with 'input_features'"),
        (
            lambda: W.pad({"input_features": [WAVE], "x": []}),
            ValueError,
            "processed_features must have 1 entries under",
        ),
        (lambda: ours.WhisperFeatureExtractor(n_fft=401), ValueError, "n_fft must be even, got 401"),
        (lambda: ours.WhisperFeatureExtractor(feature_size=0), ValueError, "feature_size must lie in"),
        (
            lambda: ours.WhisperFeatureExtractor(sampling_rate=22051),
            ValueError,
            "sampling_rate must be even, got 22051",
        ),
        (lambda: ours.WhisperFeatureExtractor(padding_side="top"), ValueError, "padding_side must be"),
        (lambda: ours.WhisperFeatureExtractor(pad=1), ValueError, "pad is a method and cannot be given"),
        (lambda: ours.SeamlessM4TFeatureExtractor(stride=0), ValueError, "stride must lie in"),
        (
            lambda: ours.SeamlessM4TFeatureExtractor.from_pretrained("no/such"),
            FileNotFoundError,
            "nothing is downloaded",
        ),
    ],
)
def test_bad_arguments_are_named(call, error, text):
    with pytest.raises(error, match=text):
        call()


def test_a_file_that_holds_no_extractor(tmp_path):
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object, got list"):
        ours.WhisperFeatureExtractor.from_json_file(tmp_path / "a.json")
