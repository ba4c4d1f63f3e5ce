"""python_speech_features: mfcc, fbank, logfbank, ssc and their helpers, keyword for keyword.

    from pyasr.compat.python_speech_features import mfcc, logfbank, delta

Names, order, defaults and float64 results are those of python_speech_features 0.6. What differs:

  * Spectra are computed in float32: 1e-6 of a result is noise.
  * signal is an array of real numbers [N], at any scale, with N ≥ 1; a NaN or infinite sample raises.
  * preemph lies in [0, 1], lowfreq and highfreq in [0, samplerate / 2] Hz; frames have 2 to 65536 samples.
  * The warning that nfft cuts frames off goes to the logger of this module (the peer calls `logging.warn`, which Python 3.13
    no longer has).
  * sigproc.deframesig is left out.

All errors are ValueError or TypeError that name the argument.
"""

from __future__ import annotations

from pyasr.compat.python_speech_features import base, sigproc
from pyasr.compat.python_speech_features.base import (
    delta,
    fbank,
    get_filterbanks,
    hz2mel,
    lifter,
    logfbank,
    mel2hz,
    mfcc,
    ssc,
)

__all__ = [
    "base",
    "delta",
    "fbank",
    "get_filterbanks",
    "hz2mel",
    "lifter",
    "logfbank",
    "mel2hz",
    "mfcc",
    "sigproc",
    "ssc",
]
