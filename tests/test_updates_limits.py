"""clip_sgd, adam and rmsprop at the limits: of a bounded step, of segment tables, of what float32 holds."""

import itertools
import math

import numpy as np
import pytest

import pyasr
from pyasr.counter import stream
from pyasr.ops import rows, why_not
from pyasr.ops._op import has
from pyasr.params import SEGMENT

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
STATES = {"clip_sgd": ("buffer",), "adam": ("mean", "square", "largest"), "rmsprop": ("square", "buffer", "mean")}
OWN = {"clip_sgd": {"momentum": 0.9}, "adam": {"step": 3}, "rmsprop": {"momentum": 0.5}}
CELLS = [(row, c) for row in STATES for c in COLUMNS if has(rows()[row], c)]
every_cell = pytest.mark.parametrize(("row", "column"), CELLS)
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def step(row, column, arrays, **options):
    return getattr(pyasr.backend(column), row)(**arrays, **{"lr": 0.1, **OWN[row], **options})


def arrays_of(row, size, dtype, **entries):
    return {name: np.full(size, entries.get(name, 0.0), dtype) for name in ("value", "grad", *STATES[row])}


def message(call):
    with pytest.raises((TypeError, ValueError)) as e:
        call()
    return str(e.value)


# --- segments

HUGE = [(2**60, 0), (2**59, 0), (2**40, 0), (2**31, 0), (2**30, 0), (0, 2**60), (0, 0)]


@every_cell
@pytest.mark.parametrize("shape", HUGE, ids=str)
@pytest.mark.parametrize("clip", [None, ("norm", 1.0), ("adaptive", 0.1), ("max_change", 1.0, 1.0)], ids=str)
def test_a_segment_of_nothing_may_have_any_number_of_rows(row, column, shape, clip):
    table = np.zeros(2, SEGMENT)
    table["lr"] = table["decay"] = 1
    table["rows"], table["columns"] = (shape[0], 1), (shape[1], 4)
    table["length"] = 0, 4
    some, want = (arrays_of(row, 4, "float64", value=1.0, grad=1.0) for _ in range(2))
    assert step(row, column, some, clip=clip, segments=table) == step(row, column, want, clip=clip, segments=table[1:])
    assert all((some[name] == want[name]).all() for name in want)
    assert step(row, column, arrays_of(row, 0, "float64"), clip=clip, segments=table[:1]) == (0, 1, False)


@every_cell
@pytest.mark.parametrize("shape", [(2**40, 0), (2**30, 0), (0, 2**40)], ids=str)
def test_so_may_an_array_of_a_list(row, column, shape):
    arrays = {name: [np.zeros(shape), np.ones(3)] for name in ("value", "grad", *STATES[row])}
    assert step(row, column, arrays, clip=("adaptive", 0.1)).norm == pytest.approx(math.sqrt(3))


@every_column
def test_every_entry_a_group_of_its_own(column):
    table = np.zeros(40_000, SEGMENT)
    table["offset"] = table["group"] = np.arange(40_000)
    table["length"] = table["rows"] = table["columns"] = table["lr"] = 1
    value, grad = np.zeros(40_000), stream("linear").standard_normal(40_000)
    info = pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", 0.5), segments=table)
    np.testing.assert_allclose(value, np.clip(grad, -0.5, 0.5), rtol=1e-14)
    assert info.scale == pytest.approx(0.5 / np.abs(grad).max())


@every_column
def test_groups_need_not_be_neighbors(column):
    grad = stream("groups").standard_normal(60)
    group = stream("groups", 1).integers(0, 7, 60)
    table = np.zeros(60, SEGMENT)
    table["offset"], table["group"] = np.arange(60), group
    table["length"] = table["rows"] = table["columns"] = table["lr"] = 1
    value = np.zeros(60)
    pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", 1.0), segments=table)
    for g in range(7):
        norm = np.linalg.norm(grad[group == g])
        np.testing.assert_allclose(value[group == g], grad[group == g] * min(1, 1 / norm), rtol=1e-13)


# --- max_change

LR, WD, L1, SCALE = 0.1, 0.3, 0.2, 0.5
DECAYS = {
    "none": {},
    "L2": {"weight_decay": WD},
    "decoupled": {"weight_decay": WD, "decoupled": True},
    "l1": {"l1": L1},
    "proximal": {"weight_decay": WD, "l1": L1, "proximal": True},
    "both": {"weight_decay": WD, "decoupled": True, "l1": L1, "proximal": True},
}


