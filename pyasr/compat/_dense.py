"""The mel filters of a set of options as a matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from pyasr.ops._filters import filter_table
from pyasr.ops._options import MfccOptions

# Samples at the scale given and nothing done to them before the window: what librosa, Whisper and their kin have in common.
PLAIN: dict[str, Any] = {"scale": 1.0, "preemph": 0.0, "remove_dc": False, "use_energy": False, "allow_empty": True}


def dense_filters(options: MfccOptions) -> np.ndarray:
    """[num_mels, fft_size/2 + 1] float64."""
    begin, offset, weight = filter_table(options)
    out = np.zeros((options.num_mels, options.fft_size // 2 + 1))
    for row, first, start, stop in zip(out, begin, offset[:-1], offset[1:], strict=True):
        row[first : first + stop - start] = weight[start:stop]
    return out
