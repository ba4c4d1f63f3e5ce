"""librosa.power_to_db."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import Door

__all__ = ["power_to_db"]


def power_to_db(
    S: Any,
    *,
    ref: float | complex | Callable[[np.ndarray], Any] = 1.0,
    amin: float = 1e-10,
    top_db: float | None = 80.0,
) -> Any:
    """10 log10(S / ref), elementwise, of an array of any shape or a number; float32 stays float32.

    ref is a power, or a function of S that gives it (`np.max`). Both are at least amin. top_db clips what is more than that
    many dB below the largest value; None does not. Of complex S the magnitude is taken, with a warning.

    Raises ValueError for an amin that is not positive and for a negative top_db, TypeError for what are no numbers.

    Source: librosa.power_to_db.

    >>> from pyasr.compat.librosa import power_to_db
    >>> power_to_db(np.array([1.0, 10.0, 1e-20]), ref=np.max)
    array([-10.,   0., -80.])
    """
    door = Door("power_to_db")
    magnitude = np.asarray(S)
    if magnitude.dtype.kind not in "fiuc":
        door.type_error(f"S must be numbers, got {magnitude.dtype.name}")
    if not door.real("amin", amin) > 0:
        door.value_error(f"amin must be positive, got {amin!r}")
    if top_db is not None:
        door.real("top_db", top_db, 0.0)
    if magnitude.dtype.kind == "c":
        warnings.warn(
            "power_to_db was called on complex input so phase information will be discarded: pass np.abs(S)**2",
            stacklevel=2,
        )
        magnitude = np.abs(magnitude)
    reference = ref(magnitude) if callable(ref) else np.abs(ref)
    db = 10.0 * np.log10(np.maximum(amin, magnitude))
    db -= 10.0 * np.log10(np.maximum(amin, reference))
    return db if top_db is None or not magnitude.size else np.maximum(db, db.max() - top_db)