def free_step(row, a, lr, decay, given):
    """What max_change bounds: what a piece is to lose, after the textbooks."""
    g = SCALE * a["grad"]
    if not given.get("decoupled"):
        g = g + given.get("weight_decay", 0) * decay * a["value"]
    if not given.get("proximal"):
        g = g + given.get("l1", 0) * decay * np.sign(a["value"])
    if row == "clip_sgd":
        d = 0.9 * a["buffer"] + g
    elif row == "adam":
        mean, square = 0.9 * a["mean"] + 0.1 * g, 0.999 * a["square"] + 0.001 * g**2
        square = np.maximum(square, a["largest"])
        d = mean / (1 - 0.9**3) / (np.sqrt(square / (1 - 0.999**3)) + 1e-8)
    else:
        square, mean = 0.99 * a["square"] + 0.01 * g**2, 0.99 * a["mean"] + 0.01 * g
        d = 0.5 * a["buffer"] + g / (np.sqrt(square - mean**2) + 1e-8)
    return lr * d + (lr * given["weight_decay"] * decay * a["value"] if given.get("decoupled") else 0)


@every_cell
@every_dtype
@pytest.mark.parametrize("decay", DECAYS)
def test_max_change_by_its_definition(row, column, dtype, decay):
    given = DECAYS[decay]
    if (row != "clip_sgd" and "l1" in given) or (row == "rmsprop" and "decoupled" in given):
        pytest.skip("no option of this row")
    table = np.zeros(3, SEGMENT)
    table["offset"], table["length"], table["rows"] = (0, 40, 700), (40, 660, 9), 1
    table["columns"], table["lr"], table["decay"] = table["length"], (1, 0.5, 2), (1, 2, 0.5)
    parts = [slice(s["offset"], s["offset"] + s["length"]) for s in table]
    for per, total in ((0.05, 9.0), (9.0, 0.06), (0.05, 0.06), (9e9, 9e9)):
        arrays = {name: stream("change", name).standard_normal(709) for name in ("value", "grad", *STATES[row])}
        for name in ("square", "largest"):
            if name in arrays:
                arrays[name] = arrays[name] ** 2 + 1
        if "mean" in arrays:
            arrays["mean"] /= 10
        arrays = {name: x.astype(dtype) for name, x in arrays.items()}
        before = {name: x.astype("f8") for name, x in arrays.items()}
        steps = [
            free_step(row, {name: x[part] for name, x in before.items()}, LR * s["lr"], s["decay"], given)
            for part, s in zip(parts, table, strict=True)
        ]
        norms = np.array([np.linalg.norm(s) for s in steps])
        each = np.minimum(1, per / norms)
        each *= min(1, total / np.linalg.norm(each * norms))
        info = step(row, column, arrays, clip=("max_change", per, total), segments=table, grad_scale=SCALE, **given)
        moved = []
        for part, s, d, c in zip(parts, table, steps, each, strict=True):
            want = before["value"][part] - c * d
            moved.append(np.linalg.norm(want - before["value"][part]))
            if given.get("proximal"):
                want = np.sign(want) * np.maximum(np.abs(want) - LR * s["lr"] * c * L1 * s["decay"], 0)
            np.testing.assert_allclose(arrays["value"][part], want, rtol=0, atol=2e-6 if dtype == "float32" else 1e-13)
        assert max(moved) <= per * (1 + 1e-9) and np.linalg.norm(moved) <= total * (1 + 1e-9)
        assert info.scale == pytest.approx(each.min(), rel=1e-5)


@every_column
def test_max_change_bounds_a_step_that_is_all_decay(column):
    for row, more in (("clip_sgd", {}), ("adam", {"mean": np.zeros(100), "square": np.zeros(100), "step": 1})):
        if has(rows()[row], column):
            value = np.full(100, 100.0)
            options = {"lr": 0.1, "weight_decay": 1.0, "decoupled": True, "clip": ("max_change", 0.75, 2.0)}
            getattr(pyasr.backend(column), row)(value, np.ones(100), **options, **more)
            assert np.linalg.norm(value - 100) == pytest.approx(0.75, rel=1e-12)


# --- what float32 holds

TOO_LARGE = {
    "clip_sgd": ("lr", "weight_decay", "l1", "grad_scale", "momentum", "dampening"),
    "adam": ("lr", "grad_scale", "eps"),
    "rmsprop": ("lr", "grad_scale", "eps", "momentum"),
}


@pytest.mark.parametrize(("row", "column", "name"), [(r, c, n) for r, c in CELLS for n in TOO_LARGE[r]])
def test_numbers_that_float32_cannot_hold_are_refused_beside_float32(row, column, name):
    for sign in (1, -1) if name in ("lr", "grad_scale", "dampening") else (1,):
        arrays = arrays_of(row, 3, "float32")
        got = message(lambda: step(row, column, arrays, **{name: sign * 1e39}))  # noqa: B023
        assert got == f"{row}: {name} must fit into float32, got {sign * 1e39!r}"
        wide = arrays_of(row, 3, "float64")
        step(row, column, wide, **{name: sign * 1e39})
        for most in (float(np.finfo("f4").max), 1e38):
            step(row, column, arrays, **{name: sign * most})
        assert all(np.isfinite(x).all() for x in (*arrays.values(), *wide.values()))


