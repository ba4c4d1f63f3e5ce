"""HessianFree: its products against an explicit Jacobian, its bookkeeping, and what it does where a step goes wrong."""

import itertools
import math
import runpy
import signal
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyasr
from pyasr.batches import pad
from pyasr.hessian_free import HessianFree, Quadratic, _armijo, _Iterates, objective
from pyasr.layers import EVAL, Linear
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not
from pyasr.text import pad_labels
from pyasr.train import fit

F, SYMBOLS = 3, 4
BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
every_kind = pytest.mark.parametrize("kind", ["words", "ctc"])


def built(kind, backend="numpy", dtype="float64", hidden=2, layers=1, dropout=0.0):
    """A small model, its criterion and three batches of utterances that tell their labels."""
    params = pyasr.Params(pyasr.backend(backend), dtype)
    options = {"hidden": hidden, "dropout": dropout}
    if kind == "words":
        model = pyasr.models.word_classifier(params, F, SYMBOLS, **options)
    else:
        model = pyasr.models.lstm_ctc(params, F, SYMBOLS, layers=layers, stack=2, **options)
    params.init(5)
    rng, batches = np.random.default_rng(2), []
    for size in (2, 3, 1):
        lengths = rng.integers(8, 15, size)
        labels = [rng.integers(1, SYMBOLS, 2).astype("i4") for _ in lengths]
        features = [
            0.3 * rng.standard_normal((n, F)) + np.eye(SYMBOLS, F)[label[0]]
            for n, label in zip(lengths, labels, strict=True)
        ]
        x, n = pad([f.astype(dtype) for f in features])
        batches.append((x, n, np.array([u[0] for u in labels], "i4") if kind == "words" else pad_labels(labels)))
    return model, (SoftmaxCrossEntropy if kind == "words" else Ctc)(params.ops), batches


def weights_of(params):
    """Where weights lie in the flat vector; elsewhere are gaps."""
    probe = params.zeros()
    for name in params.names():
        params.view(probe, name)[...] = 1
    return np.flatnonzero(probe)


# ---- products


@every_backend
@every_kind
def test_products_are_those_of_the_explicit_matrix(backend, kind):
    """Jᵀ H_L J, with J by central differences of the logits and H_L written out, is what the products give, column by column; so
    they are symmetric and positive semidefinite."""
    model, criterion, batches = built(kind, backend)
    params, at, h = model.params, weights_of(model.params), 1e-5
    drawn = {0, 2}
    want, count = np.zeros((at.size, at.size)), 0
    for x, lengths, labels in (batches[i] for i in sorted(drawn)):
        logits = model.forward(x, lengths)[0]
        rows = []
        for i in at:
            ends = []
            for sign in (1, -1):
                params.value[i] += sign * h
                ends.append(model.forward(x, lengths)[0])
                params.value[i] -= sign * h
            rows.append((ends[0] - ends[1]) / (2 * h))
        J = np.stack(rows).reshape(at.size, -1, SYMBOLS)
        y = np.exp(logits - logits.max(-1, keepdims=True))
        y /= y.sum(-1, keepdims=True)
        if kind == "ctc":
            y[np.arange(len(logits))[:, None] >= model.out_lengths(lengths)] = 0
        y = y.reshape(-1, SYMBOLS)
        Jy = (J * y).sum(-1)
        want += np.einsum("ink,nk,jnk->ij", J, y, J) - Jy @ Jy.T
        count += len(labels)
    quadratic = Quadratic(model, criterion, batches, drawn)
    got = []
    for i in at:
        unit = np.zeros(params.value.size)
        unit[i] = 1
        got.append(quadratic.product(unit))
    got = np.stack(got)
    assert quadratic.products == at.size and got.dtype == np.float64
    gaps = np.setdiff1d(np.arange(params.value.size), at)
    assert not got[:, gaps].any()
    got, want = got[:, at], want / count
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8 * abs(want).max())
    np.testing.assert_allclose(got, got.T, rtol=0, atol=1e-13 * abs(want).max())
    assert np.linalg.eigvalsh((got + got.T) / 2).min() > -1e-13 * abs(want).max()


