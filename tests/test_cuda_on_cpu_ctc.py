"""ctc_loss on the emulated device, beyond its cases: lattices by hand, values that nobody has looked at, neighbors, accuracy."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import pyasr

HERE = Path(__file__).parent
BY_HAND = runpy.run_path(str(HERE / "test_ctc.py"))["BY_HAND"]
MAKE = runpy.run_path(str(HERE / "oracle" / "make_ctc.py"))


def i4(*values):
    return np.array(values, np.int32)


def relative(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


def one(ops, logits, label, **options):
    """Loss and gradient [T,V] of one utterance with logits [T,V]."""
    label = np.asarray(label, np.int32).reshape(1, -1)
    loss, grad = ops.ctc_loss(logits[:, None].copy(), i4(len(logits)), label, i4(label.shape[1]), **options)
    return loss[0], grad[:, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("zero_infinity", [False, True])
def test_lattices_by_hand_in_one_batch(emulated, dtype, zero_infinity):
    frames, labels, weights, chances, posteriors = zip(*BY_HAND.values(), strict=True)
    T, B, U = max(frames), len(BY_HAND), max(map(len, labels))
    logits, padded = np.full((T, B, 3), np.nan, dtype), np.full((B, U), -77, np.int32)
    want = np.zeros((T, B, 3))
    for b, (t, label, w, posterior) in enumerate(zip(frames, labels, weights, posteriors, strict=True)):
        logits[:t, b], padded[b, : len(label)] = w, label
        if posterior is not None:
            want[:t, b] = np.exp(w) / np.exp(w).sum() - posterior
    counts = i4(*map(len, labels))
    loss, grad = emulated.ctc_loss(logits, i4(*frames), padded, counts, zero_infinity=zero_infinity)
    expected = [-np.log(p) if p else 0.0 if zero_infinity else np.inf for p in chances]
    rounding = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(loss, expected, rtol=rounding, atol=rounding)
    np.testing.assert_allclose(grad, want, rtol=0, atol=rounding)
    assert not grad[:, np.array(chances) == 0].any()


GOOD = {"lengths": i4(7, 6, 7), "labels": i4([1, 2, 0], [2, 2, 4], [3, 1, 2]), "label_lengths": i4(2, 3, 2)}
BAD = {
    "a label beyond": ("labels", (1, 1), 5),
    "a huge label": ("labels", (1, 2), 2**31 - 1),
    "a negative label": ("labels", (1, 0), -3),
    "the blank": ("labels", (1, 1), 0),
    "too many frames": ("lengths", 1, 8),
    "a negative length": ("lengths", 1, -1),
    "too many labels": ("label_lengths", 1, 2**31 - 1),
    "less than no labels": ("label_lengths", 1, -(2**31)),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
def test_a_bad_value_on_the_device_loses_its_utterance_alone(emulated, bad):
    logits = np.random.default_rng(1).standard_normal((7, 3, 5))
    want_loss, want = emulated.ctc_loss(logits, **GOOD)
    name, at, value = bad
    arguments = {k: v.copy() for k, v in GOOD.items()}
    arguments[name][at] = value
    loss, grad = emulated.ctc_loss(logits, **arguments, zero_infinity=True)
    assert np.isfinite(want_loss).all() and np.isnan(loss[1])
    frames = min(max(arguments["lengths"][1], 0), 7)
    assert np.isnan(grad[:frames, 1]).all() and not grad[frames:, 1].any()
    for b in (0, 2):
        assert loss[b] == want_loss[b] and np.array_equal(grad[:, b], want[:, b])


@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("symbol", [0, 2, 4], ids=["blank", "label", "other"])
def test_nan_stays_in_its_utterance(emulated, value, symbol):
    logits = np.random.default_rng(1).standard_normal((7, 3, 5))
    want = emulated.ctc_loss(logits, **GOOD)
    logits[3, 1, symbol] = value
    loss, grad = emulated.ctc_loss(logits, **GOOD, zero_infinity=True)
    assert np.isnan(loss[1]) and np.isnan(grad[:6, 1]).all() and not grad[6:, 1].any()
    for b in (0, 2):
        assert loss[b] == want[0][b] and np.array_equal(grad[:, b], want[1][:, b])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_utterance_does_not_depend_on_its_neighbors(emulated, dtype):
    rng = np.random.default_rng(8)
    lengths, label_lengths = i4(40, 33, 40, 7, 0, 1), i4(19, 17, 0, 3, 0, 0)
    logits, labels = rng.standard_normal((40, 6, 9)).astype(dtype), rng.integers(1, 9, (6, 19), np.int32)
    loss, grad = emulated.ctc_loss(logits, lengths, labels, label_lengths)
    for b, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
        alone = one(emulated, logits[:frames, b], labels[b, :count])
        assert alone[0].tobytes() == loss[b].tobytes()
        assert alone[1].tobytes() == grad[:frames, b].tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_have_a_huge_loss(emulated, dtype):
    logits = np.zeros((3, 3), dtype)
    logits[1] = 1e30, -1e30, 0
    loss, grad = one(emulated, logits, (1, 2, 1))
    np.testing.assert_allclose(loss, 1e30, rtol=1e-6)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_constant_on_all_logits_changes_nothing(emulated, dtype, tolerance):
    logits = (
        np.round(np.random.default_rng(1).standard_normal((150, 6)) * 64) / 64
    )  # exact with the constant in float32
    label = np.random.default_rng(2).integers(1, 6, 40)
    want_loss, want_grad = one(emulated, logits.astype(dtype), label)
    loss, grad = one(emulated, (logits - 100_000).astype(dtype), label)
    np.testing.assert_allclose(loss, want_loss, rtol=tolerance)
    assert relative(grad, want_grad) <= tolerance


@pytest.mark.parametrize("index", range(5))
def test_float32_keeps_its_accuracy_with_torch_as_the_oracle(emulated, index):
    logits, labels, probes = MAKE["large_case"](index)
    frozen = np.load(HERE / "oracle" / "ctc_torch.npz")
    loss, grad = one(emulated, logits[:, 0], labels[0])
    np.testing.assert_allclose(loss, frozen[f"loss_{index}"], rtol=1e-6)
    errors = np.einsum("ptv,tv->p", probes.astype("f8"), grad.astype("f8")) - frozen[f"products_{index}"]
    assert np.sqrt(np.mean(errors**2)) <= 2e-6 * frozen[f"norm_{index}"]


def test_a_lattice_wider_than_a_block_agrees_with_the_reference(emulated):
    rng = np.random.default_rng(3)
    logits, label = rng.standard_normal((700, 7)), rng.integers(1, 7, 530)
    want_loss, want = one(pyasr.backend("numpy"), logits, label)
    loss, grad = one(emulated, logits, label)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-12)
    assert relative(grad, want) <= 1e-11


def test_two_thousand_frames_move_the_exponents_of_both_halves(emulated):
    rng = np.random.default_rng(5)
    logits, label = (20 * rng.standard_normal((2000, 5))).astype("f4"), rng.integers(1, 5, 20)
    loss, grad = one(emulated, logits, label)
    want_loss, want = one(pyasr.backend("numpy"), logits.astype("f8"), label)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    assert relative(grad, want) <= 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blank": 5}, r"blank must lie in \[0, 4\], got 5"),
        ({"zero_infinity": 1}, r"zero_infinity must be True or False, got int"),
        ({"lengths": i4(7, 7)}, r"lengths must have shape \(B,\) with B = 3 from logits, got \(2,\)"),
        ({"labels": np.ones((3, 3))}, r"labels must have dtype int32, got float64"),
        ({"logits": np.zeros((7, 3, 0))}, r"logits must have at least one symbol, got V = 0"),
        ({"logits": np.zeros((3, 7, 5)).transpose(1, 0, 2)}, r"logits must be C-contiguous"),
    ],
)
def test_bad_arguments_are_named(emulated, change, message):
    arguments = {"logits": np.zeros((7, 3, 5)), **GOOD, **change}
    with pytest.raises((ValueError, TypeError), match=f"^ctc_loss: {message}"):
        emulated.ctc_loss(**arguments)