@every_column
def test_products_that_float32_cannot_hold_are_named(column):
    def call(dtype="f4", factor=1.0, **options):
        table = np.zeros(2, SEGMENT)
        table["offset"], table["length"], table["rows"], table["columns"] = (0, 2), (2, 1), 1, (2, 1)
        table["lr"] = table["decay"] = 1, factor
        arrays = np.zeros(3, dtype), np.zeros(3, dtype)
        options = {"lr": 0.1, **options, **({} if factor == 1 else {"segments": table})}
        return pyasr.backend(column).clip_sgd(*arrays, **options)

    for name in ("lr", "weight_decay", "l1"):
        words = f"clip_sgd: {name} of segments[1] must fit into float32, got 1e+40"
        assert message(lambda: call(factor=1e20, **{name: 1e20})) == words  # noqa: B023
        call("f8", factor=1e20, **{name: 1e20})
    decay = {"lr": 1e20, "weight_decay": 1e20, "decoupled": True}
    assert message(lambda: call(**decay)) == "clip_sgd: lr * weight_decay must fit into float32, got 1e+40"
    decay = {"lr": 1e200, "weight_decay": 1e200, "decoupled": True}
    assert message(lambda: call("f8", **decay)) == "clip_sgd: lr * weight_decay must fit into float64, got inf"
    words = "clip_sgd: lr * weight_decay of segments[1] must fit into float32, got 4e+38"
    assert message(lambda: call(lr=1e19, weight_decay=1e19, factor=2.0, decoupled=True)) == words
    call(lr=-1e19, weight_decay=1e19, decoupled=True)


@every_cell
@every_dtype
@pytest.mark.parametrize("clip", [None, ("norm", 1.0), ("value", 1.0), ("adaptive", 1.0), ("max_change", 1.0, 1.0)])
def test_a_gradient_that_grad_scale_makes_infinite_is_not_finite(row, column, dtype, clip):
    most = float(np.finfo(dtype).max)
    for known in (None, 1e50):
        arrays = arrays_of(row, 40, dtype, value=1.0, grad=1.0)
        arrays["grad"][7] = -most / 2
        before = {name: x.tobytes() for name, x in arrays.items()}
        options = {"clip": clip, "grad_scale": -4.0}
        if known is not None and dtype == "float32" and (clip is None or clip[0] in ("norm", "value")):
            options["sum_squares"] = float(np.sum(arrays["grad"].astype("f8") ** 2))
        info = step(row, column, arrays, **options)
        assert info == (math.inf, 1.0, True)
        assert message(lambda: step(row, column, arrays, nonfinite="raise", **options)) == (  # noqa: B023
            f"{row}: grad must be finite, got a norm of inf"
        )
        assert before == {name: x.tobytes() for name, x in arrays.items()}
        assert not step(row, column, arrays, nonfinite="propagate", **options).skipped


@every_cell
def test_a_norm_beyond_float32_of_entries_within_is_finite(row, column):
    arrays = arrays_of(row, 1000, "float32", grad=3e38)
    info = step(row, column, arrays, clip=("norm", 1.0))
    assert not info.skipped and info.norm == pytest.approx(math.sqrt(1000) * 3e38, rel=1e-6)
    assert all(np.isfinite(x).all() for x in arrays.values())


@every_column
@pytest.mark.parametrize(("size", "entry", "limit"), [(10**6, 3e38, 1.0), (4, 3e38, 1e-6), (4, 1e20, 1e-31)])
def test_a_factor_that_float32_rounds_as_a_subnormal_is_applied_exactly(column, size, entry, limit):
    value, grad = np.zeros(size, "f4"), np.full(size, entry, "f4")
    pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", limit))
    assert np.linalg.norm(value.astype("f8")) == pytest.approx(limit, rel=1e-6)
    np.testing.assert_allclose(value, limit / math.sqrt(size), rtol=1e-6)


@every_cell
@pytest.mark.parametrize("clip", [("norm", 1e-5), ("adaptive", 1e-4), ("max_change", 1.0, 1.0), None], ids=str)
def test_every_rule_takes_a_subnormal_factor(row, column, clip):
    """Gradients near the largest float32 and a grad_scale below the least normal one: as the same gradient of size 1."""
    base = stream("subnormal", row).uniform(-1, 1, 1000).astype("f4")
    ends = []
    for power in (0, 127):
        arrays = arrays_of(row, 1000, "float32", value=0.5)
        arrays["grad"][:] = 2.0**power * base
        step(row, column, arrays, clip=clip, grad_scale=2.0**-power)
        ends.append(arrays)
    for name in set(ends[0]) - {"grad"}:
        np.testing.assert_allclose(ends[1][name], ends[0][name], rtol=2e-6, atol=2e-7 if name == "value" else 0)


