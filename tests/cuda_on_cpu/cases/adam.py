"""adam: its rule around the skeleton of clip_sgd, whose cases try every way of clipping."""

import runpy
from pathlib import Path

import numpy as np

from pyasr.ops._update import SEGMENT

on_device = runpy.run_path(str(Path(__file__).with_name("clip_sgd.py")))["on_device"]
OPTIONS = {
    "plain": {"step": 1},
    "AMSGrad": {"step": 5, "largest": True, "clip": ("norm", 1.0), "grad_scale": 0.5},
    "AdamW": {"step": 3, "weight_decay": 0.1, "decoupled": True, "clip": ("value", 0.5), "average_decay": 0.9},
    "segments": {
        "step": 3,
        "segments": np.array([(0, 4, 2, 2, 2.0, 0.5, 1), (16, 900, 9, 100, 1.0, 1.0, 0)], SEGMENT),
        "weight_decay": 0.1,
        "clip": ("norm", 1.0),
    },
    "change": {"step": 2, "largest": True, "clip": ("max_change", 0.5, 1.0), "weight_decay": 0.1},
    "known sum": {"step": 2, "clip": ("norm", 1.0), "sum_squares": 3000.0},
}
DEVICE = {
    "first step": {"step": 1, "clip": ("norm", 1.0), "grad_scale": 0.5},
    "known sum": {"step": 30, "clip": ("norm", 1.0), "sum_squares": 3000.0, "beta1": 0.5},
    "change": {"step": 5, "largest": True, "clip": ("max_change", 0.5, 1.0), "grad_scale": 2.0, "weight_decay": 0.1},
}


def case(size, dtype, options, device=False):
    def make(ops):
        rng = np.random.default_rng(size)
        value, grad, mean, square, largest, average = (
            ops.xp.asarray(rng.standard_normal(size).astype(dtype) ** (2 if k in (3, 4) else 1)) for k in range(6)
        )
        own = {"largest": largest} if "largest" in options else {}
        own |= {"average": average} if "average_decay" in options else {}
        given = options
        if device:
            given = on_device(ops, dtype, options | {"step": options["step"] - (ops.xp is not np)})  # the count before
        return (value, grad, mean, square), {"lr": 0.1, **given, **own}

    return {"row": "adam", "make": make, "mutate": False}


CASES = {
    f"{name}, {size}, {dtype}": case(size, dtype, options)
    for name, options in OPTIONS.items()
    for size in ((1025,) if "segments" in options else (0, 3, 2051))
    for dtype in ("float32", "float64")
}
CASES |= {
    f"{name} on the device, {size}, {dtype}": case(size, dtype, options, device=True)
    for name, options in DEVICE.items()
    for size in (0, 2051)
    for dtype in ("float32", "float64")
}
REASONS = {}
