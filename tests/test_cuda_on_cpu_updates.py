"""The updates on the emulated device, beyond their cases: tables of segments, decisions of the device, the optimizers."""

import numpy as np
import pytest

import pyasr
from pyasr.losses import Ctc
from pyasr.models import lstm_ctc
from pyasr.ops import backend, host
from pyasr.ops._cuda import _update
from pyasr.ops._update import SEGMENT
from pyasr.optim import Adam, AdamW, Ema, RmsProp, Sgd

TABLE = np.array([(0, 6, 2, 3, 1.0, 1.0, 0), (16, 500, 5, 100, 0.5, 0.0, 1)], SEGMENT)


def vectors(count, size=520, dtype="float32"):
    rng = np.random.default_rng(size)
    return [rng.standard_normal(size).astype(dtype) for _ in range(count)]


def uploads(emulated, monkeypatch):
    seen, asarray = [], emulated.xp.asarray
    monkeypatch.setattr(emulated.device.xp, "asarray", lambda x: seen.append(1) or asarray(x))
    return seen


def test_a_table_is_uploaded_once_and_again_when_it_has_changed(emulated, monkeypatch):
    seen = uploads(emulated, monkeypatch)
    table, (value, grad) = TABLE.copy(), vectors(2)
    for factor in (0.25, 0.75):
        table["lr"] = factor
        before = value.copy()
        for _ in range(3):
            emulated.clip_sgd(value, grad, lr=0.1, segments=table)
        np.testing.assert_allclose(before[:6] - value[:6], 3 * 0.1 * factor * grad[:6], rtol=1e-4)
    assert len(seen) == 2


def test_few_tables_are_kept(emulated):
    value, grad = vectors(2)
    for factor in range(3 * _update.MOST_TABLES):
        table = TABLE.copy()
        table["lr"] = factor
        emulated.clip_sgd(value, grad, lr=0.0, segments=table)
    assert len(_update._tables[emulated.device]) == _update.MOST_TABLES


@pytest.mark.parametrize("kind", [None, "adaptive", "max_change"])
def test_slots_cover_every_segment_once_in_the_order_of_groups(kind):
    table = np.zeros(4, SEGMENT)
    table["rows"], table["columns"] = [1, 7, 2**40, 3], [5000, 300, 0, 1]
    table["length"] = [5000, 2100, 0, 3]
    table["offset"], table["group"] = [8, 5008, 7200, 7300], [1, 0, 3, 1]
    slots = _update.cut(table, kind, 1024)
    covered = np.zeros(8000, int)
    for s in slots:
        covered[s["begin"] : s["begin"] + s["length"]] += 1
    want = np.zeros(8000, int)
    want[8:7108] = want[7300:7303] = 1
    np.testing.assert_array_equal(covered, want)
    assert slots["length"].max() <= 1024
    together = [list(range(first, end)) for first, end in sorted({(int(s["first"]), int(s["end"])) for s in slots})]
    assert [i for some in together for i in some] == list(range(len(slots)))
    assert len(together) == {None: 3, "adaptive": 1 + 7 + 3, "max_change": 4}[kind]


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"segments": [1]}, TypeError, "segments must be None or an array of pyasr.params.SEGMENT, got list"),
        (
            {"segments": np.array([(0, 9, 3, 3, 1, 1, 0)], SEGMENT)},
            ValueError,
            r"segments\[0\] must lie within \[0, P = 5\]",
        ),
        (
            {"segments": np.array([(0, 1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1, 1, 1)], SEGMENT), "sum_squares": 1.0},
            ValueError,
            "sum_squares must be None where segments have several groups",
        ),
        (
            {"segments": np.array([(0, 1, 1, 1, 1, 1, 0), (1, 1, 1, 1, 1e38, 1, 1)], SEGMENT), "lr": 10.0},
            ValueError,
            r"lr of segments\[1\] must fit into float32, got 1e\+39",
        ),
        ({"value": [np.ones(5, "f4")]}, TypeError, "value must be a CUDA array, got list"),
    ],
)
def test_what_is_refused(emulated, options, error, text):
    value, grad = np.ones(5, "f4"), np.ones(5, "f4")
    given = {"value": value, "grad": grad, "lr": 0.1, "clip": ("norm", 1.0)} | options
    with pytest.raises(error, match=f"clip_sgd: {text}"):
        emulated.clip_sgd(given.pop("value"), given.pop("grad"), **given)
    np.testing.assert_array_equal(value, 1)


def test_a_known_sum_needs_no_barrier_of_the_grid(emulated):
    value, grad = vectors(2, 5003)
    with emulated.without(1702):
        info = emulated.clip_sgd(value, grad, lr=0.1, clip=("norm", 1.0), sum_squares=4.0)
    assert tuple(info) == (2.0, 0.5, False)


