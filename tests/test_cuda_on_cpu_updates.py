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


def test_a_table_is_not_uploaded_while_a_graph_is_captured(emulated, monkeypatch):
    value, grad = vectors(2)
    emulated.clip_sgd(value, grad, lr=0.1, segments=TABLE)
    monkeypatch.setattr(type(emulated.device), "capturing", True)
    emulated.clip_sgd(value, grad, lr=0.1, segments=TABLE)
    before = value.copy()
    with pytest.raises(RuntimeError, match="clip_sgd: an upload can not be captured in a CUDA graph"):
        emulated.clip_sgd([value], [grad], lr=0.1)
    np.testing.assert_array_equal(value, before)


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
        ({"value": [np.ones(5, "f4")]}, TypeError, "grad must be a list of arrays, as value is, got ndarray"),
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


@pytest.mark.parametrize("shapes", [((9001, 3),), ((5, 1023), (2, 1024), (70, 1), (1, 3000)), ((6, 0), (8, 2))])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_short_rows_are_bundled_as_a_warp_each(emulated, shapes, dtype):
    """16 of them to a bundle where there are more than 8192, and beside rows that a block takes; for any grid."""
    params, rng = pyasr.Params(backend("numpy"), dtype), np.random.default_rng(0)
    for i, shape in enumerate(shapes):
        params.declare(f"w{i}", shape)
    params.init()
    params.value[:], grad = rng.standard_normal((2, params.value.size))
    options = {"lr": 0.1, "clip": ("adaptive", 0.3), "grad_scale": 0.7, "segments": params.segments()}
    results = set()
    for resident, kind in ((1, "fair"), (3, "block"), (40, "warp")):
        emulated.resident(resident)
        emulated.schedule(kind, resident)
        value = params.value.copy()
        info = tuple(emulated.clip_sgd(value, grad.astype(dtype), **options))
        results.add((value.tobytes(), info))
    assert len(results) == 1
    want = params.value.copy()
    np.testing.assert_allclose(info, backend("numpy").clip_sgd(want, grad.astype(dtype), **options), rtol=1e-6)
    np.testing.assert_allclose(value, want, rtol=1e-5, atol=1e-6)


def count(n, dtype="f4"):
    return np.full(1, n, dtype)


def one(x):
    return np.array(x, np.float64)


ROWS = {
    "clip_sgd": (2, {"dampening": 0.5, "momentum": 0.9}),
    "adam": (4, {}),
    "rmsprop": (3, {}),
}


def call(ops, row, **options):
    """A step of a row on the vectors of its own; (info, what they are afterwards)."""
    vectors, given = ROWS[row]
    arrays = list(map(np.abs, example(vectors + 1)))
    arrays[1][::2] *= -1
    buffer = {"buffer": arrays.pop()} if "momentum" in given else {}
    info = getattr(ops, row)(*arrays[:vectors], lr=0.1, **given, **buffer, **options)
    return info, [*arrays, *buffer.values()]


def example(count):
    return vectors(count, 3001)


@pytest.mark.parametrize("row", ["clip_sgd", "rmsprop"])
@pytest.mark.parametrize("known", [None, 7.0])
@pytest.mark.parametrize("nonfinite", ["skip", "propagate"])
def test_numbers_on_the_device_give_the_bits_of_numbers_on_the_host(emulated, row, known, nonfinite):
    options = {"clip": ("norm", 1.0), "nonfinite": nonfinite}
    host, want = call(emulated, row, grad_scale=0.3, sum_squares=known, **options)
    device, got = call(
        emulated, row, grad_scale=one(0.3), sum_squares=None if known is None else one([known]), **options
    )
    assert tuple(device) == tuple(host)
    assert [a.tobytes() for a in got] == [a.tobytes() for a in want]


@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("known", [None, 0.0])
def test_a_scale_that_is_not_finite_skips_the_step_and_does_not_count_it(emulated, row, bad, known):
    """1e39 is not finite in float32; 0 times anything is, so the sum of squares does not show it."""
    done = {} if row == "rmsprop" else {"step": count(4)}
    rest = {"grad_scale": one(bad), "sum_squares": None if known is None else one(known)} | done
    before = call(emulated, row, grad_scale=one(np.nan), **done)[1]
    info, after = call(emulated, row, **rest)
    assert info.skipped
    assert not np.isfinite(info.norm)
    for a, b in zip(after, before, strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=rf"{row}: grad must be finite, got a norm of (nan|inf)"):
        call(emulated, row, nonfinite="raise", **rest)
    assert done.get("step", 4) == 4
    info, after = call(emulated, row, nonfinite="propagate", **rest)
    assert not info.skipped
    assert not np.isfinite(after[0]).all()
    assert done.get("step", 5) == 5


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("betas", [{}, {"beta1": 0.0, "beta2": 0.0}])
def test_the_device_counts_the_updates_of_adam(emulated, dtype, betas):
    device, host = (list(map(np.abs, vectors(4, 700, dtype))) for _ in range(2))
    done = count(0, dtype)
    for step in range(1, 6):
        emulated.adam(*device, step=done, lr=0.1, grad_scale=one(0.5), **betas)
        emulated.adam(*host, step=step, lr=0.1, grad_scale=0.5, **betas)
        assert done == step
    np.testing.assert_allclose(
        device, host, rtol=1e-5 if dtype == "f4" else 1e-12, atol=1e-6 if dtype == "f4" else 1e-14
    )
    assert done.dtype == dtype


