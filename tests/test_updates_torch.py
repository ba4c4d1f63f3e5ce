"""Fifty steps beside torch.optim.SGD, Adam, AdamW and RMSprop, with every combination of the flags that pyasr offers."""

import itertools

import numpy as np
import pytest

import pyasr
from pyasr.counter import stream
from pyasr.ops import rows, why_not
from pyasr.ops._op import has
from pyasr.optim import Adam, AdamW, Ema, LossScale, RmsProp, Sgd, StepInfo

torch = pytest.importorskip("torch", reason="torch is the outside oracle")

COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
SHAPES, STEPS = ((5, 7), (11,), (3, 2, 4)), 50
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def columns_of(row):
    return pytest.mark.parametrize("column", [c for c in COLUMNS if has(rows()[row], c)])


def fifty_steps(column, dtype, make, peer, lr, clip_norm=None):
    """Both from the same weights with the same gradients; the relative distance of the weights at the end. torch counts in
    float64: its float32 forms are up to 1.6e-6 away from it."""
    params = pyasr.Params(pyasr.backend(column), dtype)
    for i, shape in enumerate(SHAPES):
        params.declare(f"w{i}", shape)
    params.init()
    theirs = []
    for name in params.names():
        params[name][...] = stream("torch", name).standard_normal(params[name].shape)
        theirs.append(torch.nn.Parameter(torch.tensor(params[name].astype("f8"))))
    optimizer, other = make(params), peer(theirs)
    for step in range(STEPS):
        for name, p in zip(params.names(), theirs, strict=True):
            g = (1 + step % 3) * stream("torch", step, name).standard_normal(params[name].shape) + params[name]
            params.grad_of(name)[...] = g
            p.grad = torch.tensor(params.grad_of(name).astype("f8"))
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(theirs, clip_norm)
        optimizer.step(lr)
        other.step()
    got = np.concatenate([params[n].ravel() for n in params.names()]).astype("f8")
    want = np.concatenate([p.detach().numpy().ravel() for p in theirs]).astype("f8")
    return float(np.linalg.norm(got - want) / np.linalg.norm(want))


def combinations(**flags):
    found = [dict(zip(flags, values, strict=True)) for values in itertools.product(*flags.values())]
    return pytest.mark.parametrize("flags", found, ids=lambda f: "-".join(map(str, f.values())))


@columns_of("clip_sgd")
@every_dtype
@combinations(momentum=(0.0, 0.9), dampening=(0.0, 0.4), nesterov=(False, True), weight_decay=(0.0, 0.02))
def test_sgd(column, dtype, flags):
    if flags["nesterov"] and (not flags["momentum"] or flags["dampening"]):
        pytest.skip("neither torch nor pyasr takes nesterov so")
    error = fifty_steps(
        column, dtype, lambda p: Sgd(p, clip=None, **flags), lambda p: torch.optim.SGD(p, lr=0.01, **flags), 0.01
    )
    assert error <= 1e-6


@columns_of("adam")
@every_dtype
@combinations(weight_decay=(0.0, 0.02), amsgrad=(False, True), decoupled=(False, True))
def test_adam_and_adamw(column, dtype, flags):
    ours, theirs = (AdamW, torch.optim.AdamW) if flags["decoupled"] else (Adam, torch.optim.Adam)
    flags = {name: x for name, x in flags.items() if name != "decoupled"}
    error = fifty_steps(
        column, dtype, lambda p: ours(p, clip=None, **flags), lambda p: theirs(p, lr=0.01, **flags), 0.01
    )
    assert error <= 1e-6


@columns_of("rmsprop")
@every_dtype
@combinations(momentum=(0.0, 0.9), centered=(False, True), weight_decay=(0.0, 0.02))
def test_rmsprop(column, dtype, flags):
    error = fifty_steps(
        column,
        dtype,
        lambda p: RmsProp(p, clip=None, **flags),
        lambda p: torch.optim.RMSprop(p, lr=0.001, **flags),
        0.001,
    )
    assert error <= 1e-6


