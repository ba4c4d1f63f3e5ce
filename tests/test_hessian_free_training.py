"""Training by HessianFree: the batches of the curvature, what is kept between updates, the loop, a run and the command."""

import math
import runpy
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyasr
from pyasr.hessian_free import HessianFree, objective
from pyasr.losses import Ctc
from pyasr.train import fit

SMALL = runpy.run_path(str(Path(__file__).with_name("small_models.py")))
Squares, built, every_backend, every_kind, least_squares = (
    SMALL[n] for n in ("Squares", "built", "every_backend", "every_kind", "least_squares")
)


def test_curvature_comes_from_batches_that_seed_and_update_draw(monkeypatch):
    def draws(seed, share, updates=range(30)):
        optimizer = HessianFree(pyasr_params(), curvature=share, seed=seed)
        return [frozenset(optimizer._drawn(k, 10)) for k in updates]

    def pyasr_params():
        return built("words")[0].params

    some = draws(0, 0.3)
    assert some == draws(0, 0.3) != draws(1, 0.3)
    assert {len(d) for d in some} == {3} and frozenset.union(*some) == frozenset(range(10))
    assert {len(d) for d in draws(0, 0.28)} == {3} and {len(d) for d in draws(0, 0.32)} == {3}
    assert {len(d) for d in draws(0, 0.01)} == {1} and draws(0, 1.0)[0] == frozenset(range(10))
    model, criterion, batches = built("words")
    optimizer, formed = HessianFree(model.params, curvature=0.3), []
    monkeypatch.setattr(optimizer, "_drawn", lambda number, count: formed.append((number, count)) or {1})
    one = optimizer.step(model, criterion, batches)
    assert formed == [(0, 3)] and one.loss > one.after
    assert optimizer.step(model, criterion, batches) and formed[1:] == [(1, 3)]


@every_backend
def test_same_bits_after_a_state_was_handed_on(backend):
    def fresh():
        model, criterion, batches = built("ctc", backend, "float32")
        return model, criterion, batches, HessianFree(model.params, curvature=0.34, seed=2, max_iterations=12)

    model, criterion, batches, optimizer = fresh()
    steps = [optimizer.step(model, criterion, batches) for _ in range(6)]
    other, criterion, batches, first = fresh()
    halves = [first.step(other, criterion, batches) for _ in range(3)]
    second = HessianFree(other.params, damping=7.0, curvature=0.34, seed=2, max_iterations=12)
    for name, vector in second.state.items():
        vector[...] = first.state[name]
    assert halves + [second.step(other, criterion, batches) for _ in range(3)] == steps
    np.testing.assert_array_equal(other.params.value, model.params.value)
    assert second.state["count"][0] == 6 and second.state["solution"].dtype == np.float32


@every_backend
@every_kind
def test_the_loop_learns_with_it(backend, kind):
    model, criterion, batches = built(kind, backend, "float32", hidden=8)
    steps = []
    at = fit(
        model, criterion, lambda epoch, first: iter(batches[first:]), HessianFree(model.params), epochs=12,
        learning_rate=lambda step: pytest.fail("it has no learning rate"), accumulate=100, on_step=steps.append,
    )  # fmt: skip
    assert at.step == len(steps) == 12 and at.epoch == 12
    assert steps[0].frames == sum(int(n.sum()) for _, n, _ in batches)
    assert all(s.second_order.loss == s.loss and s.second_order.scale == s.lr for s in steps)
    assert steps[-1].second_order.after < 0.2 * steps[0].loss
    two = fit(model, criterion, lambda epoch, first: iter(batches[first:]), HessianFree(model.params), epochs=1,
              learning_rate=lambda step: 1.0, accumulate=2)  # fmt: skip
    assert two.step == 2


def test_the_loop_ends_where_f_stays_not_finite():
    model, batches, _ = least_squares()
    given = [(np.ascontiguousarray(x[None]), np.full(len(x), 1, "i4"), targets[None]) for x, _, targets in batches]
    with pytest.raises(FloatingPointError, match="the loss or its gradient was not finite in 3 steps in a row"):
        fit(model, Squares(limit=0.0), lambda epoch, first: iter(given), HessianFree(model.params), epochs=9,
            learning_rate=lambda step: 1.0, max_skipped=2)  # fmt: skip


