"""Recognizers as a checkpoint holds them: front end, model, and the words or characters of its outputs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from pyasr import checkpoint
from pyasr.batches import pad
from pyasr.checkpoint import CheckpointError
from pyasr.decode import Hypothesis, Ngram, ctc_beam, ctc_greedy
from pyasr.features import MfccOptions, cmvn, deltas
from pyasr.layers import Chain
from pyasr.layers.recurrent import CELLS
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.models import lstm_ctc, word_classifier
from pyasr.ops import host
from pyasr.ops._plan import make_plan
from pyasr.params import Params
from pyasr.text import Alphabet, is_printable, normalize, pad_labels

BATCH = 64  # utterances that are recognized side by side, and
FRAMES = 100_000  # frames of them, padding counted; a longer utterance is recognized alone


class FrontEnd:
    """13 MFCC with their first and second derivatives, normalized per utterance: 39 features every 10 ms.

    26 mel filters from 64 Hz to 100 Hz below the Nyquist frequency, Hamming windows of 25 ms.
    """

    SIZE = 39

    def __init__(self, ops: Any, sample_rate: int) -> None:
        self.ops, self.sample_rate = ops, sample_rate
        try:
            self._plan = make_plan(
                MfccOptions(sample_rate=sample_rate, window="hamming", num_mels=26, low_freq=64.0, high_freq=-100.0)
            )
        except ValueError as e:
            raise ValueError(f"sample_rate must be high enough for 26 mel filters, got {sample_rate} Hz: {e}") from e

    def __call__(self, wave: np.ndarray) -> np.ndarray:
        """wave [N] at `sample_rate` -> features [T, 39] float32; no frames for less than 25 ms.

        On a device everything up to the one copy of the result happens there.
        """
        return host(cmvn(deltas(self.ops.mfcc(self.ops.xp.asarray(wave), self._plan))))


@dataclass(frozen=True)
class WordConfig:
    """What a checkpoint says about its model. `words` are in the order of the logits."""

    words: tuple[str, ...]
    hidden: int = 64
    layers: int = 1
    dropout: float = 0.0
    bidirectional: bool = True
    cell: str = "lstm"
    sample_rate: int = 8000


@dataclass(frozen=True)
class CtcConfig:
    """What a checkpoint says about its model. Output k + 1 is character k of the alphabet, output 0 the blank."""

    alphabet: str
    hidden: int = 128
    layers: int = 2
    dropout: float = 0.3
    stack: int = 3
    bidirectional: bool = True
    cell: str = "lstm"
    sample_rate: int = 16000


class _Recognizer:
    """Weights, new from the seed or those of a checkpoint, behind a front end; save and load.

    encode, targets, fits and criterion are what training needs to know about the transcripts: `criterion(ops)(logits, lengths,
    targets(labels))` is the loss of utterances whose labels come from `encode`.
    """

    KIND: ClassVar[str]
    CONFIG: ClassVar[type]
    criterion: ClassVar[type[SoftmaxCrossEntropy] | type[Ctc]]
    no_label: ClassVar[Any]  # in targets, for an utterance whose loss is not looked at
    config: Any

    def __init__(self, ops: Any, config: Any, seed: int = 0, weights: checkpoint.Checkpoint | None = None) -> None:
        self.config = config
        self.front_end = FrontEnd(ops, config.sample_rate)
        self.params = Params(ops)
        self.model = self._build()
        if weights is not None:
            weights.check(self.params)  # before init() allocates what the config asks for
        self.params.init(seed)
        if weights is not None:
            weights.restore(self.params)

    def _build(self) -> Chain:
        """The model that the config describes, declared in self.params."""
        raise AssertionError("every recognizer builds its model")

    def read(self, logits: Any, lengths: Any) -> list[str]:
        """The texts that the model's outputs say."""
        raise AssertionError("every recognizer reads its outputs")

    def fits(self, label: Any, frames: int) -> bool:
        """Whether an utterance of so many frames can say the label at all."""
        return True

    def batches(self, features: Sequence[np.ndarray]) -> Iterator[tuple[np.ndarray, Any, Any]]:
        """(indices, logits, lengths of the logits) of utterances of similar length; theirs do not depend on their neighbors."""
        xp = self.params.ops.xp
        order, begin = np.argsort([len(f) for f in features], kind="stable"), 0
        while begin < len(order):
            end = begin + 1
            while end < min(begin + BATCH, len(order)) and (end + 1 - begin) * len(features[order[end]]) <= FRAMES:
                end += 1
            chosen, begin = order[begin:end], end
            x, lengths = map(xp.asarray, pad([features[i] for i in chosen]))
            logits, _ = self.model.forward(x, lengths)
            yield chosen, logits, self.model.out_lengths(lengths)

    def texts(self, features: Sequence[np.ndarray]) -> list[str]:
        """Features [T_n, 39] of N utterances -> their texts."""
        out = [""] * len(features)
        for chosen, logits, lengths in self.batches(features):
            for i, text in zip(chosen, self.read(logits, lengths), strict=True):
                out[i] = text
        return out

    def _features(self, wave: np.ndarray, sample_rate: int) -> np.ndarray:
        if sample_rate != self.config.sample_rate:
            raise ValueError(f"transcribe: sample_rate must be {self.config.sample_rate}, got {sample_rate}")
        features = self.front_end(wave)
        if len(features) == 0:
            raise ValueError(f"transcribe: wave must last at least 25 ms, got {1000 * len(wave) / sample_rate:.0f} ms")
        return features

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        training: Mapping[str, Any] | None = None,
        optimizer: Mapping[str, Any] | None = None,
        previous: Path | None = None,
        **notes: Any,
    ) -> None:
        """Write a checkpoint; `notes` (JSON) say where it comes from. training (JSON) and optimizer are what a training needs
        to go on; previous keeps the file that was there, see checkpoint.save."""
        config = {"kind": self.KIND, "model": asdict(self.config), "notes": notes}
        if training is not None:
            config["training"] = dict(training)
        checkpoint.save(path, self.params, config, optimizer=optimizer, previous=previous)

    @classmethod
    def load(cls, path: str | os.PathLike[str], ops: Any) -> Self:
        """Read a checkpoint. Raises FileNotFoundError, and CheckpointError with the reason."""
        file = checkpoint.load(path)
        if file.config.get("kind") != cls.KIND:
            raise CheckpointError(f"{path} must hold a {cls.KIND}, got {file.config.get('kind')!r}")
        try:
            return cls(ops, _config(file, cls.CONFIG), weights=file)
        except CheckpointError:
            raise
        except ValueError as e:  # a front end that cannot be built, such as one for a rate of 1000 Hz
            raise CheckpointError(f"{path}: {e}") from e


