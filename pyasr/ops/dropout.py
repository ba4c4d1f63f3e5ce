"""dropout: zero each entry with probability `rate`, by the random numbers of a key."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr import counter
from pyasr.ops._door import FLOATS, Door
from pyasr.ops._op import Row


def check(door: Door, x: Any, rate: Any, key: Any, threads: Any) -> tuple[Any, float, tuple[int, int]]:
    """x, rate and key, checked; raises for bad arguments."""
    x = door.read("x", x, "N", FLOATS)
    rate = door.real("rate", rate, 0.0, 1.0)
    if rate == 1:
        door.value_error("rate must be below 1, got 1.0")
    if not isinstance(key, tuple):
        door.type_error(f"key must be a tuple of two integers, got {type(key).__name__}")
    if len(key) != 2:
        door.value_error(f"key must be a tuple of two integers, got {len(key)}")
    first, second = (door.integer(f"key[{i}]", part, 0, 2**64 - 1) for i, part in enumerate(key))
    door.threads(threads)
    return x, rate, (first, second)


def dropout(
    x: np.ndarray, *, rate: float, key: tuple[int, int], threads: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    x, rate, key = check(Door("dropout"), x, rate, key, threads)
    kept = counter.generator(key).random(x.size, "float32") >= np.float32(rate)
    factor = kept.astype(x.dtype)
    factor *= 1 / (1 - rate)
    with np.errstate(over="ignore", invalid="ignore"):
        return x * factor, factor


def example(rng: np.random.Generator, size: int, dtype: np.dtype) -> tuple[tuple, dict]:
    first, second = map(int, rng.integers(0, 2**64, 2, np.uint64))
    return (rng.standard_normal(size).astype(dtype),), {"rate": 0.3, "key": (first, second)}


ROWS = (
    Row(
        reference=dropout,
        example=example,
        sizes=(0, 1, 7, 8, 9, 511, 1031, 40_003),
        benchmark_size=4_000_000,
        tolerance={"float32": 0.0, "float64": 0.0},
        reason="integers decide, and one product remains: the same bits",
        bytes=lambda x, **_: 3.0 * x.nbytes,
        flops=lambda x, **_: 15.0 * x.size,  # 20 products of 64 bits, of four parts each, and 40 xors for 8 entries
        numba="pyasr.ops._numba_dropout:dropout",
    ),
)
