"""Named builders: a function that declares shapes and returns a chain."""

from pyasr.models.lstm_ctc import lstm_ctc
from pyasr.models.word_classifier import word_classifier

__all__ = ["lstm_ctc", "word_classifier"]