def test_an_utterance_that_cannot_be_aligned_is_left_out_unless_it_is_wanted():
    model, criterion, batches = built("ctc")
    x, lengths, labels = batches[0]
    batches[0] = x, np.where(np.arange(len(lengths)) == 0, 1, lengths).astype("i4"), labels
    step = HessianFree(model.params).step(model, criterion, batches)
    assert not step.skipped and step.after == objective(model, criterion, batches) < step.loss
    strict, before = Ctc(model.params.ops, zero_infinity=False), model.params.value.copy()
    step = HessianFree(model.params).step(model, strict, batches)
    assert step.skipped and step.loss == math.inf
    np.testing.assert_array_equal(model.params.value, before)


def test_a_model_with_other_params_is_refused():
    model, criterion, batches = built("words")
    other = built("words")[0]
    before = [m.params.value.copy() for m in (model, other)]
    with pytest.raises(ValueError, match="HessianFree: model must have the params that HessianFree was made for"):
        HessianFree(other.params).step(model, criterion, batches)
    for was, m in zip(before, (model, other), strict=True):
        np.testing.assert_array_equal(was, m.params.value)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"damping": 0.0}, ValueError, "HessianFree: damping must lie in"),
        ({"damping": "1"}, TypeError, "HessianFree: damping must be a real number"),
        ({"max_iterations": 0}, ValueError, "HessianFree: max_iterations must lie in"),
        ({"curvature": 0.0}, ValueError, "HessianFree: curvature must be above 0"),
        ({"curvature": 1.1}, ValueError, "HessianFree: curvature must lie in"),
        ({"martens_eps": -1.0}, ValueError, "HessianFree: martens_eps must be at least"),
        ({"scale_by_k": 1}, TypeError, "HessianFree: scale_by_k must be True or False"),
        ({"seed": 0.5}, TypeError, "HessianFree: seed must be an integer"),
    ],
)
def test_bad_options_are_named(options, error, message):
    model, _, _ = built("words")
    with pytest.raises(error, match=message):
        HessianFree(model.params, **options)


# ---- a run


@pytest.fixture
def corpus(tmp_path, monkeypatch):
    for package in ("soundfile", "msgspec", "safetensors", "rapidfuzz", "matplotlib"):
        pytest.importorskip(package, reason="a run needs it")
    from pyasr.datasets import manifest
    from pyasr.runs import plots

    monkeypatch.setattr(plots, "draw", lambda *_: [])
    trees = runpy.run_path(str(Path(__file__).with_name("trees.py")))
    return manifest.corpus(trees["folder_of"](tmp_path / "data", [" ".join(trees["letters_of"](i)) for i in range(18)]))


CHOSEN = {"optimizer": "hessian-free", "epochs": 5, "hidden": 6, "layers": 1, "batch_size": 4, "cg_iterations": 8}


def test_a_run_that_was_stopped_ends_with_the_same_bits(corpus, tmp_path):
    from pyasr import checkpoint
    from pyasr.runs.folder import read_metrics
    from pyasr.runs.options import options_for
    from pyasr.runs.training import Hooks, Interrupted, train

    options = options_for("", "lstm_ctc", CHOSEN | {"curvature": 0.5})
    for run in ("whole", "parts"):
        resume = False
        if run == "parts":
            hooks = Hooks(on_step=lambda step: signal.raise_signal(signal.SIGINT) if step.step == 2 else None)
            with pytest.raises(Interrupted):
                train(pyasr.backend(), corpus, tmp_path / run, options, run={"source": "data"}, hooks=hooks)
            resume = True
        train(pyasr.backend(), corpus, tmp_path / run, options, run={"source": "data"}, resume=resume)
    whole, parts = (checkpoint.load(tmp_path / run / "last.safetensors").tensors for run in ("whole", "parts"))
    assert {"optimizer/solution", "optimizer/damping", "optimizer/count"} <= whole.keys()
    for name, tensor in whole.items():
        np.testing.assert_array_equal(tensor, parts[name])
    (steps, _), (again, _) = (read_metrics(tmp_path / run / "metrics.jsonl") for run in ("whole", "parts"))
    assert steps == again and [s["step"] for s in steps] == [1, 2, 3, 4, 5]
    assert all(1 <= s["cg_iterations"] <= 8 and s["damping"] > 0 and s["after"] <= s["loss"] for s in steps)
    assert steps[-1]["after"] < 0.8 * steps[0]["loss"] and all(s["rho"] > 0 for s in steps)


