"""ctc_align: lattices of one warp, of several and wider than a block, ragged, impossible, and more than one portion of frames."""

import numpy as np

from pyasr.ops import rows

EXAMPLE = rows()["ctc_align"].example


def case(size, dtype, **more):
    """size is T, B, U, V."""

    def make(ops):
        args, kwargs = EXAMPLE(np.random.default_rng(0), size, np.dtype(dtype))
        return tuple(map(ops.xp.asarray, args)), kwargs

    return {"row": "ctc_align", "make": make, **more}


def wide(frames, labels, **more):
    """More labels than a block has threads, of which a few are used."""

    def make(ops):
        rng = np.random.default_rng(1)
        logits = rng.standard_normal((frames, 2, 5)).astype("f4")
        arrays = logits, np.array([frames, frames - 3]), rng.integers(1, 5, (2, 1030)), np.array([labels, labels // 3])
        return tuple(ops.xp.asarray(a if a is logits else a.astype("i4")) for a in arrays), {}

    return {"row": "ctc_align", "make": make, **more}


SIZES = (
    (1, 1, 0, 1),
    (3, 0, 2, 4),
    (0, 3, 2, 5),
    (9, 3, 0, 1),
    (7, 4, 3, 2),
    (13, 5, 4, 29),
    (31, 3, 17, 5),
    (5, 2, 2, 600),
)
CASES = {f"{size}, {dtype}": case(size, dtype, mutate=False) for size in SIZES for dtype in ("float32", "float64")}
CASES |= {
    "two portions": case((131, 2, 9, 7), "float32"),
    "three warps, two portions": case((131, 2, 66, 29), "float32"),
    "wide": wide(19, 40),
}
REASONS = {}
