"""rmsprop: its rule around the skeleton of clip_sgd, whose cases try every way of clipping."""

import numpy as np

OPTIONS = {
    "plain": {},
    "momentum": {"momentum": 0.9, "clip": ("norm", 1.0), "weight_decay": 0.1},
    "centered": {"mean": True, "clip": ("value", 0.5)},
    "centered, momentum": {"mean": True, "momentum": 0.9, "clip": ("adaptive", 0.1), "average_decay": 0.9},
}


def case(size, dtype, options):
    def make(ops):
        rng = np.random.default_rng(size)
        value, grad, square, mean, buffer, average = (
            ops.xp.asarray(rng.standard_normal(size).astype(dtype) ** (2 if k == 2 else 1)) for k in range(6)
        )
        own = {"buffer": buffer} if "momentum" in options else {}
        own |= {"mean": mean} if "mean" in options else {}
        own |= {"average": average} if "average_decay" in options else {}
        return (value, grad, square), {"lr": 0.1, **options, **own}

    return {"row": "rmsprop", "make": make, "mutate": False}


CASES = {
    f"{name}, {size}, {dtype}": case(size, dtype, options)
    for name, options in OPTIONS.items()
    for size in (0, 3, 2051)
    for dtype in ("float32", "float64")
}
REASONS = {}
