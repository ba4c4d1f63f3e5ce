"""The door of what takes features: finite matrices, one row per frame, alone or as pyasr.features.batch returns them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

from pyasr.ops._door import FLOATS, INT32, Door, is_plain

LAYOUTS = ("BTF", "TBF", "concatenated")
CUDA_MEMORY = (2, 13)  # kDLCUDA and kDLCUDAManaged of DLPack


def feature_matrix(op: str, features: Any, utterance: str = "") -> np.ndarray:
    """features [T, F] float32 or float64 as they are, or the error that names op, frame and what was wrong."""
    door = Door(op)
    x = door.array("features", features, FLOATS)
    if x.ndim != 2:
        door.value_error(f"features must have shape (T, F), got {x.shape}")
    bad = np.flatnonzero(~np.isfinite(x).all(axis=1))
    if bad.size:
        door.value_error(f"features must be finite, got a NaN or infinity in frame {bad[0]}{utterance}")
    return x


def device_of(x: Any) -> Any:
    """The Device of the cuda column where x is an array on a CUDA device, None for anything else.

    Raises RuntimeError with the reason where x is on one, but this install can not run there.
    """
    if is_plain(x) or isinstance(x, type):  # a class has the methods of its objects
        return None
    where = getattr(x, "__dlpack_device__", None)
    on_device = where is not None and int(where()[0]) in CUDA_MEMORY
    if not on_device and not hasattr(x, "__cuda_array_interface__"):
        return None
    from pyasr.ops import _cuda

    if (reason := _cuda.why_not()) is not None:
        raise RuntimeError(f"an array on a CUDA device takes the cuda backend: {reason}")
    return _cuda.column().device


def check_lengths(door: Door, features: Any, lengths: Any, layout: str) -> None:
    """The lengths of utterances, a NumPy array, beside features that may lie on a device."""
    if lengths is None:
        return
    if layout == "concatenated":
        offsets = door.array("lengths", lengths, np.dtype(np.int64))
        whole = offsets.ndim == 1 and offsets.size and offsets[0] == 0 and offsets[-1] == features.shape[0]
        if not whole or (np.diff(offsets) < 0).any():
            door.value_error(f"lengths must be offsets that rise from 0 to the {features.shape[0]} frames of features")
        return
    axes = (0, 1) if layout == "BTF" else (1, 0)
    door.shape("lengths", door.array("lengths", lengths, INT32), (features.shape[axes[0]],))
    door.lengths_within("lengths", lengths, features.shape[axes[1]], "T")


def check_layout(door: Door, features: Any, lengths: Any, layout: Any) -> str:
    """One of LAYOUTS, which features and lengths have as far as the host can see."""
    layout = door.choice("layout", layout, LAYOUTS)
    ndim = 2 if lengths is None or layout == "concatenated" else 3
    shape = getattr(features, "shape", None)
    if not isinstance(shape, tuple):
        return layout
    if len(shape) != ndim:
        wanted = "(T, F)" if ndim == 2 else f"({', '.join(layout)})"
        door.value_error(f"features must have shape {wanted}, got {tuple(shape)}")
    if is_plain(lengths):
        check_lengths(door, features, lengths, layout)
    return layout


def by_utterance(
    op: str,
    features: Any,
    lengths: Any,
    layout: str,
    width: Callable[[int], int],
    f: Callable[[np.ndarray], np.ndarray],
) -> np.ndarray:
    """f of each utterance [T_b, F] → [T_b, width(F)], where its own frames lie; zeros in the padding."""
    if lengths is None:
        return f(feature_matrix(op, features))
    door = Door(op)
    x = door.array("features", features, FLOATS)
    if not is_plain(lengths):
        door.type_error(f"lengths must be a NumPy array, got {type(lengths).__name__}")
    y = np.zeros((*x.shape[:-1], width(x.shape[-1])), x.dtype)

    def utterances(a: np.ndarray) -> list[np.ndarray]:
        if layout == "concatenated":
            return [a[i:j] for i, j in itertools.pairwise(lengths)]
        return [a[b, :n] if layout == "BTF" else a[:n, b] for b, n in enumerate(lengths)]

    for b, (utterance, out) in enumerate(zip(utterances(x), utterances(y), strict=True)):
        out[...] = f(feature_matrix(op, utterance, f" of utterance {b}"))
    return y
