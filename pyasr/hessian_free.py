"""Hessian-free training: conjugate gradients on Gauss-Newton products, which no matrix is formed for.

An update minimizes the damped quadratic model of the objective f around the weights x,

    q(d) = gᵀd + dᵀ(G + λI)d / 2        G v = Jᵀ H_L J v

with g the gradient, J the derivative of the logits by the weights, and H_L the curvature of the loss at the logits. A product
G v is a jvp, `loss.curvature` and a backward from saved activations: 4/3 of the work of a gradient. f, g and G are means over
utterances, summed in float64, in evaluation mode: nothing is dropped and no statistics move, so that f is a function.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pyasr.counter import stream
from pyasr.layers import Layer
from pyasr.ops import backend, host
from pyasr.ops._door import Door
from pyasr.params import Params

DAMPING_LIMITS = 1e-10, 1e10
WARM_START = 0.95  # of the last solution, where the next search begins
GRID_FIRST, GRID_RATIO = 5, 1.3  # the CG iterations whose x is kept for backtracking
EXPONENT = 0.75  # of the preconditioner
ARMIJO, SHRINK, TRIALS = 1e-2, 0.8, 60  # the line search: least share of the slope, factor, attempts

Batch = tuple[Any, ...]  # x [T, B, F], lengths [B], targets
Vector = Any  # [P], laid out like params.value, on the host unless said


class HfStep(NamedTuple):
    """What one update did; means over the utterances that it was given."""

    loss: float  # before the update
    after: float  # of the weights that it leaves behind, over the same utterances
    norm: float  # of the gradient
    iterations: int  # of CG
    info: int  # what cg returned
    chosen: int  # the iteration that backtracking chose
    rho: float  # f's change over q's change, before the line search; NaN where there is none
    damping: float  # λ of this update
    scale: float  # of the line search; 0: no step was taken
    skipped: bool  # f or its gradient was not finite: only the damping changed
    products: int  # with G
    evaluations: int  # of f


class HessianFree:
    """Truncated Newton steps with Gauss-Newton curvature over a model's weights.

    step(model, criterion, batches) makes one update by all utterances of `batches`; criterion is `losses.Ctc`,
    `losses.SoftmaxCrossEntropy` or what has their `sum`, `count`, `sum_grad` and `sum_curvature`.

    damping is the first λ. It grows by 3/2 where f gave less than a quarter of what q promised, or is not finite, shrinks by 2/3
    where f gave more than three quarters, and stays within 1e-10 and 1e10. max_iterations bounds CG, which else ends by Martens'
    rule: the last k = max(10, i/10) of i iterations lowered q by less than a share k·martens_eps, or martens_eps with
    scale_by_k=False. curvature is the share of the batches that G is formed of, drawn for every update from the stream
    ("curvature", seed, update); it is their activations that are kept in memory.

    CG begins at 0.95 of its last solution and is preconditioned by (Σ ḡ² + λ)^(3/4): the squared mean gradients of the batches,
    weighted by their shares of the utterances. Of its iterates (the fifth, then each 1.3 times as far, and the last) the last one
    before which f gets no lower is taken; a line search by Armijo's rule scales it.

    Where f or its gradient is not finite the update is skipped: weights stay, λ grows. One utterance that cannot be aligned is
    enough for that with `Ctc(ops, zero_infinity=False)`.

    `state` holds vectors and numbers, as those of Sgd and Adam. On a device the model runs there: f, gradients and products. The
    vectors of CG and of the line search are the host's, and so is cg.

    Raises TypeError and ValueError naming the argument.

    Source: Martens, "Deep learning via Hessian-free optimization", ICML 2010; Schraudolph, 2002, for G v. Where Martens sums over
    utterances here is a mean, so that neither λ nor a step depends on how often the same utterances are given.

    >>> from pyasr.hessian_free import HessianFree
    >>> from pyasr.losses import SoftmaxCrossEntropy
    >>> params = pyasr.Params(pyasr.backend("numpy"), "float64")
    >>> model = pyasr.layers.Linear(params, "out", 2, 2)
    >>> params.init(seed=0)
    >>> batch = np.eye(2), None, np.array([0, 1], "i4")
    >>> hf = HessianFree(params)
    >>> steps = [hf.step(model, SoftmaxCrossEntropy(params.ops), [batch]) for _ in range(8)]
    >>> round(steps[0].loss, 3), round(steps[-1].after, 3), round(steps[-1].damping, 3)
    (0.525, 0.027, 0.059)
    """

    def __init__(
        self, params: Params, *, damping: float = 1.0, max_iterations: int = 250, curvature: float = 1.0,
        martens_eps: float = 5e-4, scale_by_k: bool = True, seed: int = 0,
    ) -> None:  # fmt: skip
        door = Door("HessianFree")
        self.params = params
        self.max_iterations = door.integer("max_iterations", max_iterations, 1, 2**31 - 1)
        self.curvature = door.real("curvature", curvature, 0.0, 1.0)
        if not self.curvature:
            door.value_error("curvature must be above 0, got 0.0")
        self.martens_eps = door.real("martens_eps", martens_eps, 0.0)
        self.scale_by_k = door.boolean("scale_by_k", scale_by_k)
        self.seed = door.integer("seed", seed, -(2**127), 2**127)
        first = door.real("damping", damping, *DAMPING_LIMITS)
        xp = params.ops.xp
        self.state = {"solution": params.zeros(), "damping": xp.full(1, first), "count": xp.zeros(1)}

    def step(self, model: Layer, criterion: Callable[..., Any], batches: Sequence[Batch]) -> HfStep:
        """One update of params.value by batches (x [T, B, F], lengths [B], *targets). The state says where CG begins and which
        of them give the curvature. What is raised in between leaves weights and state as they were."""
        params, state = self.params, self.state
        if model.params is not params:
            Door("HessianFree").value_error("model must have the params that HessianFree was made for, got others")
        number, damping = int(host(state["count"])[0]), float(host(state["damping"])[0])
        quadratic = Quadratic(model, criterion, batches, self._drawn(number, len(batches)))
        loss, grad = quadratic.loss, quadratic.grad
        norm = float(np.linalg.norm(grad))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._commit(math.nan)
            return HfStep(loss, loss, norm, 0, 0, 0, math.nan, damping, 0.0, True, 0, 1)

        iterates = _Iterates()
        diagonal = (quadratic.square + damping) ** EXPONENT
        ops = params.ops if params.ops.xp is np else backend()
        solution, info = ops.cg(
            quadratic.product, -grad, WARM_START * host(state["solution"]).astype(np.float64), M=lambda v: v / diagonal,
            maxiter=self.max_iterations, damping=damping, stop="martens", martens_eps=self.martens_eps,
            scale_by_k=self.scale_by_k, callback=iterates.see,
        )  # fmt: skip
        f = _Along(model, criterion, batches, quadratic.count)
        try:
            chosen, d, value = iterates.best(f, solution)
            slope, promised = float(grad @ d), quadratic(d, damping)
            scale, after = _armijo(f, d, loss, value, slope)
        finally:
            f.set(f.start)
        rho = (value - loss) / promised if promised < 0 and math.isfinite(value) else math.nan
        if scale:
            f.set(f.at(d, scale))
        self._commit(rho, solution)
        return HfStep(
            loss, after, norm, iterates.done, info, chosen, rho, damping, scale, False, quadratic.products,
            1 + f.evaluations,
        )  # fmt: skip

    def _drawn(self, number: int, batches: int) -> set[int]:
        """Which batches give the curvature of this update."""
        count = max(1, round(self.curvature * batches)) if batches else 0
        return set(stream("curvature", self.seed, number).choice(batches, count, replace=False).tolist())

    def _commit(self, rho: float, solution: Vector = None) -> None:
        """The state of the next update. Levenberg's and Marquardt's damping: no ρ counts as a bad one."""
        state, (least, most) = self.state, DAMPING_LIMITS
        factor = 2 / 3 if rho > 0.75 else 1.0 if rho >= 0.25 else 3 / 2
        state["damping"][...] = min(max(factor * float(host(state["damping"])[0]), least), most)
        state["count"] += 1
        if solution is not None:
            state["solution"][...] = self.params.ops.xp.asarray(solution)


class Quadratic:
    """f and its quadratic model at the weights of now: loss, grad and the preconditioner's square over all batches, G over those
    in `drawn`. quadratic(d, damping) is q(d)."""

    def __init__(self, model: Layer, criterion: Callable[..., Any], batches: Sequence[Batch], drawn: set[int]) -> None:
        self.model, self.products = model, 0
        params = model.params
        self._scratch, self._along = params.zeros(), params.zeros()
        self._kept: list[tuple[Any, Any]] = []
        total, count, curved = 0.0, 0, 0
        grad, square = (np.zeros(self._scratch.shape) for _ in range(2))
        for i, (x, lengths, *targets) in enumerate(batches):
            logits, saved = model.forward(x, lengths)
            loss = criterion(logits, model.out_lengths(lengths), *targets)
            self._scratch[:] = 0
            model.backward(saved, loss.sum_grad, self._scratch, need_dx=False)
            of_batch = host(self._scratch)
            grad += of_batch
            square += of_batch.astype(np.float64) ** 2 / max(loss.count, 1)
            total, count = total + loss.sum, count + loss.count
            if i in drawn:
                self._kept.append((saved, loss))
                curved += loss.count
        self._curved, self.count, count = max(curved, 1), count, max(count, 1)
        self.loss, self.grad, self.square = total / count, grad / count, square / count

    def product(self, v: Vector) -> Vector:
        """v [P] -> G v [P] in float64."""
        self.products += 1
        xp = self.model.params.ops.xp
        self._along[...] = xp.asarray(v)
        total = xp.zeros(v.shape)
        for saved, loss in self._kept:
            self._scratch[:] = 0
            along = loss.sum_curvature(self.model.jvp(saved, None, self._along))
            self.model.backward(saved, along, self._scratch, need_dx=False)
            total += self._scratch
        return host(total) / self._curved

    def __call__(self, d: Vector, damping: float) -> float:
        return float(self.grad @ d + 0.5 * (d @ self.product(d) + damping * (d @ d)))


class _Iterates:
    """What CG went through: some of its iterates, by their numbers."""

    def __init__(self) -> None:
        self.done, self._due = 0, GRID_FIRST
        self._kept: list[tuple[int, Vector]] = []

    def see(self, x: Vector) -> None:
        self.done += 1
        if self.done == self._due:
            self._kept.append((self.done, x))
            self._due = math.ceil(GRID_RATIO * self._due)

    def best(self, f: _Along, solution: Vector) -> tuple[int, Vector, float]:
        """(number, d, f(d)): backwards from the solution, as long as f gets lower."""
        kept = self._kept[:-1] if self._kept and self._kept[-1][0] == self.done else self._kept
        found = self.done, solution, f(solution)
        for number, d in reversed(kept):
            value = f(d)
            if value >= found[2] and math.isfinite(found[2]):
                break
            found = number, d, value
        return found


class _Along:
    """f as a function of the step from the weights of now. It is infinite where it is not finite, and where not the same `count`
    of utterances takes part: the mean without those whose loss became infinite may be lower. A call moves the weights."""

    def __init__(self, model: Layer, criterion: Callable[..., Any], batches: Sequence[Batch], count: int) -> None:
        self._model, self._criterion, self._batches, self._count = model, criterion, batches, count
        self.start, self.evaluations = host(model.params.value).copy(), 0

    def set(self, weights: Vector) -> None:
        params = self._model.params
        params.value[...] = params.ops.xp.asarray(weights)

    def at(self, d: Vector, scale: float = 1.0) -> Vector:
        return self.start + scale * d

    def __call__(self, d: Vector, scale: float = 1.0) -> float:
        self.evaluations += 1
        with np.errstate(over="ignore", invalid="ignore"):
            self.set(self.at(d, scale))
            total, count = _total(self._model, self._criterion, self._batches)
        return total / max(count, 1) if math.isfinite(total) and count == self._count else math.inf


def _armijo(f: _Along, d: Vector, loss: float, value: float, slope: float) -> tuple[float, float]:
    """(scale, f(scale·d)) of the longest step that lowers f by 1 % of what its slope says; (0, loss) where none does."""
    scale = 1.0
    for _ in range(TRIALS if slope < 0 else 0):
        if value <= loss + ARMIJO * scale * slope:
            return scale, value
        scale *= SHRINK
        value = f(d, scale)
    return 0.0, loss


def objective(model: Layer, criterion: Callable[..., Any], batches: Sequence[Batch]) -> float:
    """The mean loss over the utterances of all batches, in evaluation mode, summed in float64."""
    total, count = _total(model, criterion, batches)
    return total / max(count, 1)


def _total(model: Layer, criterion: Callable[..., Any], batches: Sequence[Batch]) -> tuple[float, int]:
    """The sum of the losses, and of how many utterances."""
    total, count = 0.0, 0
    for x, lengths, *targets in batches:
        logits, _ = model.forward(x, lengths)
        loss = criterion(logits, model.out_lengths(lengths), *targets)
        total, count = total + loss.sum, count + loss.count
    return total, count
