"""A recognizer of single words: front end, model and words together, as a checkpoint holds them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyasr import checkpoint
from pyasr.batches import host, pad
from pyasr.checkpoint import CheckpointError
from pyasr.features import MfccOptions, cmvn, deltas
from pyasr.models import word_classifier
from pyasr.ops._plan import make_plan
from pyasr.params import Params

KIND = "word_classifier"
BATCH = 64  # utterances that are recognized side by side


class FrontEnd:
    """13 MFCC with their first and second derivatives, normalized per utterance: 39 features every 10 ms.

    26 mel filters from 64 Hz to 100 Hz below the Nyquist frequency, Hamming windows of 25 ms.
    """

    SIZE = 39

    def __init__(self, ops: Any, sample_rate: int) -> None:
        self.ops, self.sample_rate = ops, sample_rate
        self._plan = make_plan(
            MfccOptions(sample_rate=sample_rate, window="hamming", num_mels=26, low_freq=64.0, high_freq=-100.0)
        )

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """wave [N] at `sample_rate` -> features [T, 39] float32; no frames for less than 25 ms."""
        return cmvn(deltas(host(self.ops.mfcc(self.ops.xp.asarray(wave), self._plan))))


@dataclass(frozen=True)
class WordConfig:
    """What a checkpoint says about its model. `words` are in the order of the logits."""

    words: tuple[str, ...]
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0
    sample_rate: int = 8000


class WordRecognizer:
    """Which of a fixed list of words was said.

    recognizer = WordRecognizer.load("runs/fsdd/best.safetensors")
    word, probability = recognizer.transcribe(*pyasr.load("seven.wav", recognizer.config.sample_rate))
    """

    def __init__(
        self, ops: Any, config: WordConfig, seed: int = 0, weights: checkpoint.Checkpoint | None = None
    ) -> None:
        """New weights from the seed, or those of a checkpoint."""
        self.config = config
        self.front_end = FrontEnd(ops, config.sample_rate)
        self.params = Params(ops)
        self.model = word_classifier(
            self.params, FrontEnd.SIZE, len(config.words), hidden=config.hidden, layers=config.layers,
            dropout=config.dropout,
        )  # fmt: skip
        if weights is not None:
            weights.check(self.params)  # before init() allocates what the config asks for
        self.params.init(seed)
        if weights is not None:
            weights.restore(self.params)

    def logits(self, features: Sequence[np.ndarray]) -> np.ndarray:
        """Features [T_n, 39] of N utterances -> logits [N, V]; an utterance's do not depend on its neighbors."""
        xp, out = self.params.ops.xp, np.zeros((len(features), len(self.config.words)), np.float32)
        order = np.argsort([len(f) for f in features], kind="stable")
        for begin in range(0, len(order), BATCH):
            chosen = order[begin : begin + BATCH]
            x, lengths = pad([features[i] for i in chosen])
            y, _ = self.model.forward(xp.asarray(x), xp.asarray(lengths))
            out[chosen] = host(y)
        return out

    def transcribe(self, wave: np.ndarray, sample_rate: int) -> tuple[str, float]:
        """wave [N] -> (word, its probability). Raises ValueError for another sample rate or less than one frame (25 ms)."""
        if sample_rate != self.config.sample_rate:
            raise ValueError(f"transcribe: sample_rate must be {self.config.sample_rate}, got {sample_rate}")
        features = self.front_end(wave)
        if len(features) == 0:
            raise ValueError(f"transcribe: wave must last at least 25 ms, got {1000 * len(wave) / sample_rate:.0f} ms")
        p = probabilities(self.logits([features]))[0]
        return self.config.words[int(p.argmax())], float(p.max())

    def save(self, path: str | os.PathLike[str], **notes: Any) -> None:
        """Write a checkpoint; `notes` (JSON) say where it comes from."""
        checkpoint.save(path, self.params, {"kind": KIND, "model": asdict(self.config), "notes": notes})

    @classmethod
    def load(cls, path: str | os.PathLike[str], ops: Any) -> WordRecognizer:
        """Read a checkpoint. Raises FileNotFoundError, and CheckpointError with the reason."""
        file = checkpoint.load(path)
        if file.config.get("kind") != KIND:
            raise CheckpointError(f"{path} must hold a {KIND}, got {file.config.get('kind')!r}")
        config = _word_config(file)
        try:
            return cls(ops, config, weights=file)
        except CheckpointError:
            raise
        except ValueError as e:  # a front end that cannot be built, such as one for a rate of 1000 Hz
            raise CheckpointError(f"{path}: {e}") from e


def _word_config(file: checkpoint.Checkpoint) -> WordConfig:
    """The model's config with every field checked: a checkpoint may come from anywhere."""
    fields = file.config.get("model")
    kinds: dict[str, Any] = {"words": list, "hidden": int, "layers": int, "dropout": (int, float), "sample_rate": int}
    if not isinstance(fields, dict) or fields.keys() != kinds.keys():
        raise CheckpointError(f"{file.path}: model must have the fields {', '.join(kinds)}, got {fields!r:.200}")
    for name, kind in kinds.items():
        if not isinstance(fields[name], kind) or isinstance(fields[name], bool):
            raise CheckpointError(f"{file.path}: model.{name} has the wrong type, {type(fields[name]).__name__}")
    words = fields["words"]
    if not words or not all(isinstance(w, str) and w.isprintable() for w in words) or len(set(words)) < len(words):
        raise CheckpointError(f"{file.path}: model.words must be a list of different words, got {words!r:.200}")
    for name, low, high in (
        ("hidden", 1, 8192),
        ("layers", 1, 64),
        ("dropout", 0, 0.99),
        ("sample_rate", 1000, 384_000),
    ):
        if not low <= fields[name] <= high:
            raise CheckpointError(f"{file.path}: model.{name} must lie in [{low}, {high}], got {fields[name]}")
    return WordConfig(**{**fields, "words": tuple(words)})


def probabilities(logits: np.ndarray) -> np.ndarray:
    """softmax over the last axis, in float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
