"""Every model learns eight utterances by heart, and a checkpoint brings it back."""

import numpy as np
import pytest

import pyasr
from pyasr import recognizer
from pyasr.batches import pad
from pyasr.checkpoint import CheckpointError
from pyasr.losses import Ctc, SoftmaxCrossEntropy
from pyasr.ops import why_not
from pyasr.optim import Adam, Sgd
from pyasr.recognizer import CtcConfig, CtcRecognizer, WordConfig, WordRecognizer
from pyasr.text import Alphabet, pad_labels
from pyasr.train import fit

pytest.importorskip("safetensors", reason="checkpoints are safetensors")
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
