"""What a device can do, measured in the run that quotes it: a large copy, a large product in float32."""

from __future__ import annotations

import numpy as np

from pyasr.bench.target import Target
from pyasr.bench.timing import repeated
from pyasr.counter import stream


def measure(target: Target, rounds: int, quick: bool) -> dict[str, float]:
    """The copy counts the bytes that it reads and those that it writes. The product is of NumPy or CuPy, on random numbers.

    Raises RuntimeError where the product is not one in float32: with tensor cores in TF32 it would be 3e-4 off.
    """
    xp, rng, least = target.xp, stream("bench", "limits"), 0.0 if quick else 5e-3
    count = 1 << 12 if quick else min(1 << 28, target.free // 32) if target.is_gpu else 1 << 26
    source = xp.asarray(np.resize(rng.standard_normal(1 << 12, np.float32), count))
    copy = xp.empty(count, np.float32)
    seconds = float(np.median(repeated(target, lambda: xp.copyto(copy, source), rounds, least)))
    n = 64 if quick else 8192 if target.is_gpu else 2048
    a, b = (xp.asarray(rng.standard_normal((n, n), np.float32)) for _ in range(2))
    c = xp.empty((n, n), np.float32)
    product = float(np.median(repeated(target, lambda: xp.matmul(a, b, out=c), rounds, least)))
    want = a[:8].astype(np.float64) @ b.astype(np.float64)
    error = float(xp.linalg.norm(c[:8] - want) / xp.linalg.norm(want))
    if not error < 1e-4:
        raise RuntimeError(f"bench: the product is {error:.0e} off, which is not float32; unset CUPY_TF32")
    return {
        "copy, GB/s": 8.0 * count / seconds / 1e9,
        "copy, bytes": 4.0 * count,
        "float32, TFLOP/s": 2.0 * n**3 / product / 1e12,
        "product, n": float(n),
        "product, error": error,
    }