@columns_of("clip_sgd")
@every_dtype
def test_clip_grad_norm_by_switch(column, dtype):
    """eps = 1e-6 is torch's rule; eps = 0 is optax's: M/‖g‖ where ‖g‖ is above M."""
    grad = stream("clip").standard_normal(100).astype(dtype)
    for limit in (1e-4, 0.5, 1e3):
        p = torch.nn.Parameter(torch.tensor(np.zeros(100, dtype)))
        p.grad = torch.tensor(grad)
        norm = float(torch.nn.utils.clip_grad_norm_([p], limit))
        value = np.zeros(100, dtype)
        info = pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", limit), eps=1e-6)
        assert info.norm == pytest.approx(norm, rel=1e-6)
        np.testing.assert_allclose(value, p.grad.numpy(), rtol=1e-6 if dtype == "float32" else 1e-12)
        value[:] = 0
        info = pyasr.backend(column).clip_sgd(value, grad, lr=-1.0, clip=("norm", limit))
        assert info.scale == pytest.approx(limit / norm if norm > limit else 1.0, rel=1e-6)


@columns_of("adam")
@every_dtype
def test_clipping_comes_before_the_moments(column, dtype):
    """Gradients of very different norms: where the clip came later, or not at all, Adam would go elsewhere."""
    error = fifty_steps(
        column, dtype, lambda p: Adam(p, clip=5.0), lambda p: torch.optim.Adam(p, lr=0.01), 0.01, clip_norm=5.0
    )
    assert error <= 2e-6  # torch adds 1e-6 to the norm


@pytest.mark.parametrize(
    ("ours", "options", "theirs", "flags"),
    [
        (Sgd, {"eps": 1e-6}, torch.optim.SGD, {"momentum": 0.9}),
        (Adam, {"clip_eps": 1e-6}, torch.optim.Adam, {}),
        (RmsProp, {"clip_eps": 1e-6}, torch.optim.RMSprop, {}),
    ],
)
def test_the_rule_of_clip_grad_norm_is_an_option_of_the_optimizers(ours, options, theirs, flags):
    """A limit of 1e-4 makes torch's 1e-6 more than the digits of float64 hide; without it this is 1e-8 off."""
    error = fifty_steps(
        COLUMNS[-1], "float64", lambda p: ours(p, clip=1e-4, **options), lambda p: theirs(p, lr=0.01, **flags), 0.01,
        clip_norm=1e-4,
    )  # fmt: skip
    assert error <= 1e-12


@pytest.mark.parametrize("column", COLUMNS)
def test_an_average_within_the_update_is_that_of_torch(column):
    params = pyasr.Params(pyasr.backend(column))
    params.declare("w", (20,))
    params.init()
    params["w"][:] = 1
    ema, other = Ema(params, decay=0.9), torch.ones(20)
    average = torch.optim.swa_utils.get_ema_multi_avg_fn(0.9)
    optimizer, alone = Sgd(params, ema=ema), Ema(params, decay=0.9)
    for step in range(10):
        params.grad_of("w")[:] = stream("ema", step).standard_normal(20)
        optimizer.step(0.1)
        alone.update()
        average([other], [torch.tensor(params["w"])], None)
    assert optimizer.state["average"] is ema.value
    np.testing.assert_allclose(ema.value[:20], other.numpy(), rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(ema.value, alone.value, rtol=1e-6, atol=1e-7)
    weights = params.value.copy()
    with pytest.raises(RuntimeError, match="in the middle"), ema.applied():
        np.testing.assert_array_equal(params.value, ema.value)
        raise RuntimeError("in the middle")
    np.testing.assert_array_equal(params.value, weights)


def test_the_scale_of_a_loss_is_that_of_torch():
    ours, theirs = LossScale(1024.0, interval=3), torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=3)
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([p], lr=0.1)
    theirs.scale(torch.zeros(1))
    for skipped in (False, False, False, True, False, False, True, True, False, False, False, False):
        p.grad = torch.full((1,), float("inf") if skipped else 1.0)
        theirs.step(optimizer)
        theirs.update()
        ours.update(StepInfo(1.0, 1.0, skipped))
        assert ours.scale == theirs.get_scale()
