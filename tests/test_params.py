"""One flat buffer, many names."""

import numpy as np
import pytest

import pyasr
from pyasr import params as initializers
from pyasr.counter import stream

OPS = pyasr.backend("numpy")


def three(dtype="float32"):
    params = pyasr.Params(OPS, dtype)
    params.declare("a", (3, 5), initializers.uniform(0.5))
    params.declare("b", (7,), initializers.xavier(3, 4))
    params.declare("c", (2, 8), initializers.lstm_bias())
    params.declare_state("mean", (4,))
    return params


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_views_share_memory_with_the_flat_vectors(dtype):
    params = three(dtype)
    params.init(0)
    for name in params.names():
        assert np.shares_memory(params[name], params.value)
        assert np.shares_memory(params.grad_of(name), params.grad)
        vector = params.zeros()
        params.view(vector, name)[...] = 1
        assert vector.sum() == params[name].size
    params.state_of("mean")[:] = 2
    assert params.state.sum() == 8
    assert params.size == 15 + 7 + 16


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_every_entry_starts_on_a_64_byte_boundary_and_gaps_are_zero(dtype):
    params = three(dtype)
    params.init(3)
    inside = params.zeros()
    for name in params.names():
        assert params[name].__array_interface__["data"][0] % 64 == 0
        params.view(inside, name)[...] = 1
    assert inside.sum() == params.size
    assert not params.value[inside == 0].any()
    assert params.value.dtype == dtype
    assert params.value.flags.c_contiguous


def test_initial_weights_depend_on_seed_and_name_only():
    first, second = three(), pyasr.Params(OPS)
    second.declare("other", (11,), initializers.uniform(1))
    second.declare("a", (3, 5), initializers.uniform(0.5))
    first.init(5)
    second.init(5)
    np.testing.assert_array_equal(first["a"], second["a"])
    before = first["a"].copy()
    first.init(6)
    assert (first["a"] != before).all()
    first.init(5)
    np.testing.assert_array_equal(first["a"], before)


def test_initializers_fill_what_they_say():
    params = three()
    params.declare("wide", (200, 100), initializers.uniform(0.5))
    params.init(0)
    assert 0.49 < np.abs(params["wide"]).max() <= 0.5
    assert abs(params["wide"].mean()) < 0.01
    assert np.abs(params["b"]).max() <= np.sqrt(6 / 7)
    np.testing.assert_array_equal(params["c"], [[0, 0, 1, 1, 0, 0, 0, 0]] * 2)
    assert not params.grad.any()
    assert not params.state.any()


def test_declaring_late_or_twice_raises():
    params = three()
    with pytest.raises(ValueError, match="name must be new, got 'a' again"):
        params.declare("a", (1,))
    with pytest.raises(ValueError, match="non-empty string"):
        params.declare("", (1,))
    for shape, message in (((-1,), "got -1"), ((2**20, 2**21), "must leave at most"), ((10**400,), "of 1329 bits")):
        with pytest.raises(ValueError, match=f"Params.declare: shape of 'd' .*{message}"):
            params.declare("d", shape)
    for shape in (3, "34", None, (1.5,), (True,), ("3",)):
        with pytest.raises(TypeError, match=r"Params.declare: shape of 'd' must be"):
            params.declare("d", shape)
    with pytest.raises(RuntimeError, match=r"call init\(seed\) first"):
        _ = params.value
    params.init(0)
    with pytest.raises(RuntimeError, match=r"comes after init\(\)"):
        params.declare("late", (1,))
    with pytest.raises(KeyError, match="no weight 'nobody'; it has a, b, c"):
        params["nobody"]
    with pytest.raises(ValueError, match="vector must have shape"):
        params.view(np.zeros(3, "f4"), "a")
    for vector in (params.value.astype("f8"), params.value.tolist(), None):
        with pytest.raises(TypeError, match=r"Params.view: vector must"):
            params.view(vector, "a")
    for seed in ("0", 1.0, None, True):
        with pytest.raises(TypeError, match=r"Params.init: seed must be an integer, got"):
            params.init(seed)


@pytest.mark.parametrize("dtype", ["int32", "float16", "complex64"])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match=f"must be float32 or float64, got {dtype}"):
        pyasr.Params(OPS, dtype)


def test_a_model_without_weights_has_empty_vectors():
    params = pyasr.Params(OPS)
    params.init(0)
    assert params.value.shape == params.grad.shape == params.state.shape == (0,)


def test_streams_differ_with_every_part_of_the_key():
    keys = [(0,), (1,), ("0",), (0, 0), ("a", "b"), ("ab",), ("a", "b", ""), (-1,), (2**70,)]
    drawn = {stream(*key).integers(2**62) for key in keys}
    assert len(drawn) == len(keys)
    with pytest.raises(TypeError, match="integers and strings, got float"):
        stream(1.0)
