"""The public functions of features with arrays on the emulated device: batch, mfcc, deltas and cmvn.

What the host gives, in every layout; deltas and cmvn, which are no rows, under every order of threads.
"""

import itertools

import numpy as np
import pytest

import pyasr
from pyasr.features import batch, cmvn, deltas
from pyasr.ops import _cuda
from pyasr.ops._options import MfccOptions
from pyasr.ops._plan import make_plan
from pyasr.recognizer import FrontEnd

ORDERS = [(kind, seed) for seed in range(4) for kind in ("fair", "block", "warp")]


class OnDevice:
    """An array that is on the device and nowhere else: NumPy does not know it."""

    def __init__(self, array):
        self.array, self.shape, self.ctypes = array, array.shape, array.ctypes

    @property
    def __cuda_array_interface__(self):
        return {**self.array.__array_interface__, "stream": None}

    def get(self):
        return self.array


@pytest.fixture
def device(emulated, monkeypatch):
    """The emulated column is where arrays on a device go, and its new arrays are such."""
    monkeypatch.setattr(_cuda, "why_not", lambda: None)
    monkeypatch.setattr(_cuda, "column", lambda: emulated)
    gpu = emulated.device
    empty = gpu.empty

    def zeros(shape, dtype):
        x = empty(shape, dtype)
        x[...] = 0
        return OnDevice(x)

    monkeypatch.setattr(gpu, "empty", lambda shape, dtype: OnDevice(empty(shape, dtype)))
    monkeypatch.setattr(gpu, "zeros", zeros)
    monkeypatch.setattr(gpu, "host", lambda array, stream=None: getattr(array, "array", array))
    return emulated


def noise(*shape, dtype="float32", seed=0):
    return (3 + np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


def close(got, want):
    assert got.dtype == want.dtype
    tolerance = 2e-7 if got.dtype == np.float32 else 1e-14
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=3 * tolerance)


CALLS = {
    "deltas": (deltas, {}),
    "deltas, 3 frames, order 1": (deltas, {"window": 3, "order": 1}),
    "deltas, order 0": (deltas, {"order": 0}),
    "deltas, order 4": (deltas, {"window": 1, "order": 4}),
    "deltas of deltas": (deltas, {"style": "torchaudio"}),
    "deltas of deltas, order 3": (deltas, {"style": "torchaudio", "window": 1, "order": 3}),
    "cmvn": (cmvn, {}),
    "cmvn, mean": (cmvn, {"variance": False}),
}
every_call = pytest.mark.parametrize("call", CALLS)
BARRIERS = {430: "deltas", 431: "deltas of deltas", 435: "cmvn", 436: "cmvn"}


@every_call
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (2, 13), (140, 13), (70, 75)])
def test_agrees_with_the_host(device, call, shape, dtype):
    f, options = CALLS[call]
    x = noise(*shape, dtype=dtype)
    close(f(OnDevice(x), **options).get(), f(x, **options))


@every_call
def test_same_bits_under_every_order_of_threads(device, call):
    f, options = CALLS[call]
    x, lengths, bits = noise(2, 70, 9), np.array([70, 33], np.int32), set()
    for order in ORDERS:
        device.schedule(*order)
        bits.add(f(OnDevice(x), lengths=OnDevice(lengths), **options).get().tobytes())
    assert len(bits) == 1


@pytest.mark.parametrize("barrier", BARRIERS)
def test_every_barrier_is_needed(device, barrier):
    f, options = CALLS[BARRIERS[barrier]]
    x, bits = noise(150, 9), set()
    for order in [None, *ORDERS]:
        if order is not None:
            device.skip(barrier)
            device.schedule(*order)
        bits.add(f(OnDevice(x), **options).get().tobytes())
    assert len(bits) > 1


