"""Random streams that are keyed by what they are for, not by when they are drawn.

A mask, an augmentation or an initial weight is a function of its key alone, such as (seed, step, layer name). So it does not
depend on the order of calls, and a run that is repeated or resumed draws the same numbers.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream(*key: int | str) -> np.random.Generator:
    """A generator whose numbers depend on the key only: Philox, a counter-based generator, keyed by a hash of `key`.

    Keys that differ in value, type or number of parts give independent streams. The bits are those of one NumPy version.

    Raises TypeError for a part that is neither an integer nor a string.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.

    >>> from pyasr.counter import stream
    >>> stream(7, "dropout").random() == stream(7, "dropout").random()
    True
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in key:
        if isinstance(part, str):
            text = f"s{part}"
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            text = f"i{int(part)}"
        else:
            raise TypeError(f"stream: key must be made of integers and strings, got {type(part).__name__}")
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    return np.random.Generator(np.random.Philox(key=np.frombuffer(digest.digest(), "<u8").astype(np.uint64)))
