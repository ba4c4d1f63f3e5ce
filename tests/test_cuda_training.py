"""Training on a device: the host looks at it once per log_every updates, and what comes out is what the CPU finds. The device is
the emulated one, whose arrays are as strict as CuPy's.
"""

import json
import runpy
import signal
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.batches import pad
from pyasr.hessian_free import HessianFree
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import _cuda, host
from pyasr.optim import Adam, AdamW, RmsProp, Sgd
from pyasr.text import pad_labels
from pyasr.train import fit

F, SYMBOLS = 5, 4
MAKERS = {
    "sgd": lambda params: Sgd(params, momentum=0.9, clip=1.0),
    "adam": lambda params: Adam(params, clip=1.0),
    "adamw": lambda params: AdamW(params, clip=1.0),
    "rmsprop": lambda params: RmsProp(params, clip=1.0),
}


def built(ops, kind, dtype="float32"):
    params = pyasr.Params(ops, dtype)
    if kind == "words":
        model = pyasr.models.word_classifier(params, F, SYMBOLS, hidden=4, dropout=0.2)
    else:
        model = pyasr.models.lstm_ctc(params, F, SYMBOLS, hidden=4, layers=1, stack=2, dropout=0.2)
    params.init(3)
    return model, (SoftmaxCrossEntropy if kind == "words" else Ctc)(ops)


def in_batches(ops, kind, impossible=(), dtype="f4"):
    """Five batches of two utterances; the labels of those in `impossible` cannot be aligned."""
    rng, whole = np.random.default_rng(1), []
    for i in range(5):
        x, lengths = pad([rng.standard_normal((int(n), F)).astype(dtype) for n in rng.integers(6, 11, 2)])
        labels = rng.integers(1, SYMBOLS, 2).astype("i4")
        if kind == "ctc":
            labels = pad_labels([labels, np.full(12 if i in impossible else 1, 1, "i4")])
        whole.append(tuple(map(ops.xp.asarray, (x, lengths, labels))))
    return lambda epoch, first: iter(whole[first:])


def trained(ops, kind, maker="adam", *, epochs=2, impossible=(), spoil=(), **options):
    """(weights, steps) of a training; the gradient of the updates `spoil` holds a NaN."""
    model, criterion = built(ops, kind)
    steps, calls = [], []

    def criticized(*args):
        loss = criterion(*args)
        if len(calls) in spoil:
            loss.sum_grad[..., 0] = np.nan
        calls.append(1)
        return loss

    at = fit(
        model, criticized, in_batches(ops, kind, impossible), MAKERS[maker](model.params), epochs=epochs,
        learning_rate=lambda step: 0.01 * (1 + step), on_step=steps.append, **options,
    )  # fmt: skip
    assert (at.epoch, at.step) == (epochs, len(steps))
    return host(model.params.value).copy(), steps


def assert_same_steps(got, want):
    assert [(s.epoch, s.step, s.skipped, s.frames, s.lr) for s in got] == [
        (s.epoch, s.step, s.skipped, s.frames, s.lr) for s in want
    ]
    fine = [i for i, s in enumerate(want) if not s.skipped]
    for name in ("loss", "norm"):
        np.testing.assert_allclose(*([getattr(s[i], name) for i in fine] for s in (got, want)), rtol=2e-4)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", ["words", "ctc"])
def test_the_steps_are_those_of_the_cpu(emulated, kind, maker):
    want, on_cpu = trained(pyasr.backend("numpy"), kind, maker)
    got, on_device = trained(emulated.backend, kind, maker, log_every=4)
    assert_same_steps(on_device, on_cpu)
    np.testing.assert_allclose(got, want, atol=2e-3 if maker in ("adam", "adamw", "rmsprop") else 2e-5)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.parametrize("kind", ["words", "ctc"])
def test_one_look_per_interval(emulated, kind, maker):
    arrays = emulated.arrays
    reads, before, seen = arrays["DeviceArray"].reads, len(arrays["DeviceArray"].reads), []
    _, steps = trained(emulated.backend, kind, maker, log_every=2, accumulate=1)
    seen = reads[before:-1]  # the last is this test's, for the weights
    assert len(steps) == 10
    assert seen == ["get"] * 6  # of 2, 2 and 1 steps in each of two epochs


def test_between_two_intervals_nothing_looks(emulated):
    arrays, model_and_criterion = emulated.arrays, built(emulated.backend, "ctc")
    model, criterion = model_and_criterion
    with arrays["unread"](), pytest.raises(arrays["HostRead"], match="get"):
        fit(
            model, criterion, in_batches(emulated.backend, "ctc"), Adam(model.params), epochs=1,
            learning_rate=lambda step: 0.1, log_every=5, on_step=lambda step: pytest.fail("was not read"),
        )  # fmt: skip


