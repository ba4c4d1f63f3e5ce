"""Gradients from function values alone: what there is to do where no derivative can be had."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.counter import stream
from pyasr.ops._door import FLOATS, Door

Value = Callable[[np.ndarray], float]  # f at a point [P], checked

METHODS = ("spsa", "central", "parameter_shift", "jordan")


def approximate_gradient(
    f: Callable[[np.ndarray], Any],
    x: np.ndarray,
    method: str = "spsa",
    *,
    step: float | None = None,
    samples: int = 1,
    seed: int = 0,
    grid: int = 64,
    bound: float | None = None,
) -> np.ndarray:
    """The gradient of f at x from values of f: [P], of the dtype of x.

    f takes a point [P] of the dtype of x, a fresh array, and returns a finite number. x [P] is float32 or float64. Methods:

    =================  =======================  =====================================================================
    method             evaluations of f         what it gives
    =================  =======================  =====================================================================
    "spsa"             2·samples                (f(x + cΔ) − f(x − cΔ)) / (2c) · Δ, averaged over `samples` random sign
                                                vectors Δ; unbiased up to O(c²), for a linear f with mean squared error
                                                (P − 1)·‖∇f‖² / samples
    "central"          2·P                      (f(x + c·e_i) − f(x − c·e_i)) / (2c), right up to O(c²)
    "parameter_shift"  2·P                      (f(x + π/2·e_i) − f(x − π/2·e_i)) / 2: exact where f is a + b·cos x_i +
                                                c·sin x_i in every entry, as a circuit of rotations is, else not a
                                                derivative at all
    "jordan"           grid^P + 1, P at most 3  a simulation of Jordan's quantum algorithm, see below
    =================  =======================  =====================================================================

    step is c; by default the fourth root of the dtype's epsilon for "spsa" and its third root for "central", both absolute: give
    it for an x or f of another scale, and larger for a noisy f. Divided is by the distance of the points that were evaluated,
    which rounding beside a large x makes another than 2c. seed keys the signs of "spsa": a training gives its step.

    "jordan" is a simulation: grid^P function evaluations, no speed-up. A quantum computer would evaluate f once, on a
    superposition of all points of a grid of side `step` (default: the third root of epsilon) around x, as a phase; the inverse
    Fourier transform then turns the slope into a number that is read. Here every point is evaluated (and x, to take out the
    global phase), the transform is an FFT, and the most probable outcome is returned. Entries are multiples of 2·bound/grid, so
    at best right to bound/grid, and only when they lie in [−bound, bound): others come back modulo 2·bound. bound must be
    given, grid is even, x float64.

    Raises TypeError and ValueError naming the argument, also for a result of f that is no finite number.

    Source: Spall, "Multivariate stochastic approximation using a simultaneous perturbation gradient approximation", IEEE Trans.
    Automatic Control 1992; Schuld et al., "Evaluating analytic gradients on quantum hardware", 2019; Jordan, "Fast quantum
    algorithm for numerical gradient estimation", Phys. Rev. Lett. 2005.

    >>> def f(x):
    ...     return np.sin(x[0]) * np.cos(x[1])
    >>> x = np.array([0.3, 0.8])
    >>> pyasr.approximate_gradient(f, x, "parameter_shift").round(4)  # ∇f = (cos 0.3 cos 0.8, −sin 0.3 sin 0.8)
    array([ 0.6656, -0.212 ])
    >>> pyasr.approximate_gradient(f, x, "jordan", bound=1.0)  # to 1/64
    array([ 0.65625, -0.21875])
    >>> pyasr.approximate_gradient(f, x, samples=1000).round(1)
    array([ 0.7, -0.2])
    """
    door = Door("approximate_gradient")
    if isinstance(f, type) or not callable(f):
        door.type_error(f"f must be a function, got {type(f).__name__}")
    method = door.choice("method", method, METHODS)
    x = np.asarray(door.read("x", x, "P", FLOATS if method != "jordan" else (FLOATS[1],)))  # f gets no subclass
    if not np.isfinite(x).all():
        door.value_error("x must be finite, got NaN or infinity")
    grid = door.integer("grid", grid, 2, 256)
    if bound is not None and door.real("bound", bound, 0.0) == 0:
        door.value_error("bound must be above 0, got 0.0")
    samples, seed = door.integer("samples", samples, 1, 2**31 - 1), door.integer("seed", seed, 0, 2**63 - 1)
    if step is not None and door.real("step", step, 0.0) == 0:
        door.value_error("step must be above 0, got 0.0")
    if step is not None:
        c = float(step)
    elif method == "parameter_shift":
        c = math.pi / 2
    else:
        c = float(np.finfo(x.dtype).eps) ** (1 / 4 if method == "spsa" else 1 / 3)

    largest = float(np.abs(x).max(initial=0))
    if (x + x.dtype.type(c) == x).any():
        door.value_error(f"step must not vanish beside an entry of x, got {c!r} beside {largest!r}")

    def value(point: np.ndarray) -> float:
        return door.real("a value of f", f(point))

    if method == "spsa":
        out = _spsa(value, x, c, stream("spsa", seed), samples)
    elif method == "central":
        out = np.divide(*_differences(value, x, c))
    elif method == "parameter_shift":
        if step is not None:
            door.value_error(f"step must be None for parameter_shift, whose shift is pi/2, got {step!r}")
        out = _differences(value, x, c)[0] / 2
    else:
        if bound is None:
            door.value_error("bound must be above 0 for jordan, the largest entry of the gradient, got None")
        if len(x) > 3:
            door.value_error(f"x must have at most 3 entries for jordan, got {len(x)}")
        if grid % 2:
            door.value_error(f"grid must be even, got {grid}")
        if 4 * np.spacing(largest) > c / grid:  # else the phases are off by less than pi/8
            door.value_error(
                f"step must keep a grid of {grid} points apart beside an entry of x, got {c!r} beside {largest!r}"
            )
        out = _jordan(value, x, c, grid, float(bound))
    return out.astype(x.dtype, copy=False)


def _spsa(value: Value, x: np.ndarray, c: float, rng: np.random.Generator, samples: int) -> np.ndarray:
    total = np.zeros(len(x))
    for _ in range(samples):
        signs = (2 * rng.integers(0, 2, len(x)) - 1).astype(x.dtype)
        nudge = x.dtype.type(c) * signs
        up, down = x + nudge, x - nudge
        taken = up.astype(np.float64) - down  # 2cΔ but for rounding; the inverse of a sign is itself
        total += (value(up) - value(down)) / taken
    return total / samples


def _differences(value: Value, x: np.ndarray, c: float) -> tuple[np.ndarray, np.ndarray]:
    """f(x + c·e_i) − f(x − c·e_i) for every i, and the distances of these points: 2c but for rounding."""
    out, taken = np.zeros(len(x)), np.zeros(len(x))
    for i in range(len(x)):
        up, down = x.copy(), x.copy()
        up[i], down[i] = x[i] + c, x[i] - c
        taken[i] = float(up[i]) - float(down[i])
        out[i] = value(up) - value(down)
    return out, taken


def _jordan(value: Value, x: np.ndarray, side: float, grid: int, bound: float) -> np.ndarray:
    """One query of the phase oracle on a grid [N, …], the inverse quantum Fourier transform, the most probable outcome."""
    places = (np.arange(grid) - grid / 2) * (side / grid)
    here = value(x.copy())  # a global phase, taken out so that small differences keep their digits
    amplitude = np.empty((grid,) * len(x), np.complex128)
    for at in np.ndindex(amplitude.shape):
        offset = places[list(at)]
        amplitude[at] = np.exp(2j * math.pi * grid / (2 * bound * side) * (value(x + offset) - here))
    outcome = np.abs(np.fft.fftn(amplitude, norm="ortho"))
    best = np.array(np.unravel_index(int(outcome.argmax()), outcome.shape), np.float64)
    return (best - grid * (best >= grid / 2)) * (2 * bound / grid)
