"""An error of the functions below, told in the names of a peer."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping

from pyasr.ops._options import MfccOptions


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
