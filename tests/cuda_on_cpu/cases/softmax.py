"""softmax_cross_entropy: rows of a warp and of a block, of whole 16-byte registers and not, and beyond what registers hold."""

import numpy as np


def case(rows, symbols, dtype, **more):
    def make(ops):
        rng = np.random.default_rng(rows + symbols)
        logits = (3 * rng.standard_normal((rows, symbols))).astype(dtype)
        labels = rng.integers(-1, symbols, rows, np.int32)
        return (ops.xp.asarray(logits), ops.xp.asarray(labels)), {}

    return {"row": "softmax_cross_entropy", "make": make, **more}


CASES = {
    f"{rows} rows of {symbols}, {dtype}": case(rows, symbols, dtype, mutate=False)
    for rows, symbols in ((0, 3), (1, 1), (7, 1), (9, 15), (3, 28), (2, 255), (1, 508))
    for dtype in ("float32", "float64")
}
CASES |= {
    "a block per row": case(3, 516, "float32"),
    "beyond the registers": case(2, 2051, "float64"),
    "beyond the registers, whole": case(1, 4100, "float32", mutate=False),
}
REASONS = {}
