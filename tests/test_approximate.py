"""Gradients from values: unbiased, exact or of the resolution that is claimed, with the evaluations that are counted."""

import math
from functools import partial
from itertools import product

import numpy as np
import pytest

from pyasr.approximate import approximate_gradient


class Counted:
    """A function that counts its evaluations."""

    def __init__(self, f):
        self.f, self.calls, self.points = f, 0, []

    def __call__(self, x):
        self.calls += 1
        self.points.append(x)
        return self.f(x)


def quadratic(size, seed=3):
    rng = np.random.default_rng(seed)
    A, b, x = rng.standard_normal((size, size)), rng.standard_normal(size), rng.standard_normal(size)
    return (lambda p: float(p @ A @ p + b @ p)), x, (A + A.T) @ x + b


def test_spsa_is_unbiased():
    """The mean over many seeds nears ∇f as 1/√n: the error of n seeds is that of one, over √n."""
    f, x, gradient = quadratic(6)
    draws = np.array([approximate_gradient(f, x, seed=seed) for seed in range(4000)])
    deviation = draws.std(0) / math.sqrt(len(draws))
    assert (np.abs(draws.mean(0) - gradient) < 4 * deviation).all()
    assert (deviation < 0.05 * np.linalg.norm(gradient)).all()
    biased = np.abs(draws.mean(0) - 1.1 * gradient) > 4 * deviation  # what the bound would find
    assert biased.any()


@pytest.mark.parametrize("samples", [1, 4])
def test_spsa_has_the_variance_that_is_claimed(samples):
    gradient = np.random.default_rng(5).standard_normal(9)
    error = [
        approximate_gradient(lambda p: p @ gradient, np.zeros(9), samples=samples, seed=s) - gradient
        for s in range(2000)
    ]
    claimed = 8 * (gradient @ gradient) / samples
    assert np.mean(np.square(error).sum(1)) == pytest.approx(claimed, rel=0.1)


