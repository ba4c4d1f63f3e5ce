"""Cases of rows over label lattices: lattice, wide, small = runpy.run_path(…"lattices.py")["cases_of"]("ctc_loss")."""

import numpy as np

from pyasr.ops import rows

# T, B, U, V: empty, impossible, one warp, several symbols per thread.
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


def cases_of(row):
    """lattice(size, dtype) and wide(frames, labels) make cases of this row, and small is those of SIZES."""
    example = rows()[row].example

    def lattice(size, dtype, factor=1.0, **more):
        """size is T, B, U, V."""

        def make(ops):
            args, kwargs = example(np.random.default_rng(0), size, np.dtype(dtype))
            args[0][:] *= factor
            return tuple(map(ops.xp.asarray, args)), kwargs

        return {"row": row, "make": make, **more}

    def wide(frames, labels, **more):
        """More labels than a block has threads, of which a few are used."""

        def make(ops):
            rng = np.random.default_rng(1)
            logits = rng.standard_normal((frames, 2, 5)).astype("f4")
            arrays = (
                logits,
                np.array([frames, frames - 3]),
                rng.integers(1, 5, (2, 1030)),
                np.array([labels, labels // 3]),
            )
            return tuple(ops.xp.asarray(a if a is logits else a.astype("i4")) for a in arrays), {}

        return {"row": row, "make": make, **more}

    small = {f"{size}, {d}": lattice(size, d, mutate=False) for size in SIZES for d in ("float32", "float64")}
    return lattice, wide, small