@pytest.mark.parametrize("log_every", [1, 3, 50])
def test_the_interval_changes_no_bit_and_no_step(emulated, log_every):
    options = {"impossible": {1}, "spoil": {2, 3}, "accumulate": 2}
    for ops in (emulated.backend, pyasr.backend("numpy")):
        want, steps = trained(ops, "ctc", **options)
        got, told = trained(ops, "ctc", log_every=log_every, **options)
        np.testing.assert_array_equal(got, want)
        assert repr(told) == repr(steps)
        assert [s.skipped for s in steps] == [False, True, False, False, False, False]


def test_too_many_skipped_steps_end_it(emulated):
    with pytest.raises(FloatingPointError, match="3 steps in a row; stopped at step 4"):
        trained(emulated.backend, "words", spoil={2, 3, 4, 5}, log_every=10, max_skipped=2)


def test_hessian_free_steps_are_those_of_the_cpu(emulated):
    """Products and losses run on the device; the vectors of CG are the host's."""
    steps, weights = {}, {}
    for ops in (emulated.backend, pyasr.backend("numpy")):
        model, criterion = built(ops, "ctc", "float64")
        optimizer = HessianFree(model.params, damping=0.1, max_iterations=8)
        batches = list(in_batches(ops, "ctc", dtype="f8")(0, 0))
        steps[ops.name] = [optimizer.step(model, criterion, batches) for _ in range(3)]
        weights[ops.name] = host(model.params.value)
    for got, want in zip(steps["cuda"], steps["numpy"], strict=True):
        assert got == pytest.approx(want, rel=1e-6)
    np.testing.assert_allclose(weights["cuda"], weights["numpy"], rtol=1e-6, atol=1e-9)
    assert steps["cuda"][-1].after < steps["cuda"][0].loss


def test_a_batch_in_which_nobody_takes_part_moves_nothing(emulated):
    for ops in (emulated.backend, pyasr.backend("numpy")):
        (model, criterion), steps = built(ops, "ctc"), []
        (x, lengths, _), *_ = in_batches(ops, "ctc")(0, 0)
        batch, before = (x, lengths, ops.xp.asarray(np.full((2, 12), 1, "i4"))), host(model.params.value).copy()
        fit(
            model, criterion, lambda epoch, first, only=batch: [only], Sgd(model.params), epochs=1,
            learning_rate=lambda step: 0.1, on_step=steps.append,
        )  # fmt: skip
        assert [(s.loss, s.norm, s.skipped) for s in steps] == [(0.0, 0.0, False)]
        np.testing.assert_array_equal(host(model.params.value), before)


@pytest.mark.parametrize("bad", [0, -1, 1.5, "2", None])
def test_a_bad_interval_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match="fit: log_every must"):
        trained(pyasr.backend("numpy"), "words", log_every=bad)


# ---- the command

needs_command = [
    pytest.importorskip(package, reason="the command needs it")
    for package in (
        "soundfile",
        "msgspec",
        "safetensors",
        "rapidfuzz",
        "matplotlib",
        "click",
        "soxr",
        "tomli_w",
        "rich",
    )
]
from pyasr import checkpoint, cli  # noqa: E402  (after the packages that it needs)
from pyasr.runs import plots, training  # noqa: E402

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
SAID = [" ".join(TREES["letters_of"](i)) for i in range(12)]
SMALL = ["--model", "lstm_ctc", "--hidden", "4", "--layers", "1", "--epochs", "2", "--batch-size", "4", "--json"]


@pytest.fixture
def command(emulated, monkeypatch, capsys, tmp_path):
    """pyasr … on a machine whose GPU is the emulated one: what it prints as JSON, or its complaint."""
    real = pyasr.backend
    monkeypatch.setattr(pyasr, "backend", lambda name=None: emulated.backend if name == "cuda" else real(name))
    monkeypatch.setattr(_cuda, "why_not", lambda: None)
    monkeypatch.setattr(_cuda, "column", lambda: emulated.strict)
    monkeypatch.setattr(plots, "draw", lambda *_: [])

    def run(*argv, code=0):
        assert cli.main([str(a) for a in argv]) == code
        printed = capsys.readouterr()
        return json.loads(printed.out) if code == 0 else printed.err

    return run


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    return TREES["folder_of"](tmp_path_factory.mktemp("said"), SAID)


def metrics(run):
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_train_and_evaluate(command, recordings, tmp_path):
    on_device = command("train", recordings, "--out", tmp_path / "device", "--device", "cuda", *SMALL)
    on_cpu = command("train", recordings, "--out", tmp_path / "cpu", "--backend", "numpy", *SMALL)
    assert on_device["steps"] == on_cpu["steps"]
    for got, want in zip(metrics(tmp_path / "device"), metrics(tmp_path / "cpu"), strict=True):
        assert got.keys() == want.keys()
        assert got.get("loss") == pytest.approx(want.get("loss"), rel=1e-3)
    assert 'backend = "cuda"' in (tmp_path / "device" / "config.toml").read_text()
    judged = command("evaluate", tmp_path / "device", "--device", "cuda", "--json")
    again = command("evaluate", tmp_path / "device", "--device", "cpu", "--json")
    assert judged.pop("loss") == pytest.approx(again.pop("loss"), rel=1e-5)
    assert judged == again


