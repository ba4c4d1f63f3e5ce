"""ctc_loss: against enumeration, and their own definitions at the edges."""

import itertools
import os
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import why_not
from pyasr.ops.ctc import forward_backward, log_softmax

ORACLE = Path(__file__).parent / "oracle"
MAKE = runpy.run_path(str(ORACLE / "make_ctc.py"))
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
COMPILED = [c for c in COLUMNS if c != "numpy"]
needs_cpp = pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")


def i4(*values):
    return np.array(values, np.int32)


def ctc(column, logits, lengths, labels, label_lengths, **options):
    labels = np.asarray(labels, np.int32).reshape(len(lengths), -1)
    return pyasr.backend(column).ctc_loss(logits, i4(*lengths), labels, i4(*label_lengths), **options)


def one(column, logits, label, **options):
    """Loss and gradient [T,V] of one utterance with logits [T,V]."""
    loss, grad = ctc(column, logits[:, None].copy(), [len(logits)], [label], [len(label)], **options)
    return loss[0], grad[:, 0]


def relative(got, want):
    return np.linalg.norm(got - want) / np.linalg.norm(want)


# by definition


def collapse(path, blank):
    return tuple(k for k, _ in itertools.groupby(path) if k != blank)


def by_enumeration(logits, label, blank):
    """−log of the sum over all V^T paths that spell the label, and its gradient."""
    frames, symbols = logits.shape
    y = np.exp(log_softmax(logits))
    total, occupancy = 0.0, np.zeros_like(y)
    for path in itertools.product(range(symbols), repeat=frames):
        if collapse(path, blank) == tuple(label):
            p = np.prod(y[np.arange(frames), path])
            total += p
            occupancy[np.arange(frames), path] += p
    if total == 0:
        return np.inf, np.zeros_like(y)
    return -np.log(total), y - occupancy / total


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("blank", [0, 1, 2])
@pytest.mark.parametrize("frames", [1, 2, 4, 5])
def test_is_the_sum_over_all_alignments(column, blank, frames):
    logits = np.random.default_rng(frames).standard_normal((frames, 3))
    a, b = (k for k in range(3) if k != blank)
    for label in [(), (a,), (b, a), (a, a), (a, b, a), (b, b, b), (a, b, b, a)]:
        loss, grad = one(column, logits, label, blank=blank)
        want_loss, want_grad = by_enumeration(logits, label, blank)
        np.testing.assert_allclose(loss, want_loss, rtol=1e-13)
        np.testing.assert_allclose(grad, want_grad, rtol=0, atol=1e-14)


@pytest.mark.parametrize("column", COLUMNS)
def test_gradient_is_that_of_the_summed_loss(column):
    rng = np.random.default_rng(3)
    logits, direction = rng.standard_normal((2, 9, 2, 4))
    labels, h = [[1, 1, 3], [2, 3, 0]], 1e-5

    def losses(x):
        return ctc(column, x, [9, 6], labels, [3, 2])

    slope = (losses(logits + h * direction)[0].sum() - losses(logits - h * direction)[0].sum()) / (2 * h)
    np.testing.assert_allclose((losses(logits)[1] * direction).sum(), slope, rtol=1e-8)


ISA_PROGRAM = """
import numpy as np, runpy, sys
from pyasr import _cpu
from pyasr.ops import rows
from pyasr.ops._compare import worst_error
assert _cpu.isa() == sys.argv[1], _cpu.isa()
make, frozen = runpy.run_path(sys.argv[2] + "/make_ctc.py"), np.load(sys.argv[2] + "/ctc_torch.npz")
for index, (frames, count, _, _) in enumerate(make["LARGE"]):
    logits, labels, probes = make["large_case"](index)
    _, grad = _cpu.ctc_loss(logits, np.array([frames], "i4"), labels, np.array([count], "i4"))
    errors = np.einsum("ptv,tv->p", probes.astype("f8"), grad[:, 0].astype("f8")) - frozen[f"products_{index}"]
    assert np.sqrt(np.mean(errors**2)) <= 2e-6 * frozen[f"norm_{index}"], index
for name in ("ctc_loss", "softmax_cross_entropy"):
    row = rows()[name]
    for size in row.sizes:
        for dtype in row.dtypes:
            assert worst_error(row, "cpp", size, dtype) <= row.tolerance[dtype], (name, size, dtype)
print("right")
"""


def supported_isas():
    if "cpp" not in COLUMNS:
        return []
    from pyasr import _cpu

    return [isa for isa, supported in _cpu.isas().items() if supported]


