"""Every model learns eight utterances by heart, and a checkpoint brings it back."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import recognizer
from pyasr.batches import pad
from pyasr.checkpoint import CheckpointError
from pyasr.counter import stream
from pyasr.decode import Ngram, ctc_beam
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not
from pyasr.optim import Adam, Sgd
from pyasr.recognizer import CtcConfig, CtcRecognizer, WordConfig, WordRecognizer
from pyasr.text import Alphabet, pad_labels
from pyasr.train import fit

pytest.importorskip("safetensors", reason="checkpoints are safetensors")
ARPA = runpy.run_path(str(Path(__file__).with_name("arpa.py")))
WORDS = ("ab", "ba", "a b", "bb", "aa b", "b", "c", "cab")
COLUMNS = [c for c in ("numpy", "cpp") if why_not(c) is None]


def wave(text, rate=8000):
    """A tone per letter and silence for a space, 120 ms each, with gaps of 60 ms."""
    t = np.arange(int(0.12 * rate)) / rate
    noise = 1e-3 * np.random.default_rng(len(text)).standard_normal(int(0.06 * rate))
    tones = {c: np.sin(2 * np.pi * f * t) for c, f in (("a", 400), ("b", 900), ("c", 2000), (" ", 0))}
    return (0.3 * np.concatenate([noise, *(part for c in text for part in (tones[c], noise))])).astype(np.float32)


def words(ops):
    r = WordRecognizer(ops, WordConfig(WORDS, hidden=16, sample_rate=8000), seed=1)
    targets = (np.arange(8, dtype=np.int32),)
    return r, SoftmaxCrossEntropy(ops), targets, Sgd(r.params, clip=1.0), 0.3, 40


def characters(ops):
    alphabet = Alphabet.of(WORDS)
    r = CtcRecognizer(ops, CtcConfig(alphabet.characters, hidden=24, layers=2, dropout=0.0, sample_rate=8000), seed=1)
    return r, Ctc(ops), (pad_labels([alphabet.encode(w) for w in WORDS]),), Adam(r.params), 0.01, 120


@pytest.mark.parametrize("column", COLUMNS)
@pytest.mark.parametrize("build", [words, characters])
def test_learns_eight_utterances_by_heart(build, column, tmp_path):
    ops = pyasr.backend(column)
    r, criterion, targets, optimizer, lr, epochs = build(ops)
    features = [r.front_end(wave(w)) for w in WORDS]
    x, lengths = pad(features)
    fit(
        r.model, criterion, lambda epoch, first: [(x, lengths, *targets)][first:], optimizer, epochs=epochs,
        learning_rate=lambda step: lr,
    )  # fmt: skip
    assert [r.transcribe(wave(w), 8000)[0] for w in WORDS] == list(WORDS)
    r.save(tmp_path / "best.safetensors", from_="test")
    again = recognizer.load(tmp_path / "best.safetensors", ops)
    assert type(again) is type(r) and again.config == r.config
    assert [again.transcribe(wave(w), 8000) for w in WORDS] == [r.transcribe(wave(w), 8000) for w in WORDS]
    if isinstance(r, CtcRecognizer):
        assert again.texts(features) == list(WORDS)
    other = WordRecognizer if isinstance(r, CtcRecognizer) else CtcRecognizer
    with pytest.raises(CheckpointError, match=f"must hold a {other.KIND}, got '{r.KIND}'"):
        other.load(tmp_path / "best.safetensors", ops)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"alphabet": ""}, "characters must be different"),
        ({"alphabet": "a\n"}, "alphabet must be printable"),
        ({"stack": 0}, "stack"),
    ],
)
def test_a_config_from_anywhere_is_checked(change, message, tmp_path):
    ops = pyasr.backend("numpy")
    r = CtcRecognizer(ops, CtcConfig("ab", hidden=2, layers=1, sample_rate=8000))
    object.__setattr__(r, "config", CtcConfig(**{**r.config.__dict__, **change}))
    r.save(tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=message):
        recognizer.load(tmp_path / "x.safetensors", ops)


@pytest.mark.parametrize(("alphabet", "words", "delimiter"), [(" ab", ("ab", "b"), 1), ("ab", ("a", "b"), None)])
def test_a_beam_takes_words_or_characters(alphabet, words, delimiter, tmp_path):
    recognizer = CtcRecognizer(pyasr.backend(), CtcConfig(alphabet, hidden=4, layers=1))
    lm = Ngram.load(ARPA["write"](tmp_path / "m.arpa", ARPA["random_ngrams"](words, 2, alphabet)))
    logits = stream(alphabet).standard_normal((12, 2, len(recognizer.alphabet))).astype(np.float32)
    lengths = np.array([12, 7], np.int32)
    recognizer.use_beam(6, lm, lm_weight=0.8, length_bonus=0.2, oov_penalty=-3.0)
    over = lm.over_words(recognizer.alphabet, oov_penalty=-3.0) if delimiter else lm.over(recognizer.alphabet)
    found = ctc_beam(logits, lengths, width=6, lm=over, lm_weight=0.8, length_bonus=0.2, delimiter=delimiter)
    assert recognizer.read(logits, lengths) == [recognizer.alphabet.decode(h[0].labels) for h in found]


def test_a_model_over_words_needs_a_space(tmp_path):
    recognizer = CtcRecognizer(pyasr.backend(), CtcConfig("ab", hidden=4, layers=1))
    lm = Ngram.load(ARPA["write"](tmp_path / "m.arpa", ARPA["random_ngrams"](("ab",), 1, 0)))
    with pytest.raises(ValueError, match="use_beam: lm is over words, which end with a space, got the alphabet 'ab'"):
        recognizer.use_beam(4, lm)
    with pytest.raises(ValueError, match=r"ctc_beam: width must lie in \[1, 4096\], got 0"):
        recognizer.use_beam(0)
