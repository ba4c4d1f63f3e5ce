"""Features of recordings: mfcc, fbank and spectrogram as Kaldi computes them, and what is done to them afterwards."""

from pyasr.features.batch import batch
from pyasr.features.extract import PRESETS, fbank, mfcc, spectrogram
from pyasr.features.normalize import Cmvn, cmvn, sliding_cmvn
from pyasr.features.online import OnlineFeatures
from pyasr.features.store import FeatureStore, open_store
from pyasr.features.transform import delta_filters, deltas, stack, subsample
from pyasr.ops._plan import MfccOptions

__all__ = [
    "PRESETS",
    "Cmvn",
    "FeatureStore",
    "MfccOptions",
    "OnlineFeatures",
    "batch",
    "cmvn",
    "delta_filters",
    "deltas",
    "fbank",
    "mfcc",
    "open_store",
    "sliding_cmvn",
    "spectrogram",
    "stack",
    "subsample",
]
