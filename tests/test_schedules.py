"""Learning rates: where they rise, where they are cut, and what they refuse."""

import math
from functools import partial

import numpy as np
import pytest

from pyasr.schedules import (
    constant,
    cosine,
    exponential,
    newbob,
    one_cycle,
    plateau,
    step,
    warmup,
    warmup_stable_decay,
)


def test_warmup_rises_in_a_line_and_stays():
    rates = np.array([warmup(k, 40, 2.0, share=0.25, first=0.1) for k in range(60)])
    np.testing.assert_allclose(rates[:11], np.linspace(0.2, 2.0, 11), rtol=1e-12)
    assert set(rates[10:]) == {2.0}
    assert warmup(0, 40, 2.0, share=0.0) == constant(0, 40, 2.0) == 2.0
    assert warmup(1, 10**6, 2.0, first=1.0) == 2.0


def test_warmup_and_one_cycle_rise_alike():
    for k in range(20):
        assert warmup(k, 100, 0.3, share=0.2) == one_cycle(k, 100, 0.3, warmup=0.2)


@pytest.mark.parametrize(
    ("history", "want"),
    [
        ([], 8.0),
        ([5], 8.0),
        ([5, 5, 5], 8.0),
        ([5, 5, 5, 5], 4.0),
        ([5, 6, 6, 4, 6, 6], 8.0),  # a new best starts the count again
        ([5, 6, 6, 6, 4.9, 6, 6], 4.0),
        ([5, 6, 6, 6, 6, 6, 6], 2.0),  # and so does a cut
        ([5, 6, 6, 6, 5.5, 5.5, 5.5], 2.0),  # better than the last is not a new best
        ([5] + 30 * [6], 1.0),  # least
        ([math.nan] * 3, 4.0),
        ([5, math.inf, math.nan, -math.inf], 8.0),
    ],
)
def test_plateau(history, want):
    assert plateau(history, 8.0, least=0.125) == want
    assert plateau(tuple(map(np.float32, history)), 8.0, least=0.125) == want


@pytest.mark.parametrize("patience", [1, 2, 3, 5])
@pytest.mark.parametrize("seed", range(5))
def test_plateau_equals_torch_whose_patience_is_one_less(patience, seed):
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    figures = np.random.default_rng(seed).integers(0, 12, 60) / 4 - 1.0  # repeats and negative ones among them
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    options = {"factor": 0.7, "patience": patience - 1, "threshold": 0.0, "min_lr": 0.3 * 0.01, "eps": 0.0}
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min", **options)
    for n, figure in enumerate(figures, 1):
        scheduler.step(figure)
        got = plateau(figures[:n].tolist(), 0.3, factor=0.7, patience=patience, least=0.01)
        assert got == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-12)
    assert got < 0.3


TORCH = {
    "step": (lambda k: step(k, 30, 0.3), "StepLR", {"step_size": 10, "gamma": 0.1}),
    "step-7": (lambda k: step(k, 30, 0.3, every=7, factor=0.6), "StepLR", {"step_size": 7, "gamma": 0.6}),
    "exponential": (lambda k: exponential(k, 30, 0.3, last=0.2), "ExponentialLR", {"gamma": 0.2 ** (1 / 30)}),
    "cosine": (lambda k: cosine(k, 30, 0.3, last=0.1), "CosineAnnealingLR", {"T_max": 30, "eta_min": 0.03}),
    "constant": (lambda k: constant(k, 30, 0.3), "ConstantLR", {"factor": 1.0}),
    "warmup": (
        lambda k: warmup(k, 30, 0.3, share=0.5, first=0.2), "LinearLR", {"start_factor": 0.2, "total_iters": 15}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TORCH)
def test_equal_to_torch(name):
    torch = pytest.importorskip("torch", reason="torch is the outside oracle")
    ours, theirs, options = TORCH[name]
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.3)
    scheduler = getattr(torch.optim.lr_scheduler, theirs)(optimizer, **options)
    rates = []
    for _ in range(31):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose([ours(k) for k in range(31)], rates, rtol=1e-12)
    assert (len(set(rates)) == 1) == (name == "constant")


