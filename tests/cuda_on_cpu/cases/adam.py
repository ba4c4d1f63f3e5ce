"""adam: its rule around the skeleton of clip_sgd, whose cases try every way of clipping."""

import numpy as np

from pyasr.ops._update import SEGMENT

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


def case(size, dtype, options):
    def make(ops):
        rng = np.random.default_rng(size)
        value, grad, mean, square, largest, average = (
            ops.xp.asarray(rng.standard_normal(size).astype(dtype) ** (2 if k in (3, 4) else 1)) for k in range(6)
        )
        own = {"largest": largest} if "largest" in options else {}
        own |= {"average": average} if "average_decay" in options else {}
        return (value, grad, mean, square), {"lr": 0.1, **options, **own}

    return {"row": "adam", "make": make, "mutate": False}


CASES = {
    f"{name}, {size}, {dtype}": case(size, dtype, options)
    for name, options in OPTIONS.items()
    for size in ((1025,) if "segments" in options else (0, 3, 2051))
    for dtype in ("float32", "float64")
}
REASONS = {}
