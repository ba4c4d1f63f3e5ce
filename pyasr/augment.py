"""Small changes to features in training, each a function of its random stream."""

from __future__ import annotations

import numpy as np


def add_noise(features: np.ndarray, rng: np.random.Generator, deviation: float) -> np.ndarray:
    """features [T, F] plus Gaussian noise of this standard deviation; a new array of the same dtype."""
    return features + features.dtype.type(deviation) * rng.standard_normal(features.shape, features.dtype)


def mask_times(features: np.ndarray, rng: np.random.Generator, count: int, longest: int) -> np.ndarray:
    """`count` spans of up to `longest` frames, and at most a quarter of the utterance, at zero, the mean of normalized features;
    features [T, F] are changed in place and returned.

    Source: Park et al., "SpecAugment", Interspeech 2019, on its time axis.
    """
    frames = len(features)
    for _ in range(count):
        width = int(rng.integers(0, min(longest, frames // 4) + 1))
        begin = int(rng.integers(0, frames - width + 1))
        features[begin : begin + width] = 0
    return features
