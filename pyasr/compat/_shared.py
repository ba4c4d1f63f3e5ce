"""Options that are made once, and the mel filters of a set of options as a matrix."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from pyasr.ops._filters import filter_table
from pyasr.ops._options import MfccOptions

# Samples at the scale given and nothing done to them before the window: what librosa, Whisper and their kin have in common.
PLAIN: dict[str, Any] = {"scale": 1.0, "preemph": 0.0, "remove_dc": False, "use_energy": False, "allow_empty": True}


def _make(base: MfccOptions | None, items: tuple[tuple[str, type, Any], ...]) -> MfccOptions:
    values = {name: value for name, _, value in items}
    return MfccOptions(**values) if base is None else dataclasses.replace(base, **values)


_kept = functools.lru_cache(maxsize=256)(_make)


def made(base: MfccOptions | None = None, **values: Any) -> MfccOptions:
    """MfccOptions, or base with changes, kept for the next call: checking them takes longer than the features of a second."""
    key = tuple((name, type(value), value) for name, value in values.items())  # 1, 1.0 and True are one key of a dict
    try:
        hash(key)
    except TypeError:  # no option is of such a type: this names it
        return _make(base, key)
    return _kept(base, key)


@functools.lru_cache(maxsize=64)
def dense_filters(options: MfccOptions) -> np.ndarray:
    """[num_mels, fft_size/2 + 1] float64, read-only."""
    begin, offset, weight = filter_table(options)
    out = np.zeros((options.num_mels, options.fft_size // 2 + 1))
    for row, first, start, stop in zip(out, begin, offset[:-1], offset[1:], strict=True):
        row[first : first + stop - start] = weight[start:stop]
    out.flags.writeable = False
    return out
