"""The training loop: what a batch is, where it goes on, when it ends, and what a step that is skipped leaves alone."""

import math
import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.batches import pad
from pyasr.layers import Layer, Linear, chain
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not
from pyasr.optim import Adam, Sgd
from pyasr.text import pad_labels
from pyasr.train import Progress, fit

F, CLASSES = 5, 4
BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None]
OPTIMIZERS = {"sgd": Sgd, "adam": Adam}


def built(kind, backend=None, dtype="float32", *, dropout=0.0, bidirectional=True):
    """A small model with weights from a seed, and its criterion."""
    params = pyasr.Params(pyasr.backend(backend), dtype)
    options = {"hidden": 6, "dropout": dropout, "bidirectional": bidirectional}
    if kind == "words":
        model = pyasr.models.word_classifier(params, F, CLASSES, layers=2, **options)
    else:
        model = pyasr.models.lstm_ctc(params, F, CLASSES, layers=2, stack=2, **options)
    params.init(3)
    return model, (SoftmaxCrossEntropy if kind == "words" else Ctc)(params.ops)


def utterances(kind, count=16, dtype="float32"):
    """Features [T, F] of different lengths that tell their label."""
    rng = np.random.default_rng(11)
    out = []
    for i in range(count):
        frames = int(rng.integers(12, 40))
        x = 0.5 * rng.standard_normal((frames, F))
        label = i % CLASSES if kind == "words" else rng.integers(1, CLASSES, 2).astype(np.int32)
        half = frames // 2
        x[:half, np.ravel(label)[0]] += 1
        x[half:, np.ravel(label)[-1]] += 1
        out.append((x.astype(dtype), label))
    return out


def batch(some):
    """Utterances as the loop takes them."""
    x, lengths = pad([features for features, _ in some])
    labels = [label for _, label in some]
    return x, lengths, np.array(labels, np.int32) if np.isscalar(labels[0]) else pad_labels(labels)


def in_batches(some, size):
    """What fit asks for; every epoch in the same order."""
    whole = [batch(some[i : i + size]) for i in range(0, len(some), size)]
    return lambda epoch, first: iter(whole[first:])


def distance(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


# ---- one update from several batches

CANNOT = np.array([1] * 30, np.int32)  # repeats need blanks between: more frames than there are


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-6), ("float64", 1e-12)])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["words", "ctc"])
def test_four_batches_of_four_are_one_of_sixteen(backend, dtype, tolerance, optimizer, kind):
    some = utterances(kind, dtype=dtype)
    if kind == "ctc":
        some[6] = (some[6][0], CANNOT)
    results = {}
    for name, chosen, size, accumulate in (
        ("one", some, 16, 1),
        ("four", some, 4, 4),
        ("without", some[:6] + some[7:], 15, 1),
    ):
        model, criterion = built(kind, backend, dtype)
        begin, steps = model.params.value.copy(), []
        fit(
            model, criterion, in_batches(chosen, size), OPTIMIZERS[optimizer](model.params, clip=0.05), epochs=1,
            learning_rate=lambda step: 0.02, accumulate=accumulate, on_step=steps.append,
        )  # fmt: skip
        results[name] = (model.params.grad.copy(), model.params.value - begin, *steps)
    (grad, change, step), (wanted_grad, wanted_change, wanted) = results["four"], results["one"]
    assert distance(grad, wanted_grad) <= tolerance
    assert distance(change, wanted_change) <= 10 * tolerance  # of a small difference of weights
    assert step.norm == pytest.approx(wanted.norm, rel=tolerance) and step.norm > 0.05  # it was clipped
    assert step.loss == pytest.approx(wanted.loss, rel=tolerance)
    assert (step.frames, step.step, step.skipped) == (wanted.frames, 0, False)
    if kind == "ctc":  # it takes no part in the mean, though its frames were seen
        alone = results["without"][2]
        assert step.norm == pytest.approx(alone.norm, rel=tolerance)
        assert step.loss == pytest.approx(alone.loss, rel=tolerance)
        assert step.frames == alone.frames + len(some[6][0])


