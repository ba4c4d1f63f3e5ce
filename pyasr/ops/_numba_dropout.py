"""The numba column of dropout: Philox4x64-10 block after block, of 8 entries each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from pyasr.ops._door import Door
from pyasr.ops.dropout import check

_MULTIPLY = np.uint64(0xD2E7470EE14C6C93), np.uint64(0xCA5A826395121157)
_RAISE = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBB67AE8584CAA73B)
_HALF, _MASK, _ONE = np.uint64(32), np.uint64(0xFFFFFFFF), np.uint64(1)  # a plain int beside uint64 makes float64


@numba.njit(nogil=True, cache=True)
def _high(x: Any, y: Any) -> Any:
    """The upper 64 bits of the product of two uint64."""
    x0, x1, y0, y1 = x & _MASK, x >> _HALF, y & _MASK, y >> _HALF
    middle = (x0 * y0 >> _HALF) + x1 * y0
    return x1 * y1 + (middle >> _HALF) + ((middle & _MASK) + x0 * y1 >> _HALF)


@numba.njit(nogil=True, cache=True)
def _entries(
    x: np.ndarray,  # [N]
    k0: Any,
    k1: Any,  # uint64, the key
    rate: np.float32,
    scale: Any,  # of the dtype of x
    y: np.ndarray,  # [N]
    factor: np.ndarray,  # [N]
) -> None:
    for block in range((x.size + 7) // 8):
        c0, c1, c2, c3 = np.uint64(block) + _ONE, np.uint64(0), np.uint64(0), np.uint64(0)
        a, b = k0, k1
        for _ in range(10):
            high0, high1 = _high(c0, _MULTIPLY[0]), _high(c2, _MULTIPLY[1])
            c0, c1, c2, c3 = high1 ^ c1 ^ a, c2 * _MULTIPLY[1], high0 ^ c3 ^ b, c0 * _MULTIPLY[0]
            a, b = a + _RAISE[0], b + _RAISE[1]
        words = c0, c1, c2, c3
        for i in range(8 * block, min(8 * block + 8, x.size)):
            half = np.uint32(words[i // 2 % 4] >> (_HALF if i % 2 else np.uint64(0)))
            uniform = np.float32(half >> np.uint32(8)) * np.float32(2.0**-24)
            factor[i] = scale if uniform >= rate else 0.0
            y[i] = x[i] * factor[i]


def dropout() -> Callable[..., tuple[np.ndarray, np.ndarray]]:
    """The twin; the arguments are checked by the door of the reference."""

    def twin(x: Any, *, rate: float, key: tuple[int, int], threads: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        x, rate, key = check(Door("dropout"), x, rate, key, threads)
        y, factor = np.empty_like(x), np.empty_like(x)
        _entries(x, np.uint64(key[0]), np.uint64(key[1]), np.float32(rate), x.dtype.type(1 / (1 - rate)), y, factor)
        return y, factor

    return twin
