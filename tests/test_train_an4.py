"""`pyasr train an4`, from a small tree in the official layout, and on the real recordings where they are."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from pyasr import cli

pytest.importorskip("msgspec", reason="options are checked with it")
soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
pytest.importorskip("safetensors", reason="checkpoints are safetensors")
pytest.importorskip("rapidfuzz", reason="word errors are counted with it")
from pyasr.runs.folder import read_metrics  # noqa: E402  (after the packages that it needs)

REAL = Path(os.environ.get("PYASR_DATA", "")) / "an4"


def tone(text, seed):
    """A tone per letter, 100 ms each, with gaps of 50 ms, at 16 kHz."""
    t = np.arange(1600) / 16000
    noise = 1e-3 * np.random.default_rng(seed).standard_normal(800)
    pitch = {"A": 500, "B": 1500, "C": 3500}
    tones = [0.3 * np.sin(2 * np.pi * pitch[c] * t) if c in pitch else 0 * t for c in text]
    return np.concatenate([noise, *(part for one in tones for part in (one, noise))])


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("an4")
    (root / "etc").mkdir()
    texts = ("A", "B", "A B", "BA", "C A", "CAB")
    lists = {"an4_train": ("an4_clstk", ("fash", "mblb", "fejs", "mwhw")), "an4_test": ("an4test_clstk", ("fcaw",))}
    for part, (folder, speakers) in lists.items():
        fileids, lines = [], []
        for s, speaker in enumerate(speakers):
            (root / "wav" / folder / speaker).mkdir(parents=True)
            for k, text in enumerate(texts):
                name = f"cen{k}-{speaker}-b"
                soundfile.write(root / "wav" / folder / speaker / f"{name}.wav", tone(text, 10 * s + k), 16000)
                fileids.append(f"{folder}/{speaker}/{name}\n")
                lines.append(f"<s> {text} </s> ({name})\n")
        (root / "etc" / f"{part}.fileids").write_text("".join(fileids))
        (root / "etc" / f"{part}.transcription").write_text("".join(lines))
    return root


def test_learns_evaluates_and_transcribes(data, tmp_path, capsys):
    argv = ["train", "an4", "--data", str(data), "--out", str(tmp_path), "--hidden", "64", "--layers", "1"]
    assert cli.main([*argv, "--epochs", "60", "--batch-size", "2", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dev"]["wer"] <= 0.2 and result["test"]["wer"] <= 0.2
    _, epochs = read_metrics(tmp_path / "metrics.jsonl")
    assert [e["epoch"] for e in epochs] == list(range(1, 61)) and epochs[-1]["loss"] < 0.1 * epochs[0]["loss"]
    best = min(epochs, key=lambda e: (e["dev_errors"], e["dev_loss"]))
    assert result["best_epoch"] == best["epoch"] and result["dev"]["wer"] == best["dev_wer"]

    assert cli.main(["evaluate", str(tmp_path), "--data", str(data), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["part"] == "test" and {name: score[name] for name in result["test"]} == result["test"]
    assert "accuracy" not in score
    recording = data / "wav" / "an4_clstk" / "fash" / "cen5-fash-b.wav"
    assert cli.main(["transcribe", str(tmp_path), str(recording)]) == 0
    assert capsys.readouterr().out == "CAB\n"


def test_a_corpus_without_dev_speakers_is_named(data, tmp_path, capsys):
    for name in ("fileids", "transcription"):
        lines = (data / "etc" / f"an4_train.{name}").read_text().splitlines(keepends=True)
        (tmp_path / "etc").mkdir(exist_ok=True)
        (tmp_path / "etc" / f"an4_train.{name}").write_text("".join(x for x in lines if "fash" in x))
    (tmp_path / "wav").symlink_to(data / "wav")
    assert cli.main(["train", "an4", "--data", str(tmp_path), "--out", str(tmp_path / "out"), "--quiet"]) == 1
    assert "an4 has no utterances to choose by" in capsys.readouterr().err


@pytest.mark.data
@pytest.mark.skipif(not (REAL / "etc").is_dir(), reason="PYASR_DATA names no folder with an4")
def test_real_speech_is_learned(tmp_path, capsys):
    """Two epochs of a small model: the loss falls on the 843 real recordings; README has the figures of a full training."""
    argv = ["train", "an4", "--data", str(REAL), "--out", str(tmp_path), "--hidden", "32", "--layers", "1", "--quiet"]
    assert cli.main([*argv, "--epochs", "2"]) == 0
    _, (first, second) = read_metrics(tmp_path / "metrics.jsonl")
    assert second["loss"] < 0.7 * first["loss"] and "dev  WER" in capsys.readouterr().out
