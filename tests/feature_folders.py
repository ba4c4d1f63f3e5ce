"""A corpus with bad recordings, and `pyasr features` of it: FOLDERS = runpy.run_path(…"feature_folders.py")."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
jsonl, recording, tone = TREES["jsonl"], TREES["recording"], TREES["tone"]
SMALL = ["--kind", "fbank", "--shard-mb", "0.004", "--set", "num_mels=15"]  # a shard holds three or four recordings
BAD = {"cut.wav": "is cut short", "nan.wav": "holds NaN", "many.wav": "1 to 8 channels", "short.wav": "at least one frame",
       "text.wav": "is not a recording", "other.wav": "8000 Hz of the others, got 16000"}  # fmt: skip


def corpus_in(root):
    """A manifest in `root` of 14 good recordings, one of them in two stretches, and six bad ones between them."""
    import soundfile

    TREES["write"](root, {f"{i:02d}.wav": recording("abc"[: 1 + i % 3], i) for i in range(14)})
    soundfile.write(root / "nan.wav", np.full(4000, np.nan), 8000, subtype="FLOAT")
    soundfile.write(root / "many.wav", np.zeros((4000, 9)), 8000)
    soundfile.write(root / "short.wav", np.zeros(100), 8000)
    soundfile.write(root / "other.wav", tone("a", 0, 16000), 16000)
    soundfile.write(root / "13.wav", np.stack([tone("ab", 1), tone("bc", 2)], 1), 8000)
    (root / "text.wav").write_text("no sound")
    (root / "cut.wav").write_bytes((root / "02.wav").read_bytes()[:3000])
    lines = [{"audio": f"{i:02d}.wav", "text": f"ÿ {i}", "speaker": "ann" if i % 2 else None} for i in range(14)]
    lines.insert(5, {"audio": "04.wav", "text": "of", "start": 0.05, "duration": 0.1})
    for place, name in zip((1, 4, 7, 8, 12, 19), BAD, strict=True):
        lines.insert(place, {"audio": name, "text": "bad"})
    lines.append({"audio": "../outside.wav", "text": "bad"})
    return jsonl(root / "list.jsonl", lines)


def make(corpus, home, monkeypatch, *argv, code=0):
    """The command, run in `home` into its folder "out"."""
    from pyasr import cli

    home.mkdir(exist_ok=True)
    monkeypatch.chdir(home)
    assert cli.main(["features", str(corpus), "out", *SMALL, *map(str, argv)]) == code
    return home / "out"


def within(corpus):
    """The manifest without the line that leaves its folder."""
    path = corpus.with_name("within.jsonl")
    path.write_text("".join(corpus.read_text("utf-8").splitlines(True)[:-1]), "utf-8")
    return path


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}
