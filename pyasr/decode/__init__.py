"""From scores to symbols: the best path, where known labels lie, and a search with a language model."""

from pyasr.decode.beam import Hypothesis as Hypothesis
from pyasr.decode.beam import ctc_beam as ctc_beam
from pyasr.decode.best_path import Span as Span
from pyasr.decode.best_path import ctc_align as ctc_align
from pyasr.decode.best_path import ctc_greedy as ctc_greedy
from pyasr.decode.ngram import Ngram as Ngram

__all__ = ["Hypothesis", "Ngram", "Span", "ctc_align", "ctc_beam", "ctc_greedy"]