def test_one_cycle_falls_as_cosine_does():
    falling = [one_cycle(20 + k, 100, 0.3, warmup=0.2, last=0.01) for k in range(100)]
    np.testing.assert_allclose(falling, [cosine(k, 80, 0.3, last=0.01) for k in range(100)], rtol=1e-12)


def test_exponential_and_cosine_stay_where_they_ended():
    assert exponential(10**9, 10, 2.0, last=0.5) == exponential(10, 10, 2.0, last=0.5) == 1.0
    assert cosine(10**9, 10, 2.0, last=0.5) == cosine(10, 10, 2.0, last=0.5) == 1.0


def test_warmup_stable_decay_rises_stays_and_falls():
    options = {"warmup": 0.25, "first": 0.1, "decay": 0.5, "last": 0.2}
    rates = np.array([warmup_stable_decay(k, 40, 2.0, **options) for k in range(60)])
    np.testing.assert_allclose(rates[:11], [warmup(k, 40, 2.0, share=0.25, first=0.1) for k in range(11)], rtol=1e-12)
    assert set(rates[10:21]) == {2.0}
    np.testing.assert_allclose(rates[20:41], np.linspace(2.0, 0.4, 21), rtol=1e-12)
    np.testing.assert_allclose(rates[40:], 0.4, rtol=1e-12)
    root = [warmup_stable_decay(k, 40, 2.0, shape="1-sqrt", **options) for k in range(20, 60)]
    np.testing.assert_allclose(root[:21], 0.4 + 1.6 * (1 - np.sqrt(np.linspace(0, 1, 21))), rtol=1e-12)
    np.testing.assert_allclose(root[20:], 0.4, rtol=1e-12)
    assert warmup_stable_decay(99, 40, 2.0, decay=0.0) == 2.0
    assert warmup_stable_decay(0, 40, 2.0, warmup=0.0) == 2.0


@pytest.mark.parametrize(
    ("history", "patience", "want"),
    [
        ([], 0, 8.0),
        ([10], 0, 8.0),
        ([10, 2], 0, 8.0),
        ([10, 2, 2.5], 0, 4.0),  # the example of SpeechBrain's docstring
        ([10, 2, 2.5, 1], 0, 4.0),
        ([10, 9.98], 0, 4.0),  # 0.2 %
        ([10, 9.97], 0, 8.0),
        ([10, 10, 10, 10], 0, 1.0),
        ([10, 10, 9, 9], 1, 4.0),  # the second of two, not in a row
        ([10, 10, 10, 10, 10], 1, 2.0),  # and patience starts again after a cut
        ([10, 11, 10.5], 0, 4.0),  # compared with the epoch before, not the best
        ([0.0, 0.0], 0, 4.0),
        ([-1.0, -2.0], 0, 8.0),
        ([10, math.nan], 0, 4.0),
        ([10, math.nan, 11, 9], 0, 4.0),
        ([math.inf, 10], 0, 8.0),
        ([math.inf, math.inf], 0, 4.0),
    ],
)
def test_newbob(history, patience, want):
    assert newbob(history, 8.0, patience=patience) == want
    assert newbob(tuple(map(np.float64, history)), 8.0, patience=patience) == want


@pytest.mark.parametrize(
    ("history", "want"),
    [
        ([10, 9, 8.95, 5, 4], 1.0),  # from the first cut on every epoch
        ([10, 9, 8, 7], 8.0),
        ([10, 12, 9], 2.0),
        ([10, math.nan, 1], 2.0),
        ([math.nan, 10, 9, 9], 4.0),
    ],
)
def test_newbob_on_a_ramp(history, want):
    assert newbob(history, 8.0, threshold=0.01, ramp=True) == want


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ramp", [False, True])
def test_newbob_equals_the_rules_of_its_sources(seed, ramp):
    """SpeechBrain's scheduler and the loop of Kaldi's train_scheduler.sh, written down as they are stepped."""
    figures = (np.random.default_rng(seed).integers(90, 110, 30) / np.arange(30, 60)).tolist()
    rate, left, best, halving = 0.3, 2, figures[0], False
    for n in range(1, 30):
        if ramp:
            before, best = best, min(best, figures[n])
            halving = halving or (before - best) / before < 0.02
            rate *= 0.7 if halving else 1
        elif (figures[n - 1] - figures[n]) / figures[n - 1] < 0.02:
            rate, left = (rate * 0.7, 2) if left == 0 else (rate, left - 1)
        options = {"ramp": True} if ramp else {"patience": 2}
        assert newbob(figures[: n + 1], 0.3, threshold=0.02, factor=0.7, **options) == pytest.approx(rate, rel=1e-12)
    assert rate < 0.3


