"""clip_sgd, adam and rmsprop: pieces, ways of clipping and rules, on every column that has them."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pyasr
from pyasr.counter import stream
from pyasr.ops import rows, why_not
from pyasr.ops._op import has
from pyasr.params import SEGMENT

ROWS = ("clip_sgd", "adam", "rmsprop")
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
CELLS = [(row, c) for row in ROWS for c in COLUMNS if has(rows()[row], c)]
every_cell = pytest.mark.parametrize(("row", "column"), CELLS)
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
needs_cpp = pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
STATES = {"clip_sgd": ("buffer",), "adam": ("mean", "square", "largest"), "rmsprop": ("square", "buffer", "mean")}
OWN = {"clip_sgd": {"momentum": 0.9}, "adam": {"step": 3}, "rmsprop": {"momentum": 0.5}}
CLIPS = [
    None, ("norm", 1.5), ("value", 0.5), ("value", "rsqrt_d"), ("value", "rsqrt_d", 9), ("adaptive", 0.1),
    ("max_change", 0.02, 0.03),
]  # fmt: skip
SHAPES = [(3, 5), (7,), (), (0, 4), (4, 2, 3), (41, 401), (2, 20_000)]


def params_of(dtype="float32", shapes=SHAPES):
    params = pyasr.Params(pyasr.backend("numpy"), dtype)
    for i, shape in enumerate(shapes):
        params.declare(f"w{i}", shape)
    params.init()
    return params


def arrays_of(row, params, seed=0):
    """value, grad and states of a row by name, zero in the gaps; squares are not negative."""
    out, size = {}, params.value.size
    for name in ("value", "grad", *STATES[row], "average"):
        vector = params.zeros()
        drawn = stream("update", seed, name).standard_normal(size)
        for w in params.names():
            params.view(vector, w)[...] = params.view(drawn.astype(params.dtype), w)
        out[name] = vector**2 + 1 if name in ("square", "largest") else vector / 10 if name == "mean" else vector
    return out


def step(row, column, arrays, **options):
    return getattr(pyasr.backend(column), row)(**arrays, **{"lr": 0.1, **OWN[row], **options})


def error(got, want):
    return float(np.linalg.norm(got.astype("f8") - want) / max(np.linalg.norm(want), 1e-300))


def factors(name):
    return {"w0": 0.5, "w3": 2.0}.get(name, 1.0)


EXTRAS = {
    "clip_sgd": [{}, {"weight_decay": 0.3, "l1": 0.2}, {"weight_decay": 0.3, "decoupled": True, "l1": 2.0, "proximal": True}],
    "adam": [{}, {"weight_decay": 0.3}, {"weight_decay": 0.3, "decoupled": True}],
    "rmsprop": [{}, {"weight_decay": 0.3}],
}  # fmt: skip


@every_cell
@every_dtype
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_every_option_agrees_with_the_reference(row, column, dtype, clip):
    if column == "numpy":
        pytest.skip("the reference itself: torch is its judge below")
    params = params_of(dtype)
    table = params.segments(lr=factors, decay=lambda name: factors(name) - 0.5, group=lambda name: int(name[1]) % 3)
    for extra, segments, nonfinite in itertools.product(EXTRAS[row], (None, table), ("skip", "propagate")):
        want, got = arrays_of(row, params), arrays_of(row, params)
        options = {"clip": clip, "grad_scale": -0.7, "segments": segments, "nonfinite": nonfinite, **extra}
        expected, found = step(row, "numpy", want, **options), step(row, column, got, **options)
        np.testing.assert_allclose(found, expected, rtol=1e-6 if dtype == "float32" else 1e-12)
        for name in want:
            assert error(got[name], want[name].astype("f8")) <= (2e-6 if dtype == "float32" else 1e-13), (name, options)


@every_cell
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_a_list_of_arrays_is_the_vector_with_its_segments_bit_for_bit(row, column, clip):
    params = params_of()
    flat, listed = arrays_of(row, params), arrays_of(row, params)
    views = {name: [params.view(x, w) for w in params.names()] for name, x in listed.items()}
    one = step(row, column, flat, clip=clip, segments=params.segments())
    other = step(row, column, {k: tuple(v) if k == "grad" else v for k, v in views.items()}, clip=clip)
    assert one == other
    for name in flat:
        assert flat[name].tobytes() == listed[name].tobytes(), name


@needs_cpp
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.parametrize("clip", CLIPS, ids=str)
@pytest.mark.parametrize("nonfinite", ["skip", "propagate"])
def test_same_bits_for_any_thread_count(row, clip, nonfinite):
    params, results = params_of(), set()
    for threads in (1, 2, 3, 7):
        arrays = arrays_of(row, params)
        options = {"clip": clip, "segments": params.segments(), "nonfinite": nonfinite, **EXTRAS[row][-1]}
        info = step(row, "cpp", arrays, threads=threads, **options)
        results.add((info, *(x.tobytes() for x in arrays.values())))
    assert len(results) == 1


@every_cell
@pytest.mark.parametrize("clip", CLIPS[:-1], ids=str)
def test_nothing_clipped_is_no_clipping_bit_for_bit(row, column, clip):
    params = params_of()
    free, bounded = arrays_of(row, params), arrays_of(row, params)
    for arrays in (free, bounded):
        arrays["grad"] *= np.float32(1e-4)
    want = step(row, column, free, segments=params.segments())
    info = step(row, column, bounded, clip=clip, segments=params.segments())
    assert info.scale == want.scale == 1.0 and info.norm == pytest.approx(want.norm, rel=1e-6)
    assert all(free[n].tobytes() == bounded[n].tobytes() for n in free)


@every_cell
@every_dtype
def test_entries_outside_every_segment_are_not_touched(row, column, dtype):
    params = params_of(dtype, [(3, 5), (7,)])
    arrays = arrays_of(row, params)
    inside = np.zeros(params.value.size, bool)
    for s in params.segments():
        inside[s["offset"] : s["offset"] + s["length"]] = True
    for x in arrays.values():
        x[~inside] = np.nan
    info = step(row, column, arrays, clip=("norm", 1.0), segments=params.segments())
    assert math.isfinite(info.norm) and not info.skipped
    for x in arrays.values():
        assert np.isnan(x[~inside]).all() and np.isfinite(x[inside]).all()


@every_column
def test_factors_and_groups_of_segments(column):
    params = params_of("float64", [(2,), (2,), (2,)])
    params.grad[:] = 0
    for name, g in zip(params.names(), ((3, 4), (6, 8), (0.3, 0.4)), strict=True):
        params.grad_of(name)[:] = g
    table = params.segments(lr=lambda name: 2.0 if name == "w2" else 1.0, group=lambda name: int(name == "w1"))
    info = pyasr.backend(column).clip_sgd(params.value, params.grad, lr=-1.0, clip=("norm", 1.0), segments=table)
    first = math.hypot(5, 0.5)
    assert info == pytest.approx((math.hypot(first, 10), 0.1, False))
    np.testing.assert_allclose(params["w0"], np.array([3, 4]) / first)
    np.testing.assert_allclose(params["w1"], [0.6, 0.8])
    np.testing.assert_allclose(params["w2"], 2 * np.array([0.3, 0.4]) / first)


@every_cell
@every_dtype
def test_a_known_sum_of_squares_takes_the_place_of_the_first_pass(row, column, dtype):
    params = params_of(dtype)
    want, got = arrays_of(row, params), arrays_of(row, params)
    total = float(np.sum(want["grad"].astype("f8") ** 2))
    expected = step(row, column, want, clip=("norm", 1.0))
    info = step(row, column, got, clip=("norm", 1.0), sum_squares=total)
    assert info == pytest.approx(expected, rel=1e-6 if dtype == "float32" else 1e-12)
    for name in want:
        np.testing.assert_allclose(got[name], want[name], rtol=1e-5 if dtype == "float32" else 1e-12, atol=1e-30)
    for bad in (math.nan, math.inf):
        before = got["value"].tobytes()
        assert step(row, column, got, sum_squares=bad).skipped
        assert got["value"].tobytes() == before


@every_cell
@every_dtype
@pytest.mark.parametrize("entries", [(1e20, 1e20), (1e-30, 1e-30), (0.0, 0.0), ()], ids=str)
@pytest.mark.parametrize("limit", [0.0, 1e-31, 1.0])
def test_norms_that_float32_squares_cannot_hold(row, column, dtype, entries, limit):
    arrays = {n: np.zeros(len(entries), dtype) for n in ("value", "grad", *STATES[row])}
    arrays["grad"][:] = entries
    info = step(row, column, arrays, clip=("norm", limit))
    norm = math.hypot(*map(float, arrays["grad"]))
    assert info.norm == pytest.approx(norm, rel=1e-6)
    assert info.scale == pytest.approx(limit / norm if limit < norm else 1.0, rel=1e-6)
    assert all(np.isfinite(x).all() for x in arrays.values())


@every_cell
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("clip", CLIPS, ids=str)
def test_a_gradient_that_is_not_finite(row, column, bad, clip):
    params = params_of()
    arrays = arrays_of(row, params)
    params.view(arrays["grad"], "w5")[3, 3] = bad
    before = {n: x.tobytes() for n, x in arrays.items()}
    info = step(row, column, arrays, clip=clip, segments=params.segments())
    assert info.skipped and not math.isfinite(info.norm)
    with pytest.raises(ValueError, match=f"{row}: grad must be finite, got a norm of"):
        step(row, column, arrays, clip=clip, segments=params.segments(), nonfinite="raise")
    assert before == {n: x.tobytes() for n, x in arrays.items()}
    info = step(row, column, arrays, clip=clip, segments=params.segments(), nonfinite="propagate")
    assert not info.skipped and not math.isfinite(info.norm)


@every_column
@settings(max_examples=30, deadline=None)
@given(st.integers(1, 3000), st.floats(-30, 30), st.floats(-6, 6), st.integers(0, 10**6))
def test_the_clipped_norm_is_at_most_the_limit(column, size, magnitude, relative, seed):
    grad = (10.0**magnitude * stream("bound", seed).standard_normal(size)).astype("f4")
    limit = 10.0**relative * float(np.linalg.norm(grad.astype("f8")))
    value = np.zeros_like(grad)
    info = pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", limit))
    clipped = float(np.linalg.norm(value.astype("f8")))
    assert clipped <= limit * (1 + 4 * np.finfo("f4").eps)
    if relative < -1e-5:  # nearer to 0, the rounding of the norm decides
        assert clipped >= limit * (1 - 1e-5) and info.scale == pytest.approx(10.0**relative, rel=1e-5)
    elif relative > 1e-5:
        assert value.tobytes() == grad.tobytes()


@every_column
@every_dtype
def test_value_clip_at_one_over_root_d_of_each_segment(column, dtype):
    params = params_of(dtype)
    arrays = arrays_of("clip_sgd", params)
    arrays["grad"] *= 100
    value = params.zeros()
    pyasr.backend(column).clip_sgd(
        value, arrays["grad"], lr=-1.0, clip=("value", "rsqrt_d"), segments=params.segments()
    )
    for name in params.names():
        assert np.linalg.norm(params.view(value, name).astype("f8")) <= 1 + 1e-6, name
    value[:] = 0
    pyasr.backend(column).clip_sgd(value, arrays["grad"], lr=-1.0, clip=("value", "rsqrt_d", 4))
    assert np.abs(value).max() == 0.5


@every_column
@every_dtype
def test_adaptive_clipping_bounds_the_ratio_of_every_row(column, dtype):
    params = params_of(dtype, [(5, 7), (9,), (40, 900)])
    arrays = arrays_of("clip_sgd", params)
    params.view(arrays["value"], "w0")[1] = 0  # counts as a norm of 1e-3
    params.view(arrays["grad"], "w0")[2] = 0
    value, before = arrays["value"], arrays["value"].copy()
    info = pyasr.backend(column).clip_sgd(
        value, arrays["grad"], lr=-1.0, clip=("adaptive", 0.25), segments=params.segments()
    )
    least = 1.0
    for name, shape in params.shapes().items():
        w, g, new = (params.view(x, name).reshape(shape[0] if len(shape) > 1 else 1, -1).astype("f8")
                     for x in (before, arrays["grad"], value))  # fmt: skip
        most = 0.25 * np.maximum(np.linalg.norm(w, axis=1), 1e-3)
        norms = np.linalg.norm(g, axis=1)
        scale = np.where(norms > most, most / np.maximum(norms, 1e-300), 1.0)
        np.testing.assert_allclose(new - w, g * scale[:, None], atol=1e-6, rtol=1e-5)
        least = min(least, scale.min())
    assert info.scale == pytest.approx(least, rel=1e-6)


@every_cell
@every_dtype
def test_max_change_bounds_the_step_of_each_segment_and_of_all(row, column, dtype):
    params = params_of(dtype, [(3, 5), (40, 90), (7,)])
    for per, total in ((0.01, 10.0), (10.0, 0.02), (0.01, 0.012), (1e6, 1e6)):
        arrays = arrays_of(row, params)
        free = arrays_of(row, params)
        before = arrays["value"].astype("f8")
        info = step(row, column, arrays, clip=("max_change", per, total), segments=params.segments())
        step(row, column, free, segments=params.segments())
        changes = [np.linalg.norm(params.view(x["value"].astype("f8").astype(dtype), n).astype("f8")
                   - params.view(before.astype(dtype), n)) for x in (arrays, free) for n in params.names()]  # fmt: skip
        got, wanted = np.array(changes[:3]), np.array(changes[3:])
        wanted *= np.minimum(1, per / wanted)
        wanted *= min(1, total / np.linalg.norm(wanted))
        np.testing.assert_allclose(got, wanted, rtol=1e-3 if dtype == "float32" else 1e-9)
        assert (info.scale == 1.0) == (per == 1e6)
        for name in STATES[row]:  # momentum is that of the unbounded step
            assert error(arrays[name], free[name]) <= 1e-7


@every_column
@every_dtype
def test_l1_reaches_exact_zeros_by_its_proximal_step_only(column, dtype):
    ops, want = pyasr.backend(column), np.array([3.0, -2.0, 0, 0, 0])
    ends = []
    for proximal in (False, True):
        value = np.ones(5, dtype)
        for _ in range(300):  # of ½‖x − c‖² + 0.5·‖x‖₁, whose minimum is c shrunk by 0.5
            c = np.array([3.5, -2.5, 0.3, -0.4, 0.0], dtype)
            ops.clip_sgd(value, value - c, lr=0.1, l1=0.5, proximal=proximal)
        ends.append(value)
        np.testing.assert_allclose(value, want, atol=0.11)
    assert np.count_nonzero(ends[0]) == 5 or np.abs(ends[0][2:]).max() > 0
    assert (ends[1][2:] == 0).all()
    np.testing.assert_allclose(ends[1], want, atol=1e-6)


@every_cell
@every_dtype
def test_the_average_follows_the_weights(row, column, dtype):
    params = params_of(dtype)
    arrays = arrays_of(row, params)
    old = arrays["average"].astype("f8")
    step(row, column, arrays, average_decay=0.75)
    np.testing.assert_allclose(arrays["average"], 0.75 * old + 0.25 * arrays["value"], rtol=1e-5, atol=1e-6)


def table_of(**changes):
    table = np.zeros(2, SEGMENT)
    table["offset"], table["length"], table["rows"], table["columns"] = (0, 4), (3, 2), 1, (3, 2)
    table["lr"] = table["decay"] = 1
    for name, value in changes.items():
        table[name][1] = value
    return table


FLAT = [
    (7, TypeError, "segments must be None or an array of pyasr.params.SEGMENT, got int"),
    (np.zeros(2), TypeError, "segments must have dtype pyasr.params.SEGMENT, got float64"),
    (table_of()[None], ValueError, "segments must have shape (S,), got (1, 2)"),
    (np.repeat(table_of(), 2)[::2], ValueError, "segments must be C-contiguous, got a strided array"),
    (table_of(offset=2), ValueError, "segments[1] must lie within [3, P = 6], got offset 2 and length 2"),
    (table_of(offset=5), ValueError, "segments[1] must lie within [3, P = 6], got offset 5 and length 2"),
    (table_of(length=-1), ValueError, "segments[1] must lie within [3, P = 6], got offset 4 and length -1"),
    (table_of(rows=2), ValueError, "segments[1] must have rows * columns = length = 2, got 2 * 2"),
    (table_of(lr=-1), ValueError, "segments[1] must have finite factors of at least 0, got lr -1.0 and decay 1.0"),
    (table_of(decay=math.nan), ValueError, "segments[1] must have finite factors of at least 0, got lr 1.0 and decay nan"),
    (table_of(group=2), ValueError, "segments[1] must have a group in [0, 1], got 2"),
]  # fmt: skip


@every_column
@pytest.mark.parametrize(("segments", "kind", "words"), FLAT, ids=[w for _, _, w in FLAT])
def test_bad_segments_are_named(column, segments, kind, words):
    with pytest.raises(kind) as e:
        pyasr.backend(column).clip_sgd(np.zeros(6), np.ones(6), lr=0.1, segments=segments)
    assert str(e.value) == f"clip_sgd: {words}"


def lists(**changes):
    good = {"value": [np.zeros((2, 3)), np.zeros(4)], "grad": [np.ones((2, 3)), np.ones(4)]}
    return {**good, "lr": 0.1, **changes}


SHARED = np.zeros(9)
LISTS = [
    (lists(value=[]), ValueError, "value must be a NumPy array or hold at least one, got an empty list"),
    (lists(value=[1.0]), TypeError, "value[0] must be a NumPy array, got float"),
    (lists(value=[np.zeros(2, int)]), TypeError, "value[0] must have dtype float32 or float64, got int64"),
    (lists(grad=np.ones(10)), TypeError, "grad must be a list of arrays, as value is, got ndarray"),
    (lists(grad=[np.ones((2, 3))]), ValueError, "grad must hold 2 arrays, as value does, got 1"),
    (lists(grad=[np.ones((2, 3)), np.ones(3)]), ValueError, "grad[1] must have shape (4,) from value[1], got (3,)"),
    (lists(grad=[np.ones((2, 3)), np.ones(4, "f4")]), TypeError, "grad[1] must have dtype float64, got float32"),
    (lists(grad=[np.ones((3, 2)).T, np.ones(4)]), ValueError, "grad[0] must be C-contiguous, got a strided array"),
    (lists(momentum=0.9, buffer=[np.zeros((2, 3)), None]), TypeError, "buffer[1] must be a NumPy array, got NoneType"),
    (lists(value=[SHARED[:5], SHARED[4:]], grad=[np.ones(5), np.ones(5)]), ValueError,
     "value[0] and value[1] must not share memory"),
    (lists(segments=table_of()), ValueError, "segments must be None with a list of arrays, got ndarray"),
    (lists(momentum=0.9), ValueError, "momentum needs a buffer, got None"),
]  # fmt: skip


@every_column
@pytest.mark.parametrize(("arguments", "kind", "words"), LISTS, ids=[w for _, _, w in LISTS])
def test_bad_lists_are_named(column, arguments, kind, words):
    with pytest.raises(kind) as e:
        pyasr.backend(column).clip_sgd(**arguments)
    assert str(e.value) == f"clip_sgd: {words}"


CLIP_ERRORS = [
    (("norm",), TypeError, "(\"max_change\", per, total), got tuple"),
    (("norm", 1.0, 2.0), TypeError, "got \"norm\" and 2 more"),
    (("max_change", 1.0), TypeError, "got \"max_change\" and 1 more"),
    (("max_change", 1.0, -1.0), ValueError, "clip[2] must be at least 0.0 and finite, got -1.0"),
    (("adaptive", -1.0), ValueError, "clip[1] must be at least 0.0 and finite, got -1.0"),
    (("value", "d"), ValueError, "clip[1] must be a number or \"rsqrt_d\", got 'd'"),
    (("value", "rsqrt_d", 0), ValueError, "clip[2] must lie in [1, 4611686018427387904], got 0"),
    (("total", 1.0), ValueError, "got a tuple with 'total'"),
]  # fmt: skip


@every_cell
@pytest.mark.parametrize(("clip", "kind", "words"), CLIP_ERRORS, ids=[str(c) for c, _, _ in CLIP_ERRORS])
def test_bad_ways_of_clipping_are_named(row, column, clip, kind, words):
    arrays = {n: np.zeros(3) for n in ("value", "grad", *STATES[row])}
    with pytest.raises(kind) as e:
        step(row, column, arrays, clip=clip)
    assert str(e.value).startswith(f"{row}: clip") and str(e.value).endswith(words)


@every_column
def test_several_groups_need_their_own_norms(column):
    with pytest.raises(
        ValueError, match="clip_sgd: sum_squares must be None where segments have several groups, got a number"
    ):
        pyasr.backend(column).clip_sgd(
            np.zeros(6), np.ones(6), lr=0.1, clip=("norm", 1.0), sum_squares=5.0, segments=table_of(group=1)
        )