class WordRecognizer(_Recognizer):
    """Which of a fixed list of words was said.

    recognizer = WordRecognizer.load("runs/fsdd/best.safetensors")
    word, probability = recognizer.transcribe(*pyasr.load("seven.wav", recognizer.config.sample_rate))
    """

    KIND, CONFIG, criterion = "word_classifier", WordConfig, SoftmaxCrossEntropy
    no_label = -1

    def _build(self) -> Chain:
        c = self.config
        return word_classifier(
            self.params, FrontEnd.SIZE, len(c.words), hidden=c.hidden, layers=c.layers, dropout=c.dropout,
            bidirectional=c.bidirectional, cell=c.cell,
        )  # fmt: skip

    def encode(self, text: str) -> Any:
        """The index of a word. Raises ValueError for any other text."""
        word = normalize(text)
        if word not in self.config.words:
            raise ValueError(f"text must be one of {len(self.config.words)} words, got {word!r:.80}")
        return self.config.words.index(word)

    def targets(self, labels: Sequence[Any]) -> Any:
        """Labels of B utterances -> [B] int32."""
        return self.params.ops.xp.asarray(np.array(labels, np.int32))

    def read(self, logits: Any, lengths: Any) -> list[str]:
        return [self.config.words[k] for k in host(logits).argmax(axis=1)]

    def transcribe(self, wave: np.ndarray, sample_rate: int) -> tuple[str, float]:
        """wave [N] -> (word, its probability). Raises ValueError for another sample rate or less than one frame (25 ms)."""
        ((_, logits, _),) = self.batches([self._features(wave, sample_rate)])
        p = probabilities(host(logits))[0]
        return self.config.words[int(p.argmax())], float(p.max())


