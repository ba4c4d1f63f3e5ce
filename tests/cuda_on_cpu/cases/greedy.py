"""ctc_greedy: rows of whole 16-byte registers and not, utterances of one and of several portions, equal scores."""

import numpy as np

from pyasr.ops import rows

EXAMPLE = rows()["ctc_greedy"].example


def case(size, dtype, **more):
    def make(ops):
        args, kwargs = EXAMPLE(np.random.default_rng(0), size, np.dtype(dtype))
        return tuple(map(ops.xp.asarray, args)), kwargs

    return {"row": "ctc_greedy", "make": make, **more}


SIZES = ((1, 1, 1), (3, 0, 4), (0, 3, 5), (7, 2, 2), (31, 3, 17), (3, 2, 1028))
CASES = {f"{size}, {dtype}": case(size, dtype, mutate=False) for size in SIZES for dtype in ("float32", "float64")}
CASES |= {"three portions": case((601, 2, 5), "float32")}
REASONS = {}
