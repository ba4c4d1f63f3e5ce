"""Features of recordings: mfcc, fbank and spectrogram in every dialect, and what is done to them afterwards."""

from pyasr.features.batch import batch
from pyasr.features.extract import fbank, mfcc, spectrogram
from pyasr.features.normalize import Cmvn, cmvn, sliding_cmvn
from pyasr.features.online import OnlineFeatures
from pyasr.features.presets import PRESETS, explain, preset
from pyasr.features.store import FeatureStore, open_store
from pyasr.features.transform import delta_filters, deltas, resize, stack, subsample
from pyasr.ops._options import MfccOptions

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
    "explain",
    "fbank",
    "mfcc",
    "open_store",
    "preset",
    "resize",
    "sliding_cmvn",
    "spectrogram",
    "stack",
    "subsample",
]
