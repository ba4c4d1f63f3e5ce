"""Tries bad arguments on one function, every column of it, and prints what happened as JSON lines.

    python [-O] tests/bad_input.py row ctc_loss
    python [-O] tests/bad_input.py public clip_sgd

A line {"begin": case} comes before each case, so that a process that dies has named its killer. The cases are made from the
example arguments of the row (or of PUBLIC below), argument by argument: a new row is covered by existing. This file holds no
assert, because it also runs under -O.
"""

from __future__ import annotations

import array
import copy
import inspect
import json
import re
import resource
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import bad_input_calls
import numpy as np

Arguments = dict[str, Any]
RAISES, ANY = True, False  # a case must raise, or it may also return the right answer

# Which dtypes may stand in for the example's, in some function: there the answer is compared instead.
KINDRED = ({"float32", "float64", "int16"},)
LAYOUTS = ("big-endian", "strided", "reversed", "unaligned", "broadcast", "huge", "Fortran order")
LARGEST = f"an entry {np.finfo(np.float32).max:.3g}"
MISMATCHES = ("float32", "float64", "int16", "empty", "huge and empty")
DTYPES = (
    "float16", "float32", "float64", "longdouble", "int8", "int16", "int32", "int64", "uint8", "uint32", "bool",
    "complex64", "complex128", "object", "U4", "S4", "datetime64[s]",
)  # fmt: skip


class ArrayLike:
    """Could be converted, and must not be."""

    def __init__(self, a: np.ndarray) -> None:
        self.a = a

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray:
        return self.a


class Subclass(np.ndarray):
    """As memory maps are."""


class Unhelpful:
    """An object whose conversions raise something of their own."""

    def __float__(self) -> float:
        raise KeyError("float")

    def __index__(self) -> int:
        raise KeyError("index")

    def __bool__(self) -> bool:
        raise KeyError("bool")

    def __len__(self) -> int:
        raise KeyError("len")

    def __repr__(self) -> str:
        return "Unhelpful()"


@dataclass
class Call:
    """A function with good arguments."""

    name: str  # what its messages begin with
    function: Callable[..., Any]
    signature: inspect.Signature
    arguments: Callable[[], Arguments]  # new ones at every call
    reference: Callable[[Arguments], Any] | None = None  # the right answer to the changes of a case
    tolerance: float = 0.0
    opaque: frozenset[str] = frozenset()  # arguments that are neither arrays nor numbers
    writes: tuple[str, ...] = ()
    wanted: Callable[[], Arguments] = dict  # the reference's own good arguments
    free_layout: tuple[str, ...] = ()  # arguments that are read in any layout and byte order
    foreign: tuple[tuple[str, str, Any], ...] = ()  # (argument, case, value) of opaque arguments that others made


def strided(a: np.ndarray) -> np.ndarray:
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def unaligned(a: np.ndarray) -> np.ndarray:
    raw = np.zeros(a.nbytes + 1, np.uint8)
    out = raw[1:].view(a.dtype).reshape(a.shape)
    out[...] = a
    return out


def filled(a: np.ndarray, value: Any) -> np.ndarray:
    out = a.copy()
    out.reshape(-1)[0] = value
    return out


def read_only(a: np.ndarray) -> np.ndarray:
    out = a.copy()
    out.flags.writeable = False
    return out


