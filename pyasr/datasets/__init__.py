"""Loaders of public data sets in their official layout, and of manifests. Nothing is ever stored in the project.

Each data set is a module with `locate(data=None, *, offline=False)`, the folder that holds it, and `load(folder)`, its `Corpus`.
`manifest` reads lists of one's own recordings, and `digits` needs no files: it synthesizes its words. No loader opens a
recording: `utterance.wave(sample_rate)` does. `pyasr.datasets.find` takes what the command line takes.
"""

from pyasr.datasets._find import LAYOUTS, NAMES, find
from pyasr.datasets._utterance import Corpus, Skipped, Utterance

__all__ = ["LAYOUTS", "NAMES", "Corpus", "Skipped", "Utterance", "find"]