def test_a_last_group_of_fewer_batches_is_an_update_by_its_own_mean():
    some, steps = utterances("words", 10), []
    model, criterion = built("words")
    at = fit(
        model, criterion, in_batches(some, 2), Sgd(model.params), epochs=2, learning_rate=lambda step: 0.0, accumulate=3,
        on_step=steps.append,
    )  # fmt: skip
    assert at == Progress(epoch=2, batch=0, step=4, skipped=0)
    assert [(s.epoch, s.step) for s in steps] == [(0, 0), (0, 1), (1, 2), (1, 3)]
    for step, part in zip(steps[:2], (some[:6], some[6:]), strict=True):
        x, lengths, labels = batch(part)
        assert step.loss == pytest.approx(criterion(model.forward(x, lengths)[0], None, labels).value, rel=1e-6)
        assert step.frames == lengths.sum()


# ---- going on


class Stopped(Exception):
    pass


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("kind", ["words", "ctc"])
def test_going_on_after_any_step_ends_with_the_same_bits(kind, optimizer):
    some = utterances(kind, 10)

    def run(progress=None, value=None, state=None, stop=None):
        model, criterion = built(kind, dropout=0.3)
        steps, epochs, method = [], [], OPTIMIZERS[optimizer](model.params)
        if value is not None:
            model.params.value[:] = value
            for name, vector in method.state.items():
                vector[:] = state[name]
        progress = progress or Progress()

        def on_step(step):
            steps.append(step)
            if step.step == stop:
                raise Stopped

        def go():
            fit(
                model, criterion, in_batches(some, 2), method, epochs=3, learning_rate=lambda step: 0.1 / (1 + step),
                seed=5, accumulate=2, progress=progress, on_step=on_step, on_epoch=epochs.append,
            )  # fmt: skip

        if stop is None:
            go()
        else:
            with pytest.raises(Stopped):
                go()
        return progress, model.params.value.copy(), {n: v.copy() for n, v in method.state.items()}, steps, epochs

    at, value, state, steps, epochs = run()
    assert (at, epochs, len(steps)) == (Progress(3, 0, 9, 0), [0, 1, 2], 9)
    for stop in range(9):
        part = run(stop=stop)
        assert part[0] == Progress(stop // 3, (2, 4, 5)[stop % 3], stop + 1, 0)
        rest = run(*part[:3])
        np.testing.assert_array_equal(rest[1], value)
        for name, vector in rest[2].items():
            np.testing.assert_array_equal(vector, state[name])
        assert part[3] + rest[3] == steps and part[4] + rest[4] == epochs and rest[0] == at


def test_a_training_that_is_over_does_nothing():
    model, criterion = built("words")
    before = model.params.value.copy()
    at = fit(
        model, criterion, in_batches(utterances("words"), 4), Sgd(model.params), epochs=2, progress=Progress(2, 0, 8, 0),
        learning_rate=lambda step: 1.0, on_step=pytest.fail, on_epoch=pytest.fail,
    )  # fmt: skip
    assert at == Progress(2, 0, 8, 0)
    np.testing.assert_array_equal(model.params.value, before)


# ---- ending


@pytest.mark.parametrize(("answer", "epochs"), [(True, 3), (None, 5), (1, 5)])
def test_an_epoch_that_answers_true_is_the_last(answer, epochs):
    model, criterion = built("words")
    seen = []

    def on_epoch(epoch):
        seen.append(epoch)
        return answer if epoch == 2 else False

    at = fit(
        model, criterion, in_batches(utterances("words"), 8), Sgd(model.params), epochs=5, learning_rate=lambda step: 0.1,
        on_epoch=on_epoch,
    )  # fmt: skip
    assert (seen, at) == (list(range(epochs)), Progress(epochs, 0, 2 * epochs, 0))


class Seen(Layer):
    """Counts in its state the updates that it was part of, and remembers the modes."""

    def __init__(self, params):
        self.params, self.modes = params, []
        params.declare_state("seen", (1,))

    def forward(self, x, lengths, mode=None):
        self.modes.append((mode.seed, mode.step, mode.micro_batch) if mode.train else None)
        return x, self.params.state_of("seen") + 1

    def backward(self, saved, dy, grad=None, **_):
        return dy

    def jvp(self, saved, dx, direction):
        return dx

    def commit(self, saved):
        self.params.state_of("seen")[:] = saved


def spoiled(model, optimizer, bad, value, **options):
    """A training whose gradient is not finite at the steps `bad`: (what fit returns or raises, its steps)."""
    params, steps, before = model.params, [], {}
    criterion, at = SoftmaxCrossEntropy(params.ops), Progress()

    def criticized(logits, lengths, labels):
        before.update(value=params.value.copy(), state=params.state.copy())
        before.update({name: vector.copy() for name, vector in optimizer.state.items()})
        loss = criterion(logits, None, labels)
        if at.step in bad:
            loss.sum_grad[0, 0, 0] = value
        return loss

    def on_step(step):
        steps.append(step)
        now = {"value": params.value, "state": params.state, **optimizer.state}
        changed = [name for name, old in before.items() if not np.array_equal(now[name], old)]
        assert changed == ([] if step.skipped else list(now)), step

    some = [(features.mean(0)[None], label) for features, label in utterances("words")]

    def flat(epoch, first):
        for x, lengths, labels in in_batches(some, 4)(epoch, first):
            yield np.ascontiguousarray(x[0][None]), lengths, labels[None]

    fit(
        model, criticized, flat, optimizer, epochs=3, learning_rate=lambda step: 0.1, progress=at, on_step=on_step,
        **options,
    )  # fmt: skip
    return at, steps


def with_state():
    params = pyasr.Params(pyasr.backend("numpy"))
    model = chain(Seen(params), Linear(params, "out", F, CLASSES))
    params.init(1)
    return model


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_skipped_steps_leave_everything_alone(optimizer, value):
    model = with_state()
    at, steps = spoiled(model, OPTIMIZERS[optimizer](model.params), {2, 5, 6, 8, 9}, value, max_skipped=2)
    assert [s.step for s in steps if s.skipped] == [2, 5, 6, 8, 9]
    assert [s.step for s in steps] == list(range(12)) and at == Progress(3, 0, 12, 0)
    assert model.params.state_of("seen")[0] == 12 - 5  # updates that were made


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_too_many_skipped_steps_in_a_row_are_an_error(optimizer):
    model = with_state()
    with pytest.raises(FloatingPointError, match=r"not finite in 3 steps in a row; stopped at step 7$"):
        spoiled(model, OPTIMIZERS[optimizer](model.params), {1, 2, 5, 6, 7}, np.nan, max_skipped=2)
    assert np.isfinite(model.params.value).all()


def test_every_batch_draws_its_own_masks():
    params = pyasr.Params(pyasr.backend())
    model = chain(Seen(params), pyasr.models.word_classifier(params, F, CLASSES, hidden=4))
    params.init(1)
    fit(
        model, SoftmaxCrossEntropy(params.ops), in_batches(utterances("words", 6), 2), Sgd(params), epochs=2, seed=9,
        learning_rate=lambda step: 0.1, accumulate=2,
    )  # fmt: skip
    assert model.layers[0].modes == [(9, 0, 0), (9, 0, 1), (9, 1, 0), (9, 2, 0), (9, 2, 1), (9, 3, 0)]
    assert params.state_of("seen")[0] == 4


# ---- truncated backpropagation


@pytest.mark.parametrize("backend", BACKENDS)
def test_windows_change_nothing_when_they_hold_everything_and_learn_when_they_are_short(backend):
    some, values, losses = utterances("ctc", 12), {}, {}
    for bptt in (0, 20, 1000, 3):
        model, criterion = built("ctc", backend, bidirectional=False, dropout=0.2)
        steps = []
        fit(
            model, criterion, in_batches(some, 4), Adam(model.params), epochs=12, learning_rate=lambda step: 0.02,
            bptt=bptt, on_step=steps.append,
        )  # fmt: skip
        values[bptt], losses[bptt] = model.params.value, [s.loss for s in steps]
    assert max(len(features) for features, _ in some) <= 2 * 20  # the LSTM sees two frames as one
    np.testing.assert_array_equal(values[20], values[0])
    np.testing.assert_array_equal(values[1000], values[0])
    assert distance(values[3], values[0]) > 1e-3
    for bptt in (0, 3):
        assert np.mean(losses[bptt][-3:]) < 0.7 * np.mean(losses[bptt][:3])


# ---- schedules, as a run uses them


@pytest.mark.parametrize(
    "schedule",
    ["constant", "warmup", "one_cycle", "cosine", "step", "exponential", "warmup_stable_decay", "plateau", "newbob"],
)
def test_every_schedule_trains(tmp_path, monkeypatch, schedule):
    for package in ("soundfile", "msgspec", "safetensors", "rapidfuzz", "matplotlib"):
        pytest.importorskip(package, reason="a run needs it")
    from pyasr import checkpoint, schedules
    from pyasr.datasets import manifest
    from pyasr.runs import plots
    from pyasr.runs.folder import read_metrics
    from pyasr.runs.options import options_for
    from pyasr.runs.training import Hooks, train

    monkeypatch.setattr(plots, "draw", lambda *_: [])
    trees = runpy.run_path(str(Path(__file__).with_name("trees.py")))
    texts = [" ".join(trees["letters_of"](i)) for i in range(18)]
    corpus = manifest.corpus(trees["folder_of"](tmp_path / "data", texts))
    chosen = {"schedule": schedule, "epochs": 10, "hidden": 12, "layers": 1, "batch_size": 4, "peak": 0.02}
    options = options_for("", "lstm_ctc", chosen)
    result = train(pyasr.backend(), corpus, tmp_path / "run", options, run={"source": "data"})
    steps, epochs = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert result.steps == len(steps) == 40 and epochs[-1]["loss"] < 0.9 * epochs[0]["loss"]
    if schedule in ("plateau", "newbob"):
        losses = [math.inf if e["dev_loss"] is None else e["dev_loss"] for e in epochs]
        wanted = [getattr(schedules, schedule)(losses[: k // 4], 0.02) for k in range(40)]
    else:
        wanted = [getattr(schedules, schedule)(k, 40, 0.02) for k in range(40)]
    assert [s["lr"] for s in steps] == wanted

    def stop(step):
        if step.step == 16:
            raise ConnectionAbortedError

    again = partial(
        train, pyasr.backend(), corpus, tmp_path / "again", options, run={"source": "data"}, checkpoint_every=1
    )
    with pytest.raises(ConnectionAbortedError):
        again(hooks=Hooks(on_step=stop))
    again(resume=True)
    first, second = (checkpoint.load(tmp_path / name / "last.safetensors").tensors for name in ("run", "again"))
    assert all(first[name].tobytes() == second[name].tobytes() for name in first.keys() | second.keys())


@pytest.mark.parametrize(
    ("accumulate", "kind", "words"),
    [
        (0, ValueError, "must lie in [1, 2147483647], got 0"),
        (-1, ValueError, "must lie in [1, 2147483647], got -1"),
        (2**31, ValueError, "must lie in [1, 2147483647], got 2147483648"),
        (1.5, TypeError, "must be an integer, got float"),
        (None, TypeError, "must be an integer, got NoneType"),
        (True, TypeError, "must be an integer, got bool"),
    ],
)
def test_accumulate_is_an_integer_of_at_least_one(accumulate, kind, words):
    model, criterion = built("words")
    with pytest.raises(kind) as e:
        fit(
            model, criterion, in_batches(utterances("words", 4), 2), Sgd(model.params), epochs=1,
            learning_rate=lambda step: 0.1, accumulate=accumulate,
        )  # fmt: skip
    assert str(e.value) == f"fit: accumulate {words}"
