"""What the drop-ins for Kaldi's features share: errors told in the names of a peer, and Kaldi's Blackman window."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

import numpy as np

from pyasr.ops._options import MfccOptions

LARGEST_COEFF = 1e5  # of a Blackman window


def even_fft(options: MfccOptions) -> MfccOptions:
    """The options, or the error of peers that have no FFT of an odd size."""
    if options.fft_size % 2:
        raise ValueError(
            f"MfccOptions: round_to_power_of_two=False needs an even frame length, got {options.frame_length} samples at "
            f"sample_rate = {options.sample_rate:g}"
        )
    return options


@contextlib.contextmanager
def words_of(function: str, names: Mapping[str, str]) -> Iterator[None]:
    """Inside, a ValueError or TypeError names `function` and the peer's arguments: names maps ours to theirs."""
    try:
        yield
    except (ValueError, TypeError) as error:
        text = str(error).partition(": ")[2] or str(error)
        text = re.sub(r"\b(" + "|".join(names) + r")\b", lambda m: names[m[1]], text)
        raise (TypeError if isinstance(error, TypeError) else ValueError)(f"{function}: {text}") from None


def blackman(length: int, coeff: float) -> tuple[float, ...]:
    """Kaldi's Blackman window with another coefficient than 0.42."""
    turn = 2 * np.pi * np.arange(length) / (length - 1)
    return tuple((coeff - 0.5 * np.cos(turn) + (0.5 - coeff) * np.cos(2 * turn)).tolist())
