"""clip_sgd at the edges where well-known clippers go wrong without a word."""

import math

import numpy as np
import pytest

import pyasr
from pyasr.ops import why_not
from pyasr.optim import Adam, Sgd

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
inf, nan = math.inf, math.nan


def clip_sgd(column, *args, **kwargs):
    return pyasr.backend(column).clip_sgd(*args, **kwargs)


def clipped(column, grad, clip, dtype="float32", **options):
    """(the gradient as clipped, StepInfo): a step of −1 from zero."""
    value = np.zeros(len(grad), dtype)
    info = clip_sgd(column, value, np.array(grad, dtype), lr=-1.0, clip=clip, **options)
    return value, info


@every_column
@every_dtype
def test_decoupled_weight_decay_shrinks_the_value_first(column, dtype):
    value, grad = np.array([1, -2], dtype), np.array([0.5, 0.25], dtype)
    clip_sgd(column, value, grad, lr=0.1, weight_decay=0.5, decoupled=True)
    np.testing.assert_allclose(value, [0.95 - 0.05, -1.9 - 0.025], rtol=1e-6)


@every_column
@every_dtype
@pytest.mark.parametrize("bad", [inf, -inf, nan])
@pytest.mark.parametrize("clip", [None, ("norm", 1.0), ("value", 1.0)])
@pytest.mark.parametrize("place", [0, 3, 40_000])
def test_gradient_that_is_not_finite(column, dtype, bad, clip, place):
    rng = np.random.default_rng(0)
    value, grad, buffer = (rng.standard_normal(40_001).astype(dtype) for _ in range(3))
    grad[place] = bad
    old, old_buffer = value.copy(), buffer.copy()
    options = {"lr": 0.1, "momentum": 0.9, "buffer": buffer, "clip": clip}
    info = clip_sgd(column, value, grad, **options)
    assert info.skipped
    assert not math.isfinite(info.norm)
    with pytest.raises(ValueError, match="clip_sgd: grad must be finite, got a norm of"):
        clip_sgd(column, value, grad, **options, nonfinite="raise")
    assert value.tobytes() == old.tobytes()
    assert buffer.tobytes() == old_buffer.tobytes()
    info = clip_sgd(column, value, grad, **options, nonfinite="propagate")
    assert not info.skipped
    assert not math.isfinite(info.norm)
    if clip is None or (math.isnan(bad) and clip[0] == "value"):
        assert not math.isfinite(value[place])
    if math.isnan(bad) and clip == ("norm", 1.0):
        assert np.isnan(value).all()


@every_column
def test_entries_whose_squares_overflow_or_vanish_in_float32(column):
    g, info = clipped(column, [1e20, 1e20], ("norm", 1.0))
    assert info.norm == pytest.approx(math.sqrt(2) * 1e20, rel=1e-6)
    np.testing.assert_allclose(g, math.sqrt(0.5), rtol=1e-6)
    g, info = clipped(column, [1e-30, 1e-30], ("norm", 1e-31))
    assert info.norm == pytest.approx(math.sqrt(2) * 1e-30, rel=1e-6)
    assert info.scale == pytest.approx(math.sqrt(0.5) / 10, rel=1e-6)
    np.testing.assert_allclose(g, math.sqrt(0.5) * 1e-31, rtol=1e-6)


@every_column
@pytest.mark.parametrize("size", [1, 2, 1000, 40_000])
@pytest.mark.parametrize("magnitude", [1e-200, 1e-160, 1e160, 1e200])
def test_entries_whose_squares_overflow_or_vanish_in_float64(column, magnitude, size):
    g, info = clipped(column, [magnitude] * size, ("norm", magnitude / 2), "float64")
    assert info.norm == pytest.approx(math.sqrt(size) * magnitude, rel=1e-12)
    np.testing.assert_allclose(g, magnitude / 2 / math.sqrt(size), rtol=1e-12)


@every_column
@pytest.mark.parametrize("size", [2, 40_000])
def test_denormal_entries(column, size):
    tiny = float(np.float32(1e-42))
    g, info = clipped(column, [tiny] * size, None)
    assert info.norm == pytest.approx(math.sqrt(size) * tiny, rel=1e-6)
    assert (g == np.float32(1e-42)).all()


@every_column
@every_dtype
def test_norm_at_the_limit_changes_nothing(column, dtype):
    for limit in (5.0, 6.0):
        g, info = clipped(column, [3, 4], ("norm", limit), dtype)
        assert g.tolist() == [3, 4]
        assert info == (5.0, 1.0, False)
    g, info = clipped(column, [3, 4], ("norm", 5.0), dtype, eps=1e-6)
    assert info.scale == pytest.approx(1 - 2e-7, abs=1e-8)


@every_column
@every_dtype
def test_limit_zero_and_below(column, dtype):
    for kind in ("norm", "value"):
        g, info = clipped(column, [3, 4], (kind, 0.0), dtype)
        assert g.tolist() == [0, 0]
        assert info.norm == 5
        with pytest.raises(ValueError, match=r"clip_sgd: clip\[1\] must be at least 0.0 and finite, got -1.0"):
            clipped(column, [3, 4], (kind, -1.0), dtype)
    g, info = clipped(column, [0, 0], ("norm", 0.0), dtype)
    assert g.tolist() == [0, 0]
    assert info == (0.0, 1.0, False)


