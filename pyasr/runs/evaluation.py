"""How often a recognizer is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pyasr.ops import host
from pyasr.recognizer import CtcRecognizer, WordRecognizer
from pyasr.runs.material import Material
from pyasr.scoring import bootstrap_interval, cer, error_interval, wer
from pyasr.text import normalize


@dataclass(frozen=True)
class Score:
    """Errors over a set of utterances. Rates are fractions; intervals are 95 % bootstrap over utterances."""

    wer: float
    cer: float
    substitutions: int  # of words, as the next three
    insertions: int
    deletions: int
    words: int
    utterances: int
    right: int  # utterances without an error
    accuracy: float
    loss: float | None  # mean in nats over the utterances that the model can say; None where there is none
    wer_interval: tuple[float, float] | None = None
    accuracy_interval: tuple[float, float] | None = None

    @property
    def errors(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    def as_json(self, model: str) -> dict[str, Any]:
        """What `--json` prints: accuracy for classifiers only."""
        figures = asdict(self)
        if model != WordRecognizer.KIND:
            for name in ("accuracy", "accuracy_interval"):
                del figures[name]
        return figures


def evaluate(
    recognizer: WordRecognizer | CtcRecognizer,
    material: Material,
    *,
    intervals: bool = False,
    on_batch: Callable[[], object] = lambda: None,
) -> Score:
    """Recognize everything and count. A text that the model cannot say counts in full; only `loss` leaves it out.

    Raises ValueError when there is nothing to recognize.
    """
    if not material.utterances:
        raise ValueError("evaluate: there are no utterances")
    texts, losses = [""] * len(material.features), []
    criterion = recognizer.criterion(recognizer.params.ops)
    labels = [_label(recognizer, u.text, len(f)) for u, f in zip(material.utterances, material.features, strict=True)]
    for chosen, logits, lengths in recognizer.batches(material.features):
        for i, text in zip(chosen, recognizer.read(logits, lengths), strict=True):
            texts[i] = text
        targets = recognizer.targets([recognizer.no_label if labels[i] is None else labels[i] for i in chosen])
        each = host(criterion(logits, lengths, targets).losses)
        losses += [float(loss) for i, loss in zip(chosen, each, strict=True) if labels[i] is not None]
        on_batch()
    references = [normalize(text) for text in material.texts]
    words, characters = wer(references, texts), cer(references, texts)
    right = np.array([a == b for a, b in zip(references, texts, strict=True)])
    loss = math.fsum(losses) / len(losses) if losses else None
    return Score(
        words.rate, characters.rate, words.substitutions, words.insertions, words.deletions,
        sum(len(text.split()) for text in references), len(right), int(right.sum()), float(right.mean()),
        loss if loss is not None and math.isfinite(loss) else None,
        error_interval(references, texts) if intervals else None,
        bootstrap_interval(right) if intervals else None,
    )  # fmt: skip


def _label(recognizer: WordRecognizer | CtcRecognizer, text: str, frames: int) -> Any:
    """The label of an utterance, or None where the model cannot say its text in so many frames."""
    try:
        label = recognizer.encode(text)
    except ValueError:
        return None
    return label if recognizer.fits(label, frames) else None
