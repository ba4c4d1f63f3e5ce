"""Recurrent layers beside torch's modules, and the options of Lstm: masks that repeat, and what is refused."""

import numpy as np
import pytest

import pyasr
from pyasr.layers import EVAL, Gru, Lstm, Mode, Rnn
from pyasr.ops import why_not

BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None and pyasr.backend(b).column("lstm_forward")]
TRAIN = Mode(train=True, seed=3, step=11)
MODULES = {"LSTM": (Lstm, {}), "LSTM-projection": (Lstm, {"proj_size": 4}), "GRU": (Gru, {}), "RNN": (Rnn, {})}


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", list(MODULES))
@pytest.mark.parametrize("both", [False, True])
def test_stacked_layers_over_packed_sequences_equal_torch(backend, name, both):
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    kind, options = MODULES[name]
    params = pyasr.Params(pyasr.backend(backend))
    layer = kind(params, "r", 5, 9, num_layers=2, bidirectional=both, **options)
    params.init(0)

    def module():
        return getattr(torch.nn, name.partition("-")[0])(5, 9, num_layers=2, bidirectional=both, **options)

    there = module()
    layer.load_state_dict(there.state_dict())
    rng = np.random.default_rng(0)
    lengths = np.array([23, 7, 1, 23, 12, 2], np.int32)
    x = rng.standard_normal((23, 6, 5)).astype(np.float32)
    dy = rng.standard_normal((23, 6, layer.output_size)).astype(np.float32)
    given, exact = torch.from_numpy(x.astype("f8")).requires_grad_(), there.double()
    packed = torch.nn.utils.rnn.pack_padded_sequence(given, torch.from_numpy(lengths).long(), enforce_sorted=False)
    want, _ = torch.nn.utils.rnn.pad_packed_sequence(exact(packed)[0])
    want.backward(torch.from_numpy(dy).double())
    y, saved = layer.forward(x, lengths)
    for got, wanted in ((y, want.detach()), (layer.backward(saved, dy), given.grad)):
        assert np.linalg.norm(got - wanted.numpy()) <= 5e-6 * np.linalg.norm(wanted.numpy())
    for k in range(2):
        for s, suffix in enumerate(("", "_reverse")[: layer.directions]):
            for entry in {*layer.entries} - {"bias"}:
                got = params.grad_of(f"r.{entry}_l{k}")[s]
                wanted = getattr(there, f"{entry}_l{k}{suffix}").grad.numpy()
                assert np.linalg.norm(got - wanted) <= 5e-6 * np.linalg.norm(wanted)
    other = module().double()
    other.load_state_dict({k: torch.from_numpy(v) for k, v in layer.state_dict().items()})
    with torch.no_grad():
        np.testing.assert_allclose(other(given)[0], exact(given)[0], atol=1e-6)


def random_layer(backend="numpy", name="r", dtype="float64", **options):
    params = pyasr.Params(pyasr.backend(backend), dtype)
    layer = Lstm(params, name, 5, 6, **options)
    params.init(0)
    rng = np.random.default_rng(1)
    for entry in params.names():
        params[entry][...] = 0.5 * rng.standard_normal(params[entry].shape)
    x, lengths = rng.standard_normal((9, 4, 5)).astype(dtype), np.array([9, 4, 0, 8], np.int32)
    return params, layer, x, lengths


RANDOM = [{"recurrent_dropout": 0.4}, {"zoneout_h": 0.3}, {"zoneout_c": 0.3}]


@pytest.mark.parametrize("options", RANDOM, ids=lambda o: next(iter(o)))
def test_masks_are_a_function_of_the_mode_the_name_and_the_layer(options):
    _, layer, x, lengths = random_layer(num_layers=2, **options)
    first = layer.forward(x, lengths, TRAIN)[0]
    layer.forward(x, lengths, Mode(train=True, step=5))
    np.testing.assert_array_equal(layer.forward(x, lengths, TRAIN)[0], first)
    np.testing.assert_array_equal(random_layer(num_layers=2, **options)[1].forward(x, lengths, TRAIN)[0], first)
    for other in (
        Mode(True, 3, 12), Mode(True, 4, 11), Mode(True, 3, 11, rank=1), Mode(True, 3, 11, micro_batch=1), EVAL,
    ):  # fmt: skip
        assert (layer.forward(x, lengths, other)[0] != first).any()
    assert (random_layer(name="q", num_layers=2, **options)[1].forward(x, lengths, TRAIN)[0] != first).any()
    masks = [{**whole, **along} for whole, along in (layer._options(k, 9, 4, TRAIN) for k in (0, 1))]
    for name in masks[0]:
        assert (masks[0][name] != masks[1][name]).any()


@pytest.mark.skipif("cpp" not in BACKENDS, reason="no native code in this install")
@pytest.mark.parametrize("mode", [EVAL, TRAIN], ids=["eval", "train"])
def test_backends_draw_the_same_masks(mode):
    options = {"recurrent_dropout": 0.4, "zoneout_h": 0.3, "zoneout_c": 0.2, "bidirectional": True, "proj_size": 4}
    outputs = []
    for backend in ("numpy", "cpp"):
        _, layer, x, lengths = random_layer(backend, **options)
        outputs.append(layer.forward(x, lengths, mode)[0])
    np.testing.assert_allclose(*outputs, rtol=0, atol=1e-13)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("options", [*RANDOM, {"peephole": True, "proj_size": 3, "cell_clip": 0.2}], ids=str)
