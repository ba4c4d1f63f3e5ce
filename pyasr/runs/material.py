"""Recordings become features; what cannot be used is left out, with a reason."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from pyasr.augment import add_noise, mask_times
from pyasr.counter import stream
from pyasr.datasets import Skipped, Utterance
from pyasr.recognizer import FrontEnd

FRAME_SHIFT = 0.01  # seconds


@dataclass(frozen=True)
class Material:
    """Utterances, their features [T, 39], and what was left out."""

    utterances: tuple[Utterance, ...]
    features: tuple[np.ndarray, ...]
    skipped: tuple[Skipped, ...]

    @property
    def texts(self) -> list[str]:
        return [u.text for u in self.utterances]

    def fingerprint(self) -> str:
        """A hash of names, texts and features: a training goes on only with what it began with."""
        digest = hashlib.sha256()
        for u, f in zip(self.utterances, self.features, strict=True):
            digest.update(f"{u.name}\0{u.text}\0{len(f)}\0".encode("utf-8", "surrogateescape"))  # names of any bytes
            digest.update(f.tobytes())
        return digest.hexdigest()


def material(
    utterances: Iterable[Utterance],
    front_end: FrontEnd,
    *,
    longest: float | None = None,
    strict: bool = False,
    check: Callable[[Utterance, np.ndarray], object] = lambda utterance, features: None,
    on_utterance: Callable[[Utterance], object] = lambda utterance: None,
) -> Material:
    """The features of every utterance whose recording can be read, lasts from 25 ms to `longest` seconds and passes `check`,
    which raises ValueError where it does not. The others are skipped, or with strict=True the first of them is a ValueError.
    """
    used, features, skipped = [], [], []
    for u in utterances:
        on_utterance(u)
        try:
            wave = u.wave(front_end.sample_rate, longest)
            f = front_end(wave)
            if len(f) == 0:
                raise ValueError(f"must last at least 25 ms, got {1000 * len(wave) / front_end.sample_rate:.0f} ms")
            check(u, f)
        except (ValueError, OSError) as e:
            if strict:
                raise ValueError(f"{u.name}: {e}") from e
            skipped.append(Skipped(u.name, str(e)))
            continue
        used.append(u)
        features.append(f)
    return Material(tuple(used), tuple(features), tuple(skipped))


def augmented(
    features: np.ndarray, key: tuple[int, int, int], *, noise: float, masks: int, longest_mask: int
) -> np.ndarray:
    """Noise and time masks, as a function of the key (seed, epoch, utterance); the given array is not changed."""
    rng = stream("augment", *key)
    return mask_times(add_noise(features, rng, noise), rng, masks, longest=longest_mask)
