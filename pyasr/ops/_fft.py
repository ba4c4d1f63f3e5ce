"""Tables of the FFTs: mixed radix for sizes made of 2, 3 and 5, Bluestein's convolution for the rest."""

from __future__ import annotations

import numpy as np

FACTORS = (2, 3, 5)


def is_smooth(n: int) -> bool:
    """Whether n has no other factors."""
    for r in FACTORS:
        while n % r == 0:
            n //= r
    return n == 1


def next_smooth(n: int) -> int:
    while not is_smooth(n):
        n += 1
    return n


def fft_radices(n: int) -> tuple[int, ...]:
    """Fours, then one eight in place of a four and a two, then threes and fives: as few passes as fit into registers."""
    twos = (n & -n).bit_length() - 1
    out = [4] * (twos // 2 - (twos % 2 and twos > 1)) + [8 if twos > 1 else 2] * (twos % 2)
    n >>= twos
    for r in (3, 5):
        while n % r == 0:
            out.append(r)
            n //= r
    return tuple(out)


def fft_tables(n: int, radices: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """An in-place complex FFT of n points by decimation in frequency.

    Stage s splits blocks of m points (m = n at first) by r = radices[s]: for j < m/r the points j + q·m/r become
    W_m^{jq} Σ_p x_p W_r^{pq}. Returns the twiddles W_m^{jq}, stage after stage as [m/r, r−1] with q = 1 … r−1
    (complex128); and order [n] int32: X[k] ends at index order[k].
    """
    twiddles, m = [], n
    order = np.zeros(n, np.int64)
    rest = np.arange(n)
    for r in radices:
        j, q = np.arange(m // r)[:, None], np.arange(1, r)[None, :]
        twiddles.append(np.exp(-2j * np.pi * ((j * q) % m) / m).ravel())
        m //= r
        order += rest % r * m
        rest //= r
    return np.concatenate(twiddles) if twiddles else np.zeros(0, np.complex128), order.astype(np.int32)


def bluestein_tables(n: int, length: int, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The DFT of n points, of which the first `length` are not zero, as a circular convolution of len(order) points:

        X[k] = c[k] Σ_j (x_j c[j]) / c[k − j]  with c[j] = e^{−πi j²/n},  for k = 0 … n/2

    Returns c [length], and the transform of 1/c divided by the number of points, where fft_tables leaves it.
    Needs len(order) ≥ length + n/2. Source: Bluestein 1970.
    """
    size = len(order)
    j = np.arange(max(length, n // 2 + 1), dtype=np.int64)
    chirp = np.exp(-1j * np.pi * (j * j % (2 * n)) / n)
    filter_ = np.zeros(size, np.complex128)
    filter_[: n // 2 + 1] = chirp[: n // 2 + 1].conj()
    filter_[size - length + 1 :] = chirp[1:length][::-1].conj()
    response = np.empty(size, np.complex128)
    response[order] = np.fft.fft(filter_) / size
    return chirp[:length], response
