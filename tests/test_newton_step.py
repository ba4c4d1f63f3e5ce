"""Newton's method for regressions: least squares in one step, logistic regression in a few, and never a step up."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest

import pyasr


def i4(*values):
    return np.array(values, np.int32)


def table(rows=60, columns=4, seed=0):
    rng = np.random.default_rng(seed)
    x = np.concatenate([rng.standard_normal((rows, columns - 1)), np.ones((rows, 1))], axis=1)
    return x, rng


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("far", [0.0, 1.0, 1e4])
def test_one_step_is_least_squares(seed, far):
    x, rng = table(seed=seed)
    y = x @ rng.standard_normal(4) + rng.standard_normal(60)
    theta, info = pyasr.newton_step(far * rng.standard_normal(4), x, y)
    np.testing.assert_allclose(theta, np.linalg.lstsq(x, y, rcond=None)[0], rtol=1e-9, atol=1e-10 * max(far, 1))
    assert info.scale == 1 and info.cg == 0
    assert info.value == pytest.approx(0.5 * np.mean((x @ theta - y) ** 2), rel=1e-12)
    assert pyasr.newton_step(theta, x, y)[1].norm < 1e-10 * max(far, 1)


def test_one_step_is_ridge_regression():
    x, rng = table()
    y = rng.standard_normal(60)
    theta, _ = pyasr.newton_step(rng.standard_normal(4), x, y, l2=0.3)
    np.testing.assert_allclose(theta, np.linalg.solve(x.T @ x / 60 + 0.3 * np.eye(4), x.T @ y / 60), rtol=1e-10)


@pytest.mark.parametrize(
    "units", [(1e-5, 1e5, 1.0), (1e-9, 1e9, 1.0), (1e-160, 1e160, 1.0), (1e300, 1e300, 1e300), (1e-300,) * 3]
)
def test_units_of_columns_make_no_difference(units):
    """The Hessian has a condition of 1e20 and more, the smallest of its entries vanish and the largest are infinite."""
    x, rng = table()
    y = x @ [2.0, 1.0, 3.0, 4.0] + 0.1 * rng.standard_normal(60)
    want, scale = np.linalg.lstsq(x, y, rcond=None)[0], np.array([*units, 1.0])
    theta, info = pyasr.newton_step(np.zeros(4), x * scale, y)
    np.testing.assert_allclose(theta * scale, want, rtol=1e-8)
    assert info.cg == 0 and math.isfinite(info.norm)


@pytest.mark.parametrize("columns", [5, 8, 10])
def test_least_squares_up_to_a_condition_of_5e6(columns):
    x = np.vander(np.random.default_rng(0).random(200), columns)  # of condition 5e2, 9e4 and 3e6
    y = np.sin(5 * x[:, -2])
    theta, info = pyasr.newton_step(np.zeros(columns), x, y)
    want = np.linalg.lstsq(x, y, rcond=None)[0]
    assert info.cg == 0
    assert np.linalg.norm(x @ theta - y) <= 1.001 * np.linalg.norm(x @ want - y)


@pytest.mark.parametrize("value", [1e200, -1e300])
def test_an_objective_beyond_float64_is_refused(value):
    with pytest.raises(ValueError, match=r"^newton_step: theta, x and y must give a finite objective, got inf$"):
        pyasr.newton_step(np.zeros(1), np.ones((3, 1)), np.array([1.0, 2.0, value]))


@pytest.mark.parametrize("model", ["logistic", "softmax"])
def test_units_of_columns_make_no_difference_to_classes(model):
    x, y, theta = labelled(model)
    scale, other = np.array([1e-9, 1e9, 1.0, 1e-3]), theta
    for _ in range(4):
        theta, info = pyasr.newton_step(theta, x, y, model)
        other, same = pyasr.newton_step(other, x * scale, y, model)
        assert (same.cg, same.scale) == (info.cg, info.scale) and same.value == pytest.approx(info.value, rel=1e-9)


def test_a_singular_hessian_has_a_solution_all_the_same():
    """As in the source where 100 examples gave a Hessian of 100 x 100 and rank 1, and an inverse with entries of 1e21."""
    x, rng = table(rows=3, columns=8)
    x[:, 3], x[:, 4] = x[:, 2], 0
    y = rng.standard_normal(3)
    theta, info = pyasr.newton_step(np.zeros(8), x, y)
    np.testing.assert_allclose(x @ theta, y, rtol=1e-9)
    assert info.scale == 1 and np.abs(theta).max() < 10 and theta[4] == 0


CLASSES = {"logistic": 2, "softmax": 5}


def labelled(model, dtype="float64", seed=1):
    x, rng = table(200, seed=seed)
    scores = x @ rng.standard_normal((4, CLASSES[model])) + rng.gumbel(size=(200, CLASSES[model]))
    return (
        x.astype(dtype),
        scores.argmax(1).astype(np.int32),
        np.zeros(4 if model == "logistic" else (CLASSES[model], 4)),
    )


def value_of(model, theta, x, y, l2):
    """The objective from its definition."""
    scores = x @ theta.T
    if model == "logistic":
        scores = np.stack([np.zeros(len(x)), scores], axis=1)
    log_p = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    return -log_p[np.arange(len(y)), y].mean() + l2 / 2 * (theta**2).sum()


@pytest.mark.parametrize("model", CLASSES)
@pytest.mark.parametrize("l2", [0.0, 0.1])
def test_a_few_steps_converge(model, l2):
    x, y, theta = labelled(model)
    norms = []
    for _ in range(9):
        at = theta
        theta, info = pyasr.newton_step(theta, x, y, model, l2=l2)
        norms.append(info.norm)
        assert info.before == pytest.approx(value_of(model, at, x, y, l2), rel=1e-12)
        assert info.value == pytest.approx(value_of(model, theta, x, y, l2), rel=1e-12)
        assert info.value <= info.before * (1 + 1e-15)
    assert norms[-1] < 1e-13 < norms[0]
    assert [pyasr.newton_step(theta + e, x, y, model, l2=l2)[1].scale for e in (0, 1e-10, 1e-9, 1e-8)] == [1] * 4
    fast = [after / before**2 for before, after in pairwise(norms) if 1e-6 < before < 1e-2]
    assert len(fast) > 1 and max(fast) < 40  # quadratic: a method that is not would have 1e3 and more
    h = 1e-6
    for at in np.ndindex(theta.shape):
        up, down = theta.copy(), theta.copy()
        up[at], down[at] = up[at] + h, down[at] - h
        assert abs(value_of(model, up, x, y, l2) - value_of(model, down, x, y, l2)) / (2 * h) < 1e-9


@pytest.mark.parametrize("model", CLASSES)
def test_the_first_step_is_that_of_the_hessian(model):
    x, y, theta = labelled(model)
    theta = theta + 0.3 * np.random.default_rng(4).standard_normal(theta.shape)
    h, P = 1e-4, theta.size

    def f(flat):
        return value_of(model, flat.reshape(theta.shape), x, y, 0.2)

    flat, eye = theta.ravel(), h * np.eye(P)
    grad = np.array([(f(flat + e) - f(flat - e)) / (2 * h) for e in eye])
    H = np.array(
        [
            [(f(flat + d + e) - f(flat + d - e) - f(flat - d + e) + f(flat - d - e)) / (4 * h * h) for e in eye]
            for d in eye
        ]
    )
    got, info = pyasr.newton_step(theta, x, y, model, l2=0.2)
    assert info.scale == 1 and info.norm == pytest.approx(np.linalg.norm(grad), rel=1e-6)
    np.testing.assert_allclose((got - theta).ravel(), np.linalg.solve(H, -grad), rtol=1e-4, atol=1e-5)


def test_damping_saves_what_full_steps_lose():
    """From far away the full step of logistic regression overshoots and then diverges."""
    x, y = np.array([[-1.0], [1.0], [1.0], [-1.0]]), i4(0, 1, 1, 1)
    theta = plain = np.array([-6.0])
    scales = []
    for _ in range(12):
        at = theta
        theta, info = pyasr.newton_step(at, x, y, "logistic")
        scales.append(info.scale)
        if info.scale < 1:  # twice of it did not go down
            assert value_of("logistic", at + 2 * (theta - at), x, y, 0.0) >= info.before
        assert info.value <= info.before * (1 + 1e-15)
        if np.abs(plain).max() < 1e3:
            p = 1 / (1 + np.exp(-x @ plain))
            plain = plain - (x.T @ (p - y)) / ((p * (1 - p)) @ x**2)
    assert np.abs(plain).max() > 10
    assert min(scales) < 1 and scales[-1] == 1
    np.testing.assert_allclose(theta, [math.log(3)], rtol=1e-9)  # three of four agree with the sign


def test_separable_classes_go_down_for_ever_and_stay_finite():
    x, y, theta = np.array([[-1.0, 1.0], [1.0, 1.0]]), i4(0, 1), np.zeros(2)
    for _ in range(60):
        theta, info = pyasr.newton_step(theta, x, y, "logistic")
        assert np.isfinite(theta).all() and info.value <= info.before
    assert info.value < 1e-12


@pytest.mark.parametrize("score", [5.0, 40.0, 200.0, -40.0])
def test_a_class_that_is_all_but_certain_keeps_its_slope(score):
    """The loss is exp(−s) but for its square there, whose Newton step is 1 from anywhere."""
    theta, info = pyasr.newton_step(np.array([score]), np.ones((1, 1)), i4(int(score > 0)), "logistic")
    assert theta[0] - score == pytest.approx(math.copysign(1.0, score), abs=2 * math.exp(-abs(score)))
    assert info.value < 0.4 * info.before


def test_scores_beyond_exp_are_no_overflow():
    x, y = np.array([[1.0], [-1.0]]), i4(0, 1)
    for start in (1e3, -1e3, 1e8):
        theta, info = pyasr.newton_step(np.array([start]), x, y, "logistic", l2=0.1)
        assert math.isfinite(info.value) and info.value < info.before and np.isfinite(theta).all()
    theta, info = pyasr.newton_step(np.array([[1e4], [-1e4]]), x, y, "softmax", l2=0.1)
    assert math.isfinite(info.value) and info.value < info.before


def test_softmax_of_two_classes_is_logistic():
    x, y, theta = labelled("logistic")
    two = np.zeros((2, 4))
    for _ in range(6):
        theta, one = pyasr.newton_step(theta, x, y, "logistic")
        two, both = pyasr.newton_step(two, x, y, "softmax")
        assert both.value == pytest.approx(one.value, rel=1e-10)
    np.testing.assert_allclose(two[1] - two[0], theta, rtol=1e-8)


def test_float32_examples_and_arguments_that_keep_their_bits():
    x, y, theta = labelled("softmax", "float32")
    before = theta.copy(), x.copy(), y.copy()
    got, _ = pyasr.newton_step(theta, x, y, "softmax", l2=0.1)
    assert got.dtype == np.float64
    assert all((a == b).all() for a, b in zip((theta, x, y), before, strict=True))
    want, _ = pyasr.newton_step(theta, x.astype(np.float64), y, "softmax", l2=0.1)
    assert (got == want).all()


@pytest.mark.parametrize(
    ("name", "values", "options"),
    [
        ("theta", (None, [0.0], np.zeros(2), np.zeros(3, "f4"), np.zeros((1, 3)), np.full(3, np.nan)), {}),
        ("x", (None, np.zeros(3), np.zeros((0, 3)), np.full((3, 3), np.inf), np.eye(3, dtype=int)), {}),
        ("y", (None, np.zeros(2), i4(0, 1, 1), np.full(3, np.nan), np.zeros(3, "f4")), {}),
        ("y", (np.zeros(3), i4(0, 1, 2), i4(0, -1, 1), np.zeros(3, np.int64)), {"model": "logistic"}),
        ("y", (i4(0, 4, 2), i4(0, -1, 1)), {"model": "softmax", "theta": np.zeros((4, 3))}),
        ("model", ("poisson", None), {}),
        ("l2", (-1.0, math.nan, "1"), {}),
        ("rtol", (-1e-3, 2.0, None), {}),
    ],
)
def test_what_is_wrong_is_named(name, values, options):
    call = partial(pyasr.newton_step, **{"theta": np.zeros(3), "x": np.eye(3), "y": np.zeros(3), **options})
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"^newton_step: {name} must .*got"):
            call(**{name: value})