@every_cell
def test_squares_beyond_float32_freeze_their_entry(row, column):
    """Written in the docstring of adam and rmsprop: the same in every column."""
    if row == "clip_sgd":
        pytest.skip("keeps no squares")
    arrays = arrays_of(row, 3, "float32", value=1.0, grad=1e20)
    arrays["grad"][1] = 1e25
    arrays |= {
        name: None for name in ("buffer", "mean", "largest") if name in arrays and (row, name) != ("adam", "mean")
    }
    own = {"momentum": 0.0} if row == "rmsprop" else {}
    assert not step(row, column, arrays, **own).skipped
    assert np.isinf(arrays["square"][1]) and arrays["value"][1] == 1
    assert np.isfinite(arrays["square"][::2]).all() and (arrays["value"][::2] < 1).all()


# --- momentum of 0, norms, masks


@pytest.mark.parametrize(("row", "column"), [cell for cell in CELLS if cell[0] != "adam"])
@every_dtype
def test_without_momentum_the_buffer_is_neither_read_nor_written(row, column, dtype):
    ends = []
    for buffered in (False, True):
        arrays = arrays_of(row, 70, dtype, value=1.0, grad=0.5)
        arrays["buffer"] = np.full(70, np.nan, dtype) if buffered else None
        more = {"dampening": 0.5, "step": 3} if row == "clip_sgd" else {}
        info = step(row, column, arrays, momentum=0.0, **more)
        ends.append(
            (info, arrays["value"].tobytes(), *(arrays[n].tobytes() for n in ("square", "mean") if n in arrays))
        )
        assert not buffered or np.isnan(arrays["buffer"]).all()
    assert ends[0] == ends[1] and np.isfinite(arrays["value"]).all()
    listed = {name: [x] for name, x in arrays.items()}
    step(row, column, listed, momentum=0.0)
    assert np.isfinite(arrays["value"]).all() and np.isnan(arrays["buffer"]).all()


@every_column
@pytest.mark.parametrize("entry", [5e-324, 1e-320, 1e-310, 2.3e-308, 1e-200])
@pytest.mark.parametrize("size", [1, 3, 20_000])
def test_norms_of_float64_subnormals(column, entry, size):
    for clip in (None, ("adaptive", 1.0)):
        info = pyasr.backend(column).clip_sgd(np.ones(size), np.full(size, entry), lr=0.0, clip=clip)
        assert info.norm == pytest.approx(math.sqrt(size) * entry, rel=1e-12, abs=5e-324)


@every_cell
def test_masked_arrays_are_refused(row, column):
    for name, listed in itertools.product(("value", "grad", STATES[row][0]), (False, True)):
        arrays = arrays_of(row, 4, "float32")
        arrays[name] = np.ma.masked_array(arrays[name], mask=[0, 1, 0, 0])
        arrays = {n: [x] for n, x in arrays.items()} if listed else arrays
        got = message(lambda: step(row, column, arrays))  # noqa: B023
        item = f"{name}[0]" if listed else name
        assert got == f"{row}: {item} must be a NumPy array, got MaskedArray"


@every_column
def test_one_gradient_may_stand_for_several_arrays_of_a_list(column):
    """Gradients are only read; what is written must be apart from everything."""
    g, x = np.ones(4), np.ones(10)
    value = [np.zeros(4), np.zeros(4)]
    assert pyasr.backend(column).clip_sgd(value, [g, g], lr=-1.0).norm == pytest.approx(math.sqrt(8))
    assert (value[0] == 1).all() and (value[1] == 1).all()
    for values, grads, words in (
        ([x[:4], np.zeros(4)], [x[:4], g], "value[0] and grad[0]"),
        ([x[6:], np.zeros(4)], [x[2:6], x[3:7]], "grad[1] and value[0]"),
        ([x[2:4], x[6:8]], [x[:2], x[3:5]], "value[0] and grad[1]"),
        ([x[:8], np.zeros(1)], [x[:8] * 1, x[9:]], None),
        ([x[4:5], np.zeros(4)], [x[3:4], x[:4]], None),
        ([x[4:5], np.zeros(9)], [x[3:4], x[:9]], "grad[1] and value[0]"),
        ([np.zeros(9), np.zeros(1), x[5:6]], [x[:9], x[1:2], g[:1]], "grad[0] and value[2]"),
    ):
        call = lambda: pyasr.backend(column).clip_sgd(values, grads, lr=0.1)  # noqa: B023, E731
        if words is None:
            call()
        else:
            assert message(call) == f"clip_sgd: {words} must not share memory"