@every_call
@pytest.mark.parametrize("layout", ["BTF", "TBF", "concatenated"])
@pytest.mark.parametrize("where", [OnDevice, np.asarray])
def test_utterances_have_the_bits_that_they_have_alone(device, call, layout, where):
    f, options = CALLS[call]
    lengths = np.array([5, 0, 140, 1, 33], np.int32)
    alone = [noise(n, 10, seed=n) for n in lengths]
    if layout == "concatenated":
        x, counts = np.concatenate(alone), np.append(0, np.cumsum(lengths, dtype=np.int64))
    else:
        x, counts = np.full((5, 140, 10), np.nan, "f4"), lengths
        for b, one in enumerate(alone):
            x[b, : len(one)] = one
        x = x if layout == "BTF" else np.ascontiguousarray(x.swapaxes(0, 1))
    many = f(OnDevice(x), lengths=where(counts), layout=layout, **options).get()
    host = f(x, lengths=counts, layout=layout, **options)
    close(many, host)
    for b, one in enumerate(alone):
        for y, want in ((many, f(OnDevice(one), **options).get()), (host, f(one, **options))):
            rows = y[counts[b] : counts[b + 1]] if layout == "concatenated" else y[b] if layout == "BTF" else y[:, b]
            np.testing.assert_array_equal(rows[: len(one)], want)
            assert not rows[len(one) :].any()


@every_call
def test_lengths_that_nobody_has_looked_at_are_cut_to_the_frames(device, call):
    f, options = CALLS[call]
    x = noise(3, 20, 4)
    got = f(OnDevice(x), lengths=OnDevice(np.array([-3, 7, 2**31 - 1], np.int32)), **options).get()
    want = f(x, lengths=np.array([0, 7, 20], np.int32), **options)
    close(got, want)
    flat = noise(20, 4)
    got = f(OnDevice(flat), lengths=OnDevice(np.array([-5, 8, 10**9])), layout="concatenated", **options).get()
    close(got, f(flat, lengths=np.array([0, 8, 20]), layout="concatenated", **options))
    inside = f(OnDevice(flat), lengths=OnDevice(np.array([3, 8, 15])), layout="concatenated", **options).get()
    assert not inside[:3].any()
    assert not inside[15:].any()
    np.testing.assert_array_equal(inside[3:8], f(OnDevice(flat[3:8].copy()), **options).get())


def test_constant_columns_become_zeros(device):
    x = np.full((90, 9), 1234.5, np.float32)
    assert not cmvn(OnDevice(x)).get().any()
    np.testing.assert_allclose(deltas(OnDevice(x)).get()[:, 9:], 0, atol=1e-12)


def test_a_large_mean_does_not_swallow_the_variance(device):
    x = noise(500, 9, dtype="float64") + 1e9
    np.testing.assert_allclose(cmvn(OnDevice(x)).get(), cmvn(x), atol=1e-12)


def test_what_sees_a_nan_is_nan(device):
    x = noise(40, 3)
    x[20, 1] = np.nan
    seen = np.isnan(deltas(OnDevice(x)).get())
    assert np.flatnonzero(seen[:, 3 + 1]).tolist() == [18, 19, 20, 21, 22]
    assert np.flatnonzero(seen[:, 6 + 1]).tolist() == list(range(16, 25))
    assert not seen[:, ::3].any()
    assert np.isnan(cmvn(OnDevice(x)).get()).all(axis=0).tolist() == [False, True, False]


@pytest.mark.parametrize("name", ["sm_75", "sm_80", "sm_86", "sm_89", "sm_90"])
def test_any_usual_size_fits_everywhere(emulated, name):
    emulated.properties(name)
    fit = emulated.device.native.deltas_fit
    assert all(
        fit(F, w, o, r) for F, w, o, r in itertools.product((1, 13, 80, 257, 1000), (1, 2, 9, 100), (0, 2, 8), (0, 1))
    )
    assert fit(1000, 900, 2, False)
    assert not fit(1, 1000, 8, True)


