"""Lists of arrays for the updates on the emulated device: one launch, the bits of a vector with segments, the same errors."""

import numpy as np
import pytest

import pyasr
from pyasr.counter import stream
from pyasr.ops import backend
from pyasr.ops._update import SEGMENT

STATES = {"clip_sgd": ("buffer",), "adam": ("mean", "square", "largest"), "rmsprop": ("square", "buffer", "mean")}
OWN = {"clip_sgd": {"momentum": 0.9}, "adam": {"step": 3}, "rmsprop": {"momentum": 0.5}}
CLIPS = [
    None, ("norm", 1.5), ("value", 0.5), ("value", "rsqrt_d"), ("value", "rsqrt_d", 9), ("adaptive", 0.1),
    ("max_change", 0.02, 0.03),
]  # fmt: skip
SHAPES = [(0, 4), (3, 5), (7,), (), (4, 2, 3), (12, 301), (2, 1500)]
every_row = pytest.mark.parametrize("row", STATES)
every_clip = pytest.mark.parametrize("clip", CLIPS, ids=str)


def layout(dtype):
    params = pyasr.Params(backend("numpy"), dtype)
    for i, shape in enumerate(SHAPES):
        params.declare(f"w{i}", shape)
    return params


def arrays_of(row, params):
    """value, grad, states and average as vectors by name, zero in the gaps; squares are not negative."""
    out = {}
    for name in ("value", "grad", *STATES[row], "average"):
        vector = params.zeros()
        for w in params.names():
            view = params.view(vector, w)
            view[...] = stream("lists", name, w).standard_normal(view.shape)
        out[name] = vector**2 + 1 if name in ("square", "largest") else vector / 10 if name == "mean" else vector
    return out


def listed(params, vectors):
    return {name: [params.view(x, w) for w in params.names()] for name, x in vectors.items()}


def step(ops, row, arrays, **options):
    return tuple(getattr(ops, row)(**arrays, **{"lr": 0.1, "weight_decay": 0.1, **OWN[row], **options}))


@every_row
@every_clip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_list_is_the_vector_with_its_segments_bit_for_bit(emulated, row, clip, dtype):
    params = layout(dtype)
    flat, other = arrays_of(row, params), arrays_of(row, params)
    want = step(emulated, row, flat, clip=clip, segments=params.segments())
    arrays = listed(params, other)
    assert step(emulated, row, {**arrays, "grad": tuple(arrays["grad"])}, clip=clip) == want
    for name, x in flat.items():
        assert x.tobytes() == other[name].tobytes(), name


@every_row
@every_clip
def test_a_list_agrees_with_the_reference(emulated, row, clip):
    params = layout("float32")
    got, want = listed(params, arrays_of(row, params)), listed(params, arrays_of(row, params))
    options = {"clip": clip, "grad_scale": -0.7}
    np.testing.assert_allclose(
        step(emulated, row, got, **options), step(backend("numpy"), row, want, **options), rtol=1e-6
    )
    for name in got:
        for g, w in zip(got[name], want[name], strict=True):
            np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6)


