"""ctc_loss: lattices of one warp, of several and wider than a block, ragged, impossible and long enough for exponents to move."""

import runpy
from pathlib import Path

LATTICES = runpy.run_path(str(Path(__file__).parent.parent / "lattices.py"))
lattice, wide, SMALL = LATTICES["cases_of"]("ctc_loss")

CASES = SMALL | {
    "two warps": lattice((67, 2, 33, 29), "float32"),
    "exponents move": lattice((290, 1, 40, 4), "float64", factor=9.0),
    "exponents move, one warp": lattice((290, 1, 4, 4), "float32", factor=9.0, mutate=False),
    "wide": wide(9, 4),
}
REASONS = {}
