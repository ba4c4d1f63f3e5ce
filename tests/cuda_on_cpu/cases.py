"""The cases of every family with kernels, and the barriers in its sources: CASES = runpy.run_path(…"cases.py").

A family has one file of cases, tests/cuda_on_cpu/cases/<family>.py, with a dict CASES from a name to

    row        the row that is called
    make       ops -> (args, kwargs), the same ones each time. ops is the column that will be called: its arrays come from
               ops.xp.asarray, and it makes the `saved` that a row takes of another
    resident   blocks that the device holds at once (3)
    mutate     whether it is tried with barriers left out (True); those that are should be small

and a dict REASONS from the id of a barrier that can be left out without a wrong answer to the reason why it stays.
"""

import re
import runpy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pyasr.ops import backend, host
from pyasr.ops._compare import numbers, relative_error

HERE = Path(__file__).resolve().parent
CUDA = HERE.parent.parent / "csrc" / "cuda"
SYNC = re.compile(r"PYASR_(?:SYNC|GROUP)_\w+\((\d+)")


@dataclass(frozen=True)
class Case:
    family: str
    name: str
    row: str
    make: Any
    resident: int = 3
    mutate: bool = True

    def __str__(self):
        return f"{self.row}: {self.name}"

    @property
    def dtype(self):
        """The floating dtype of the arguments, or else that of the first array: whose tolerance holds."""
        args, kwargs = self.make(backend("numpy"))
        names = [a.dtype.name for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        return next((n for n in names if n.startswith("float")), names[0])

    def outputs(self, ops):
        """All numbers of the results and all arguments that are arrays, after the call."""
        args, kwargs = self.make(ops)
        results = numbers(getattr(ops, self.row)(*args, **kwargs))
        after = map(host, (*args, *kwargs.values()))
        return results + [np.asarray(a, np.float64) for a in after if isinstance(a, np.ndarray) and not a.dtype.names]


def worst_error(got, want):
    """The largest relative error of two lists of outputs; norms neither over- nor underflow."""
    worst = 0.0
    for g, w in zip(got, want, strict=True):
        scale = np.abs(w[np.isfinite(w)]).max(initial=0.0) or 1.0
        worst = max(worst, relative_error(g / scale, w / scale))
    return worst


def _load(family):
    return runpy.run_path(str(HERE / "cases" / f"{family}.py"))


def cases(families):
    return [Case(f, name, **fields) for f in families for name, fields in _load(f)["CASES"].items()]


def reasons(families):
    return {id: reason for f in families for id, reason in _load(f)["REASONS"].items()}


def included(path, seen=None):
    """The file and the headers of csrc/cuda that it includes."""
    seen = {path} if seen is None else seen
    for name in re.findall(r'#include "cuda/([\w.]+)"', path.read_text()):
        if (found := CUDA / name) not in seen and found.name != "launch.cuh":
            seen.add(found)
            included(found, seen)
    return seen


def barriers(families):
    """id -> the families whose kernels contain the barrier."""
    found = {}
    for family in families:
        for path in included(CUDA / f"{family}.cu"):
            for id in SYNC.findall(path.read_text()):
                found.setdefault(int(id), []).append(family)
    return found


def ranges():
    """owner -> its first id, as the table in launch.cuh gives them."""
    text = (CUDA / "launch.cuh").read_text()
    table = text[text.index("A family owns a") : text.index("There are no atomic")]
    return {name: int(first) for name, first in re.findall(r"(\w+) (\d+)[,.]", table)}