@every_row
def test_optional_arrays_may_be_left_out(emulated, row):
    """Also where the first array has no entries, and lies nowhere."""
    params = layout("float32")
    vectors = arrays_of(row, params)
    for name in {"average", "largest"} & vectors.keys():
        del vectors[name]
    options = {"momentum": 0.0} if "momentum" in OWN[row] else {}
    if row == "rmsprop":
        del vectors["mean"]
    got, want = listed(params, {k: x.copy() for k, x in vectors.items()}), listed(params, vectors)
    np.testing.assert_allclose(
        step(emulated, row, got, **options), step(backend("numpy"), row, want, **options), rtol=1e-6
    )
    for g, w in zip(got["value"], want["value"], strict=True):
        np.testing.assert_allclose(g, w, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("clip", [("norm", 1.0), ("adaptive", 0.1)])
def test_arrays_at_any_address_have_the_same_bits(emulated, clip):
    results = set()
    for shift in (0, 1, 3):
        value, grad = ([np.zeros(n + shift, "f4")[shift:].reshape(-1, 3) for n in (2049, 9, 1026)] for _ in range(2))
        for i, (v, g) in enumerate(zip(value, grad, strict=True)):
            v[:], g[:] = stream("value", i).standard_normal(v.shape), stream("grad", i).standard_normal(v.shape)
        info = emulated.clip_sgd(value, grad, lr=0.1, clip=clip)
        results.add(b"".join(v.tobytes() for v in value) + repr(tuple(info)).encode())
    assert len(results) == 1


@every_row
def test_same_bits_under_every_order_of_threads(emulated, row):
    params, results = layout("float32"), set()
    for kind in ("fair", "block", "warp"):
        for seed in range(3):
            emulated.schedule(kind, seed)
            vectors = arrays_of(row, params)
            info = step(emulated, row, listed(params, vectors), clip=("max_change", 0.02, 0.03))
            results.add(b"".join(x.tobytes() for x in vectors.values()) + repr(info).encode())
    assert len(results) == 1


def test_a_gradient_that_is_not_finite_skips_all_arrays(emulated):
    value, grad, done = [np.ones(3), np.ones((2, 2))], [np.ones(3), np.full((2, 2), np.nan)], np.zeros(1)
    info = emulated.adam(value, grad, [np.ones(3), np.ones((2, 2))], [np.ones(3), np.ones((2, 2))], step=done, lr=0.1)
    assert info.skipped
    assert done == 0
    assert all((v == 1).all() for v in value)


def test_tables_are_uploaded_once_and_again_for_another_array(emulated, monkeypatch):
    seen, asarray = [], emulated.xp.asarray
    monkeypatch.setattr(emulated.device.xp, "asarray", lambda x: seen.append(len(x)) or asarray(x))
    value, grad = [np.ones(3), np.ones((2, 2))], [np.ones(3), np.ones((2, 2))]
    for _ in range(3):
        emulated.clip_sgd(value, grad, lr=0.1)
    assert len(seen) == 2  # slots and addresses
    emulated.clip_sgd(value, [*grad[:1], np.zeros((2, 2))], lr=0.1)
    np.testing.assert_allclose(value[0], 0.6)
    np.testing.assert_allclose(value[1], 0.7)
    assert len(seen) == 4


def lists(**changes):
    good = {"value": [np.zeros((2, 3)), np.zeros(4)], "grad": [np.ones((2, 3)), np.ones(4)]}
    return {**good, "lr": 0.1, **changes}


SHARED = np.zeros(9)
BAD = [
    (lists(value=[]), ValueError, "value must be a CUDA array or hold at least one, got an empty list"),
    (lists(value=[1.0]), TypeError, "value[0] must be a CUDA array, got float"),
    (lists(value=[np.zeros(2, int)]), TypeError, "value[0] must have dtype float32 or float64, got int64"),
    (lists(grad=np.ones(10)), TypeError, "grad must be a list of arrays, as value is, got ndarray"),
    (lists(value=np.ones(10)), TypeError, "grad must be a CUDA array, got list"),
    (lists(grad=[np.ones((2, 3))]), ValueError, "grad must hold 2 arrays, as value does, got 1"),
    (lists(grad=[np.ones((2, 3)), np.ones(3)]), ValueError, "grad[1] must have shape (4,) from value[1], got (3,)"),
    (lists(grad=[np.ones((2, 3)), np.ones(4, "f4")]), TypeError, "grad[1] must have dtype float64, got float32"),
    (lists(grad=[np.ones((3, 2)).T, np.ones(4)]), ValueError, "grad[0] must be C-contiguous, got a strided array"),
    (lists(momentum=0.9, buffer=[np.zeros((2, 3)), None]), TypeError, "buffer[1] must be a CUDA array, got NoneType"),
    (lists(value=[SHARED[:5], SHARED[4:]], grad=[np.ones(5), np.ones(5)]), ValueError,
     "value[0] and value[1] must not share memory"),
    (lists(value=[np.zeros((2, 3)), SHARED[:4]], grad_scale=SHARED[3:4]), ValueError,
     "value[1] and grad_scale must not share memory"),
    (lists(segments=np.zeros(0, pyasr.params.SEGMENT)), ValueError,
     "segments must be None with a list of arrays, got ndarray"),
    (lists(momentum=0.9), ValueError, "momentum needs a buffer, got None"),
    (lists(lr=1e308, weight_decay=1e10, decoupled=True), ValueError, "lr * weight_decay must fit into float64, got inf"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "words"), BAD, ids=[w for _, _, w in BAD])
def test_bad_lists_are_named(emulated, arguments, kind, words):
    with pytest.raises(kind) as e:
        emulated.clip_sgd(**arguments)
    assert str(e.value) == f"clip_sgd: {words}"


def test_a_known_table_is_refused_for_a_shorter_vector(emulated):
    value, grad = np.ones(9, "f4"), np.ones(9, "f4")
    table = np.array([(0, 4, 2, 2, 1.0, 1.0, 0), (5, 3, 1, 3, 1.0, 1.0, 1)], SEGMENT)
    emulated.clip_sgd(value, grad, lr=0.1, segments=table)
    with pytest.raises(ValueError, match=r"clip_sgd: segments\[1\] must lie within \[4, P = 7\]"):
        emulated.clip_sgd(value[:7], grad[:7], lr=0.1, segments=table)


def test_a_count_and_a_scale_in_one_place_are_refused(emulated):
    arrays, both = [np.ones(4) for _ in range(4)], np.zeros(1)
    with pytest.raises(ValueError, match="adam: step and grad_scale must not share memory"):
        emulated.adam(*arrays, step=both, lr=0.1, grad_scale=both)
