"""The good calls that bad_input.py spoils: every row on every column, and every public function.

A row needs nothing here. A new public function needs one entry in PUBLIC (or, with its reason, in EXEMPT).
"""

from __future__ import annotations

import atexit
import functools
import inspect
import os
import shutil
import tempfile
import wave
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import pyasr
from pyasr.ops import rows, why_not
from pyasr.ops._op import Row, backend, has

Arguments = dict[str, Any]

# Public names that take no data of the user, and why.
EXEMPT = {
    "__version__": "a string",
    "features": "a module; mfcc, fbank and spectrogram are public names too",
    "layers": "a module; tests/test_layers.py",
    "linear": "a module; tests/test_linear.py",
    "losses": "a module; tests/test_losses.py",
    "models": "a module; tests/test_train.py",
    "optim": "a module; tests/test_optimizers.py",
    "params": "a module; tests/test_params.py",
    "schedules": "a module; tests/test_schedules.py",
}


@functools.cache
def small_size(name: str, column: str) -> Any:
    """A size that the column takes, with at least two entries along every axis, so that each axis can be spoiled; of those the
    one with most arguments, then the smallest."""
    row = rows()[name]

    def cost(size: Any) -> tuple[bool, int, int]:
        args, kwargs = row.example(np.random.default_rng(0), size, np.dtype(row.dtypes[0]))
        arrays = [a for a in (*args, *kwargs.values()) if isinstance(a, np.ndarray)]
        if "out" in inspect.signature(row.reference).parameters:
            arrays.append(row.reference(*args, **kwargs))
        return any(min(a.shape) < 2 for a in arrays), -len(args) - len(kwargs), sum(a.size for a in arrays)

    return min(row.sizes_of(column), key=cost)


def dtype_of(row: Row) -> str:
    return "float32" if "float32" in row.dtypes else row.dtypes[0]


def bound(row: Row, ops: Any, column: str = "cpp") -> Arguments:
    """New example arguments of a row, by name, of a size that the column takes."""
    size = small_size(row.name, column)
    args, kwargs = row.example(np.random.default_rng(0), size, np.dtype(dtype_of(row)))
    if row.prepare is not None:
        args = row.prepare(ops, args)
    signature = inspect.signature(row.reference)
    if "out" in signature.parameters:
        kwargs = {**kwargs, "out": np.zeros_like(row.reference(*args, **kwargs))}
    return dict(signature.bind(*args, **kwargs).arguments)


def foreign(row: Row, column: str, size_of: str) -> Iterator[tuple[str, str, Any]]:
    """(argument, case, value): opaque arguments that another column, family or dtype made."""
    mine = bound(row, backend(column), size_of)
    for other in ("numpy", "cpp"):
        if other != column and why_not(other) is None and has(row, other):
            for name, value in bound(row, backend(other), size_of).items():
                if type(value) is not type(mine[name]):
                    yield name, "of another column", value
    args, kwargs = row.example(np.random.default_rng(0), small_size(row.name, size_of), np.dtype(row.dtypes[-1]))
    values = inspect.signature(row.reference).bind(*row.prepare(backend(column), args), **kwargs).arguments
    for name, value in values.items():
        if row.dtypes[-1] != dtype_of(row) and not isinstance(value, (np.ndarray, float, int, bool, str, tuple)):
            yield name, f"of {row.dtypes[-1]}", value
    for relative in rows().values():
        related = relative.name.partition("_")[0] == row.name.partition("_")[0]
        if relative.prepare is not None and not related and has(relative, column):
            for name, value in bound(relative, backend(column), size_of).items():
                if name in mine and type(value) is not type(mine[name]):
                    yield name, f"of {relative.name}", value


# What of a result is compared with the reference's, where that is not all of it.
COMPARED: dict[str, Callable[[Any], Any]] = {
    "cg": lambda result: (
        result[0],
        min(result[1], 1),
    ),  # how many iterations reach the end of the precision is rounding
}