@pytest.mark.parametrize("train", [False, True])
def test_windows_of_time_change_no_output(backend, options, train):
    _, layer, x, lengths = random_layer(backend, num_layers=2, **options)
    whole = layer.forward(x, lengths, Mode(train, 3, 11))[0]
    for bptt in (1, 2, 4, 9):
        y, saved = layer.forward(x, lengths, Mode(train, 3, 11, bptt=bptt))
        np.testing.assert_allclose(y, whole, rtol=0, atol=1e-13)
        assert layer.backward(saved, y).shape == x.shape


def test_masks_of_a_frame_do_not_depend_on_those_that_follow():
    _, layer, x, lengths = random_layer(zoneout_h=0.3, zoneout_c=0.3)
    shorter = np.minimum(lengths, 5)
    y = layer.forward(x, shorter, TRAIN)[0]
    np.testing.assert_array_equal(layer.forward(x[:5], shorter, TRAIN)[0], y[:5])


def test_rates_are_those_that_were_asked_for():
    _, layer, _, _ = random_layer(recurrent_dropout=0.3, zoneout_h=0.2, zoneout_c=0.6)
    whole, along = layer._options(0, 200, 100, TRAIN)
    kept = whole["state_mask"]
    assert set(np.unique(kept)) == {0, 1 / 0.7}
    assert abs((kept == 0).mean() - 0.3) < 5 * np.sqrt(0.21 / kept.size)
    for name, rate in (("keep_h", 0.2), ("keep_c", 0.6)):
        assert set(np.unique(along[name])) == {0, 1}
        assert abs(along[name].mean() - rate) < 5 * np.sqrt(rate * (1 - rate) / along[name].size)
    whole, along = layer._options(0, 2, 3, EVAL)
    assert whole == {}
    assert (along["keep_h"] == 0.2).all()
    assert (along["keep_c"] == 0.6).all()


def test_a_mask_of_recurrent_dropout_stays_for_the_whole_sequence():
    params, layer, x, lengths = random_layer(recurrent_dropout=0.5)
    kept = layer._options(0, 9, 4, TRAIN)[0]["state_mask"][0, 0]
    y = layer.forward(x, lengths, TRAIN)[0][:, 0]
    params["r.weight_hh_l0"][0][:, kept == 0] = 9  # what a dropped unit feeds is not seen
    np.testing.assert_array_equal(layer.forward(x, lengths, TRAIN)[0][:, 0], y)
    params["r.weight_hh_l0"][0][:, kept != 0] += 1
    assert (layer.forward(x, lengths, TRAIN)[0][:, 0] != y).any()


def test_in_evaluation_zoneout_takes_the_share_and_dropout_does_nothing():
    params, layer, x, lengths = random_layer(recurrent_dropout=0.5)
    np.testing.assert_array_equal(
        layer.forward(x, lengths)[0], random_layer()[1].forward(x, lengths, TRAIN)[0]
    )  # the plain layer
    params, layer, x, lengths = random_layer(zoneout_h=0.25, bidirectional=True)
    entries = [params[f"r.{e}_l0"] for e in layer.entries]
    keep = np.full((9, 4, 12), 0.25)
    np.testing.assert_array_equal(
        layer.forward(x, lengths)[0], params.ops.lstm_forward(x, lengths, *entries, keep_h=keep)[0]
    )


def test_peepholes_begin_at_zero_and_learn():
    params = pyasr.Params(pyasr.backend("numpy"))
    layer = Lstm(params, "r", 5, 6, peephole=True, bidirectional=True)
    params.init(0)
    assert params["r.peephole_l0"].shape == (2, 18)
    assert not params["r.peephole_l0"].any()
    y, saved = layer.forward(np.ones((4, 2, 5), "f4"), np.array([4, 2], np.int32))
    layer.backward(saved, np.ones_like(y))
    assert (params.grad_of("r.peephole_l0") != 0).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"recurrent_dropout": 1}, r"recurrent_dropout must be below 1, got 1"),
        ({"recurrent_dropout": -0.1}, r"recurrent_dropout must lie in \[0.0, 1.0\], got -0.1"),
        ({"zoneout_h": 1.5}, r"zoneout_h must lie in \[0.0, 1.0\], got 1.5"),
        ({"zoneout_c": 1.0}, r"zoneout_c must be below 1, got 1"),
        ({"zoneout_c": "0.1"}, "zoneout_c must be a real number, got str"),
        ({"cell_clip": -1.0}, r"cell_clip must lie in \[0.0, 1e\+30\], got -1.0"),
        ({"cell_clip": 1e-31}, "cell_clip must be 0 or at least 1e-30, got 1e-31"),
        ({"cell_clip": None}, "cell_clip must be a real number, got NoneType"),
        ({"proj_size": -1}, r"proj_size must lie in \[0, 2147483647\], got -1"),
        ({"proj_size": True}, "proj_size must be an integer, got bool"),
        ({"peephole": 1}, "peephole must be True or False, got int"),
    ],
)
def test_bad_options_are_named(options, message):
    params = pyasr.Params(pyasr.backend("numpy"))
    with pytest.raises((TypeError, ValueError), match=f"^Lstm: {message}"):
        Lstm(params, "r", 5, 6, **options)
    assert params.names() == []


@pytest.mark.skipif(why_not("numba") is not None, reason="no numba in this install")
@pytest.mark.parametrize(
    "options", [{"peephole": True}, {"cell_clip": 2.0}, {"proj_size": 3}, {"zoneout_h": 0.1}], ids=str
)
def test_what_a_backend_lacks_its_row_says(options):
    _, layer, x, lengths = random_layer("numba", **options)
    with pytest.raises(ValueError, match=r"^lstm_forward: \w+ must be left out on the numba backend"):
        layer.forward(x, lengths)
    random_layer("numba", recurrent_dropout=0.5)[1].forward(x, lengths)  # nothing of it in evaluation
