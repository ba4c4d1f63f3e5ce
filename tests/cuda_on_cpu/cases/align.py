"""ctc_align: lattices of one warp, of several and wider than a block, ragged, impossible, and more than one portion of frames."""

import runpy
from pathlib import Path

LATTICES = runpy.run_path(str(Path(__file__).parent.parent / "lattices.py"))
lattice, wide, SMALL = LATTICES["cases_of"]("ctc_align")

CASES = SMALL | {
    "two portions": lattice((131, 2, 9, 7), "float32"),
    "three warps, two portions": lattice((131, 2, 66, 29), "float32"),
    "wide": wide(19, 40),
}
REASONS = {}
