"""spd_solve: systems of a block, of one panel and several, in shared memory and not; one that all blocks factorize together.

A block of the emulated device has 64 KB: up to 96 in float32 and 64 in float64.
"""

import numpy as np


def case(batch, n, dtype, options=None, **more):
    def make(ops):
        rng = np.random.default_rng(n)
        G = rng.standard_normal((batch, n, n)) / np.sqrt(max(n, 1))
        A = (G @ np.swapaxes(G, 1, 2) + np.eye(n)).astype(dtype)
        A[:, np.triu(np.ones((n, n), bool), 1)] = np.nan  # not read
        return (ops.xp.asarray(A), ops.xp.asarray(rng.standard_normal((batch, n)).astype(dtype))), dict(options or {})

    return {"row": "spd_solve", "make": make, **more}


CASES = {
    f"{batch} of {n}, {dtype}": case(batch, n, dtype, mutate=False)
    for batch, n in ((0, 3), (2, 0), (1, 1), (5, 7), (2, 32), (3, 33), (1, 64))
    for dtype in ("float32", "float64")
}
CASES |= {
    "in turn": case(5, 41, "float32"),
    "from memory, a block each": case(4, 97, "float64"),
    "together": case(1, 131, "float32"),
    "together, five blocks": case(2, 99, "float64", resident=5, mutate=False),
    "by iteration": case(2, 19, "float64", {"method": "cg", "rtol": 1e-14}, mutate=False),
}
REASONS = {1608: "it is needed behind a system that fails, and for that the reference has no answer to compare with"}
