"""Weights of recurrent layers under the names of torch's modules, in dictionaries and files."""

import numpy as np
import pytest

import pyasr
from pyasr.layers import Lstm, Rnn


@pytest.mark.parametrize(("kind", "directions"), [("Lstm", 2), ("Lstm", 1), ("Rnn", 2)])
def test_weights_go_out_and_come_back_under_torchs_names(kind, directions, tmp_path):
    def layer(seed):
        params = pyasr.Params(pyasr.backend("numpy"))
        built = {"Lstm": Lstm, "Rnn": Rnn}[kind](params, "r", 5, 3, num_layers=2, bidirectional=directions == 2)
        params.init(seed)
        return built, params

    first, second = layer(0), layer(1)
    state = first[0].state_dict()
    gates = 4 if kind == "Lstm" else 1
    assert len(state) == 8 * directions
    assert state["weight_ih_l0"].shape == (3 * gates, 5)
    assert state["weight_ih_l1"].shape == (3 * gates, 3 * directions)
    assert not np.shares_memory(state["weight_ih_l0"], first[1].value)
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
