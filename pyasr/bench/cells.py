"""What is measured: rows at production sizes. A row that is not listed is measured at its benchmark_size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pyasr.counter import stream
from pyasr.ops import rows
from pyasr.ops._op import Row

Example = Callable[[np.random.Generator, Any, np.dtype], tuple[tuple, dict]]
HOUR = 57_600_000  # samples of an hour at 16 kHz


@dataclass(frozen=True)
class Cell:
    """One row at one size. `label` names it in results and predictions; `quick` is the size that tests take instead."""

    row: str
    label: str
    size: Any
    quick: Any
    dtype: str = "float32"
    seeds: int = 3  # fresh inputs, ragged where the size says so, that answers are checked with
    example: Example | None = None  # instead of the row's

    @property
    def name(self) -> str:
        return f"{self.row}, {self.label}"

    @property
    def of(self) -> Row:
        return rows()[self.row]

    def arguments(self, seed: int, quick: bool) -> tuple[tuple, dict]:
        """NumPy's arrays, as Row.example gives them."""
        size = self.quick if quick else self.size
        rng = stream("bench", self.row, str(size), self.dtype, seed)
        return (self.example or self.of.example)(rng, size, np.dtype(self.dtype))


def system(rng: np.random.Generator, n: int, dtype: np.dtype, condition: float = 5.0) -> tuple[tuple, dict]:
    """A dense system whose spectrum is that of a diagonal from 1 to the condition, and a little noise: no product makes it."""
    A = rng.standard_normal((n, n), np.float32)
    A += A.T.copy()
    A *= 0.1 / n**0.5
    A[np.diag_indices(n)] += np.geomspace(1, condition, n, dtype=np.float32)
    return (A.astype(dtype), rng.standard_normal(n).astype(dtype)), {"rtol": 1e-6 if dtype == np.float32 else 1e-12}


def unwatched(row: str) -> Example:
    """The row's example, without the look at floating samples for which the host waits, and which no CUDA graph can hold."""

    def example(rng: np.random.Generator, size: Any, dtype: np.dtype) -> tuple[tuple, dict]:
        args, kwargs = rows()[row].example(rng, size, dtype)
        return args, {**kwargs, "nan": "propagate"}

    return example


SMALL = (7, 3, 5, 9, 1)
# T, B, D, H, S and words, as the recurrent rows take them; lengths are ragged without "full". The reference takes seconds.
RECURRENT = (
    ("T200 B32 D128 H512", (200, 32, 128, 512, 1, "full"), (*SMALL, "full"), "float32", 1),
    ("T200 B32 D128 H512 both ways", (200, 32, 128, 512, 2, "full"), (*SMALL[:4], 2, "full"), "float32", 1),
    ("T200 B32 D128 H512 both ways, ragged", (200, 32, 128, 512, 2, ""), (*SMALL[:4], 2, ""), "float32", 3),
    ("T300 B16 D40 H256 with states", (300, 16, 40, 256, 1, "state"), (*SMALL, "state"), "float32", 3),
)
CELLS = (
    Cell("mfcc", "10 s of int16", ("kaldi", 160_000), ("kaldi", 1600), "int16"),
    Cell("mfcc", "10 s", ("kaldi", 160_000), ("kaldi", 1600), example=unwatched("mfcc")),
    Cell("mfcc", "an hour of int16", ("kaldi", HOUR), ("kaldi", 2000), "int16", 1),
    Cell("fbank", "10 s", ("80", 160_000), ("80", 1600), example=unwatched("fbank")),
    Cell("spectrogram", "10 s", ("kaldi", 160_000), ("kaldi", 1600), example=unwatched("spectrogram")),
    *(Cell(row, *size) for row in ("lstm_forward", "lstm_backward", "lstm_jvp") for size in RECURRENT),
    Cell("clip_sgd", "4 M parameters", 4_000_000, 3001),
    Cell("clip_sgd", "4 M parameters, float64", 4_000_000, 1025, "float64"),
    Cell("clip_sgd", "100 M parameters", 100_000_000, 5003, seeds=1),
    Cell("adam", "4 M parameters", 4_000_000, 3001),
    Cell("cg", "n 1024", 1024, 33, example=system),
    Cell("cg", "n 8192", 8192, 65, seeds=1, example=system),
    Cell("ctc_loss", "T500 B32 U50 V32", (500, 32, 50, 32), (13, 3, 4, 7)),
    Cell("ctc_loss", "T400 B32 U100 V1024", (400, 32, 100, 1024), (11, 3, 3, 33), seeds=1),
    Cell("ctc_align", "T500 B32 U50 V32", (500, 32, 50, 32), (13, 3, 4, 7)),
    Cell("ctc_greedy", "T500 B32 V32", (500, 32, 32), (13, 3, 7)),
    Cell("ctc_greedy", "T400 B32 V1024", (400, 32, 1024), (9, 3, 33)),
    Cell("softmax_cross_entropy", "16000 rows of 1024", (16_000, 1024), (9, 33)),
    Cell("softmax_cross_entropy", "16000 rows of 32", (16_000, 32), (17, 5)),
    Cell("dropout", "16 M entries", 16_000_000, 3001, seeds=1),
    Cell("spd_solve", "256 systems of 64", (256, 64), (3, 17)),
)


def cells(names: Sequence[str]) -> list[Cell]:
    """The cells of these rows, in the order of the rows."""
    found = []
    for name in names:
        own = [cell for cell in CELLS if cell.row == name]
        row = rows()[name]
        dtype = "float32" if "float32" in row.dtypes else row.dtypes[0]
        found += own or [Cell(name, "benchmark size", row.benchmark_size, row.sizes[len(row.sizes) // 2], dtype)]
    return found
