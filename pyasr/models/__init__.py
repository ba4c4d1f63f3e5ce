"""Named builders: a function that declares shapes and returns a chain."""

from pyasr.models.word_classifier import word_classifier

__all__ = ["word_classifier"]