@every_kind
def test_products_are_differences_of_gradients_through_frozen_derivatives(kind):
    """G v = Jᵀ (∇L(z + εJv) − ∇L(z − εJv)) / 2ε, with the targets of the loss held while its logits z move."""
    model, criterion, batches = built(kind)
    x, lengths, labels = batches[1]
    v = np.zeros(model.params.value.size)
    v[weights_of(model.params)] = np.random.default_rng(1).standard_normal(len(weights_of(model.params)))
    logits, saved = model.forward(x, lengths)
    Jv, ends, eps = model.jvp(saved, None, v), [], 1e-5
    inside = np.ones(logits.shape[:-1], bool)
    if kind == "ctc":
        inside = np.arange(len(logits))[:, None] < model.out_lengths(lengths)
    for sign in (1, -1):
        z = logits + sign * eps * Jv
        y = np.exp(z) / np.exp(z).sum(-1, keepdims=True)  # ∇L is y less the targets, which cancel
        end = model.params.zeros()
        model.backward(saved, np.where(inside[..., None], y, 0), end, need_dx=False)
        ends.append(end)
    want = (ends[0] - ends[1]) / (2 * eps) / len(labels)
    got = Quadratic(model, criterion, batches, {1}).product(v)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-8 * abs(want).max())


@every_kind
def test_gradient_is_that_of_the_objective(kind):
    model, criterion, batches = built(kind)
    quadratic, value = Quadratic(model, criterion, batches, set()), model.params.value
    assert quadratic.loss == objective(model, criterion, batches)
    rng, h = np.random.default_rng(0), 1e-5
    for i in rng.choice(weights_of(model.params), 10, replace=False):
        value[i] += h
        up = objective(model, criterion, batches)
        value[i] -= 2 * h
        down = objective(model, criterion, batches)
        value[i] += h
        assert quadratic.grad[i] == pytest.approx((up - down) / (2 * h), abs=1e-7)


# ---- means over utterances


class Watched:
    """A backend whose cg tells what it was asked and what it went through."""

    def __init__(self, ops):
        self.ops, self.calls, self.iterates = ops, [], []

    def __getattr__(self, name):
        return getattr(self.ops, name)

    def cg(self, A, b, x0, *, callback, **options):
        def seen(x):
            self.iterates[-1].append(x.copy())
            callback(x)

        self.calls.append({"b": b, "x0": x0, **options})
        self.iterates.append([])
        return self.ops.cg(A, b, x0, callback=seen, **options)


def watched(model):
    model.params.ops = Watched(model.params.ops)
    return model.params.ops


def doubled(batch):
    x, lengths, labels = batch
    return np.repeat(x, 2, axis=1), np.repeat(lengths, 2), np.repeat(labels, 2, axis=0)


@every_backend
@every_kind
@pytest.mark.parametrize("how", ["in its batch", "in a batch of its own"])
def test_every_utterance_doubled_changes_nothing(backend, kind, how):
    runs = []
    for twice in (False, True):
        model, criterion, batches = built(kind, backend, hidden=6)
        if twice:
            batches = [doubled(b) for b in batches] if how == "in its batch" else batches + batches
        share = 0.4 if how == "in its batch" else 1.0
        optimizer, spy = HessianFree(model.params, max_iterations=9, curvature=share, seed=3), watched(model)
        steps = [optimizer.step(model, criterion, batches) for _ in range(3)]
        runs.append((steps, spy.iterates, model.params.value))
    (steps, iterates, value), (more_steps, more_iterates, more_value) = runs
    for one, other in zip(steps, more_steps, strict=True):
        assert other.rho == pytest.approx(one.rho, rel=1e-9) and other.loss == pytest.approx(one.loss, rel=1e-12)
        assert one[3:6] == other[3:6] and one.damping == other.damping and one.scale == other.scale
    for mine, theirs in zip(itertools.chain(*iterates), itertools.chain(*more_iterates), strict=True):
        assert np.linalg.norm(mine - theirs) <= 1e-9 * np.linalg.norm(mine)
    np.testing.assert_allclose(value, more_value, rtol=0, atol=1e-9)


