"""Systems for the tests of cg, every form of an operator, and the measure of an answer: runpy.run_path(…"cg_systems.py")."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import why_not

MAKE = runpy.run_path(str(Path(__file__).parent / "oracle" / "make_cg.py"))  # test systems
COLUMNS = [c for c in ("numpy", "numba", "cpp") if why_not(c) is None]
DTYPES = ("float32", "float64")
every_column = pytest.mark.parametrize("column", COLUMNS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def cg(column, *args, **kwargs):
    """By the name of a column, or by a column itself."""
    return (pyasr.backend(column) if isinstance(column, str) else column).cg(*args, **kwargs)


def problem(n, condition, dtype, seed=0):
    rng = np.random.RandomState(seed)
    return MAKE["spd"](rng, n, condition).astype(dtype), rng.standard_normal(n).astype(dtype)


def true_residual(A, b, x):
    """‖b − A x‖ / ‖b‖ in float64."""
    b = b.astype("f8")
    return np.linalg.norm(b - A.astype("f8") @ x.astype("f8")) / np.linalg.norm(b)


class Matvec:
    """What SciPy's LinearOperator looks like."""

    def __init__(self, A):
        self.A, self.shape, self.dtype = A, A.shape, A.dtype

    def matvec(self, v):
        return self.A @ v


class AtOnly:
    """What a sparse matrix looks like."""

    def __init__(self, A):
        self.A = A

    def __matmul__(self, v):
        return self.A @ v


FORMS = {"array": lambda A: A, "callable": lambda A: lambda v: A @ v, "matvec": Matvec, "@": AtOnly}