@pytest.mark.parametrize("known", [None, 4e76])
def test_an_entry_beyond_float32_is_skipped(emulated, known):
    value, grad = np.ones(2000, "f4"), np.zeros(2000, "f4")
    grad[1999] = 2e38
    info = emulated.clip_sgd(value, grad, lr=0.1, grad_scale=2.0, sum_squares=known)
    assert (info.norm, info.skipped) == (np.inf, True)
    np.testing.assert_array_equal(value, 1)
    grad[:] = 1e38  # a norm beyond float32 of entries that are not
    assert not emulated.clip_sgd(value, grad, lr=0.1, clip=("norm", 1.0)).skipped


@pytest.mark.parametrize("clip", [("norm", 1.0), ("adaptive", 0.1), ("max_change", 0.1, 0.2)])
def test_same_bits_on_every_device(emulated, clip):
    """The number of blocks, and whether the gradient stays on chip."""
    results = set()
    for device, resident in ((None, 1), (None, 3), ("sm_90", 7), ("sm_75", 2)):
        value, grad, mean, square = vectors(4, 3001)
        square **= 2
        emulated.properties(device)
        emulated.resident(resident)
        info = emulated.adam(value, grad, mean, square, step=2, lr=0.1, clip=clip, weight_decay=0.1)
        results.add(value.tobytes() + mean.tobytes() + square.tobytes() + repr(tuple(info)).encode())
    assert len(results) == 1


MAKERS = {
    "Sgd": lambda p, ema: Sgd(p, momentum=0.9, ema=ema, segments=p.segments(decay=lambda name: float(name == "w"))),
    "Adam": lambda p, ema: Adam(p, amsgrad=True, ema=ema),
    "AdamW": lambda p, ema: AdamW(p, clip=("adaptive", 0.1), ema=ema),
    "RmsProp": lambda p, ema: RmsProp(p, clip=("value", "rsqrt_d"), ema=ema),
}


@pytest.mark.parametrize("name", MAKERS)
def test_optimizers_train_as_on_the_cpu(emulated, name):
    """A regression in two parameters; six steps."""
    rng = np.random.default_rng(0)
    x, target = rng.standard_normal((40, 7)).astype("f4"), rng.standard_normal((40, 3)).astype("f4")
    ends, losses = [], []
    for ops in (emulated.backend, backend("numpy")):
        params = pyasr.Params(ops)
        params.declare("w", (3, 7))
        params.declare("b", (3,))
        params.init(seed=1)
        ema = Ema(params, decay=0.5)
        optimizer = MAKERS[name](params, ema)
        rows, wanted = map(ops.xp.asarray, (x, target))
        for _ in range(6):
            error = rows @ params["w"].T + params["b"] - wanted
            losses.append(float((error**2).sum()))
            params.grad[:] = 0
            params.grad_of("w")[:] = error.T @ rows
            params.grad_of("b")[:] = error.sum(0)
            optimizer.step(lr=0.02)
        ends.append(np.concatenate([host(params.value), host(ema.value)]))
    np.testing.assert_allclose(*ends, rtol=1e-4, atol=2e-5)  # a thousandth of a step: it is divided by small roots
    assert losses[5] < losses[0]


def test_a_small_recognizer_trains_as_on_the_cpu(emulated):
    """Every operation of the step is one of the column: LSTM, CTC, Adam."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((7, 2, 5)).astype("f4")
    lengths, labels = np.array([7, 5], "i4"), np.array([[1, 2], [2, -1]], "i4")
    x[5:, 1] = 0
    ends, losses = [], []
    for ops in (emulated.backend, backend("numpy")):
        params = pyasr.Params(ops)
        model = lstm_ctc(params, 5, 3, hidden=8, layers=1, dropout=0.0, stack=1)
        params.init(seed=1)
        criterion, optimizer = Ctc(ops), Adam(params)
        batch = tuple(map(ops.xp.asarray, (x, lengths, labels)))
        for _ in range(4):
            logits, saved = model.forward(*batch[:2])
            loss = criterion(logits, *batch[1:])
            losses.append(float(loss.value))
            params.grad[:] = 0
            model.backward(saved, loss.grad, need_dx=False)
            optimizer.step(lr=0.05)
        ends.append(host(params.value))
    assert losses[3] < 0.8 * losses[0]
    np.testing.assert_allclose(losses[:4], losses[4:], rtol=1e-4)
    np.testing.assert_allclose(*ends, atol=1e-3)  # Adam divides small gradients by their own size
