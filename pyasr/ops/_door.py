"""The door of the numpy and numba columns: arguments are checked here, once, and trusted inside.

The C++ column has the same door in csrc/bind/array.hpp, with the same words. Messages name function, argument, what it got and
what it wanted. Nothing is converted or copied: an in-place argument is updated where it lies, or refused.

    door = Door("clip_sgd")
    door.write("value", value, "P", FLOATS)           # dims are bound at first sight and compared afterwards
    door.read("grad", grad, "P", value.dtype)
    door.no_overlap(value=value, grad=grad)
"""

from __future__ import annotations

import math
import os
import sys
from typing import Any, NoReturn

import numpy as np

FLOATS = (np.dtype(np.float32), np.dtype(np.float64))
INT32 = np.dtype(np.int32)


def default_threads() -> int:
    """PYASR_NUM_THREADS when it is a positive number, else the CPUs that this process may use."""
    text = os.environ.get("PYASR_NUM_THREADS", "")
    if text.isdecimal() and 0 < int(text) <= 1024:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _parse(dims: str) -> list[tuple[str, str]]:
    """Factor and dim of each word: "4*H" is ("4", "H"), "S*H" ("S", "H"), "H" ("1", "H"), "3" ("3", "")."""
    out = []
    for word in dims.split():
        times, star, name = word.partition("*")
        out.append((times, name) if star else (word, "") if word[0].isdigit() else ("1", word))
    return out


def _text(factors: list[tuple[str, str]]) -> str:
    words = [t if not n else n if t == "1" else f"{t}*{n}" for t, n in factors]
    return f"({', '.join(words)}{',' if len(words) == 1 else ''})"


def is_plain(x: Any) -> bool:
    """x is a NumPy array whose entries are its memory's, on the host, and whose operators are those of arrays."""
    if type(x) is np.ndarray:
        return True
    masked = sys.modules.get("numpy.ma")  # who has a masked array has loaded it
    others = (np.matrix, *((masked.MaskedArray,) if masked else ()))
    return isinstance(x, np.ndarray) and not isinstance(x, others) and not hasattr(x, "__cuda_array_interface__")