# ---- one update


def test_what_cg_is_asked():
    model, criterion, batches = built("ctc")
    options = {"max_iterations": 7, "martens_eps": 1e-3, "scale_by_k": False}
    optimizer, spy = HessianFree(model.params, damping=2.0, **options), watched(model)
    optimizer.step(model, criterion, batches)
    np.testing.assert_array_equal(optimizer.state["solution"], spy.iterates[0][-1])
    damping = optimizer.state["damping"][0]
    grad = Quadratic(model, criterion, batches, set()).grad
    alone = [(len(b[1]), Quadratic(model, criterion, [b], set()).grad) for b in batches]
    square = sum(n * g**2 for n, g in alone) / sum(n for n, _ in alone)
    optimizer.step(model, criterion, batches)
    first, second = spy.calls
    assert first["damping"] == 2 and second["damping"] == damping
    assert second["stop"] == "martens" and second["martens_eps"] == 1e-3 and second["maxiter"] == 7
    assert second["scale_by_k"] is False
    assert not first["x0"].any()
    np.testing.assert_array_equal(second["x0"], 0.95 * spy.iterates[0][-1])
    np.testing.assert_array_equal(second["b"], -grad)
    v = np.random.default_rng(0).standard_normal(grad.size)
    np.testing.assert_allclose(second["M"](v), v / (square + damping) ** 0.75, rtol=1e-10)


def test_backtracking_takes_the_last_iterate_before_which_f_gets_no_lower():
    """On the grid 5, 7, 10, 13, 17, 23 … and the last iterate, walked from its end; some update takes another than the last."""
    model, criterion, batches = built("ctc", BACKENDS[-1], hidden=6)
    optimizer, spy, value = HessianFree(model.params, damping=1e-3), watched(model), model.params.value
    earlier = 0
    for _ in range(12):
        start = value.copy()
        step = optimizer.step(model, criterion, batches)
        after, iterates, losses = value.copy(), spy.iterates[-1], {}
        grid = {i for i in (5, 7, 10, 13, 17, 23, 30, 39, 51, 67, 88, 115, 150, 195) if i <= len(iterates)}
        for i in grid | {len(iterates)}:
            value[:] = start + iterates[i - 1]
            losses[i] = objective(model, criterion, batches)
        value[:] = after
        numbers = sorted(losses, reverse=True)
        expected = next((i for i, lower in itertools.pairwise(numbers) if losses[lower] >= losses[i]), numbers[-1])
        assert step.chosen == expected and step.iterations == len(iterates)
        assert step.scale < 1 or step.after == losses[expected]
        earlier += step.chosen != step.iterations
    assert earlier


@every_backend
def test_rho_compares_f_with_the_damped_quadratic(backend):
    model, criterion, batches = built("words", backend)
    optimizer, start = HessianFree(model.params, damping=0.3), model.params.value.copy()
    at_start = Quadratic(model, criterion, batches, {0, 1, 2})
    step = optimizer.step(model, criterion, batches)
    d = model.params.value - start
    promised = at_start.grad @ d + 0.5 * (d @ at_start.product(d) + 0.3 * d @ d)
    assert step.scale == 1 and step.rho == pytest.approx((step.after - step.loss) / promised, rel=1e-9)
    assert step.after == objective(model, criterion, batches) < step.loss


