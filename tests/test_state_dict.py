"""Weights of recurrent layers under the names of torch's modules, in dictionaries and files."""

import numpy as np
import pytest

import pyasr
from pyasr.layers import Gru, Lstm, Rnn


@pytest.mark.parametrize(("kind", "directions"), [("Lstm", 2), ("Lstm", 1), ("Gru", 2), ("Gru", 1), ("Rnn", 2)])
def test_weights_go_out_and_come_back_under_torchs_names(kind, directions, tmp_path):
    def layer(seed):
        params = pyasr.Params(pyasr.backend("numpy"))
        built = {"Lstm": Lstm, "Gru": Gru, "Rnn": Rnn}[kind](
            params, "r", 5, 3, num_layers=2, bidirectional=directions == 2
        )
        params.init(seed)
        for name in params.names():
            params[name][...] += 0.1 * np.random.default_rng(seed).standard_normal(params[name].shape)  # biases too
        return built, params

    first, second = layer(0), layer(1)
    state = first[0].state_dict()
    gates = {"Lstm": 4, "Gru": 3, "Rnn": 1}[kind]
    assert len(state) == 8 * directions
    assert state["weight_ih_l0"].shape == (3 * gates, 5)
    assert state["weight_ih_l1"].shape == (3 * gates, 3 * directions)
    assert not np.shares_memory(state["weight_ih_l0"], first[1].value)
    assert state["bias_hh_l1"].shape == state["bias_ih_l1"].shape == (3 * gates,)
    assert (state["bias_hh_l1"][:6] == 0).all()
    if kind == "Gru":  # r multiplies one part of n alone
        np.testing.assert_array_equal(state["bias_hh_l1"][6:], first[1]["r.bias_l1"][0, 9:])
    else:
        assert (state["bias_hh_l1"] == 0).all()
    second[0].load_state_dict(state)
    np.testing.assert_array_equal(second[1].value, first[1].value)

    third, whole = layer(2), {f"encoder.rnn.{name}": value for name, value in state.items()}
    third[0].load_state_dict(whole, "encoder.rnn.")
    np.testing.assert_array_equal(third[1].value, first[1].value)
    safetensors = pytest.importorskip("safetensors.numpy", reason="it reads the file")
    safetensors.save_file(whole, tmp_path / "model.safetensors")
    fourth = layer(3)
    fourth[0].load_state_dict(tmp_path / "model.safetensors", prefix="encoder.rnn.")
    np.testing.assert_array_equal(fourth[1].value, first[1].value)

    before = second[1].value.copy()
    last = "weight_hh_l1" + "_reverse" * (directions - 1)
    bad = {**state, "weight_ih_l0": state["weight_ih_l0"] + 1, last: state[last][:-1]}
    with pytest.raises(ValueError, match=rf"load_state_dict: {last} must have shape \({3 * gates}, 3\), got"):
        second[0].load_state_dict(bad)
    with pytest.raises(ValueError, match=f"load_state_dict: {last} must be finite"):
        second[0].load_state_dict({**bad, last: np.full_like(state[last], np.nan)})
    with pytest.raises(KeyError, match=last):
        second[0].load_state_dict({k: v for k, v in bad.items() if k != last})
    np.testing.assert_array_equal(second[1].value, before)


@pytest.mark.parametrize("both", [False, True])
def test_projections_and_peepholes_go_out_and_come_back(both):
    def layer(seed, **options):
        params = pyasr.Params(pyasr.backend("numpy"))
        built = Lstm(params, "r", 5, 4, num_layers=2, bidirectional=both, **options)
        params.init(seed)
        for name in params.names():
            params[name][...] += 0.1 * np.random.default_rng(seed).standard_normal(params[name].shape)
        return built, params

    options, S = {"peephole": True, "proj_size": 3}, 1 + both
    first, second, plain = layer(0, **options), layer(1, **options), layer(2)
    state = first[0].state_dict()
    assert len(state) == 12 * S
    assert {n: state[n].shape for n in ("weight_hr_l0", "weight_hh_l0", "weight_ih_l1", "peephole_l1")} == {
        "weight_hr_l0": (3, 4), "weight_hh_l0": (16, 3), "weight_ih_l1": (16, 3 * S), "peephole_l1": (12,)
    }  # fmt: skip
    second[0].load_state_dict(state)
    np.testing.assert_array_equal(second[1].value, first[1].value)
    before = plain[1].value.copy()
    with pytest.raises(ValueError, match=r"^load_state_dict: peephole_l0 must be absent: the layer has no peepholes"):
        plain[0].load_state_dict(state)
    with pytest.raises(ValueError, match=r"^load_state_dict: weight_hh_l0 must have shape \(16, 4\), got \(16, 3\)"):
        plain[0].load_state_dict({n: a for n, a in state.items() if not n.startswith("peephole")})
    for missing in ("peephole_l1", "weight_hr_l1" + "_reverse" * both):
        with pytest.raises(KeyError, match=missing):
            second[0].load_state_dict({n: a for n, a in state.items() if n != missing})
    np.testing.assert_array_equal(plain[1].value, before)


def test_a_state_of_more_layers_or_directions_is_refused():
    def layer(**options):
        params = pyasr.Params(pyasr.backend("numpy"))
        built = Gru(params, "r", 5, 4, **options)
        params.init(0)
        return built, params

    (small, params), before = layer(), layer()[1].value
    for options, surplus in (({"num_layers": 2}, "weight_ih_l1"), ({"bidirectional": True}, "weight_ih_l0_reverse")):
        larger = {f"encoder.{n}": a + 1 for n, a in layer(**options)[0].state_dict().items()}
        with pytest.raises(ValueError, match=f"^load_state_dict: encoder.{surplus} must be absent"):
            small.load_state_dict(larger, "encoder.")
    np.testing.assert_array_equal(params.value, before)
    state = small.state_dict()
    small.load_state_dict({"encoder." + n: a for n, a in state.items()} | {"decoder.weight_ih_l1": 0}, "encoder.")


def test_what_the_weights_can_not_hold_is_refused():
    params = pyasr.Params(pyasr.backend("numpy"))
    lstm = Lstm(params, "r", 5, 4)
    params.init(0)
    state, before = lstm.state_dict(), params.value.copy()
    for spoiled, error, words in (
        ({"weight_hh_l0": np.full((16, 4), 1e300)}, ValueError, "weight_hh_l0 must be finite"),
        ({n: np.full(16, 3e38, "f4") for n in ("bias_ih_l0", "bias_hh_l0")}, ValueError, "bias_hh_l0 must be finite"),
        ({"weight_hh_l0": np.full((16, 4), 1j)}, TypeError, "weight_hh_l0 must have a floating dtype, got complex128"),
        ({"weight_ih_l0": np.ones((16, 5), "i4")}, TypeError, "weight_ih_l0 must have a floating dtype, got int32"),
    ):
        with pytest.raises(error, match=words):
            lstm.load_state_dict(state | spoiled)
    np.testing.assert_array_equal(params.value, before)
