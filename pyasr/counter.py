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
    return generator(philox_key(*key, who="stream"))


def generator(key: tuple[int, int]) -> np.random.Generator:
    """NumPy's generator over Philox4x64-10 with these two integers in [0, 2⁶⁴) as its key, from its beginning.

    >>> from pyasr.counter import generator, philox_key, stream
    >>> generator(philox_key(7, "mask")).random() == stream(7, "mask").random()
    True
    """
    return np.random.Generator(np.random.Philox(key=np.array(key, np.uint64)))


def philox_key(*key: int | str, who: str = "philox_key") -> tuple[int, int]:
    """The two integers in [0, 2⁶⁴) that key the generator of `stream(*key)`, for ops that draw its numbers themselves.

    who: the function that messages name.

    Raises TypeError for a part that is neither an integer nor a string.

    >>> from pyasr.counter import philox_key
    >>> philox_key("dropout", 7) == philox_key("dropout", "7")
    False
    """
    digest = hashlib.blake2b(digest_size=16)
    for part in key:
        if isinstance(part, str):
            text = f"s{part}"
        elif isinstance(part, (int, np.integer)) and not isinstance(part, bool):
            text = f"i{int(part)}"
        else:
            raise TypeError(f"{who}: key must be made of integers and strings, got {type(part).__name__}")
        encoded = text.encode()
        digest.update(len(encoded).to_bytes(8, "little"))
        digest.update(encoded)
    low, high = digest.digest()[:8], digest.digest()[8:]
    return int.from_bytes(low, "little"), int.from_bytes(high, "little")