class Squares:
    """Half the squared distance of y to its targets, times `curved` in the curvature that it claims."""

    def __init__(self, curved=1.0, limit=math.inf, sign=1.0):
        self.curved, self.limit, self.sign = curved, limit, sign

    def __call__(self, y, lengths, targets):
        error = y - targets
        total = 0.5 * float((error**2).sum())
        return SimpleNamespace(
            sum=total if np.abs(y).max(initial=0) < self.limit else math.nan, count=len(y), sum_grad=self.sign * error,
            sum_curvature=lambda v: self.curved * v,
        )  # fmt: skip


def least_squares(rows=40, inputs=6):
    """A linear layer, its batches, and the loss of the best weights."""
    params = pyasr.Params(pyasr.backend("numpy"), "float64")
    model = Linear(params, "out", inputs, 2)
    params.init(1)
    rng = np.random.default_rng(4)
    x, targets = rng.standard_normal((rows, inputs)), 3 * rng.standard_normal((rows, 2))
    inputs_and_one = np.hstack([x, np.ones((rows, 1))])
    best = inputs_and_one @ np.linalg.lstsq(inputs_and_one, targets, rcond=None)[0]
    batches = [(x[i : i + 10], None, targets[i : i + 10]) for i in range(0, rows, 10)]
    return model, batches, 0.5 * float(((best - targets) ** 2).sum()) / rows


def test_least_squares_are_solved_in_a_few_updates():
    model, batches, best = least_squares()
    optimizer = HessianFree(model.params, damping=1e-2)
    steps = [optimizer.step(model, Squares(), batches) for _ in range(4)]
    assert steps[-1].after == pytest.approx(best, rel=1e-6)
    assert steps[0].rho == pytest.approx(1, abs=0.02)  # the quadratic is f but for the damping
    assert [s.damping for s in steps] == pytest.approx([1e-2 * (2 / 3) ** k for k in range(4)])


def test_damping_grows_where_the_quadratic_promises_too_much():
    model, batches, _ = least_squares()
    optimizer = HessianFree(model.params, damping=1e-3)
    steps = [optimizer.step(model, Squares(curved=0.02), batches) for _ in range(6)]
    assert all(s.rho < 0.25 for s in steps[:3]) and 0 < steps[0].scale < 1
    assert [s.damping for s in steps[:4]] == pytest.approx([1e-3 * 1.5**k for k in range(4)])
    assert all(s.after < s.loss for s in steps)  # the line search saw to it
    assert [s.loss for s in steps[1:]] == [s.after for s in steps[:-1]]


def test_a_step_to_where_f_is_not_finite_is_shortened():
    model, batches, _ = least_squares()
    start = max(np.abs(model.forward(x, None)[0]).max() for x, _, _ in batches)
    optimizer = HessianFree(model.params, damping=0.1)
    step = optimizer.step(model, Squares(curved=0.05, limit=1.2 * start), batches)
    assert math.isnan(step.rho) and 0 < step.scale < 1 and math.isfinite(step.after) and not step.skipped
    assert optimizer.state["damping"][0] == pytest.approx(0.15)


def test_no_step_is_taken_where_nothing_lowers_f():
    model, batches, _ = least_squares()
    optimizer, before = HessianFree(model.params), model.params.value.copy()
    step = optimizer.step(model, Squares(sign=-1.0), batches)
    assert step.scale == 0 and step.after == step.loss and not step.skipped and step.evaluations >= 60
    assert optimizer.state["damping"][0] == 1.5
    np.testing.assert_array_equal(model.params.value, before)


@pytest.mark.parametrize("place", ["x", "loss"])
def test_what_is_not_finite_raises_the_damping_alone(place):
    model, criterion, batches = built("words")
    optimizer = HessianFree(model.params)
    optimizer.step(model, criterion, batches)
    before, solution = model.params.value.copy(), optimizer.state["solution"].copy()
    damping = optimizer.state["damping"][0]
    bad = [(b[0].copy(), *b[1:]) for b in batches]
    if place == "x":
        bad[1][0][0, 0, 0] = np.nan
    else:
        model, bad, _ = least_squares()
        optimizer, before = HessianFree(model.params), model.params.value.copy()
        solution, damping, criterion = optimizer.state["solution"].copy(), 1.0, Squares(limit=0.0)
    step = optimizer.step(model, criterion, bad)
    assert step.skipped and step.scale == 0 and not math.isfinite(step.loss)
    assert optimizer.state["damping"][0] == pytest.approx(1.5 * damping)
    np.testing.assert_array_equal(model.params.value, before)
    np.testing.assert_array_equal(optimizer.state["solution"], solution)


