"""Learning rates: where they rise, where they are cut, and what they refuse."""

import math
from functools import partial

import numpy as np
import pytest

from pyasr.schedules import constant, one_cycle, plateau, warmup


def test_warmup_rises_in_a_line_and_stays():
    rates = np.array([warmup(step, 40, 2.0, share=0.25, first=0.1) for step in range(60)])
    np.testing.assert_allclose(rates[:11], np.linspace(0.2, 2.0, 11), rtol=1e-12)
    assert set(rates[10:]) == {2.0}
    assert warmup(0, 40, 2.0, share=0.0) == constant(0, 40, 2.0) == 2.0
    assert warmup(1, 10**6, 2.0, first=1.0) == 2.0


def test_warmup_and_one_cycle_rise_alike():
    for step in range(20):
        assert warmup(step, 100, 0.3, share=0.2) == one_cycle(step, 100, 0.3, warmup=0.2)


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


@pytest.mark.parametrize(
    ("call", "name", "bad"),
    [
        (partial(warmup, total=10, peak=1.0), "step", (-1, 2.0, None, True)),
        (partial(warmup, 1, peak=1.0), "total", (0, 2.5, "3")),
        (partial(warmup, 1, 10), "peak", (math.nan, math.inf, "1", None)),
        (partial(warmup, 1, 10, 1.0), "share", (-0.1, 1.1, math.nan, "0.1")),
        (partial(warmup, 1, 10, 1.0), "first", (-0.1, 1.1, math.nan, None)),
        (partial(plateau, peak=1.0), "history", (None, 3.0, "123", {1.0}, [1.0, "2"], [None], [True], [1j])),
        (partial(plateau, [1.0]), "peak", (math.nan, "1", None)),
        (partial(plateau, [1.0], 1.0), "factor", (-0.1, 1.5, math.nan)),
        (partial(plateau, [1.0], 1.0), "patience", (0, -1, 2.0, True)),
        (partial(plateau, [1.0], 1.0), "least", (-1e-3, 2, "0")),
    ],
)
def test_what_is_wrong_is_named(call, name, bad):
    for value in bad:
        with pytest.raises((TypeError, ValueError), match=f"^{call.func.__name__}: {name} must .*got"):
            call(**{name: value})
