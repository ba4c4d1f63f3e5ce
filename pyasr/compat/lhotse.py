"""Lets lhotse read the folders of `pyasr features`.

    import pyasr.compat.lhotse
    pyasr.compat.lhotse.register()
    cuts = lhotse.CutSet.from_file("mel/cuts.jsonl")
    features = cuts["a.wav"].load_features()  # [T, F]

Paths in cuts.jsonl are those that the command was given: with relative ones lhotse is started in the same folder, as for its own
manifests. Processes that do not inherit the registration call `register` themselves.
"""

from __future__ import annotations

import importlib
import os
import re

import numpy as np

from pyasr.features.store import STORAGE, open_shard

_KEY = re.compile(r"([0-9]{1,15}):([0-9]{1,15})")


class ShardReader:
    """lhotse's FeaturesReader of one shard; storage_path is the shard.

    Source: lhotse 1.33, features/io.py.

    >>> from pyasr.compat.lhotse import ShardReader
    >>> np.save("features-00000.npy", np.arange(12, dtype=np.float32).reshape(6, 2))
    >>> ShardReader("features-00000.npy").read("3:2")
    array([[6., 7.],
           [8., 9.]], dtype=float32)
    """

    name = STORAGE

    def __init__(self, storage_path: str | os.PathLike[str]) -> None:
        self.rows = open_shard(storage_path)

    def read(self, key: str, left_offset_frames: int = 0, right_offset_frames: int | None = None) -> np.ndarray:
        """Frames [left_offset_frames:right_offset_frames] of the utterance that key, "offset:frames", names; [t, F] float32, a
        copy that may be written to. Raises ValueError for a key that leads outside the shard."""
        found = _KEY.fullmatch(key)
        offset, frames = (int(found[1]), int(found[2])) if found else (0, 0)
        if not 0 < frames <= len(self.rows) - offset:
            raise ValueError(
                f"ShardReader.read: key must be 'offset:frames' within {len(self.rows)} rows, got {key!r:.80}"
            )
        return self.rows[offset : offset + frames][left_offset_frames:right_offset_frames].copy()


def register() -> None:
    """Make ShardReader known to lhotse. Raises ImportError when lhotse is not installed."""
    try:
        importlib.import_module("lhotse")
    except ModuleNotFoundError as e:
        if e.name != "lhotse":
            raise
        raise ImportError("lhotse is not installed: pip install lhotse", name="lhotse") from e
    importlib.import_module("lhotse.features.io").register_reader(ShardReader)