@every_column
@every_dtype
def test_no_parameters_at_all(column, dtype):
    for clip in (None, ("norm", 1.0), ("value", 1.0)):
        assert clipped(column, [], clip, dtype)[1] == (0.0, 1.0, False)


@every_column
@every_dtype
@pytest.mark.parametrize("size", [1, 7, 64, 1000, 50_000])
def test_value_clip_at_one_over_root_d_bounds_the_norm_by_1(column, dtype, size):
    g = np.random.default_rng(size).standard_normal(size)
    g, _ = clipped(column, 10 * g, ("value", 1 / math.sqrt(size)), dtype)
    assert np.linalg.norm(g.astype("f8")) <= 1 + 1e-6


@every_column
@every_dtype
def test_grad_scale_comes_first(column, dtype):
    g, info = clipped(column, [6, 8], ("norm", 2.5), dtype, grad_scale=-0.5)
    assert info == (5.0, 0.5, False)
    np.testing.assert_allclose(g, [-1.5, -2], rtol=1e-6)


@every_column
@every_dtype
@pytest.mark.parametrize("offset", [0, 1, 3])
def test_neighbors_of_unaligned_arrays_keep_their_bits(column, dtype, offset):
    for size in [*range(68), 16_385]:
        room = np.full((3, size + 8), 7, dtype)
        value, grad, buffer = (row[offset : offset + size] for row in room)
        grad[:] = 2
        clip_sgd(column, value, grad, lr=1.0, momentum=0.5, buffer=buffer)
        assert (buffer == 5.5).all()
        assert (value == 1.5).all()
        assert (np.delete(room, np.s_[offset : offset + size], axis=1) == 7).all()


@pytest.mark.skipif("cpp" not in COLUMNS, reason="no native code in this install")
@every_dtype
@pytest.mark.parametrize("magnitude", [1.0, 1e-30, 1e30])
def test_same_bits_for_any_thread_count_at_any_magnitude(dtype, magnitude):
    rng = np.random.default_rng(0)
    grad = (magnitude * rng.standard_normal(100_003)).astype(dtype)
    results = set()
    for threads in (1, 2, 5):
        value = np.ones_like(grad)
        info = clip_sgd("cpp", value, grad, lr=0.1, clip=("norm", 1.0), threads=threads)
        results.add((value.tobytes(), info))
    assert len(results) == 1


def vectors(dtype, count):
    params = pyasr.Params(pyasr.backend("numpy"), dtype)
    params.declare("w", (count,))
    params.init()
    return params


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_adam_follows_its_formula(dtype):
    """Against the textbook in float64: moments with bias correction, the gradient scaled to the clip's norm before them."""
    rng = np.random.default_rng(0)
    params = vectors(dtype, 64)
    params["w"][:] = want = rng.standard_normal(64).astype(dtype).astype(np.float64)
    optimizer, mean, square = Adam(params, beta1=0.8, beta2=0.95, eps=1e-6, clip=3.0), 0.0, 0.0
    for t in range(1, 8):
        g = rng.standard_normal(64).astype(dtype)
        params.grad_of("w")[:] = g
        info = optimizer.step(0.01 * t)
        norm = np.linalg.norm(g.astype(np.float64))
        g = g * min(1.0, 3.0 / norm)
        mean, square = 0.8 * mean + 0.2 * g, 0.95 * square + 0.05 * g * g
        want = want - 0.01 * t * (mean / (1 - 0.8**t)) / (np.sqrt(square / (1 - 0.95**t)) + 1e-6)
        assert info.norm == pytest.approx(norm) and info.scale == pytest.approx(3.0 / norm) and not info.skipped
    np.testing.assert_allclose(params["w"], want, rtol=0, atol=1e-6 if dtype == "float32" else 1e-13)


def test_adam_is_that_of_torch():
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    rng = np.random.default_rng(1)
    params = vectors("float64", 16)
    params["w"][:] = start = rng.standard_normal(16)
    theirs = torch.tensor(start, requires_grad=True)
    optimizer, peer = Adam(params, clip=1e9), torch.optim.Adam([theirs], lr=0.05)
    for _ in range(5):
        g = rng.standard_normal(16)
        params.grad_of("w")[:], theirs.grad = g, torch.tensor(g)
        optimizer.step(0.05)
        peer.step()
    np.testing.assert_allclose(params["w"], theirs.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("optimizer", [Sgd, Adam])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_gradient_that_is_not_finite_changes_nothing(optimizer, bad):
    params = vectors("float32", 20)
    one = optimizer(params)
    params.grad_of("w")[:] = 1
    one.step(0.1)
    before = [params.value.copy(), *(v.copy() for v in one.state.values())]
    params.grad_of("w")[7] = bad
    assert one.step(0.1).skipped
    for was, now in zip(before, [params.value, *one.state.values()], strict=True):
        assert np.array_equal(was, now)


@pytest.mark.parametrize(
    ("optimizer", "options", "message"),
    [
        (Sgd, {"momentum": 1.5}, "Sgd: momentum must lie in"),
        (Sgd, {"clip": -1.0}, "Sgd: clip must be at least"),
        (Adam, {"beta1": 1.0}, "Adam: beta1 must be below 1"),
        (Adam, {"beta2": -0.1}, "Adam: beta2 must lie in"),
        (Adam, {"clip": float("nan")}, "Adam: clip must be at least"),
    ],
)
def test_optimizers_name_bad_options(optimizer, options, message):
    with pytest.raises(ValueError, match=message):
        optimizer(vectors("float32", 1), **options)
