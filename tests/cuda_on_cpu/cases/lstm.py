"""lstm_forward, lstm_backward, lstm_jvp: sizes around the tiles of a block, one and two directions, every option, both ways of
a pass: `resident` 0 is a device of four processors, 1 has no room for blocks that wait for each other: a launch per frame.
Padding holds NaN."""

import numpy as np

from pyasr.ops import rows

# T, B, D, H, S, words (pyasr/ops/_recurrent.py), dtype, resident
SIZES = {
    "one of each": (1, 1, 1, 1, 1, "state", "float32", 0),
    "no frames": (0, 2, 3, 5, 1, "state", "float64", 0),
    "no sequences": (4, 0, 3, 5, 2, "state", "float32", 0),
    "two blocks of units": (4, 4, 3, 64, 1, "state", "float32", 0),
    "two directions": (5, 4, 3, 9, 2, "state", "float64", 0),
    "backwards": (4, 3, 2, 17, 1, "reverse state", "float32", 0),
    "tiles of the batch": (3, 70, 2, 27, 1, "", "float32", 0),
    "a launch per frame": (5, 4, 3, 18, 2, "state", "float32", 1),
    "a launch per frame, tiles": (3, 19, 2, 9, 1, "reverse", "float64", 1),
    "peephole": (4, 3, 3, 10, 2, "peephole state", "float32", 0),
    "options": (5, 4, 2, 9, 1, "peephole clip mask zoneout state", "float64", 0),
    "options, a launch per frame": (4, 6, 2, 12, 2, "peephole clip mask zoneout", "float32", 1),
    "two chunks of a product": (2, 2, 2, 34, 1, "full", "float64", 0),
}
TRIED = ("two blocks of units", "tiles of the batch", "two chunks of a product")


def case(row, size, dtype, **more):
    def make(ops):
        args, kwargs = rows()[row].example(np.random.default_rng(size[3]), size, np.dtype(dtype))
        forward = args if row == "lstm_forward" else args[0][0]
        padding = np.arange(size[0])[:, None] >= forward[1]
        forward[0][padding] = np.nan
        if row == "lstm_backward":
            args[1][padding] = np.nan

        def moved(a):
            return ops.xp.asarray(a) if isinstance(a, np.ndarray) else a

        if row != "lstm_forward":
            (inner, options), *rest = args
            made = ops.lstm_forward(*map(moved, inner), **{n: moved(a) for n, a in options.items()})
            args = (made[-1], *rest)
        return tuple(map(moved, args)), {n: moved(a) for n, a in kwargs.items()}

    return {"row": row, "make": make, **more}


CASES = {
    f"{name}, {row}": case(row, size, dtype, resident=resident, mutate=name in TRIED)
    for name, (*size, dtype, resident) in SIZES.items()
    for row in ("lstm_forward", "lstm_backward", "lstm_jvp")
}
# Barriers that can be left out without a wrong answer, and why they stay.
REASONS = {}
