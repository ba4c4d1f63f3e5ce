"""Checkpoints: what goes in comes out; what is damaged, strange or another model's is refused; a crash loses nothing."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import save

import pyasr
from pyasr import checkpoint
from pyasr.checkpoint import CheckpointError
from pyasr.recognizer import WordConfig, WordRecognizer


def small(words=("yes", "no"), hidden=4):
    return WordRecognizer(pyasr.backend("numpy"), WordConfig(words, hidden), seed=3)


def test_a_checkpoint_comes_back_bit_for_bit(tmp_path):
    path, recognizer = tmp_path / "deep" / "a.safetensors", small()
    recognizer.save(path, epoch=4)
    again = WordRecognizer.load(path, pyasr.backend("numpy"))
    assert again.config == recognizer.config
    np.testing.assert_array_equal(again.params.value, recognizer.params.value)
    assert checkpoint.load(path).config["notes"] == {"epoch": 4}
    assert [p.name for p in path.parent.iterdir()] == ["a.safetensors"]


def test_damaged_checkpoints_are_refused_with_the_path(tmp_path):
    path = tmp_path / "a.safetensors"
    small().save(path)
    good = path.read_bytes()
    damaged = [b"", b"x", good[:7], good[:100], good[:-1], b"\xff" * 8 + good[8:], good + b"more", b"\0" * len(good)]
    damaged += [good[:40] + b"\xff" + good[41:], good.replace(b'"F32"', b'"F16"', 1)]
    for data in damaged:
        path.write_bytes(data)
        with pytest.raises(CheckpointError, match=r"a.safetensors"):
            WordRecognizer.load(path, pyasr.backend("numpy"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "not a checkpoint of pyasr"),
        ({"version": "99"}, "format version 99, this pyasr reads 1"),
        ({"config": "{"}, "no readable config"),
        ({"config": "[" * 100_000}, "no readable config"),
        ({"config": "[]"}, "config must be a JSON object, got list"),
        ({"config": '{"kind": "cat"}'}, "must hold a word_classifier, got 'cat'"),
        ({"config": '{"kind": "word_classifier"}'}, "model must have the fields words, hidden"),
    ],
)
def test_strange_metadata_is_refused(tmp_path, change, message):
    path = tmp_path / "a.safetensors"
    metadata = {"format": "pyasr", "version": "1", "config": "{}", **change}
    path.write_bytes(save({"a": np.zeros(3, np.float32)}, metadata))
    with pytest.raises(CheckpointError, match=message):
        WordRecognizer.load(path, pyasr.backend("numpy"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("hidden", 10**9, "model.hidden must lie in"),
        ("hidden", "4", "model.hidden has the wrong type, str"),
        ("bidirectional", 1, "model.bidirectional has the wrong type, int"),
        ("cell", 3, "model.cell has the wrong type, int"),
        ("cell", "qrnn", "model.cell must be one of lstm, gru, rnn, got 'qrnn'"),
        ("cell", "gru", "lacks gru0.bias_l0.* and has unknown lstm0"),
        ("layers", True, "model.layers has the wrong type, bool"),
        ("words", [], "model.words must be a list of different words"),
        ("words", [1, 2], "model.words must be a list of different words"),
        ("words", ["yes", "yes"], "model.words must be a list of different words"),
        ("words", ["yes", "\x1b[2J"], "model.words must be a list of different words"),
        (
            "words",
            ["yes", "no", "maybe"],
            r"out.weight must be float32 of shape \(3, 8\), got float32 of shape \(2, 8\)",
        ),
        ("sample_rate", 1000, "MfccOptions: num_mels must leave every mel filter"),
        ("surprise", 1, "model must have the fields"),
    ],
)
def test_a_config_is_checked_before_anything_is_allocated(tmp_path, field, value, message):
    path, recognizer = tmp_path / "a.safetensors", small()
    model = {"words": ["yes", "no"], "hidden": 4, "layers": 1, "dropout": 0.0, "bidirectional": True}
    model |= {"sample_rate": 8000, field: value}
    checkpoint.save(path, recognizer.params, {"kind": "word_classifier", "model": model})
    with pytest.raises(CheckpointError, match=message):
        WordRecognizer.load(path, pyasr.backend("numpy"))


def test_a_claim_of_a_huge_model_allocates_nothing(tmp_path):
    path, recognizer = tmp_path / "a.safetensors", small()
    model = {"words": ["yes", "no"], "hidden": 8192, "layers": 64, "dropout": 0.0, "bidirectional": True}  # 400 GB
    model["sample_rate"] = 8000
    checkpoint.save(path, recognizer.params, {"kind": "word_classifier", "model": model})
    with pytest.raises(CheckpointError, match=r"a.safetensors lacks lstm1.bias_l0, "):
        WordRecognizer.load(path, pyasr.backend("numpy"))
    header = b'{"a":{"dtype":"F32","shape":[0,4611686018427387904,4611686018427387904],"data_offsets":[0,0]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(CheckpointError, match=r"a.safetensors is not a safetensors file, or is damaged"):
        WordRecognizer.load(path, pyasr.backend("numpy"))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    path, recognizer = tmp_path / "a.safetensors", small()
    recognizer.params["out.bias"][1] = value
    recognizer.save(path)
    with pytest.raises(CheckpointError, match=r"out.bias must be finite, got a NaN or infinity"):
        WordRecognizer.load(path, pyasr.backend("numpy"))


def test_another_models_checkpoint_is_refused_and_changes_nothing(tmp_path):
    path, other = tmp_path / "a.safetensors", small(hidden=5)
    other.save(path)
    recognizer = small()
    before = recognizer.params.value.copy()
    with pytest.raises(CheckpointError, match=r"lstm0.weight_ih_l0 must be float32 of shape \(2, 16, 39\)"):
        checkpoint.load(path).restore(recognizer.params)
    unlike = pyasr.Params(pyasr.backend("numpy"))
    unlike.declare("something", (3,))
    unlike.init(0)
    with pytest.raises(CheckpointError, match="lacks something and has unknown lstm0"):
        checkpoint.load(path).restore(unlike)
    np.testing.assert_array_equal(recognizer.params.value, before)


def test_a_failed_write_keeps_the_old_checkpoint(tmp_path, monkeypatch):
    path, recognizer = tmp_path / "a.safetensors", small()
    recognizer.save(path)
    before = path.read_bytes()

    def refuse(*_):
        raise OSError(28, "No space left on device")

    for call in ("fsync", "replace"):
        with monkeypatch.context() as patch:
            patch.setattr(os, call, refuse)
            with pytest.raises(OSError, match="No space"):
                recognizer.save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


def test_killed_while_saving_leaves_a_checkpoint_that_loads(tmp_path):
    path = tmp_path / "a.safetensors"
    script = (
        "import sys, pyasr\nfrom pyasr.recognizer import *\n"
        "r = WordRecognizer(pyasr.backend('numpy'), WordConfig(('yes', 'no'), 64))\n"
        "r.save(sys.argv[1])\nprint('ready', flush=True)\nwhile True: r.save(sys.argv[1])\n"
    )
    for delay in (0.0, 0.003, 0.017):
        with subprocess.Popen([sys.executable, "-c", script, path], cwd=tmp_path, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            time.sleep(delay)
            process.kill()
        WordRecognizer.load(path, pyasr.backend("numpy"))
