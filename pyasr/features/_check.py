"""The door of what takes features: a finite matrix, one row per frame."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, Door


def feature_matrix(op: str, features: Any) -> np.ndarray:
    """features [T, F] float32 or float64 as they are, or the error that names op, frame and what was wrong."""
    door = Door(op)
    x = door.array("features", features, FLOATS)
    if x.ndim != 2:
        door.value_error(f"features must have shape (T, F), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        door.value_error(f"features must be finite, got a NaN or infinity in frame {bad[0]}")
    return x
