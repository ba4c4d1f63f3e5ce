"""clip_sgd: every option of the kernel at sizes around its tile of 1024 entries, and what its float64 norm has to survive."""

import numpy as np

OPTIONS = {
    "plain": {},
    "norm": {"clip": ("norm", 1.0), "momentum": 0.9},
    "value": {"clip": ("value", 0.5), "momentum": 0.9, "dampening": 0.1},
    "nesterov": {"clip": ("norm", 2.0), "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    "first step": {"momentum": 0.9, "dampening": 0.5, "step": 0, "weight_decay": 0.1, "decoupled": True},
}


def case(size, dtype, options, scale=1.0, **more):
    def make(ops):
        rng = np.random.default_rng(size)
        value, grad, buffer = (ops.xp.asarray(scale * rng.standard_normal(size).astype(dtype)) for _ in range(3))
        return (value, grad), {"lr": 0.1, "buffer": buffer if "momentum" in options else None, **options}

    return {"row": "clip_sgd", "make": make, **more}


CASES = {
    f"{name}, {size}, {dtype}": case(size, dtype, options, mutate=False)
    for name, options in OPTIONS.items()
    for size in (0, 1, 3, 1023, 1025, 5003)
    for dtype in ("float32", "float64")
}
CASES |= {
    "five blocks": case(9001, "float32", OPTIONS["norm"], resident=5),
    # Forms the sum twice: barrier 105, and 103 between two sums whose results all threads use.
    "a norm beyond float64": case(5003, "float64", {"clip": ("norm", 1e200)}, scale=1e200),
    "a norm below float64": case(3000, "float64", {}, scale=1e-200),
}
# Barriers that can be left out without a wrong answer, and why they stay.
REASONS = {}