@pytest.mark.parametrize(
    ("rho", "factor"),
    [(2.0, 2 / 3), (0.76, 2 / 3), (0.75, 1), (0.25, 1), (0.24, 3 / 2), (-1.0, 3 / 2), (math.nan, 3 / 2)],
)
def test_damping_follows_rho(rho, factor):
    optimizer = HessianFree(built("words")[0].params, damping=0.6)
    optimizer._commit(rho)
    assert optimizer.state["damping"][0] == pytest.approx(0.6 * factor)


def test_backtracking_walks_over_what_is_not_finite():
    iterates, values = _Iterates(), {5: 2.0, 7: math.inf, 9: math.inf}
    for number in range(1, 10):
        iterates.see(number)
    assert iterates.best(lambda d: values[d], 9) == (5, 5, 2.0)
    values = {5: 1.0, 7: 3.0, 9: 2.0}
    assert iterates.best(lambda d: values[d], 9) == (9, 9, 2.0)


@pytest.mark.parametrize(("share", "steps"), [(0.011, 0), (0.009, 60)])
def test_the_line_search_wants_one_percent_of_the_slope(share, steps):
    """f falls by a share of what its slope of −3 promises, at any scale; a step is 0.8 times the one before."""
    seen = []

    def f(d, scale):
        seen.append(scale)
        return 5.0 - share * scale * 3.0

    scale, value = _armijo(f, None, 5.0, 5.0 - share * 3.0, -3.0)
    assert (scale, value) == ((1.0, 5.0 - share * 3.0) if not steps else (0.0, 5.0))
    assert seen == pytest.approx([0.8**k for k in range(1, steps + 1)])


def test_damping_stays_within_its_limits():
    model, batches, _ = least_squares()
    low = HessianFree(model.params, damping=1e-10)
    low.step(model, Squares(), batches)
    assert low.state["damping"][0] == 1e-10
    high = HessianFree(model.params, damping=1e10)
    high.step(model, Squares(limit=0.0), batches)
    assert high.state["damping"][0] == 1e10


def test_nothing_is_dropped_and_no_state_moves():
    runs = []
    for dropout in (0.0, 0.6):
        model, criterion, batches = built("ctc", layers=2, dropout=dropout)
        modes, forward = [], model.forward

        def watching(x, lengths, mode=EVAL, forward=forward, modes=modes):
            modes.append(mode)
            return forward(x, lengths, mode)

        model.forward = watching
        model.commit = lambda saved: pytest.fail("a state was written")
        optimizer = HessianFree(model.params)
        runs.append([optimizer.step(model, criterion, batches) for _ in range(2)])
        assert set(modes) == {EVAL}
    assert runs[0] == runs[1]


def test_an_interrupt_leaves_weights_and_state_alone():
    model, criterion, batches = built("words")
    optimizer, calls = HessianFree(model.params), []
    before = [model.params.value.copy(), *(v.copy() for v in optimizer.state.values())]

    def interrupted(*args):
        calls.append(args)
        if len(calls) == 5:  # three batches of the gradient, and one of the first trial
            raise KeyboardInterrupt
        return criterion(*args)

    with pytest.raises(KeyboardInterrupt):
        optimizer.step(model, interrupted, batches)
    for was, now in zip(before, [model.params.value, *optimizer.state.values()], strict=True):
        np.testing.assert_array_equal(was, now)


# ---- curvature batches, state, the loop


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