def test_a_count_below_zero_counts_as_zero_and_nan_stays(emulated):
    for begin, end in ((-3, 1), (np.nan, np.nan)):
        value, grad, buffer = vectors(3, 9)
        done = count(begin)
        emulated.clip_sgd(value, grad, buffer=buffer, lr=0.1, momentum=0.9, dampening=0.5, step=done)
        np.testing.assert_array_equal(done, end)
        assert (buffer == grad).all() == (end == 1)  # the first step has no dampening


def test_no_block_reads_the_count_that_another_has_raised(emulated):
    """With a known sum nothing else would make the grid meet."""

    def bits(kind, seed):
        emulated.schedule(kind, seed)
        done = count(0)
        info, arrays = call(emulated, "adam", step=done, sum_squares=one(4.0))
        return [a.tobytes() for a in (*arrays, done)], tuple(info)

    orders = [(kind, seed) for kind in ("fair", "block", "warp") for seed in range(4)]
    right = bits(*orders[0])
    assert all(bits(*order) == right for order in orders)
    with emulated.without(1702):
        assert any(bits(*order) != right for order in orders)


@pytest.mark.parametrize(
    ("options", "error", "text"),
    [
        ({"step": count(0, "f8")}, TypeError, "step must have dtype float32, got float64"),
        ({"step": np.zeros(2, "f4")}, ValueError, r"step must have shape \(\) or \(1,\), got \(2,\)"),
        ({"grad_scale": np.ones(1, "f4")}, TypeError, "grad_scale must have dtype float64, got float32"),
        ({"grad_scale": np.ones((1, 1))}, ValueError, r"grad_scale must have shape \(\) or \(1,\), got \(1, 1\)"),
        ({"sum_squares": np.ones(0)}, ValueError, r"sum_squares must have shape \(\) or \(1,\), got \(0,\)"),
        ({"sum_squares": np.ones(1, "i8")}, TypeError, "sum_squares must have dtype float64, got int64"),
        ({"grad_scale": "1"}, TypeError, "grad_scale must be a real number, got str"),
    ],
)
def test_what_is_refused_of_numbers_on_the_device(emulated, options, error, text):
    with pytest.raises(error, match=f"adam: {text}"):
        call(emulated, "adam", **{"step": count(0), **options})


def test_numbers_on_the_device_share_no_memory_with_the_vectors(emulated):
    value, grad, mean = (np.ones(4) for _ in range(3))
    emulated.adam(value, grad, mean, np.ones(4), step=1, lr=0.1, grad_scale=one(1.0))
    with pytest.raises(ValueError, match="adam: mean and step must not share memory"):
        emulated.adam(value, grad, mean, np.ones(4), step=mean[3:], lr=0.1)
    with pytest.raises(ValueError, match="clip_sgd: value and grad_scale must not share memory"):
        emulated.clip_sgd(value, grad, lr=0.1, grad_scale=value[:1])
    read_only = np.zeros(1)
    read_only.flags.writeable = False
    with pytest.raises(ValueError, match="adam: step must be writable, got a read-only array"):
        emulated.adam(value, grad, mean, np.ones(4), step=read_only, lr=0.1)


def test_a_report_is_the_three_numbers(emulated):
    for ops in (emulated, backend("numpy")):
        info = ops.clip_sgd(np.zeros(2), np.array([3.0, 4.0]), lr=1.0, clip=("norm", 2.5))
        assert info.report.dtype == np.float64
        np.testing.assert_array_equal(info.report, [5.0, 0.5, 0.0])


OPTIMIZERS = {
    "Sgd": lambda p: Sgd(p, momentum=0.9, dampening=0.5),
    "Adam": lambda p: Adam(p, amsgrad=True),
    "AdamW": lambda p: AdamW(p, clip=("max_change", 0.05, 0.1)),
    "RmsProp": lambda p: RmsProp(p, momentum=0.9, centered=True),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_fifty_steps_on_the_device_without_a_look_are_those_on_the_cpu(emulated, name, dtype):
    """Two of them skipped, by a gradient and, on the device, by a scale."""

    def train(ops, *, device):
        rng, params = np.random.default_rng(0), pyasr.Params(ops, dtype=dtype)
        params.declare("w", (5, 7))
        params.init(seed=1)
        optimizer, reports = OPTIMIZERS[name](params), []
        for step in range(50):
            grad = rng.standard_normal(params.grad.shape).astype(dtype)
            grad[3] = np.inf if step == 20 else grad[3]
            params.grad[...] = ops.xp.asarray(grad)
            scale = 1.0 / (1 + step % 3)
            if device:
                scale = ops.xp.asarray(np.nan if step == 30 else scale)
            if device or step != 30:
                reports.append(optimizer.step(0.01, scale).report)
        return [params.value, *(x for k, x in optimizer.state.items() if k != "count")], reports

    with emulated.arrays["unread"]():
        ends, reports = train(emulated.backend, device=True)
    ends, reports = [host(x) for x in ends], [host(x) for x in reports]
    assert [step for step, (_, _, skipped) in enumerate(reports) if skipped] == [20, 30]
    wanted, wanted_reports = train(backend("numpy"), device=False)
    tolerance = (
        1e-3 if dtype == "float32" else 1e-10
    )  # roots of small squares in RMSprop, by whose difference it divides
    np.testing.assert_allclose(ends, wanted, rtol=tolerance, atol=tolerance / 100)
    np.testing.assert_allclose([*reports[:30], *reports[31:]], wanted_reports, rtol=1e-5)


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