def test_a_training_goes_on_with_the_same_bits(command, recordings, tmp_path, monkeypatch):
    argv = ["--device", "cuda", "--log-every", 2, "--checkpoint-every", 1, *SMALL]
    command("train", recordings, "--out", tmp_path / "whole", *argv)

    def pressed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(training, "evaluate", pressed)  # after the first epoch
        assert "interrupted" in command("train", recordings, "--out", tmp_path / "halved", *argv, code=130)
    assert len(metrics(tmp_path / "halved")) == 3  # of an epoch of three updates, the last one by itself
    command("train", "--resume", tmp_path / "halved", "--json")
    for name in ("best", "last"):
        whole, halved = (checkpoint.load(tmp_path / run / f"{name}.safetensors").tensors for run in ("whole", "halved"))
        assert whole.keys() == halved.keys()
        assert all(np.array_equal(whole[key], halved[key]) for key in whole)


@pytest.fixture
def saves(monkeypatch):
    """The updates after which checkpoints were written."""
    seen, save = [], training._Training._save
    monkeypatch.setattr(training._Training, "_save", lambda self: (seen.append(self.state.progress.step), save(self)))
    return seen


@pytest.mark.parametrize(("pressed", "stopped"), [(0, 2), (3, 5)])
def test_ctrl_c_within_an_interval_loses_no_step(command, recordings, tmp_path, monkeypatch, saves, pressed, stopped):
    """Epochs of three updates, so looks after 2, 3, 5 and 6; checkpoints at the first look behind every fourth update."""
    argv = ["--device", "cuda", "--log-every", 2, "--checkpoint-every", 4, *SMALL]
    command("train", recordings, "--out", tmp_path / "whole", *argv)
    assert saves == [5, 6]  # and at the end
    rate = training._Training.learning_rate

    def press(self, step):
        if step == pressed:
            signal.raise_signal(signal.SIGINT)
        return rate(self, step)

    with monkeypatch.context() as m:
        m.setattr(training._Training, "learning_rate", press)
        said = command("train", recordings, "--out", tmp_path / "halved", *argv, code=130)
    assert f"at step {stopped};" in said
    saves.clear()
    command("train", "--resume", tmp_path / "halved", "--json")
    assert saves == ([5, 6] if stopped == 2 else [6])
    clock = {"seconds": None}
    whole, halved = ([record | clock for record in metrics(tmp_path / run)] for run in ("whole", "halved"))
    assert halved == whole
    whole, halved = (checkpoint.load(tmp_path / run / "last.safetensors").tensors for run in ("whole", "halved"))
    assert all(np.array_equal(whole[key], halved[key]) for key in whole)


@pytest.mark.parametrize(("begun", "ended"), [("cuda", "cpu"), ("cpu", "cuda")])
def test_a_training_goes_on_where_it_began(command, recordings, tmp_path, monkeypatch, begun, ended):
    """Features have other bits elsewhere, and so would the weights; the message says what is other."""

    def pressed(*_, **__):
        raise KeyboardInterrupt

    run = tmp_path / "run"
    with monkeypatch.context() as m:
        m.setattr(training, "evaluate", pressed)
        command("train", recordings, "--out", run, "--device", begun, "--checkpoint-every", 1, *SMALL, code=130)
    said = command("train", "--resume", run, "--device", ended, code=1)
    names = {"cuda": "cuda", "cpu": "default"}
    assert f"it ran on the backend '{names[begun]}', this is '{names[ended]}'" in said
    assert command("train", "--resume", run, "--json")["steps"] == 6


@pytest.mark.parametrize(("argv", "wanted"), [(["cuda"], 20), (["cpu"], 1), (["cuda", "--log-every", 7], 7)], ids=str)
def test_how_often_a_run_looks_is_kept_by_it(command, recordings, tmp_path, monkeypatch, argv, wanted):
    seen = []

    def stopped(*_, log_every, **__):
        seen.append(log_every)
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "fit", stopped)
    command("train", recordings, "--out", tmp_path / "run", "--device", *argv, *SMALL, code=130)
    command("train", "--resume", tmp_path / "run", code=130)
    assert seen == [wanted, wanted]


def test_device_and_backend_are_one_choice(command, recordings, tmp_path):
    said = command("train", recordings, "--out", tmp_path / "r", "--device", "cuda", "--backend", "cpp", *SMALL, code=2)
    assert "--backend cpp runs on the CPU, got --device cuda too" in said
    said = command("train", recordings, "--out", tmp_path / "r", "--device", "cuda", "--cell", "gru", *SMALL, code=1)
    assert "gru_backward" in said
    assert not (tmp_path / "r").exists()