def row_calls(row: Row, make: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    numpy = backend("numpy")
    compared = COMPARED.get(row.name, lambda result: result)
    tried = [("numpy", "numpy"), ("cpp", "cpp")]
    if __debug__ and row.numba is not None:  # compiling takes 10 s
        tried.append(("numba", "numba"))
        if row.numba_sizes is not None:  # whose words are compared with those of the reference on the same example
            tried.append(("numpy like numba", "numba"))
    for label, column in tried:
        if why_not(column) is None and has(row, column):
            ops = backend(label.partition(" ")[0])
            good = bound(row, ops, column)
            opaque = {n for n, v in good.items() if not isinstance(v, (np.ndarray, float, int, bool, str, tuple))}
            yield (
                label,
                make(
                    name=row.name,
                    function=lambda ops=ops, **a: compared(getattr(ops, row.name)(**a)),
                    signature=inspect.signature(row.reference),
                    arguments=lambda ops=ops, column=column: bound(row, ops, column),
                    reference=None if ops is numpy else lambda a: compared(row.reference(**a)),
                    tolerance=10 * row.tolerance[dtype_of(row)],  # spoiled values round worse than the examples
                    opaque=frozenset(opaque),
                    writes=row.writes,
                    wanted=lambda column=column: bound(row, numpy, column),
                    foreign=tuple(foreign(row, ops.name, column)) if row.prepare is not None else (),
                ),
            )


def like_row(name: str) -> Callable[[], Arguments]:
    """The public function takes the arguments of the row of that name."""
    return lambda: bound(rows()[name], backend())


@functools.cache
def recording() -> str:
    """The name of a tenth of a second of noise, 16-bit PCM at 8 kHz, in a new folder that becomes the current one: messages name
    the file, and are compared between processes."""
    folder = tempfile.mkdtemp(prefix="pyasr_bad_input_")
    atexit.register(shutil.rmtree, folder)
    os.chdir(folder)
    with wave.open("noise.wav", "wb") as f:
        f.setnchannels(1)
        f.setsampwidth(2)
        f.setframerate(8000)
        f.writeframes(np.random.default_rng(0).integers(-1000, 1000, 800).astype("<i2").tobytes())
    return "noise.wav"


def features() -> Arguments:
    noise = 0.1 * np.random.default_rng(0).standard_normal(801)
    return {"wave": noise.astype(np.float32), "sample_rate": 16000, "options": "kaldi"}


# public function -> new good arguments
PUBLIC: dict[str, Callable[[], Arguments]] = {
    "backend": dict,
    "MfccOptions": dict,
    "OnlineFeatures": lambda: {"sample_rate": 16000, "options": "kaldi", "kind": "fbank"},
    "Params": lambda: {"ops": backend("numpy"), "dtype": "float32"},
    "adam": like_row("adam"),
    "approximate_gradient": lambda: {"f": np.sum, "x": np.ones(2), "method": "spsa", "samples": 2, "seed": 0},
    "cg": like_row("cg"),
    "clip_sgd": like_row("clip_sgd"),
    "ctc_loss": like_row("ctc_loss"),
    "fbank": features,
    "hmm_forward_backward": like_row("hmm_forward_backward"),
    "load": lambda: {"path": recording(), "sample_rate": 8000, "start": 0.0, "duration": 0.01},
    "mfcc": features,
    "newton_step": lambda: {
        "theta": np.ones(2),
        "x": np.arange(6.0).reshape(3, 2),
        "y": np.ones(3),
        "model": "linear",
        "l2": 0.1,
    },
    "rmsprop": like_row("rmsprop"),
    "spd_solve": like_row("spd_solve"),
    "spectrogram": features,
    "viterbi": like_row("viterbi"),
    "wer": lambda: {"reference": "a b", "hypothesis": "a c"},
}


def public_calls(name: str, make: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    function = getattr(pyasr, name)
    row = rows().get(name)

    def in_order(arguments: Arguments) -> Any:
        """The answer to native, contiguous copies."""
        copies = {k: np.array(v, v.dtype.newbyteorder("=")) for k, v in arguments.items() if isinstance(v, np.ndarray)}
        return function(**{**arguments, **copies})

    yield (
        "public",
        make(
            name=name,
            function=function,
            signature=inspect.signature(function),
            arguments=PUBLIC[name],
            writes=row.writes if row else (),
            reference=in_order if PUBLIC[name] is features else None,
            wanted=PUBLIC[name],
            free_layout=("wave",),
        ),
    )


def calls(kind: str, name: str, make: Callable[..., Any]) -> Iterator[tuple[str, Any]]:
    return row_calls(rows()[name], make) if kind == "row" else public_calls(name, make)


def more_cases(name: str, good: Arguments) -> Iterator[tuple[str, Arguments, bool]]:
    """Cases that need to know what an argument means: (case, changed arguments, whether it must raise)."""
    if name == "ctc_loss":
        for blank in (-1, good["logits"].shape[2], 2**40):
            yield f"{blank}", {"blank": blank}, True
        yield "equal to blank", {"labels": np.zeros_like(good["labels"])}, True
    if name == "dropout":
        wrong = ((1,), (1, 2, 3), [1, 2], (-1, 0), (0, 2**64), (10**5000, 0), (True, 0), (0, 1.0), (None, 0), ("1", 0))
        for number, key in enumerate(wrong):
            yield f"{number} of the wrong ones", {"key": key}, True
        yield "the largest", {"key": (2**64 - 1, np.uint64(2**64 - 1))}, False