@pytest.mark.parametrize("isa", supported_isas())
def test_every_instruction_set_is_right(isa):
    done = subprocess.run(
        [sys.executable, "-c", ISA_PROGRAM, isa, str(ORACLE)],
        cwd="/",  # not in the checkout, whose pyasr is not the installed one
        env={**os.environ, "PYASR_ISA": isa}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "right\n", done.stderr


# posteriors


def test_reference_posteriors_sum_to_one_before_they_are_made_to():
    logits, labels, _ = MAKE["large_case"](3)
    _, posterior, mass = forward_backward(log_softmax(logits[:, 0].astype(np.float64)), labels[0], 0)
    assert np.abs(mass - 1).max() <= 1e-8
    np.testing.assert_allclose(posterior.sum(1), 1, rtol=1e-12)


# So that renormalizing can hide no fault. In float32 the rounding of 2000 frames remains.
@needs_cpp
@pytest.mark.parametrize(
    ("dtype", "tolerance", "sums", "whole"), [("float64", 1e-12, 1e-14, 1e-8), ("float32", 2e-5, 1e-5, 1e-6)]
)
@pytest.mark.parametrize("index", range(5))
def test_native_posteriors_sum_to_one_before_they_are_made_to(index, dtype, tolerance, sums, whole):
    from pyasr import _cpu

    logits, labels, _ = MAKE["large_case"](index)
    lengths, label_lengths = i4(len(logits)), i4(labels.shape[1])
    _, grad, mass = _cpu._ctc_loss_and_mass(logits.astype(dtype), lengths, labels, label_lengths)
    assert np.abs(mass - 1).max() <= tolerance
    assert np.abs(grad.sum(-1, dtype=np.float64)).max() <= sums
    log_y = log_softmax(logits[:, 0].astype(np.float64))
    _, posterior, total = forward_backward(log_y, labels[0], 0)
    want = np.exp(log_y) - posterior * total[:, None]  # the reference's, not made one either
    assert relative(grad[:, 0], want) <= whole


# edges


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("zero_infinity", [False, True])
@pytest.mark.parametrize(
    ("frames", "label"),
    [(4, (1, 1, 1)), (2, (1, 2, 1)), (0, (1,)), (1, (2, 2))],
    ids=["repeats", "long", "none", "two"],
)
def test_labels_that_do_not_fit_have_no_gradient(column, frames, label, zero_infinity):
    loss, grad = one(column, np.ones((frames, 3)), label, zero_infinity=zero_infinity)
    assert loss == (0 if zero_infinity else np.inf)
    assert np.array_equal(grad, np.zeros((frames, 3)))


NONE = -np.inf
# frames, label, logits of the three symbols in every frame (blank first), probability, posteriors [T,3] or None for no path
BY_HAND = {
    "nothing in nothing": (0, (), [0, 0, 0], 1, np.zeros((0, 3))),
    "a label in nothing": (0, (1,), [0, 0, 0], 0, None),
    "repeats one frame short": (4, (1, 1, 1), [0, 0, 0], 0, None),
    "repeats that just fit": (5, (1, 1, 1), [0, 0, 0], 3**-5, np.eye(3)[[1, 0, 1, 0, 1]]),
    "labels that just fit": (3, (1, 2, 1), [0, 0, 0], 3**-3, np.eye(3)[[1, 2, 1]]),
    "a run of one label": (3, (1,), [0, 0, 0], 6 / 27, np.array([[3, 3, 0], [2, 4, 0], [3, 3, 0]]) / 6),
    "no label": (2, (), [0, 0, 0], 1 / 9, np.eye(3)[[0, 0]]),
    "blanks alone": (4, (), [0, NONE, NONE], 1, np.eye(3)[[0] * 4]),
    "blanks alone, but a label": (4, (2,), [0, NONE, NONE], 0, None),
    "a needed label without a chance": (3, (1, 2), [0, 0, NONE], 0, None),
    "a needed blank without a chance": (3, (1, 1), [NONE, 0, 0], 0, None),
    "another label without a chance": (2, (1,), [0, 0, NONE], 3 / 4, np.array([[1, 2, 0], [1, 2, 0]]) / 3),
    "no blank": (2, (2,), [NONE, 0, 0], 1 / 4, np.eye(3)[[2, 2]]),
}


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_lattices_by_hand_in_one_batch(column, dtype):
    frames, labels, weights, chances, posteriors = zip(*BY_HAND.values(), strict=True)
    T, B, U = max(frames), len(BY_HAND), max(map(len, labels))
    logits, padded = np.full((T, B, 3), np.nan, dtype), np.full((B, U), -77, np.int32)
    want = np.zeros((T, B, 3))
    for b, (t, label, w, posterior) in enumerate(zip(frames, labels, weights, posteriors, strict=True)):
        logits[:t, b], padded[b, : len(label)] = w, label
        if posterior is not None:
            want[:t, b] = np.exp(w) / np.exp(w).sum() - posterior
    for zero_infinity in (False, True):
        loss, grad = ctc(column, logits, frames, padded, [len(x) for x in labels], zero_infinity=zero_infinity)
        expected = [-np.log(p) if p else 0.0 if zero_infinity else np.inf for p in chances]
        rounding = 4 * np.finfo(dtype).eps
        np.testing.assert_allclose(loss, expected, rtol=rounding, atol=rounding)
        np.testing.assert_allclose(grad, want, rtol=0, atol=rounding)
        assert not grad[:, np.array(chances) == 0].any()


@pytest.mark.parametrize("column", COLUMNS)
def test_nothing_in_no_frames_is_certain(column):
    loss, grad = one(column, np.ones((0, 3)), ())
    assert loss == 0 and not np.signbit(loss)
    assert grad.shape == (0, 3)


@pytest.mark.parametrize("column", COLUMNS)
def test_an_empty_label_is_all_blanks(column):
    logits = np.random.default_rng(0).standard_normal((5, 4))
    loss, grad = one(column, logits, ())
    y = np.exp(log_softmax(logits))
    np.testing.assert_allclose(loss, -np.log(y[:, 0]).sum(), rtol=1e-14)
    np.testing.assert_allclose(grad, y - np.eye(4)[0], atol=1e-15)


@pytest.mark.parametrize("column", COLUMNS)
def test_one_symbol_is_the_blank(column):
    loss, grad = one(column, np.ones((3, 1)), ())
    assert loss == 0
    assert np.abs(grad).max() <= 1e-15


@pytest.mark.parametrize("column", COLUMNS)
def test_padding_is_neither_read_nor_written(column):
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((8, 3, 5)).astype(np.float32)
    spoiled = logits.copy()
    spoiled[5:, 1], spoiled[0:, 2] = np.nan, np.inf
    labels, garbage = i4([1, 2, 2], [3, 0, 0], [0, 0, 0]), i4([1, 2, 2], [3, -9, 99], [0, 7, -1])
    want = ctc(column, logits, [8, 5, 0], labels, [3, 1, 0])
    got = ctc(column, spoiled, [8, 5, 0], garbage, [3, 1, 0])
    for g, w in zip(got, want, strict=True):
        assert g.tobytes() == w.tobytes()
    assert not got[1][5:, 1].any() and not got[1][:, 2].any()


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("value", [np.nan, np.inf], ids=str)
@pytest.mark.parametrize("symbol", [0, 2, 4], ids=["blank", "label", "other"])
def test_nan_stays_in_its_utterance(column, value, symbol):
    rng = np.random.default_rng(1)
    logits = rng.standard_normal((7, 3, 5))
    want = ctc(column, logits, [7, 6, 7], [[1, 2], [2, 2], [3, 1]], [2, 2, 2])
    logits[3, 1, symbol] = value
    loss, grad = ctc(column, logits, [7, 6, 7], [[1, 2], [2, 2], [3, 1]], [2, 2, 2], zero_infinity=True)
    assert np.isnan(loss[1]) and np.isnan(grad[:6, 1]).all() and not grad[6:, 1].any()
    for b in (0, 2):
        assert loss[b] == want[0][b] and np.array_equal(grad[:, b], want[1][:, b])


@pytest.mark.parametrize("column", COLUMNS)
def test_a_needed_logit_of_minus_infinity_is_impossible(column):
    logits = np.random.default_rng(1).standard_normal((6, 4))
    logits[:, 2] = -np.inf
    loss, grad = one(column, logits, (1, 2, 3))
    assert loss == np.inf and not grad.any()
    loss, grad = one(column, logits, (1, 3))
    assert np.isfinite(loss) and np.isfinite(grad).all() and not grad[:, 2].any()
    without = one(column, np.delete(logits, 2, axis=1).copy(), (1, 2))
    np.testing.assert_allclose(loss, without[0], rtol=1e-13)
    np.testing.assert_allclose(np.delete(grad, 2, axis=1), without[1], atol=1e-13)


@pytest.mark.parametrize("column", COLUMNS)
def test_minus_infinity_forces_the_path(column):
    logits = np.full((5, 3), -np.inf)
    logits[np.arange(5), [1, 0, 1, 2, 2]] = 3.0  # the only path, which spells 1 1 2
    loss, grad = one(column, logits, (1, 1, 2))
    assert abs(loss) <= 1e-14 and np.abs(grad).max() <= 1e-14
    assert one(column, logits, (1, 2))[0] == np.inf


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("float64", 1e-12)])
def test_a_constant_on_all_logits_changes_nothing(column, dtype, tolerance):
    logits = (
        np.round(np.random.default_rng(1).standard_normal((300, 6)) * 64) / 64
    )  # exact with the constant in float32
    label = np.random.default_rng(2).integers(1, 6, 70)
    want_loss, want_grad = one(column, logits.astype(dtype), label)
    loss, grad = one(column, (logits - 100_000).astype(dtype), label)
    np.testing.assert_allclose(loss, want_loss, rtol=tolerance)
    assert relative(grad, want_grad) <= tolerance


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_huge_logits_have_a_huge_loss(column, dtype):
    logits = np.zeros((3, 3), dtype)
    logits[1] = 1e30, -1e30, 0
    loss, grad = one(column, logits, (1, 2, 1))
    np.testing.assert_allclose(loss, 1e30, rtol=1e-6)
    assert np.isfinite(grad).all()