class CtcRecognizer(_Recognizer):
    """Connected speech in the characters of the training transcripts, decoded greedily, or by what `use_beam` was told.

    recognizer = CtcRecognizer.load("runs/an4/best.safetensors")
    recognizer.use_beam(16, Ngram.load("an4.arpa"))
    text, probability = recognizer.transcribe(*pyasr.load("call.wav", recognizer.config.sample_rate))
    """

    KIND, CONFIG, criterion = "lstm_ctc", CtcConfig, Ctc
    no_label = np.zeros(0, np.int32)
    _beam: Mapping[str, Any] | None = None  # arguments of ctc_beam; None: greedily

    def _build(self) -> Chain:
        c = self.config
        self.alphabet = Alphabet(c.alphabet)
        return lstm_ctc(
            self.params, FrontEnd.SIZE, len(self.alphabet), hidden=c.hidden, layers=c.layers, dropout=c.dropout,
            stack=c.stack, bidirectional=c.bidirectional, cell=c.cell,
        )  # fmt: skip

    def encode(self, text: str) -> Any:
        """Labels [U] int32. Raises ValueError naming the characters that the alphabet lacks."""
        return self.alphabet.encode(text)

    def targets(self, labels: Sequence[Any]) -> Any:
        """Labels of B utterances -> [B, U] int32, -1 behind the end."""
        return self.params.ops.xp.asarray(pad_labels(labels))

    def fits(self, label: Any, frames: int) -> bool:
        """A frame for every label, and one for the blank between two that are the same."""
        return len(label) + int((label[1:] == label[:-1]).sum()) <= -(-frames // self.config.stack)

    def use_beam(
        self, width: int = 16, lm: Ngram | None = None, *, lm_weight: float = 0.5, length_bonus: float = 0.0,
        oov_penalty: float = -10.0,
    ) -> None:  # fmt: skip
        """Decode by `pyasr.decode.ctc_beam` from now on.

        A model whose words are single characters (and <space>) is one over characters; any other is over words, which the space
        of the alphabet ends. What is no word of it is <unk>, less `oov_penalty` nats. `length_bonus` is added per character or
        word.

        Raises ValueError where model and alphabet have nothing in common, or for words in an alphabet without a space.
        """
        beam: dict[str, Any] = {"width": width, "lm_weight": lm_weight, "length_bonus": length_bonus}
        if lm is not None and lm.over_characters:
            beam["lm"] = lm.over(self.alphabet)
        elif lm is not None:
            characters = self.alphabet.characters
            if " " not in characters:
                raise ValueError(f"use_beam: lm is over words, which end with a space, got the alphabet {characters!r}")
            beam["lm"] = lm.over_words(self.alphabet, oov_penalty=oov_penalty)
            beam["delimiter"] = characters.index(" ") + 1
        ctc_beam(np.zeros((0, 0, len(self.alphabet))), np.zeros(0, np.int32), **beam)  # whether it takes these
        self._beam = beam

    def read(self, logits: Any, lengths: Any) -> list[str]:
        if self._beam is None:
            return [self.alphabet.decode(symbols) for symbols in ctc_greedy(logits, lengths)]
        return [self.alphabet.decode(best.labels) for best in self._search(logits, lengths)]

    def _search(self, logits: Any, lengths: Any) -> list[Hypothesis]:
        """The best hypothesis of each utterance. None is impossible: every character has a probability."""
        return [found[0] for found in ctc_beam(logits, lengths, **self._beam or {})]

    def transcribe(self, wave: np.ndarray, sample_rate: int) -> tuple[str, float]:
        """wave [N] -> (text, the probability of its best path; after `use_beam` that of all its paths that the beam has seen,
        without the language model). Raises ValueError for another sample rate or less than one frame (25 ms)."""
        ((_, logits, lengths),) = self.batches([self._features(wave, sample_rate)])
        if self._beam is not None:
            (best,) = self._search(logits, lengths)
            return self.alphabet.decode(best.labels), float(np.exp(best.log_p))
        best_path = probabilities(host(logits))[: int(lengths[0]), 0].max(axis=1)
        return self.read(logits, lengths)[0], float(np.exp(np.log(best_path).sum()))


def load(path: str | os.PathLike[str], ops: Any) -> WordRecognizer | CtcRecognizer:
    """The recognizer that a checkpoint holds. Raises FileNotFoundError, and CheckpointError with the reason."""
    kind = checkpoint.load(path).config.get("kind")
    for recognizer in (WordRecognizer, CtcRecognizer):
        if kind == recognizer.KIND:
            return recognizer.load(path, ops)
    raise CheckpointError(f"{path} must hold a word_classifier or an lstm_ctc, got {kind!r}")


# field of a config -> its type and, of a number, its range
_FIELDS: dict[str, tuple[Any, float, float]] = {
    "words": (list, 0, 0),
    "alphabet": (str, 0, 0),
    "hidden": (int, 1, 8192),
    "layers": (int, 1, 64),
    "dropout": ((int, float), 0, 0.99),
    "stack": (int, 1, 64),
    "bidirectional": (bool, 0, 0),
    "cell": (str, 0, 0),
    "sample_rate": (int, 1000, 384_000),
}


def _config(file: checkpoint.Checkpoint, kind: type) -> Any:
    """The model's config with every field checked: a checkpoint may come from anywhere."""
    got, names = file.config.get("model"), [f.name for f in fields(kind)]
    if isinstance(got, dict):
        got = {"cell": "lstm", **got}  # a file from before there were others does not say it
    if not isinstance(got, dict) or got.keys() != set(names):
        raise CheckpointError(f"{file.path}: model must have the fields {', '.join(names)}, got {got!r:.200}")
    for name in names:
        wanted, low, high = _FIELDS[name]
        if not isinstance(got[name], wanted) or isinstance(got[name], bool) != (wanted is bool):
            raise CheckpointError(f"{file.path}: model.{name} has the wrong type, {type(got[name]).__name__}")
        if high and not low <= got[name] <= high:
            raise CheckpointError(f"{file.path}: model.{name} must lie in [{low}, {high}], got {got[name]}")
    if got["cell"] not in CELLS:
        raise CheckpointError(f"{file.path}: model.cell must be one of {', '.join(CELLS)}, got {got['cell']!r:.80}")
    if "words" in got:
        words = got["words"]
        if not words or not all(isinstance(w, str) and is_printable(w) for w in words) or len(set(words)) < len(words):
            raise CheckpointError(f"{file.path}: model.words must be a list of different words, got {words!r:.200}")
        got = {**got, "words": tuple(words)}
    elif not is_printable(got["alphabet"]):
        raise CheckpointError(f"{file.path}: model.alphabet must be printable, got {got['alphabet']!r:.200}")
    return kind(**got)


def probabilities(logits: np.ndarray) -> np.ndarray:
    """softmax over the last axis, in float64."""
    e = np.exp(logits.astype(np.float64) - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)
