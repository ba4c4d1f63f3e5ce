"""Loaders of public data sets in their official layout, and of manifests. Nothing is ever stored in the project.

Each data set is a module with `locate(data=None, *, offline=False)`, the folder that holds it, and `load(folder)`, its `Corpus`;
`fsdd` has `recordings` and `split` instead. `manifest.load` reads lists of one's own recordings. No loader opens a recording.
`digits` needs no files: it synthesizes its words.
"""

from pyasr.datasets._utterance import Corpus, Utterance

__all__ = ["Corpus", "Utterance"]