@pytest.mark.parametrize("column", COMPILED)
def test_ten_thousand_frames(column):
    rng = np.random.default_rng(5)
    logits, label = rng.standard_normal((10_000, 5)).astype(np.float32), rng.integers(1, 5, 300)
    loss, grad = one(column, logits, label)
    want_loss, want_grad = one(column, logits.astype(np.float64), label)
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    assert relative(grad, want_grad) <= 1e-5


@needs_cpp
@pytest.mark.parametrize("factor", [1, 50])
def test_ten_thousand_frames_of_two_thousand_labels(factor):
    rng, h = np.random.default_rng(5), 1e-5
    logits, label = (factor * rng.standard_normal((10_000, 30))).astype(np.float32), rng.integers(1, 30, 2000)
    loss, grad = one("cpp", logits, label)
    wide = logits.astype(np.float64)
    want_loss, want = one("cpp", wide, label)
    assert np.isfinite(want_loss) and np.isfinite(want).all() and np.abs(want.sum(1)).max() <= 1e-14
    np.testing.assert_allclose(loss, want_loss, rtol=1e-6)
    assert relative(grad, want) <= 2e-6
    up, down = (one("cpp", wide + sign * h * want, label)[0] for sign in (1, -1))  # of its own size along itself
    np.testing.assert_allclose((up - down) / (2 * h), (want * want).sum(), rtol=1e-7)


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_utterance_does_not_depend_on_its_neighbors(column, dtype):
    rng = np.random.default_rng(8)
    lengths, label_lengths = [40, 33, 40, 7, 0], [19, 17, 0, 3, 0]
    logits, labels = rng.standard_normal((40, 5, 9)).astype(dtype), rng.integers(1, 9, (5, 19))
    loss, grad = ctc(column, logits, lengths, labels, label_lengths)
    for threads in (1, 2, 4):
        again = ctc(column, logits, lengths, labels, label_lengths, threads=threads)
        assert [a.tobytes() for a in again] == [loss.tobytes(), grad.tobytes()]
    for b, (frames, count) in enumerate(zip(lengths, label_lengths, strict=True)):
        alone = one(column, logits[:frames, b], labels[b, :count])
        assert alone[0].tobytes() == loss[b].tobytes()
        assert alone[1].tobytes() == grad[:frames, b].tobytes()


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": i4([1, 0], [1, 1])}, r"label_lengths\[0\] = 2 of labels\[0\] .* blank = 0, got 0 at \(0, 1\)"),
        ({"labels": i4([1, 1], [-1, 1])}, r"labels\[1\] must lie in \[0, V = 3\) .* got -1 at \(1, 0\)"),
        ({"labels": i4([1, 3], [1, 1])}, r"labels\[0\] must lie in \[0, V = 3\) .* got 3 at \(0, 1\)"),
        ({"labels": i4([1, 2], [1, 1]), "blank": 2}, r"differ from blank = 2, got 2 at \(0, 1\)"),
        ({"lengths": i4(4, 5)}, r"lengths must lie in \[0, T = 4\], got 5 at 1"),
        ({"lengths": i4(-1, 4)}, r"lengths must lie in \[0, T = 4\], got -1 at 0"),
        ({"label_lengths": i4(3, 1)}, r"label_lengths must lie in \[0, U = 2\], got 3 at 0"),
        ({"label_lengths": i4(1, -1)}, r"label_lengths must lie in \[0, U = 2\], got -1 at 1"),
        ({"blank": 3}, r"blank must lie in \[0, 2\], got 3"),
        ({"logits": np.zeros((4, 2, 0))}, r"logits must have at least one symbol"),
    ],
)
def test_bad_labels_and_lengths_are_named(column, change, message):
    good = {"logits": np.zeros((4, 2, 3)), "lengths": i4(4, 4), "labels": i4([1, 2], [2, 1]), "label_lengths": i4(2, 1)}
    with pytest.raises(ValueError, match="^ctc_loss: .*" + message):
        pyasr.backend(column).ctc_loss(**{**good, **change})
