"""From samples to frames: scale, preemphasis of the wave, padding, dither. Float64, the reference of every column."""

from __future__ import annotations

import numpy as np

from pyasr.ops._plan import MfccPlan, sample_scale


def arithmetic_scale(plan: MfccPlan, dtype: np.dtype) -> float:
    """The factor that brings samples of this dtype to full_scale."""
    return sample_scale(plan.options, dtype) * plan.gain


def padded(index: np.ndarray, n: int, mode: str) -> np.ndarray:
    """The sample that stands at each index, which may lie outside [0, n); −1 for a zero.

    symmetric: −1 → 0, n → n − 1; reflect: −1 → 1, n → n − 2; both as often as it takes.
    """
    if mode == "constant":
        return np.where((index < 0) | (index >= n), -1, index)
    if mode == "edge":
        return np.clip(index, 0, n - 1)
    if mode == "symmetric":
        index = index % (2 * n)
        return np.where(index < n, index, 2 * n - 1 - index)
    index = index % max(2 * n - 2, 1)
    return np.where(index < n, index, 2 * n - 2 - index)


def frame_block(wave: np.ndarray, plan: MfccPlan, first: int, count: int) -> np.ndarray:
    """Frames first … first+count−1 at full_scale, [count, length] float64."""
    o, n = plan.options, wave.size
    index = plan.start + plan.shift * np.arange(first, first + count)[:, None] + np.arange(plan.length)
    at = padded(index, n, o.padding)
    x = wave[at].astype(np.float64)
    if o.preemph_signal:
        x -= o.preemph * np.where(at > 0, wave[np.maximum(at - 1, 0)].astype(np.float64), 0.0)
    return np.where(at < 0, 0.0, x) * arithmetic_scale(plan, wave.dtype)


_ROUNDS = 10
_MULTIPLIERS = (np.uint64(0xD2511F53), np.uint64(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def philox(counter: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray], seed: int) -> list[np.ndarray]:
    """Philox4x32-10: four words (uint64 below 2³²) from a counter of four and a seed of 64 bits.

    Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    """
    c = [np.asarray(word, np.uint64) for word in counter]
    keys = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(_ROUNDS):
        left, right = _MULTIPLIERS[0] * c[0], _MULTIPLIERS[1] * c[2]
        c = [
            (right >> _WORD) ^ c[1] ^ np.uint64(keys[0]), right & _LOW,
            (left >> _WORD) ^ c[3] ^ np.uint64(keys[1]), left & _LOW,
        ]  # fmt: skip
        keys = [(key + step) & 0xFFFFFFFF for key, step in zip(keys, _WEYL, strict=True)]
    return c


def noise(frames: np.ndarray, length: int, seed: int) -> np.ndarray:
    """Dither of deviation 1 for frames of these numbers, [len(frames), length] float64: a function of the seed, the frame's
    number and the sample's in it. Counter (sample / 4, frame, frame >> 32, 0); Box and Muller on its two pairs of words."""
    frames = np.asarray(frames, np.uint64)[:, None]
    block = np.arange(-(-length // 4), dtype=np.uint64)[None, :]
    shape = np.broadcast_shapes(frames.shape, block.shape)
    zero = np.zeros(shape, np.uint64)
    words = philox((zero + block, zero + (frames & _LOW), zero + (frames >> _WORD), zero), seed)
    out = np.empty((*shape, 4))
    for pair in (0, 2):
        u = ((words[pair] >> np.uint64(9)).astype(np.float64) + 0.5) * 2.0**-23
        angle = 2 * np.pi * ((words[pair + 1] >> np.uint64(8)).astype(np.float64) * 2.0**-24)
        radius = np.sqrt(-2.0 * np.log(u))
        out[..., pair], out[..., pair + 1] = radius * np.cos(angle), radius * np.sin(angle)
    return out.reshape(len(frames), -1)[:, :length]