def test_long_filters_take_small_tiles_or_are_refused(device):
    device.properties("sm_75")
    x = noise(60, 5)
    close(deltas(OnDevice(x), 300, 2).get(), deltas(x, 300, 2))
    with pytest.raises(
        ValueError, match=r"^deltas: window \* order must fit into the shared memory of this device, got 1000 \* 8"
    ):
        deltas(OnDevice(x), 1000, 8)


def test_the_front_end_stays_on_the_device(device):
    front_end = FrontEnd(device, 8000)
    wave = np.rint(noise(1000, dtype="f8") * 2000).astype(np.int16)
    features = device.mfcc(OnDevice(wave), front_end._plan)
    got = front_end(wave)
    want = cmvn(deltas(features.get()))
    assert isinstance(got, np.ndarray)
    assert got.shape == (11, 39)
    np.testing.assert_allclose(got, want, atol=1e-5)


X = noise(9, 4)
N = np.array([9, 2], np.int32)
BAD = {
    "a matrix": (lambda: cmvn(OnDevice(X[0])), ValueError, r"^cmvn: features must have shape \(T, F\), got \(4,\)"),
    "a dtype": (
        lambda: cmvn(OnDevice(X.astype("i4"))), TypeError, "^cmvn: features must have dtype float32 or float64, got int32",
    ),
    "strided": (lambda: deltas(OnDevice(X[:, ::2])), ValueError, "^deltas: features must be C-contiguous"),
    "a window": (lambda: deltas(OnDevice(X), 0), ValueError, "^deltas: window must lie in"),
    "a layout": (lambda: cmvn(OnDevice(X), layout="FTB"), ValueError, "^cmvn: layout must be"),
    "three dims": (
        lambda: cmvn(OnDevice(X), lengths=N), ValueError, r"^cmvn: features must have shape \(B, T, F\), got \(9, 4\)",
    ),
    "lengths beyond T": (
        lambda: cmvn(OnDevice(noise(2, 5, 3)), lengths=N), ValueError, r"^cmvn: lengths must lie in \[0, T = 5\], got 9 at 0",
    ),
    "lengths of a device": (
        lambda: cmvn(OnDevice(noise(3, 5, 3)), lengths=OnDevice(N)), ValueError, r"^cmvn: lengths must have shape \(B,\)",
    ),
    "lengths that are none": (
        lambda: cmvn(OnDevice(noise(2, 5, 3)), lengths=[5, 5]), TypeError, "^cmvn: lengths must be a CUDA array, got list",
    ),
    "offsets": (
        lambda: deltas(OnDevice(X), lengths=np.array([0, 5, 4, 9]), layout="concatenated"), ValueError,
        "^deltas: lengths must be offsets that rise from 0 to the 9 frames of features",
    ),
    "offsets of a device": (
        lambda: deltas(OnDevice(X), lengths=OnDevice(np.zeros(1, "i8")), layout="concatenated"), ValueError,
        r"^deltas: lengths must be offsets of shape \(B \+ 1,\) with B > 0, got \(1,\)",
    ),
    "host features, device lengths": (
        lambda: cmvn(noise(2, 9, 3), lengths=OnDevice(N)), TypeError, "^cmvn: lengths must be a NumPy array, got OnDevice",
    ),
    "host features, a NaN": (
        lambda: cmvn(np.full((2, 9, 3), np.nan), lengths=np.array([0, 9], np.int32)), ValueError,
        "^cmvn: features must be finite, got a NaN or infinity in frame 0 of utterance 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_bad_arguments_are_named(device, bad):
    call, error, text = BAD[bad]
    with pytest.raises(error, match=text):
        call()


def test_without_kernels_an_array_on_a_device_is_refused_with_the_reason(monkeypatch):
    monkeypatch.setattr(_cuda, "why_not", lambda: "no GPU was found")
    with pytest.raises(RuntimeError, match="an array on a CUDA device takes the cuda backend: no GPU was found"):
        cmvn(OnDevice(X))


# Waves


SMALL = {
    "sample_rate": 1000, "win_length": 21, "hop_length": 8, "num_mels": 4, "num_ceps": 3, "low_freq": 0.0, "lifter": 0.0,
    "use_energy": False,
}  # fmt: skip
LENGTHS = np.array([100, 0, 20, 300, 21])


def samples(n, dtype="int16", seed=0):
    x = np.random.default_rng(seed).normal(100.0, 3000.0, n)
    return (x if dtype == "int16" else x / 32768).astype(dtype)


def pool(dtype):
    """Waves here and there in one allocation, the later ones first, and the whole, which has to live as long."""
    whole = samples(2000, dtype)
    begin = [1500, 1400, 1303, 900, 17]
    return [whole[b : b + n] for b, n in zip(begin, LENGTHS, strict=True)]


@pytest.mark.parametrize("layout", ["BTF", "TBF", "concatenated"])
@pytest.mark.parametrize("dtype", ["int16", "float32", "float64"])
@pytest.mark.parametrize("form", ["list", "array"])
def test_a_batch_has_the_bits_of_its_waves(device, layout, dtype, form):
    waves = pool(dtype)
    alone = [pyasr.mfcc(OnDevice(w.copy()), **SMALL).get() for w in waves]
    if form == "list":
        given, more = [OnDevice(w) for w in waves], {}
    else:
        padded = np.full((5, 310), 7, dtype)
        for row, w in zip(padded, waves, strict=True):
            row[: w.size] = w
        given, more = OnDevice(padded), {"lengths": LENGTHS}
    y, counts = batch(given, layout=layout, **more, **SMALL)
    want, want_counts = batch(waves, layout=layout, **SMALL)
    np.testing.assert_array_equal(counts, want_counts)
    assert counts.dtype == want_counts.dtype
    np.testing.assert_allclose(y.get(), want, rtol=1e-4, atol=1e-4)
    for b, one in enumerate(alone):
        rows = (
            y.get()[counts[b] : counts[b + 1]]
            if layout == "concatenated"
            else y.get()[b]
            if layout == "BTF"
            else y.get()[:, b]
        )
        np.testing.assert_array_equal(rows[: len(one)], one)
        assert not rows[len(one) :].any()
    out = OnDevice(np.full(want.shape, np.nan, np.float32))
    same, _ = batch(given, layout=layout, out=out, **more, **SMALL)
    assert same is out
    assert out.get().tobytes() == y.get().tobytes()


def test_the_chain_stays_on_the_device(device):
    """What batch returns, deltas and cmvn take: no array comes to the host before the end."""
    waves = pool("int16")

    def chain(waves):
        x, n = batch(waves, layout="TBF", **SMALL)
        return cmvn(deltas(x, lengths=n, layout="TBF"), lengths=n, layout="TBF")

    np.testing.assert_allclose(chain([OnDevice(w) for w in waves]).get(), chain(waves), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["fbank", "spectrogram"])
def test_other_kinds_and_whole_arrays(device, kind):
    x = samples(3 * 60).reshape(3, 60)
    options = {
        k: v for k, v in SMALL.items() if k not in ("num_ceps", "lifter") and (kind == "fbank" or k != "num_mels")
    }
    options.pop("low_freq" if kind == "spectrogram" else "", None)
    y, n = batch(OnDevice(x), kind=kind, **options)
    want, _ = batch(x, kind=kind, **options)
    assert n.tolist() == [5, 5, 5]
    np.testing.assert_allclose(y.get(), want, rtol=1e-4, atol=1e-4)
    got = getattr(pyasr, kind)(OnDevice(x[0]), **options).get()
    np.testing.assert_array_equal(got, y.get()[0])


def test_no_waves(device):
    y, n = batch(OnDevice(np.zeros((0, 100), np.float32)), **SMALL)
    assert (y.shape, n.shape) == ((0, 0, 3), (0,))
    y, n = batch([OnDevice(samples(0)), OnDevice(samples(20))], layout="concatenated", **SMALL)
    assert (y.shape, n.tolist()) == ((0, 3), [0, 0, 0])


W = samples(50, "float32")
TOO_LARGE = np.where(np.arange(50) == 41, np.float32(np.inf), W)
BAD_WAVES = {
    "a wave of a device behind one of the host": (
        [W, OnDevice(W)], {}, (TypeError, r"waves\[1\] must be a NumPy array, got OnDevice"),
    ),
    "two dtypes": (
        [OnDevice(W), OnDevice(samples(50))], {}, (TypeError, r"waves\[1\] must have dtype float32, got int16"),
    ),
    "strided": ([OnDevice(W[::2])], {}, (ValueError, r"waves\[0\] must be C-contiguous")),
    "two dims in a list": ([OnDevice(np.zeros((2, 9), "f4"))], {}, (ValueError, r"waves\[0\] must have shape \(N0,\), got")),
    "one dim": (OnDevice(W), {}, (ValueError, r"waves must be a sequence of waves or an array \(B, N\), got shape \(50,\)")),
    "lengths of a list": ([OnDevice(W)], {"lengths": LENGTHS}, (ValueError, "lengths are those of an array")),
    "lengths beyond N": (
        OnDevice(W[None]), {"lengths": np.array([51])}, (ValueError, r"lengths must lie in \[0, N = 50\], got 51 at 0"),
    ),
    "lengths of a device": (
        OnDevice(W[None]), {"lengths": OnDevice(np.array([50]))}, (TypeError, "lengths must be a NumPy array, got OnDevice"),
    ),
    "dither": ([OnDevice(W)], {"dither": 1.0}, (ValueError, "plan must be one without dither on a CUDA device, got")),
    "not finite": (
        [OnDevice(W), OnDevice(TOO_LARGE)], {}, (ValueError, r"waves\[1\] must be finite, got inf at 41"),
    ),
    "out": ([OnDevice(W)], {"out": OnDevice(np.zeros((1, 4, 4), "f4"))}, (ValueError, r"out must have shape \(1, 4, 3\)")),
    "out that is a wave": (
        [OnDevice(W), OnDevice(W[:12])], {"out": OnDevice(W[:24].reshape(2, 4, 3))},
        (ValueError, r"waves\[0\] and out must not share memory"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bad", BAD_WAVES)
def test_bad_waves_are_named(device, bad):
    waves, options, (error, text) = BAD_WAVES[bad]
    with pytest.raises(error, match=f"^features.batch: {text}"):
        batch(waves, **SMALL, **options)


UPLOADS = {
    "mfcc": lambda ops, x: ops.mfcc(x, make_plan(MfccOptions(sample_rate=8000, num_mels=5, num_ceps=3, low_freq=77.0))),
    "features.batch": lambda ops, x: batch([x], 8000),
    "deltas": lambda ops, x: deltas(x.reshape(20, 20), window=7, order=3),
    "cmvn": lambda ops, x: cmvn(x.reshape(2, 10, 20), lengths=np.array([3, 4], np.int32)),
}


@pytest.mark.parametrize("op", UPLOADS)
def test_an_upload_is_not_captured(emulated, monkeypatch, op):
    """A graph would copy from host memory that has been given to others by the time it is replayed."""
    device = type(emulated.strict.device)
    monkeypatch.setattr(_cuda, "why_not", lambda: None)
    monkeypatch.setattr(_cuda, "column", lambda: emulated.strict)
    x = emulated.strict.xp.asarray(noise(400))
    with monkeypatch.context() as m:
        m.setattr(device, "capturing", True)
        with pytest.raises(RuntimeError, match=f"^{op}: an upload can not be captured in a CUDA graph"):
            UPLOADS[op](emulated.strict, x)
    UPLOADS[op](emulated.strict, x)