class Door:
    """Checks of one call of one op."""

    def __init__(self, op: str) -> None:
        self.op = op
        self.dims: dict[str, tuple[int, str]] = {}

    def value_error(self, text: str) -> NoReturn:
        raise ValueError(f"{self.op}: {text}")

    def type_error(self, text: str) -> NoReturn:
        raise TypeError(f"{self.op}: {text}")

    def __getitem__(self, dim: str) -> int:
        return self.dims[dim][0]

    def bind(self, dim: str, size: int, origin: str = "") -> None:
        """Bind a dim by hand; `origin` says in messages where it comes from."""
        self.dims[dim] = (size, origin)

    def array(self, name: str, x: Any, dtypes: Any) -> np.ndarray:
        """x is a NumPy array of one of the dtypes, native-endian; shape and layout are not looked at."""
        allowed = (np.dtype(dtypes),) if not isinstance(dtypes, tuple) else dtypes
        if not is_plain(x):
            self.type_error(f"{name} must be a NumPy array, got {type(x).__name__}")
        if x.dtype not in allowed or not x.dtype.isnative:
            got = x.dtype.str if x.dtype.byteorder == ">" else x.dtype.name
            self.type_error(f"{name} must have dtype {' or '.join(d.name for d in allowed)}, got {got}")
        return x

    def instance(self, name: str, x: Any, xp: Any, dtypes: Any) -> Any:
        """x is an array of the library xp, NumPy or CuPy, and of one of the dtypes: what layers and criteria ask for."""
        if xp is np:
            return self.array(name, x, dtypes)
        if not isinstance(x, xp.ndarray):
            self.type_error(f"{name} must be an array of {xp.__name__}, got {type(x).__name__}")
        allowed = dtypes if isinstance(dtypes, tuple) else (np.dtype(dtypes),)
        if x.dtype not in allowed:
            self.type_error(f"{name} must have dtype {' or '.join(d.name for d in allowed)}, got {x.dtype.name}")
        return x

    def shape(self, name: str, x: Any, shape: tuple[int, ...]) -> None:
        if x.shape != shape:
            self.value_error(f"{name} must have shape {shape}, got {x.shape}")

    def sequence_lengths(self, lengths: Any, xp: Any, frames: int, batch: int) -> None:
        """int32 [B] within [0, T]. The values of an array on a device are not looked at: that would wait for the device."""
        self.shape("lengths", self.instance("lengths", lengths, xp, INT32), (batch,))
        if xp is np:
            self.lengths_within("lengths", lengths, frames, "T")

    def read(self, name: str, x: Any, dims: str, dtypes: Any, *, optional: bool = False) -> Any:
        """A C-contiguous array with dims such as "T B D", "S 4*H D" or, of dims bound before, "S*H" ("3" is a fixed size)."""
        if optional and x is None:
            return None
        x = self.array(name, x, dtypes)
        factors = _parse(dims)
        fits = x.ndim == len(factors)
        if fits:
            for (factor, dim), size in zip(factors, x.shape, strict=True):
                times = int(factor) if factor.isdigit() else self.dims[factor][0]
                if not dim:
                    fits &= size == times
                elif dim in self.dims:
                    fits &= size == times * self.dims[dim][0]
                elif size % times == 0:
                    self.dims[dim] = (size // times, name)
                else:
                    fits = False
        if not fits:
            known = {d: self.dims[d] for f in factors for d in f if d in self.dims and self.dims[d][1] != name}
            text = ", ".join(f"{d} = {n}" + (f" from {f}" if f else "") for d, (n, f) in known.items())
            self.value_error(f"{name} must have shape {_text(factors)}{' with ' if text else ''}{text}, got {x.shape}")
        if not x.flags.c_contiguous:
            self.value_error(f"{name} must be C-contiguous, got a strided array")
        if not x.flags.aligned:
            self.value_error(f"{name} must be aligned, got an unaligned array")
        return x

    def write(self, name: str, x: Any, dims: str, dtypes: Any, *, optional: bool = False) -> Any:
        """As read(), for an array that the op writes into."""
        x = self.read(name, x, dims, dtypes, optional=optional)
        if x is not None and not x.flags.writeable:
            self.value_error(f"{name} must be writable, got a read-only array")
        return x

    def real(
        self, name: str, x: Any, low: float = -math.inf, high: float = math.inf, *, dtype: np.dtype | None = None
    ) -> float:
        """A finite number with low <= x <= high, as a Python or NumPy scalar; one that dtype can hold, where that is given."""
        if isinstance(x, (bool, np.bool_)) or not isinstance(x, (float, int, np.floating, np.integer)):
            self.type_error(f"{name} must be a real number, got {type(x).__name__}")
        try:
            v = float(x)
        except OverflowError:
            v = math.inf if x > 0 else -math.inf
        if math.isfinite(v) and low <= v <= high:
            return v if dtype is None else self.fit(name, v, dtype)
        if low == -math.inf and high == math.inf:
            self.value_error(f"{name} must be finite, got {v!r}")
        if high == math.inf:
            self.value_error(f"{name} must be at least {low!r} and finite, got {v!r}")
        self.value_error(f"{name} must lie in [{low!r}, {high!r}], got {v!r}")

    def fit(self, name: str, x: float, dtype: np.dtype) -> float:
        """x is finite as a number of dtype: what it is multiplied with is not lost in inf * 0."""
        if not abs(x) <= float(np.finfo(dtype).max):
            self.value_error(f"{name} must fit into {dtype.name}, got {x!r}")
        return x

    def integer(self, name: str, x: Any, low: int, high: int) -> int:
        """low <= x <= high, as a Python or NumPy integer."""
        if isinstance(x, bool) or not isinstance(x, (int, np.integer)):
            self.type_error(f"{name} must be an integer, got {type(x).__name__}")
        v = int(x)
        if not low <= v <= high:
            got = str(v) if v.bit_length() <= 64 else f"one of {v.bit_length()} bits"
            self.value_error(f"{name} must lie in [{low}, {high}], got {got}")
        return v

    def boolean(self, name: str, x: Any) -> bool:
        if not isinstance(x, (bool, np.bool_)):
            self.type_error(f"{name} must be True or False, got {type(x).__name__}")
        return bool(x)

    def choice(self, name: str, x: Any, choices: tuple[str, ...]) -> str:
        """One of the words."""
        words = [f'"{c}"' for c in choices]
        wanted = f"{name} must be {' or '.join(filter(None, [', '.join(words[:-1]), words[-1]]))}, got "
        if not isinstance(x, str):
            self.type_error(wanted + type(x).__name__)
        if x not in choices:
            self.value_error(wanted + repr(x))
        return x

    def threads(self, x: Any) -> int:
        return default_threads() if x is None else self.integer("threads", x, 1, 1024)

    def lengths_within(self, name: str, lengths: np.ndarray, longest: int, longest_name: str) -> None:
        """0 <= lengths[b] <= longest for every b."""
        bad = np.flatnonzero((lengths < 0) | (lengths > longest))
        if bad.size:
            b = int(bad[0])
            self.value_error(f"{name} must lie in [0, {longest_name} = {longest}], got {lengths[b]} at {b}")

    def address(self, x: Any) -> int:
        return x.__array_interface__["data"][0]

    def no_overlap(self, **arrays: np.ndarray | None) -> None:
        """The named arrays, contiguous by now, share no memory; None is passed over."""
        spans = []
        for name, x in arrays.items():
            if x is not None and x.size:
                begin = self.address(x)
                spans.append((name, begin, begin + x.nbytes))
        for i, (name, begin, end) in enumerate(spans):
            for other, other_begin, other_end in spans[:i]:
                if begin < other_end and other_begin < end:
                    self.value_error(f"{other} and {name} must not share memory")
