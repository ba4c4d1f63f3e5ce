"""Recordings that cannot be used, in the middle of a manifest: each is skipped with a reason, counted, and training goes on."""

import json
import struct

import numpy as np
import pytest

from pyasr import cli

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("msgspec", "safetensors", "rapidfuzz", "matplotlib", "click", "soxr"):
    pytest.importorskip(package, reason="the command needs it")

SMALL = ["--model", "lstm_ctc", "--hidden", "8", "--epochs", "2", "--batch-size", "4"]


def tone(letters, seed, rate=8000):
    rng = np.random.default_rng(seed)
    tones = [np.sin(2 * np.pi * (400 + 500 * "abc".index(c)) * np.arange(rate // 6) / rate) for c in letters]
    wave = np.concatenate(tones)
    return 0.3 * wave + 0.01 * rng.standard_normal(len(wave))


def claims(seconds, rate=8000):
    """A wav whose header claims so many seconds."""
    size = 2 * rate * seconds
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, 2 * rate, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size) + bytes(4000)


def wav(path, wave, rate=8000, **options):
    soundfile.write(path, wave, rate, **options)
    return path.read_bytes()


# name -> (what to write into the file, the text, words of the reason)
def bad_files(folder):
    whole = wav(folder / "scratch.wav", tone("abc", 1))
    (folder / "scratch.wav").unlink()
    nan = np.full(4000, 0.1, np.float32)
    nan[100] = np.nan
    cases = {
        "empty": (b"", "a b", "not a recording"),
        "one_sample": (wav(folder / "x.wav", np.zeros(1)), "a b", "must last at least 25 ms, got 0 ms"),
        "ten_hours": (claims(36_000), "a b", "is cut short"),
        "cut": (whole[: len(whole) // 2], "a b", "is cut short"),
        "text": (b"this is a letter, not a recording\n" * 20, "a b", "not a recording"),
        "nan": (wav(folder / "x.wav", nan, subtype="FLOAT"), "a b", "NaN or infinite"),
        "symbols": (whole, "a b\u0007", "got '\\x07' too"),
        "too_much_text": (whole, "a b c " * 30, "frames are too few"),
    }
    (folder / "x.wav").unlink()
    return cases


@pytest.fixture
def manifest(tmp_path):
    """24 good recordings, the bad ones and a missing file between them, and one stereo recording at 96 kHz, which is good."""
    lines = []
    folder = tmp_path / "data"
    folder.mkdir()
    bad = list(bad_files(folder).items())
    for i in range(24):
        letters = "abc"[i % 3] + "abc"[i // 3 % 3]
        wav(folder / f"{i:02d}.wav", tone(letters, i))
        lines.append({"audio": f"{i:02d}.wav", "text": " ".join(letters)})
        if i < len(bad):
            name, (data, text, _) = bad[i]
            (folder / f"{name}.wav").write_bytes(data)
            lines.append({"audio": f"{name}.wav", "text": text})
    stereo = np.stack([tone("ab", 50, 96_000)] * 2, axis=1)
    wav(folder / "stereo.wav", stereo, 96_000)
    lines[5:5] = [{"audio": "missing.wav", "text": "a"}, {"audio": "stereo.wav", "text": "a b"}]
    path = folder / "train.jsonl"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    dev = folder / "dev.jsonl"
    dev.write_text("".join(json.dumps({"audio": f"{i:02d}.wav", "text": "a b"}) + "\n" for i in (0, 1)))
    return path


def test_bad_recordings_are_skipped_and_counted(manifest, tmp_path, capsys):
    argv = ["train", str(manifest), "--dev", str(manifest.with_name("dev.jsonl")), "--out", str(tmp_path / "run")]
    assert cli.main([*argv, *SMALL, "--json"]) == 0
    out, err = capsys.readouterr()
    bad = bad_files(tmp_path)
    skipped = {}
    for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines():
        entry = json.loads(line)
        skipped[entry["name"]] = entry["reason"]
    assert len(skipped) == len(bad) + 1 == json.loads(out)["skipped"]
    for name, (_, _, words) in bad.items():
        assert words in skipped[f"{name}.wav"]
    assert [reason for reason in skipped.values() if "no file 'missing.wav'" in reason]
    assert "skipped.jsonl says why" in err and f"{len(skipped)} left out" in err

    assert cli.main(["evaluate", str(tmp_path / "run"), "--data", str(manifest), "--json"]) == 0
    out, err = capsys.readouterr()
    score = json.loads(out.splitlines()[-1])
    assert score["utterances"] == 24 + 1 + 2  # those with odd texts can be judged
    assert score["skipped"] == len(bad) + 1 - 2
    assert {"wer", "cer", "substitutions", "insertions", "deletions", "words"} <= score.keys()
    assert "nan.wav" in err and "cut short" in err


@pytest.mark.parametrize("name", ["missing", "nan", "cut", "symbols", "too_much_text"])
def test_strict_makes_the_first_an_error(manifest, tmp_path, capsys, name):
    lines = [line for line in manifest.read_text().splitlines() if name in line or line[11:13].isdigit()]
    manifest.write_text("\n".join(lines))
    argv = ["train", str(manifest), "--out", str(tmp_path / "run"), "--strict", "--set", "dev_share=0.02"]
    assert cli.main([*argv, *SMALL]) == 1
    assert name in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_nothing_but_bad_recordings_is_an_error(manifest, tmp_path, capsys):
    manifest.write_text(
        "".join(json.dumps({"audio": f"{n}.wav", "text": "a b"}) + "\n" for n in ("nan", "cut", "empty"))
    )
    assert cli.main(["train", str(manifest), "--out", str(tmp_path / "run"), *SMALL]) == 1
    err = capsys.readouterr().err
    assert "no utterances to" in err and "left out" in err
    assert not (tmp_path / "run").exists()


def test_a_given_alphabet_leaves_out_what_it_cannot_spell(manifest, tmp_path, capsys):
    argv = ["train", str(manifest), "--dev", str(manifest.with_name("dev.jsonl")), "--out", str(tmp_path / "run")]
    assert cli.main([*argv, *SMALL, "--set", 'alphabet="ab "', "--json"]) == 0
    skipped = (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()
    assert sum("got 'c' too" in json.loads(line)["reason"] for line in skipped) >= 10


def test_recordings_longer_than_the_limit_are_left_out(manifest, tmp_path, capsys):
    argv = ["train", str(manifest), "--dev", str(manifest.with_name("dev.jsonl")), "--out", str(tmp_path / "run")]
    wav(manifest.with_name("07.wav"), np.tile(tone("bc", 7), 30))
    assert cli.main([*argv, *SMALL, "--set", "longest=5", "--json"]) == 0
    skipped = (tmp_path / "run" / "skipped.jsonl").read_text()
    assert "must last at most longest = 5 s, got 10.0 s" in skipped
