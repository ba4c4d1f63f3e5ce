"""pyasr features as a command; what it fills: test_features_store.py, test_features_resume.py."""

import json
import runpy
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import cli
from pyasr.features import open_store

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("msgspec", "click", "soxr"):
    pytest.importorskip(package, reason="the command needs it")

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
letters_of, folder_of, jsonl, recording = (TREES[n] for n in ("letters_of", "folder_of", "jsonl", "recording"))
SPELLED = [" ".join(letters_of(i)) for i in range(20)]


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("spelled"), SPELLED)


def done(capsys, *argv, code=0):
    """(output, notes) of a command."""
    assert cli.main([str(a) for a in argv]) == code
    return capsys.readouterr()


@pytest.mark.parametrize("kind", ["mfcc", "fbank", "spectrogram"])
def test_features_are_those_of_the_functions(spelled, tmp_path, capsys, kind):
    out, files = tmp_path / "deep" / "out", [spelled / f"{i:02d}.wav" for i in range(3)]
    figures = json.loads(done(capsys, "features", *files, out, "--kind", kind, "--json").out)
    store = open_store(out)
    counts = {"written": 3, "skipped": 0, "frames": int(store.lengths.sum()), "new": 3}
    assert figures == {"out": str(out), "kind": kind, **counts}
    for file, array, entry in zip(files, store, store.entries, strict=True):
        np.testing.assert_array_equal(array, getattr(pyasr, kind)(*pyasr.load(file)))
        assert (entry.name, entry.frames, entry.sample_rate) == (str(file), len(array), 8000)
    other = tmp_path / "resampled"
    done(capsys, "features", files[0], other, "--kind", kind, "--sample-rate", 16000)
    wanted = getattr(pyasr, kind)(*pyasr.load(files[0], 16000))
    np.testing.assert_array_equal(np.load(other / "features-00000.npy"), wanted)
    before = {p: p.read_bytes() for p in out.iterdir()}
    assert "recordings.count was 3, now 1" in done(capsys, "features", files[0], out, "--kind", kind, code=1).err
    assert {p: p.read_bytes() for p in out.iterdir()} == before
    mine = TREES["write"](tmp_path / "mine", {"index.jsonl": "not ours"})
    err = done(capsys, "features", files[0], mine, code=1).err
    assert f"{mine} is there already and is not overwritten: choose another folder" in err
    assert [p.read_text() for p in mine.iterdir()] == ["not ours"]


def test_features_of_a_folder_and_of_a_manifest(spelled, tmp_path, capsys):
    assert done(capsys, "features", spelled, tmp_path / "a").out == f"wrote 20 utterances to {tmp_path / 'a'}\n"
    index = open_store(tmp_path / "a").entries
    assert [(e.name, e.text) for e in index] == [(f"{i:02d}.wav", text) for i, text in enumerate(SPELLED)]
    data = tmp_path / "data"
    soundfile.write(data.mkdir() or data / "long.wav", TREES["tone"]("abc", 0), 8000)
    (data / "bad.wav").write_bytes(b"noise")
    lines = [
        {"audio": "long.wav", "text": "ÿ b", "start": 0.1, "duration": 0.2, "speaker": "ann"},
        {"audio": "bad.wav", "text": "b"},
        {"audio": "../outside.wav", "text": "b"},
        {"audio": "long.wav", "text": "a b c"},
    ]
    path = jsonl(data / "list.jsonl", lines)
    out, err = done(capsys, "features", path, spelled / "03.wav", tmp_path / "b")
    assert out == f"wrote 3 utterances to {tmp_path / 'b'}, skipped 2 recordings\n"
    assert "bad.wav" in err and "line 3: '../outside.wav' leaves the manifest's folder" in err
    store = open_store(tmp_path / "b")
    first, second, third = store.entries
    assert (first.text, first.speaker, second.text, third.text) == ("ÿ b", "ann", "a b c", "")
    part = pyasr.mfcc(*pyasr.load(data / "long.wav", start=0.1, duration=0.2))
    np.testing.assert_array_equal(store[0], part)
    err = done(capsys, "features", path, tmp_path / "c", "--strict", code=1).err
    assert "line 3" in err and not (tmp_path / "c").exists()
    assert (
        "none of the recordings could be used" in done(capsys, "features", data / "bad.wav", tmp_path / "d", code=1).err
    )
    assert not (tmp_path / "d").exists()
    assert done(capsys, "features", data, tmp_path / "e").out.endswith(", skipped 1 recordings\n"), (
        "no texts are needed"
    )
    assert [(e.name, e.text) for e in open_store(tmp_path / "e").entries] == [("long.wav", "")]
    (tmp_path / "void").mkdir()
    err = done(capsys, "features", tmp_path / "void", tmp_path / "f", code=1).err
    assert "void: no recording could be used, and 0 were skipped" in err


def test_no_name_leads_out_of_the_folder(tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    cuts = []
    for i, name in enumerate(("../../escaped", "/escaped", "a/b/c", "..", "x\\..\\y", "features-00000.npy")):
        TREES["write"](data, {f"{i}.wav": recording("ab", i)})
        source = {"type": "file", "channels": [0], "source": f"{i}.wav"}
        cuts.append(
            {"type": "MonoCut", "id": name, "start": 0, "duration": 0.3, "channel": 0,
             "supervisions": [{"text": "a"}], "recording": {"id": "r", "sources": [source]}}
        )  # fmt: skip
    path = jsonl(data / "cuts.jsonl", cuts)
    before = set(tmp_path.rglob("*"))
    done(capsys, "features", path, out)
    made = set(tmp_path.rglob("*")) - before
    names = ("index.jsonl", "cuts.jsonl", "skipped.jsonl", "options.json", "features-00000.npy")
    assert made == {out, *(out / name for name in names)}
    assert list(open_store(out).names) == [cut["id"] for cut in cuts]
