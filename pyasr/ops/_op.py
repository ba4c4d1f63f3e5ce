"""The op table: one row per op, one column per backend. This is the only dispatcher.

To add an op: ① its Row in pyasr/ops/<family>.py (tests and benchmarks run it at once) ② its contract in
csrc/include/pyasr/<family>.hpp ③ csrc/cpu/<family>.cpp and csrc/bind/<family>.cpp ④ csrc/cuda/<family>.cu.
A native column is found by name: _cpu.<row> and _cuda.<row> take the row's arguments and need no registration.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

BACKENDS = ("numpy", "numba", "cpp", "cuda")
DEFAULT_ORDER = (
    "cpp",
    "numba",
    "numpy",
)  # the best column first; cuda takes arrays of another kind, so it is chosen by name


@dataclass(frozen=True)
class Row:
    """One op. `reference` is the specification: float64 inside, readable beside the paper."""

    reference: Callable[..., Any]
    # (rng, size, dtype) -> (args, kwargs) for the reference and every other column. All arrays have the given float dtype.
    example: Callable[[np.random.Generator, Any, np.dtype], tuple[tuple, dict]]
    sizes: tuple[Any, ...]  # odd ones first; every one of them is compared with the reference
    benchmark_size: Any
    tolerance: dict[str, float]  # dtype name -> largest ‖got − want‖ / ‖want‖ of each output
    reason: str  # why that tolerance
    bytes: Callable[..., float]  # bytes that an ideal kernel moves for these arguments
    flops: Callable[..., float]
    numba_sizes: tuple[Any, ...] | None = None  # where the twin lacks options: those of the sizes that it takes
    cuda_sizes: tuple[Any, ...] | None = None  # where the cuda column does
    writes: tuple[str, ...] = ()  # arguments that are updated in place
    numba: str | None = None  # "module:factory": a zero-argument function that compiles and returns the twin
    dtypes: tuple[str, ...] = ("float32", "float64")
    # Turns example arguments into those of a column: (ops, args) -> args. For rows that take a `saved` of another row.
    prepare: Callable[[Any, tuple], tuple] | None = None

    @property
    def name(self) -> str:
        return self.reference.__name__

    def sizes_of(self, column: str) -> tuple[Any, ...]:
        """The sizes that a column takes."""
        own = {"numba": self.numba_sizes, "cuda": self.cuda_sizes}.get(column)
        return self.sizes if own is None else own

    def argument_names(self, args: tuple, kwargs: dict) -> list[str]:
        """The names of those arguments that are arrays, in the order of the call."""
        names = [*list(inspect.signature(self.reference).parameters)[: len(args)], *kwargs]
        return [n for n, a in zip(names, (*args, *kwargs.values()), strict=True) if isinstance(a, np.ndarray)]


def families() -> Iterator[ModuleType]:
    """Every module of pyasr.ops without a leading underscore, in alphabetical order."""
    package = importlib.import_module("pyasr.ops")
    for info in sorted(pkgutil.iter_modules(package.__path__), key=lambda i: i.name):
        if not info.name.startswith("_"):
            yield importlib.import_module(f"pyasr.ops.{info.name}")


@functools.cache
def rows() -> dict[str, Row]:
    """The whole table by op name."""
    return {row.name: row for family in families() for row in family.ROWS}


def native(module: str) -> ModuleType | None:
    """pyasr._cpu or pyasr._cuda; None where this install was built without it. One that is there but broken raises."""
    from pyasr import _build

    try:
        return importlib.import_module(f"pyasr.{module}")
    except ModuleNotFoundError as e:
        if e.name != f"pyasr.{module}":
            raise
        if module == "_cpu" and _build.NATIVE:
            raise ImportError(
                "pyasr was installed with native code, but pyasr._cpu is missing: reinstall it "
                "(PYASR_PURE=1 installs without native code)"
            ) from e
        return None


def _numpy(row: Row) -> Callable | None:
    return row.reference


@functools.cache
def _numba_twin(spec: str) -> Callable:
    module, _, factory = spec.partition(":")
    return getattr(importlib.import_module(module), factory)()


def _numba(row: Row) -> Callable | None:
    return None if row.numba is None else _numba_twin(row.numba)


def _cpp(row: Row) -> Callable | None:
    return getattr(native("_cpu"), row.name, None)


def _cuda(row: Row) -> Callable | None:
    if native("_cuda") is None:
        return None
    from pyasr.ops import _cuda as cuda

    return getattr(cuda.column(), row.name) if row.name in cuda.functions() else None


COLUMNS: dict[str, Callable[[Row], Callable | None]] = {"numpy": _numpy, "numba": _numba, "cpp": _cpp, "cuda": _cuda}


def why_not(backend: str) -> str | None:
    """The reason why a backend cannot run here; None when it can."""
    if backend == "numba" and importlib.util.find_spec("numba") is None:
        return 'numba is not installed: pip install "pyasr-kernels[numba]"'
    if backend == "cpp" and native("_cpu") is None:
        return "this install has no native code (PYASR_PURE=1)"
    if backend == "cuda":
        from pyasr.ops import _cuda as cuda

        return cuda.why_not()
    return None


def has(row: Row, backend: str) -> bool:
    """Whether the backend has this row, without compiling or running anything."""
    if backend == "numba":
        return row.numba is not None
    return COLUMNS[backend](row) is not None


def host(x: Any) -> Any:
    """x as NumPy has it: a copy of what lies on a device, which is waited for, and anything else itself."""
    return x.get() if hasattr(x, "get") and not isinstance(x, dict) else x


class MissingOp(AttributeError):
    """A backend that was asked for by name lacks an op."""


class Backend:
    """A namespace with one function per row: `ops.clip_sgd(...)`. Build it once with `pyasr.backend()` and pass it on.

    `name` is what was asked for, `xp` the array library of its arrays (numpy or cupy).
    """

    def __init__(self, name: str, order: tuple[str, ...]) -> None:
        self.name = name
        self._order = order
        if order == ("cuda",):
            self.xp = importlib.import_module("cupy")
        else:
            self.xp = np

    def __repr__(self) -> str:
        return f"pyasr.backend({self.name!r})"

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *rows()]

    def __reduce__(self) -> tuple:
        return backend, (None if self.name == "default" else self.name,)

    def column(self, op: str) -> str | None:
        """Which column this backend takes the op from; None when it has none."""
        return next((c for c in self._order if why_not(c) is None and has(rows()[op], c)), None)

    def __getattr__(self, op: str) -> Callable:
        if op.startswith("_") or op not in rows():
            raise AttributeError(f"pyasr has no op {op!r}; it has {', '.join(rows())}")
        column = self.column(op)
        if column is None:
            who = [c for c in BACKENDS if why_not(c) is None and has(rows()[op], c)]
            raise MissingOp(f"backend {self.name!r} has no {op}; on this machine {', '.join(who)} has it")
        function = COLUMNS[column](rows()[op])
        assert function is not None
        self.__dict__[op] = function  # the next call is a plain attribute
        return function


def backend(name: str | None = None) -> Backend:
    """The ops as a namespace with one function per row of the table.

    name: "numpy" (the reference), "numba", "cpp" or "cuda"; None takes the best column of this machine row by row.
    A backend that is named never falls back: an op that it lacks raises MissingOp (an AttributeError) naming who has it.

    Raises ValueError for an unknown name, RuntimeError with the reason when the backend cannot run here.

    >>> ops = pyasr.backend("numpy")
    >>> ops.name, ops.xp.__name__
    ('numpy', 'numpy')
    """
    if name is not None and not isinstance(name, str):
        raise TypeError(f"backend: name must be None or one of {', '.join(BACKENDS)}, got {type(name).__name__}")
    return _backend(name)


@functools.cache
def _backend(name: str | None) -> Backend:
    if name is None:
        return Backend("default", DEFAULT_ORDER)
    if name not in BACKENDS:
        raise ValueError(f"backend: name must be None or one of {', '.join(BACKENDS)}, got {name!r}")
    if reason := why_not(name):
        raise RuntimeError(f"backend: {name!r} cannot run here: {reason}")
    return Backend(name, (name,))
