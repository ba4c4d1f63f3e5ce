"""A corpus by the name that a command line gives."""

from __future__ import annotations

import importlib
import os
from typing import Any

from pyasr.datasets import manifest
from pyasr.datasets._utterance import Corpus

LAYOUTS = ("fsdd", "an4", "librispeech", "speech_commands")  # modules with locate and load
NAMES = ("digits", *LAYOUTS)


def find(
    source: str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    dev: str | os.PathLike[str] | None = None,
    share: float = 0.1,
    seed: int = 0,
    size: int | None = None,
    offline: bool = False,
    strict: bool = False,
) -> Corpus:
    """The corpus `source`: "digits" (synthetic), one of LAYOUTS, found through `data` as its module's locate says, or a
    manifest: a folder of recordings and texts, or a JSONL file.

    seed makes `digits` and chooses what is held out: of `fsdd`, and a share of `librispeech` without dev sets and of a manifest
    without `dev`. size is the number of training utterances that are kept (of `digits`: made), the first ones.

    Raises FileNotFoundError, and ValueError for what a loader refuses, for `data` without a data set and for `dev` without a
    manifest.
    """
    name = os.fspath(source)
    for argument, value, fits in (("data", data, name in LAYOUTS), ("dev", dev, name not in NAMES)):
        if value is not None and not fits:
            raise ValueError(f"find: {argument} must not be given with {name}, got {os.fspath(value)}")
    held_out: dict[str, dict[str, Any]] = {"fsdd": {"seed": seed}, "librispeech": {"seed": seed, "share": share}}
    if name == "digits":
        from pyasr.datasets import digits

        return digits.corpus(seed) if size is None else digits.corpus(seed, train=size)
    if name in LAYOUTS:
        module = importlib.import_module(f"pyasr.datasets.{name}")
        corpus: Corpus = module.load(module.locate(data, offline=offline), **held_out.get(name, {}))
    elif os.path.exists(name):
        corpus = manifest.corpus(name, dev=dev, share=share, seed=seed, strict=strict)
    else:
        raise FileNotFoundError(f"there is no data set and no manifest {name}; data sets: {', '.join(NAMES)}")
    return corpus if size is None else Corpus(**{**vars(corpus), "train": corpus.train[:size]})