@pytest.mark.parametrize(
    ("call", "name", "bad"),
    [
        (partial(warmup, total=10, peak=1.0), "step", (-1, 2.0, None, True)),
        (partial(warmup, 1, peak=1.0), "total", (0, 2.5, "3")),
        (partial(warmup, 1, 10), "peak", (math.nan, math.inf, "1", None)),
        (partial(warmup, 1, 10, 1.0), "share", (-0.1, 1.1, math.nan, "0.1")),
        (partial(warmup, 1, 10, 1.0), "first", (-0.1, 1.1, math.nan, None)),
        (partial(constant, total=10, peak=1.0), "step", (-1, 2.0)),
        (partial(constant, 1, 10), "peak", (math.nan, "1")),
        (partial(step, total=10, peak=1.0), "step", (-1, 2.0)),
        (partial(step, 1, 10, 1.0), "every", (0, 2.0, "3")),
        (partial(step, 1, 10, 1.0), "factor", (-0.1, 1.1, math.nan)),
        (partial(exponential, 1, 10, 1.0), "last", (0, -0.1, 1.1, math.nan)),
        (partial(cosine, 1, peak=1.0), "total", (0, 2.5)),
        (partial(cosine, 1, 10, 1.0), "last", (-0.1, 1.1, None)),
        (partial(one_cycle, 1, 10, 1.0), "warmup", (-0.1, 1.1, None)),
        (partial(one_cycle, 1, 10, 1.0), "first", (-0.1, 1.1, math.nan, "0")),
        (partial(one_cycle, 1, 10, 1.0), "last", (-0.1, 1.1, math.inf)),
        (partial(warmup_stable_decay, 1, 10), "peak", (math.nan, None)),
        (partial(warmup_stable_decay, 1, 10, 1.0), "warmup", (-0.1, 0.9, 1.1, math.nan)),
        (partial(warmup_stable_decay, 1, 10, 1.0), "first", (-0.1, 1.1)),
        (partial(warmup_stable_decay, 1, 10, 1.0), "decay", (-0.1, 1.1)),
        (partial(warmup_stable_decay, 1, 10, 1.0), "last", (-0.1, 1.1)),
        (partial(warmup_stable_decay, 1, 10, 1.0), "shape", ("sqrt", None, 1)),
        (partial(newbob, peak=1.0), "history", (None, "123", [None], [1.0, True])),
        (partial(newbob, [1.0]), "peak", (math.inf, "1")),
        (partial(newbob, [1.0], 1.0), "threshold", (-0.1, 1.1)),
        (partial(newbob, [1.0], 1.0), "factor", (-0.1, 1.1)),
        (partial(newbob, [1.0], 1.0), "patience", (-1, 1.0)),
        (partial(newbob, [1.0], 1.0), "ramp", (1, None)),
        (partial(plateau, peak=1.0), "history", (None, 3.0, "123", {1.0}, [1.0, "2"], [None], [True], [1j])),
        (partial(plateau, [1.0]), "peak", (math.nan, "1", None)),
        (partial(plateau, [1.0], 1.0), "factor", (-0.1, 1.5, math.nan)),
        (partial(plateau, [1.0], 1.0), "patience", (0, -1, 2.0, True)),
        (partial(plateau, [1.0], 1.0), "least", (-1e-3, 2, "0")),
    ],
)
def test_what_is_wrong_is_named(call, name, bad):
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=f"^{call.func.__name__}: {name} (and decay )?must .*got"):
            call(**{name: value})