def test_the_command_trains_with_it_and_shows_what_an_update_did(corpus, tmp_path, capsys, monkeypatch):
    pytest.importorskip("click", reason="the command needs it")
    pytest.importorskip("rich", reason="its bar needs it")
    from pyasr import cli
    from pyasr.cli import _train
    from pyasr.runs.folder import read_metrics

    lines, show = [], _train._curvature
    monkeypatch.setattr(_train, "is_terminal", lambda: True)
    monkeypatch.setattr(_train, "_curvature", lambda step: lines.append(show(step)) or lines[-1])
    sizes = ["--model", "lstm_ctc", "--epochs", "2", "--hidden", "4", "--layers", "1", "--batch-size", "5"]
    argv = ["train", str(tmp_path / "data"), "--optimizer", "hessian-free", *sizes, "--out", str(tmp_path / "run")]
    assert cli.main(argv) == 0
    assert "2 updates in 2 epochs" in capsys.readouterr().out
    steps, _ = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert lines == [f"  CG {s['cg_iterations']}  ρ {s['rho']:.2f}  λ {s['damping']:.1e}" for s in steps]
    assert 'optimizer = "hessian-free"' in (tmp_path / "run" / "config.toml").read_text()
    assert show(SimpleNamespace(second_order=None)) == ""


@pytest.mark.parametrize("wrong", [{"dropout": 0.1}, {"bptt": 5, "bidirectional": False}])
def test_options_that_it_cannot_follow_are_refused(wrong):
    pytest.importorskip("msgspec", reason="options are checked with it")
    from pyasr.runs.options import options_for

    assert options_for("", "lstm_ctc", CHOSEN).dropout == 0
    with pytest.raises(ValueError, match="hessian-free needs dropout = 0 and bptt = 0"):
        options_for("", "lstm_ctc", CHOSEN | wrong)


@pytest.mark.parametrize(
    "unheard", [{"clip": 0.01}, {"peak": 99.0}, {"schedule": "plateau"}, {"momentum": 0.1, "weight_decay": 5.0}]
)
def test_options_that_it_would_ignore_are_refused_by_name(unheard):
    pytest.importorskip("msgspec", reason="options are checked with it")
    from pyasr.runs.options import as_dict, options_for

    named = ", ".join(f"{name} = {value}" for name, value in unheard.items())
    with pytest.raises(ValueError, match=f"hessian-free has no schedule, peak, .*: leave out {named}$"):
        options_for("", "lstm_ctc", CHOSEN | unheard)
    assert options_for("", "lstm_ctc", unheard).optimizer == "adam"
    options = options_for("", "lstm_ctc", CHOSEN)
    assert options_for("", "lstm_ctc", as_dict(options)) == options  # as `--config` and `--resume` read a run's options
    assert (
        not unheard.keys() & as_dict(options).keys()
        and unheard.keys() <= as_dict(options_for("", "lstm_ctc", {})).keys()
    )


def test_options_reach_it():
    pytest.importorskip("msgspec", reason="options are checked with it")
    from pyasr.runs.options import options_for
    from pyasr.runs.training import _optimizer

    chosen = {"damping": 0.5, "curvature": 0.25, "martens_eps": 0.01, "scale_by_k": False, "seed": 4}
    optimizer = _optimizer(built("words")[0].params, options_for("", "lstm_ctc", CHOSEN | chosen))
    assert [getattr(optimizer, name) for name in ("curvature", "martens_eps", "scale_by_k", "seed")] == [
        0.25,
        0.01,
        False,
        4,
    ]
    assert optimizer.state["damping"][0] == 0.5 and optimizer.max_iterations == CHOSEN["cg_iterations"]