def test_spsa_averages_its_samples_and_is_keyed_by_the_seed():
    f, x, gradient = quadratic(12)
    one, again, other = (approximate_gradient(f, x, seed=seed) for seed in (7, 7, 8))
    assert one.tobytes() == again.tobytes() != other.tobytes()
    near, far = (np.linalg.norm(approximate_gradient(f, x, samples=n, seed=1) - gradient) for n in (4096, 4))
    assert near < 0.2 * np.linalg.norm(gradient) and near < far


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_central_differences_are_right_to_the_square_of_the_step(dtype):
    f, x, gradient = quadratic(5)
    got = approximate_gradient(f, x.astype(dtype), "central")
    assert got.dtype == dtype
    np.testing.assert_allclose(got, gradient, rtol=3e-3 if dtype == "float32" else 1e-8)
    error = [
        abs(approximate_gradient(lambda p: math.exp(p[0]), np.zeros(1), "central", step=c)[0] - 1) for c in (0.1, 0.2)
    ]
    assert error[1] / error[0] == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize(("method", "root"), [("spsa", 4), ("central", 3)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_steps_that_nobody_gave_are_roots_of_epsilon(method, root, dtype):
    f = Counted(lambda p: float(p[0]))
    approximate_gradient(f, np.zeros(1, dtype), method)
    assert {p.dtype.name for p in f.points} == {dtype}
    assert [abs(p[0]) for p in f.points] == pytest.approx([np.finfo(dtype).eps ** (1 / root)] * 2, rel=1e-6)


def test_parameter_shift_is_exact_for_one_frequency_and_for_nothing_else():
    rng = np.random.default_rng(1)
    a, b, c, x = rng.standard_normal((4, 5))

    def f(p):
        return float(np.prod(a + b * np.cos(p) + c * np.sin(p)))

    parts, slopes = a + b * np.cos(x) + c * np.sin(x), -b * np.sin(x) + c * np.cos(x)
    want = [slopes[i] * np.prod(np.delete(parts, i)) for i in range(5)]
    np.testing.assert_allclose(approximate_gradient(f, x, "parameter_shift"), want, rtol=1e-13)
    twice = approximate_gradient(lambda p: math.sin(2 * p[0]), np.zeros(1), "parameter_shift")
    assert abs(twice[0] - 2) > 1.9


def test_jordan_on_the_example_of_two_parameters():
    """Gradient (0.255, −0.400) on 64² points with entries up to 4: multiples of 1/8, the nearest ones."""
    f = Counted(lambda x: 0.255 * x[0] - 0.4 * x[1] + x[0] * x[1])
    got = approximate_gradient(f, np.zeros(2), "jordan", bound=4.0)
    assert got.tolist() == [0.25, -0.375]
    assert f.calls == 64**2 + 1


@pytest.mark.parametrize(("size", "grid"), [(1, 2), (1, 256), (2, 32), (3, 16)])
def test_jordan_is_right_to_its_resolution(size, grid):
    for seed in range(5):
        gradient = np.random.default_rng(seed).uniform(-0.8, 0.8, size)
        got = approximate_gradient(
            lambda p: p @ gradient + 7, np.full(size, 0.3), "jordan", grid=grid, bound=1.0  # noqa: B023
        )  # fmt: skip
        inside = np.abs(gradient) <= 1 - 1 / grid  # −1 stands for +1 too
        assert (np.abs(got - gradient)[inside] <= 1 / grid + 1e-12).all()
        np.testing.assert_allclose(got * grid / 2, np.round(got * grid / 2), atol=1e-12)


def test_jordan_comes_back_modulo_what_it_can_tell():
    got = approximate_gradient(lambda p: 1.25 * p[0], np.zeros(1), "jordan", bound=1.0)
    assert got.tolist() == [1.25 - 2.0]


def test_jordan_tells_the_ends_of_its_range_apart_from_nothing():
    """Entries of exactly ±bound are one number modulo 2·bound, the lower end of [−bound, bound)."""
    for gradient in ([1.0, -1.0], [-1.0, 1.0]):
        got = approximate_gradient(lambda p: p @ np.array(gradient), np.zeros(2), "jordan", bound=1.0)  # noqa: B023
        assert got.tolist() == [-1.0, -1.0]


def test_jordan_refuses_a_grid_that_rounding_would_move():
    def f(p):
        return -0.4 * (p[0] - 5e9)

    x = np.array([5e9])
    with pytest.raises(
        ValueError, match=r"step must keep a grid of 64 points apart beside an entry of x, got 6.05.*e-06"
    ):
        approximate_gradient(f, x, "jordan", bound=1.0)
    got = approximate_gradient(f, x, "jordan", bound=1.0, step=2.0**-10)
    assert abs(got[0] + 0.4) <= 1 / 64


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("method", ["spsa", "central"])
@pytest.mark.parametrize("ulps", [1.3, 7.7, 1000.1])
def test_divided_is_by_the_step_that_was_taken(dtype, method, ulps):
    """A step of a few units in the last place of x is rounded; the slope of a line is exact all the same."""
    for x in (1e3, 3e4, 1e5, -7e6):
        point = np.array([x, 0.0], dtype)  # the second entry's step is not rounded as the first's
        step = ulps * float(np.spacing(np.abs(point[0])))
        for seed in range(4):
            got = approximate_gradient(lambda p: 3 * (float(p[0]) - x), point[:1], method, step=step, seed=seed)  # noqa: B023
            assert got[0] == 3
        if method == "central":
            got = approximate_gradient(lambda p: 3 * (float(p[0]) - x) - 2 * float(p[1]), point, method, step=step)  # noqa: B023
            np.testing.assert_allclose(got, [3, -2], rtol=1e-12)


def test_parameter_shift_of_a_large_angle():
    """A shift of pi/2 is seen where the steps of other methods vanish."""
    x = np.array([2.0**17], "f4")
    got = approximate_gradient(lambda p: float(np.sin(p.astype("f8"))[0]), x, "parameter_shift")
    np.testing.assert_allclose(got, np.cos(x.astype("f8")), atol=1e-2)
    with pytest.raises(ValueError, match=r"step must not vanish beside an entry of x, got 1[.]57"):
        approximate_gradient(lambda p: 0.0, np.array([1e17]), "parameter_shift")


@pytest.mark.parametrize("method", ["spsa", "central", "parameter_shift", "jordan"])
def test_evaluations_are_those_that_are_counted(method):
    f, x = Counted(lambda p: float(np.sin(p).sum())), np.array([0.3, 0.4])
    before = x.copy()
    approximate_gradient(f, x, method, samples=5, grid=8, bound=2.0)
    assert f.calls == {"spsa": 10, "central": 4, "parameter_shift": 4, "jordan": 65}[method]
    assert (x == before).all() and not any(np.shares_memory(p, x) for p in f.points)
    assert all(p.dtype == x.dtype and p.shape == x.shape for p in f.points)
    reach = np.abs(np.array(f.points) - x).max()
    if method == "jordan":  # a grid with x in its middle
        assert reach == pytest.approx(np.finfo(float).eps ** (1 / 3) / 2, rel=1e-6)
    if method == "spsa":
        signs = {tuple(np.sign(p - x)) for p in f.points}
        assert signs <= set(product((-1.0, 1.0), repeat=2)) and len(signs) > 1


@pytest.mark.parametrize(
    ("name", "values", "options"),
    [
        ("f", (None, 3.0), {}),
        ("x", (None, [1.0], np.zeros((2, 2)), np.zeros(2, int), np.array([np.nan]), np.zeros(4)[::2]), {}),
        ("x", (np.zeros(4), np.zeros(2, "f4")), {"method": "jordan", "bound": 1.0}),
        ("method", ("newton", None), {}),
        ("step", (0, -1.0, math.nan, "1"), {}),
        ("step", (0.1,), {"method": "parameter_shift"}),
        ("step", (1e-30,), {"method": "central", "x": np.ones(2)}),
        ("samples", (0, 1.5, True), {}),
        ("seed", (-1, 0.5, None), {}),
        ("grid", (1, 7, 300, 8.0), {"method": "jordan", "bound": 1.0}),
        ("bound", (None, 0, -1.0, math.inf, "1"), {"method": "jordan"}),
    ],
)
def test_what_is_wrong_is_named(name, values, options):
    call = partial(approximate_gradient, **{"f": lambda p: float(p.sum()), "x": np.zeros(2), **options})
    for value in values:
        with pytest.raises((TypeError, ValueError), match=rf"^approximate_gradient: {name} must .*got"):
            call(**{name: value})


@pytest.mark.parametrize("value", [math.nan, math.inf, None, np.zeros(1)])
@pytest.mark.parametrize("method", ["spsa", "central", "parameter_shift", "jordan"])
def test_a_value_that_is_no_finite_number_is_refused(method, value):
    with pytest.raises((TypeError, ValueError), match=r"^approximate_gradient: a value of f must be .*got"):
        approximate_gradient(lambda p: value, np.zeros(2), method, bound=1.0)
