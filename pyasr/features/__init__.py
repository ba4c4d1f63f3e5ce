"""Features of recordings: mfcc, fbank and spectrogram as Kaldi computes them, and what is done to them afterwards."""

from pyasr.features.batch import batch
from pyasr.features.extract import PRESETS, fbank, mfcc, spectrogram
from pyasr.features.online import OnlineFeatures
from pyasr.features.transform import cmvn, delta_filters, deltas
from pyasr.ops._plan import MfccOptions

__all__ = [
    "PRESETS",
    "MfccOptions",
    "OnlineFeatures",
    "batch",
    "cmvn",
    "delta_filters",
    "deltas",
    "fbank",
    "mfcc",
    "spectrogram",
]