def array_cases(name: str, a: np.ndarray, required: bool, written: bool) -> Iterator[tuple[str, Any, bool]]:
    """(case, replacement for the argument, whether it must raise)."""
    for dtype in DTYPES:
        if np.dtype(dtype) != a.dtype:
            kindred = any({a.dtype.name, np.dtype(dtype).name} <= group for group in KINDRED)
            with np.errstate(invalid="ignore"):
                yield dtype, a.astype(dtype), ANY if kindred else RAISES
    yield "big-endian", a.astype(a.dtype.newbyteorder(">")), RAISES
    yield "structured", np.zeros(a.shape, [("x", a.dtype)]), RAISES
    yield "one dim more", a[None].copy(), RAISES
    yield "0-d", np.array(a.reshape(-1)[0]), RAISES
    if a.ndim > 1:
        yield "flat", a.reshape(-1).copy(), RAISES
        yield "Fortran order", np.asfortranarray(a), RAISES
        yield "huge and empty", np.zeros((2**40, *([0] * (a.ndim - 1))), a.dtype), ANY
    yield "strided", strided(a), RAISES
    yield "reversed", a.copy()[::-1], RAISES
    yield "unaligned", unaligned(a), RAISES
    yield "broadcast", np.broadcast_to(a.reshape(-1)[:1].copy(), a.shape), RAISES
    yield "huge", np.broadcast_to(np.zeros(1, a.dtype), (2**20,) * min(a.ndim, 3) + a.shape[3:]), RAISES
    yield "longer than memory", np.broadcast_to(np.zeros(1, a.dtype), (2**55 // a[0].size, *a.shape[1:])), RAISES
    yield "read-only", read_only(a), RAISES if written else ANY
    yield "masked", np.ma.MaskedArray(a.copy()), RAISES
    if a.ndim == 2:
        yield "a matrix", np.asmatrix(a.copy()), RAISES
    yield "a subclass that is an array", a.copy().view(Subclass), ANY
    yield "empty", np.zeros((0,) * a.ndim, a.dtype), ANY
    for axis in range(a.ndim):
        index = (slice(None),) * axis
        yield f"axis {axis} empty", a[(*index, slice(0))].copy(), ANY
        yield f"axis {axis} too short", a[(*index, slice(-1))].copy(), ANY
        yield f"axis {axis} too long", np.concatenate([a, a[(*index, slice(1))]], axis), ANY
    if a.dtype.kind == "f":
        for value in (np.nan, np.inf, -np.inf, np.finfo(a.dtype).max, np.finfo(a.dtype).tiny / 4):
            yield f"an entry {value:.3g}", filled(a, value), ANY
        yield "all NaN", np.full_like(a, np.nan), ANY
    if a.dtype.kind == "i":
        for value in (0, -1, 1, 127):
            yield f"all {value}", np.full_like(a, value), ANY
        for value in (-5, np.iinfo(a.dtype).min, np.iinfo(a.dtype).max):
            yield f"all {value}", np.full_like(a, value), RAISES if a.dtype == np.int32 else ANY  # int16 is sound
    for case, value in (
        ("a list", a.tolist()), ("a tuple", tuple(a.tolist())), ("a memoryview", memoryview(a)), ("bytes", a.tobytes()),
        ("array.array", array.array("d", [1.0])), ("array-like", ArrayLike(a)), ("a str", "abc"), ("an int", 1),
        ("a float", 1.0), ("a dict", {}), ("the class", np.ndarray), ("an object", Unhelpful()),
        ("a generator", (x for x in a)),
    ):  # fmt: skip
        yield case, value, RAISES
    yield "None", None, RAISES if required else ANY


def scalar_cases(required: bool, text: bool) -> Iterator[tuple[str, Any, bool]]:
    for case, value in (
        ("complex", 1j), ("a list", [1]), ("an array", np.zeros((2,) * 7)), ("an array of one", np.array([1.0])),
        ("an object", Unhelpful()), ("a type", int), ("bytes", b"1"), ("an object array", np.array([None])),
        ("NumPy complex", np.complex64(1)), ("a set", {1}), ("a dict", {"a": 1}),
    ):  # fmt: skip
        yield case, value, RAISES
    yield "a str", "abc", ANY if text else RAISES
    yield "an empty str", "", ANY if text else RAISES
    yield "a str with NUL", "a\0b", ANY if text else RAISES
    yield "a lone surrogate", "\ud800", ANY if text else RAISES
    yield "a tuple", (), RAISES
    yield "a pair", ("norm", "x"), RAISES
    yield "a pair of odd things", ("\ud800", 1.0), RAISES
    yield "a pair of arrays", (np.zeros(3), np.zeros(3)), RAISES
    yield "None", None, RAISES if required else ANY
    for value in (
        True, False, 0, 1, 2, -1, 0.5, -0.0, 1e300, -1e300, 5e-324, np.nan, np.inf, -np.inf, 2**31, 2**63, 2**64, -(2**63) - 1,
        10**400, -(10**400), 10**5000, np.float32(0.5), np.float64(np.nan), np.float32(np.inf), np.int64(3), np.uint64(2**63),
        np.bool_(True),
    ):  # fmt: skip
        shown = (
            repr(value)
            if not isinstance(value, int) or abs(value) < 2**65
            else f"of {value.bit_length()} bits, {value > 0}"
        )
        yield f"{type(value).__name__} {shown}", value, ANY


def cases(call: Call) -> Iterator[tuple[str, str, Arguments, bool]]:
    """(argument, case, changed arguments, whether it must raise), new arrays at every call."""
    good = call.arguments()
    for name, parameter in call.signature.parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        required = parameter.default is parameter.empty
        value = good.get(name)
        if isinstance(value, np.ndarray):
            for case, bad, must in array_cases(name, value, required, name in call.writes):
                free = name in call.free_layout and case in LAYOUTS
                yield name, case, {name: bad}, ANY if free else must
        elif name in call.opaque:
            for case, bad, must in scalar_cases(required, False):
                yield name, case, {name: bad}, RAISES if required or must else ANY
        else:
            for case, bad, must in scalar_cases(required, isinstance(parameter.default, str) or isinstance(value, str)):
                yield name, case, {name: bad}, must
        if required:
            yield name, "left out", {name: inspect.Parameter.empty}, RAISES
    arrays = [n for n, x in good.items() if isinstance(x, np.ndarray)]
    for one in call.writes:
        for other in arrays:
            if one in good and one != other:
                a, b = good[one], good[other]
                if a is not None and (a.dtype, a.shape) == (b.dtype, b.shape):
                    same = a.copy()
                    yield one, f"is {other}", {one: same, other: same}, RAISES
                    both = np.zeros(2 * a.size, a.dtype)
                    changes = {one: both[: a.size].reshape(a.shape), other: both[1 : 1 + a.size].reshape(a.shape)}
                    yield one, f"overlaps {other}", changes, RAISES
    for name, case, value in call.foreign:
        yield name, case, {name: value}, RAISES
    for case, changes, must in bad_input_calls.more_cases(call.name, good):
        yield next(iter(changes)), case, changes, must


def results(value: Any) -> list[np.ndarray]:
    parts = value if isinstance(value, tuple) else (value,)
    return [np.asarray(p, np.float64) for p in parts if isinstance(p, (np.ndarray, float, int, np.generic))]


def differs(got: np.ndarray, want: np.ndarray, tolerance: float, overflow: bool) -> str | None:
    """What is wrong with an answer. With `overflow` it may lack entries that only the reference's float64 could reach."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    if got.shape != want.shape:
        return f"shape {got.shape} instead of {want.shape}"
    if overflow:
        want = np.where(np.isfinite(got), want, got)
    if not np.array_equal(np.isfinite(got), np.isfinite(want)):
        return f"{np.isfinite(got).sum()} of {got.size} entries are finite instead of {np.isfinite(want).sum()}"
    finite = np.isfinite(want)
    with np.errstate(over="ignore", invalid="ignore"):
        largest = float(np.max(np.abs(want[finite]), initial=0.0))
        unit = largest if largest > 0 else 1.0
        norm = float(np.linalg.norm(want[finite] / unit))
        error = float(np.linalg.norm(got[finite] / unit - want[finite] / unit))
    if not error <= tolerance * (norm if norm > 0 else 1.0):
        return f"differs by {error:.1e}"
    return None


def complaint(call: Call, argument: str, case: str, changes: Arguments, e: BaseException) -> str | None:
    """What is wrong with an exception; None when it is a good one."""
    text = str(e)
    if isinstance(e, OSError) and text.startswith(f"{call.name}: "):  # a file that is not there
        return None
    if isinstance(e, MemoryError) and case == "longer than memory" and argument in call.free_layout:
        return None
    missing = any(v is inspect.Parameter.empty for v in changes.values())
    if not isinstance(e, (ValueError, TypeError)) or isinstance(e, UnicodeError):
        return f"raised {type(e).__name__}"
    if missing:  # Python's and pybind11's own words
        return None if argument in text else "the message does not name the argument"
    if not text.startswith(f"{call.name}: "):
        return f"the message does not begin with {call.name!r}"
    names = {argument, *changes}
    sound = all(isinstance(v, (int, float, np.number)) for v in changes.values())  # but at odds with another argument
    if (
        sound or case.removeprefix("of ") in MISMATCHES or case.startswith(("axis ", "all "))
    ):  # either side of the mismatch may be named
        names |= set(call.signature.parameters)
    if not any(re.search(rf"(?<!\w){re.escape(n)}(?!\w)", text.removeprefix(f"{call.name}: ")) for n in names):
        return "the message does not name the argument"
    if "got" not in text and "must not share memory" not in text:
        return "the message does not say what it got"
    return None


def bits(arguments: Arguments) -> dict[str, bytes]:
    """Of every argument but `out`, whose contents are documented as undefined after an error."""
    arrays = {k: v for k, v in arguments.items() if isinstance(v, np.ndarray) and v.size < 2**16}
    return {k: v.tobytes() for k, v in arrays.items() if k != "out" and v.dtype != object}


def without_missing(arguments: Arguments) -> Arguments:
    return {k: v for k, v in arguments.items() if v is not inspect.Parameter.empty}


def try_case(call: Call, argument: str, case: str, changes: Arguments, must: bool) -> dict[str, Any]:
    again = copy.deepcopy({k: v for k, v in changes.items() if isinstance(v, np.ndarray) and v.size < 2**16})
    arguments = without_missing({**call.arguments(), **changes})
    before = bits(arguments)
    try:
        got = call.function(**arguments)
    except BaseException as e:
        problem = complaint(call, argument, case, changes, e)
        if problem is None and bits(arguments) != before:
            problem = "an array was changed by a call that raised"
        missing = any(v is inspect.Parameter.empty for v in changes.values())
        text = "left out" if missing else re.sub(r"0x[0-9a-f]{6,}", "0x", str(e))
        return {"outcome": f"{type(e).__name__}: {text}", "problem": problem}
    problem = "was accepted" if must else None
    if problem is None and call.reference is not None:
        wanted = {**call.wanted(), **changes, **again}
        try:
            want = call.reference(wanted)
        except Exception as e:
            problem = f"was accepted, but the reference raised {type(e).__name__}: {e}"
        else:
            pairs = [*zip(results(got), results(want), strict=True)]
            pairs += [(arguments[n], wanted[n]) for n in call.writes if isinstance(arguments.get(n), np.ndarray)]
            problem = next((p for p in (differs(g, w, call.tolerance, case == LARGEST) for g, w in pairs) if p), None)
    return {"outcome": "returned", "problem": problem}


def main() -> None:
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (2**36, resource.getrlimit(resource.RLIMIT_AS)[1]))
    for column, call in bad_input_calls.calls(sys.argv[1], sys.argv[2], Call):
        for argument, case, changes, must in cases(call):
            name = f"{column}: {argument} {case}"
            print(json.dumps({"begin": name}), flush=True)
            outcome = try_case(call, argument, case, changes, must)
            print(json.dumps({"column": column, "case": f"{argument} {case}", **outcome}), flush=True)
    print(json.dumps({"end": True}))


if __name__ == "__main__":
    main()
