"""Products with the Gauss-Newton matrix, against an explicit Jacobian and differences of gradients."""

import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.hessian_free import Quadratic, objective

SMALL = runpy.run_path(str(Path(__file__).with_name("small_models.py")))
SYMBOLS, built, every_backend, every_kind, weights_of = (
    SMALL[n] for n in ("SYMBOLS", "built", "every_backend", "every_kind", "weights_of")
)


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
