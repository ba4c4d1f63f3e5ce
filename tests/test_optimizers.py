"""The classes that a training loop steps: each is its row, with every option that it was given."""

import inspect
import math
import subprocess
import sys

import numpy as np
import pytest

import pyasr
from pyasr.counter import stream
from pyasr.ops import why_not
from pyasr.optim import Adam, AdamW, Ema, LossScale, RmsProp, Sgd, StepInfo
from pyasr.params import SEGMENT

BACKENDS = [b for b in ("numpy", "cpp") if why_not(b) is None]
ROWS = {Sgd: "clip_sgd", Adam: "adam", AdamW: "adam", RmsProp: "rmsprop"}
DECAYED = {"weight_decay": 0.2, "clip": ("norm", 0.5)}
CASES = [
    (Sgd, {"momentum": 0.8, "dampening": 0.3, **DECAYED, "decoupled": True, "l1": 0.1, "eps": 0.25}),
    (Sgd, {"momentum": 0.8, "nesterov": True, "l1": 0.1, "proximal": True, "clip": 0.5}),
    (Sgd, {"momentum": 0.0, "clip": None, "weight_decay": 0.2}),
    (Sgd, {"clip": ("adaptive", 0.1)}),
    (Sgd, {"clip": ("value", "rsqrt_d")}),
    (Sgd, {"clip": ("value", "rsqrt_d", 9)}),
    (Sgd, {"clip": ("max_change", 0.02, 0.03), "weight_decay": 0.2, "decoupled": True}),
    (Adam, {"beta1": 0.8, "beta2": 0.95, "eps": 0.01, **DECAYED, "amsgrad": True, "clip_eps": 0.25}),
    (Adam, {"eps": 0.0, **DECAYED}),
    (Adam, {"clip": ("max_change", 0.02, 0.03)}),
    (AdamW, {"beta1": 0.8, "beta2": 0.95, "eps": 0.01, **DECAYED, "amsgrad": True, "clip_eps": 0.25}),
    (AdamW, {"clip": ("value", "rsqrt_d")}),
    (RmsProp, {"alpha": 0.9, "eps": 0.01, "momentum": 0.7, "centered": True, **DECAYED, "clip_eps": 0.25}),
    (RmsProp, {"eps": 0.0, **DECAYED}),
    (RmsProp, {"clip": ("adaptive", 0.1)}),
]


def params_of(backend="numpy", dtype="float32"):
    params = pyasr.Params(pyasr.backend(backend), dtype)
    for name, shape in (("a", (3, 5)), ("b", (7,)), ("c", (2, 2, 3))):
        params.declare(name, shape)
    params.init()
    return params


def fill(params, key):
    for name in params.names():
        params.grad_of(name)[...] = stream("optimizers", key, name).standard_normal(params[name].shape)


