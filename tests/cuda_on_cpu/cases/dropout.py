"""dropout: tiles of a warp, of 256 entries, and their ends; more tiles than warps; arrays that no 16 bytes fit."""

import numpy as np


def case(size, dtype, rate=0.3, shift=0, **more):
    def make(ops):
        x = ops.xp.asarray(np.random.default_rng(size).standard_normal(size + shift).astype(dtype))
        return (x[shift:],), {"rate": rate, "key": (2**64 - 1 - size, 5)}

    return {"row": "dropout", "make": make, "mutate": False, **more}


CASES = {
    f"{size}, {dtype}": case(size, dtype) for size in (0, 1, 9, 255, 256, 300, 2051) for dtype in ("float32", "float64")
}
CASES |= {
    "not aligned, float32": case(700, "float32", shift=1),
    "not aligned, float64": case(700, "float64", shift=1),
    "nothing dropped": case(270, "float32", rate=0.0),
    "a rate that is 1 in float32": case(270, "float32", rate=1 - 1e-9),
    "two blocks in turns": case(9001, "float32", rate=0.9, resident=2),
}
REASONS = {}
