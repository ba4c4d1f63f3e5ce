"""HessianFree: one update, its bookkeeping, and what it does where a step goes wrong."""

import itertools
import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import pyasr
from pyasr.hessian_free import HessianFree, Quadratic, _Along, _armijo, _Iterates, objective
from pyasr.layers import EVAL, Linear
from pyasr.losses import SoftmaxCrossEntropy

SMALL = runpy.run_path(str(Path(__file__).with_name("small_models.py")))
BACKENDS, Squares, built, every_backend, every_kind, least_squares, watched = (
    SMALL[n] for n in ("BACKENDS", "Squares", "built", "every_backend", "every_kind", "least_squares", "watched")
)


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


def test_f_of_fewer_utterances_is_no_lower_f():
    """The second utterance's logit overflows to −inf: it leaves the mean, which falls from 0.69 to 0.31."""
    params = pyasr.Params(pyasr.backend("numpy"), "float32")
    model = Linear(params, "out", 2, 2)
    batches = [(np.array([[1, 0], [0, 3e38]], "f4"), None, np.zeros(2, "i4"))]
    params.init(0)
    params.value[:] = 0
    criterion, d = SoftmaxCrossEntropy(params.ops), params.zeros()
    params.view(d, "out.weight")[:] = [[1, -2], [0, 0]]
    f = _Along(model, criterion, batches, 2)
    assert f(0 * d) == pytest.approx(math.log(2))
    assert f(d) == math.inf
    params.value[:] = d
    with np.errstate(over="ignore"):
        assert objective(model, criterion, batches) == pytest.approx(0.3133, abs=1e-4)


def test_a_step_that_loses_utterances_is_shortened():
    model, batches, _ = least_squares()

    def some(y, lengths, targets):
        """Rows take part while they are near."""
        near = np.abs(y).max(1) < 1.0
        loss = Squares()(y[near], lengths, targets[near])
        error = np.where(near[:, None], y - targets, 0.0)
        return SimpleNamespace(
            sum=loss.sum, count=loss.count, sum_grad=error, sum_curvature=lambda v: v * near[:, None]
        )

    model.params.value[:] = 0
    step = HessianFree(model.params, damping=1e-6).step(model, some, batches)
    counts = [some(model.forward(x, n)[0], n, t).count for x, n, t in batches]
    assert 0 < step.scale < 1 and math.isnan(step.rho) and counts == [10] * 4
    assert step.after < step.loss


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