def by_hand(optimizer, params, options, states, table, t, average):
    """The same update by the row. `states` are kept from step to step."""
    given = {"clip": 5.0, **options}
    given["clip"] = ("norm", given["clip"]) if isinstance(given["clip"], float) else given["clip"]
    if optimizer is Sgd:
        given = {"momentum": 0.9, **given}
        if given["momentum"]:
            given["buffer"] = states.setdefault("momentum", params.zeros())
        given["step"] = t
    elif optimizer is RmsProp:
        given["square"] = states.setdefault("square", params.zeros())
        if given.get("momentum"):
            given["buffer"] = states.setdefault("momentum", params.zeros())
        if given.pop("centered", False):
            given["mean"] = states.setdefault("mean", params.zeros())
    else:
        given |= {name: states.setdefault(name, params.zeros()) for name in ("mean", "square")}
        if given.pop("amsgrad", False):
            given["largest"] = states.setdefault("largest", params.zeros())
        given |= {"step": t + 1, "decoupled": optimizer is AdamW}
        given.setdefault("weight_decay", 0.01 if optimizer is AdamW else 0.0)
    if average is not None:
        given |= {"average": average, "average_decay": 0.75}
    return getattr(params.ops, ROWS[optimizer])(
        params.value, params.grad, lr=0.1 + t, grad_scale=0.5, segments=table, **given
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(("optimizer", "options"), CASES, ids=str)
@pytest.mark.parametrize("given", [False, True])
def test_a_step_is_a_call_of_the_row_with_every_option(backend, optimizer, options, given):
    ours, theirs = params_of(backend), params_of(backend)
    clip = options.get("clip", 5.0)
    segmented = isinstance(clip, tuple) and (clip[0] in ("adaptive", "max_change") or "rsqrt_d" in clip)
    table = ours.segments() if segmented or options.get("eps") == 0 else None
    more = {}
    if given:
        table = ours.segments(
            lr=lambda n: 0.5 if n == "b" else 2.0,
            decay=lambda n: 0.0 if n == "b" else 3.0,
            group=lambda n: int(n == "a"),
        )
        more = {"segments": table, "ema": Ema(ours, decay=0.75)}
    one, states, average = optimizer(ours, **options, **more), {}, theirs.zeros() if given else None
    for t in range(3):
        for params in (ours, theirs):
            fill(params, t)
        assert one.step(0.1 + t, grad_scale=0.5) == by_hand(optimizer, theirs, options, states, table, t, average)
        assert ours.value.tobytes() == theirs.value.tobytes()
        for name, x in states.items():
            assert one.state[name].tobytes() == x.tobytes(), name
        if given:
            assert one.state["average"].tobytes() == average.tobytes()
    assert set(one.state) - {"count", "average"} == set(states)


def test_the_cases_above_leave_no_option_at_its_default():
    for optimizer in ROWS:
        used = {}
        for o, options in CASES:
            if o is optimizer:
                for name, x in options.items():
                    used.setdefault(name, []).append(x)
        base = Adam if optimizer is AdamW else optimizer
        for name, parameter in inspect.signature(base.__init__).parameters.items():
            if name not in ("self", "params", "segments", "ema"):
                assert any(x != parameter.default for x in used.get(name, [])), (optimizer, name)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_skipped_first_step_leaves_the_first_step_to_come(backend):
    """Dampening leaves the first step out: the first that was taken."""
    ours, theirs = params_of(backend), params_of(backend)
    one, other = (Sgd(p, dampening=0.5) for p in (ours, theirs))
    ours.grad_of("a")[0] = math.nan
    assert one.step(0.1).skipped and one.state["count"][0] == 0
    for t in range(2):
        for params, optimizer in ((ours, one), (theirs, other)):
            fill(params, t)
            optimizer.step(0.1)
        assert one.state["count"][0] == 1
    assert ours.value.tobytes() == theirs.value.tobytes() and ours.value.any()


def test_the_scale_of_a_loss_stays_a_positive_number():
    good, bad = StepInfo(1.0, 1.0, False), StepInfo(1.0, 1.0, True)
    large, small = LossScale(2.0**1023, interval=1), LossScale(5e-324)
    for _ in range(3):
        large.update(good)
        small.update(bad)
        assert (large.scale, small.scale) == (2.0**1023, 5e-324)
    large.update(bad)
    assert large.scale == 2.0**1022


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("eps", [0.0, 1e-60])
@pytest.mark.parametrize(
    ("optimizer", "options"), [(Adam, {}), (Adam, {"amsgrad": True}), (AdamW, {}), (RmsProp, {}), (RmsProp, {"centered": True})]
)  # fmt: skip
def test_the_gaps_of_params_stay_zero_without_eps(backend, dtype, eps, optimizer, options):
    params = params_of(backend, dtype)
    inside = np.zeros(params.value.size, bool)
    for s in params.segments():
        inside[s["offset"] : s["offset"] + s["length"]] = True
    one = optimizer(params, eps=eps, **options)
    for t in range(3):
        fill(params, t)
        one.step(0.01)
    for x in (params.value, *(v for v in one.state.values() if v.size > 1)):
        assert np.isfinite(x).all() and not x[~inside].any() and x[inside].all()


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda p: Sgd(5), TypeError, "Sgd: params must be a pyasr.Params, got int"),
        (lambda p: Ema(p.value), TypeError, "Ema: params must be a pyasr.Params, got ndarray"),
        (lambda p: Sgd(p, ema=3), TypeError, "Sgd: ema must be None or a pyasr.optim.Ema, got int"),
        (lambda p: Adam(p, ema=Ema(params_of())), ValueError, "Adam: ema must be of the same params, got one of others"),
        (lambda p: RmsProp(p, segments=5), TypeError,
         "RmsProp: segments must be None or an array of pyasr.params.SEGMENT, got int"),
        (lambda p: Sgd(p, segments=np.array([(90, 9, 1, 9, 1, 1, 0)], SEGMENT)), ValueError,
         "Sgd: segments[0] must lie within [0, P = 48], got offset 90 and length 9"),
        (lambda p: Sgd(p, weight_decay=-1), ValueError, "Sgd: weight_decay must be at least 0.0 and finite, got -1.0"),
        (lambda p: Sgd(p, weight_decay=1e39), ValueError, "Sgd: weight_decay must fit into float32, got 1e+39"),
        (lambda p: Sgd(p, l1=1e39), ValueError, "Sgd: l1 must fit into float32, got 1e+39"),
        (lambda p: Sgd(p, eps=-1), ValueError, "Sgd: eps must be at least 0.0 and finite, got -1.0"),
        (lambda p: Adam(p, weight_decay=1e7), ValueError, "Adam: weight_decay must lie in [0.0, 1000000.0], got 10000000.0"),
        (lambda p: AdamW(p, weight_decay=1e7), ValueError, "AdamW: weight_decay must lie in [0.0, 1000000.0], got 10000000.0"),
        (lambda p: RmsProp(p, weight_decay=1e7), ValueError,
         "RmsProp: weight_decay must lie in [0.0, 1000000.0], got 10000000.0"),
        (lambda p: Adam(p, eps=1e39), ValueError, "Adam: eps must fit into float32, got 1e+39"),
        (lambda p: AdamW(p, clip_eps=math.inf), ValueError, "AdamW: clip_eps must be at least 0.0 and finite, got inf"),
        (lambda p: RmsProp(p, clip_eps="1"), TypeError, "RmsProp: clip_eps must be a real number, got str"),
        (lambda p: RmsProp(p, eps=-1), ValueError, "RmsProp: eps must be at least 0.0 and finite, got -1.0"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_when_an_optimizer_is_made(make, kind, words):
    with pytest.raises(kind) as e:
        make(params_of())
    assert str(e.value) == words


LAZY = """
import sys, pyasr
names = ("linear", "optim", "params", "schedules")
assert not [n for n in names if "pyasr." + n in sys.modules], "import pyasr has become slower"
assert [getattr(pyasr, n).__name__ for n in names] == ["pyasr." + n for n in names]
assert pyasr.params.SEGMENT.names[0] == "offset" and set(names) <= set(dir(pyasr))
"""


def test_modules_are_there_without_another_import():
    subprocess.run([sys.executable, "-c", LAZY], check=True, cwd="/")
