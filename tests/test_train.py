"""Training from the command line: a small data set in the layout of FSDD, every backend, and what can go wrong."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import pyasr
from pyasr import checkpoint, cli
from pyasr.datasets import fsdd
from pyasr.ops import why_not
from pyasr.runs.folder import read_metrics

NEEDED = ("mfcc", "lstm_forward", "lstm_backward", "softmax_cross_entropy", "clip_sgd")
BACKENDS = [
    b for b in ("numpy", "numba", "cpp") if why_not(b) is None and all(pyasr.backend(b).column(op) for op in NEEDED)
]
SMALL = ["--epochs", "2", "--hidden", "8", "--batch-size", "8", "--quiet"]


def spoken(digit, speaker, index):
    """A fifth of a second or so whose two tones tell the digit, higher for one speaker, in a little noise."""
    rng = np.random.default_rng([digit, speaker, index])
    t = np.arange(int(1600 + 800 * rng.random())) / 8000
    first, second = 300 + 90 * digit + 40 * speaker, 2600 - 170 * digit
    sweep = 1 + 0.3 * t * (1 if digit % 2 else -1)
    sound = np.sin(2 * np.pi * first * sweep * t) + 0.7 * np.sin(2 * np.pi * second * t)
    return 0.2 * sound * np.hanning(len(t)) + 0.003 * rng.standard_normal(len(t))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    root = tmp_path_factory.mktemp("fsdd")
    (root / "recordings").mkdir()
    for digit in range(10):
        for s, speaker in enumerate(("ada", "bob")):
            for index in (0, 1, 5, 6, 7, 8, 9, 10):
                path = root / "recordings" / f"{digit}_{speaker}_{index}.wav"
                soundfile.write(path, spoken(digit, s, index), 8000, subtype="PCM_16")
    (root / "recordings" / "README.txt").write_text("not a recording")
    return root


@pytest.fixture(scope="module")
def trained(data, tmp_path_factory):
    """A run that was trained for long enough to be right."""
    out = tmp_path_factory.mktemp("run")
    argv = ["train", "fsdd", "--data", str(data), "--out", str(out), "--epochs", "12", "--hidden", "12"]
    assert cli.main([*argv, "--batch-size", "8", "--quiet"]) == 0
    return out


def weights_hash(path):
    tensors = checkpoint.load(path).tensors
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()


@pytest.mark.parametrize("backend", BACKENDS)
def test_trains_on_every_backend(data, tmp_path, capsys, backend):
    argv = ["train", "fsdd", "--data", str(data), "--out", str(tmp_path), "--backend", backend, *SMALL]
    assert cli.main(argv) == 0
    assert "test accuracy" in capsys.readouterr().out
    steps, epochs = read_metrics(tmp_path / "metrics.jsonl")
    assert [r["epoch"] for r in epochs] == [1, 2]
    assert [r["step"] for r in steps] == list(range(1, epochs[1]["steps"] + 1))
    assert epochs[1]["loss"] < 0.95 * epochs[0]["loss"]
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["backend"] == backend
    assert result["test"]["utterances"] == 40
    assert not list(tmp_path.rglob(".*"))


def test_learns_and_evaluates_and_transcribes(data, trained, capsys):
    best = str(trained / "best.safetensors")
    assert cli.main(["evaluate", best, "--corpus", "fsdd", "--data", str(data / "recordings"), "--json"]) == 0
    score = json.loads(capsys.readouterr().out)
    assert score["accuracy"] >= 0.9
    low, high = score["accuracy_interval"]
    assert low <= score["accuracy"] <= high
    for how in ([], ["--data", str(data)]):  # the run knows its corpus
        assert cli.main(["evaluate", str(trained), *how, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == score
    kept = json.loads((trained / "result.json").read_text())["test"]
    assert {name: score[name] for name in kept} == kept
    files = [str(data / "recordings" / f"{d}_ada_0.wav") for d in range(10)]
    assert cli.main(["transcribe", best, "--json", *files]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == files
    assert np.mean([line["text"] == w for line, w in zip(lines, fsdd.WORDS, strict=True)]) >= 0.8
    assert all(0 < line["probability"] <= 1 for line in lines)
    assert cli.main(["transcribe", best, files[3]]) == 0
    assert capsys.readouterr().out.strip() in fsdd.WORDS


def test_same_seed_same_bits_for_any_thread_count_and_other_seed_other_bits(data, tmp_path):
    hashes = []
    for run, seed, threads in (("a", "1", "1"), ("b", "1", "2"), ("c", "2", "1")):
        argv = [sys.executable, "-m", "pyasr", "train", "fsdd", "--data", data, "--out", tmp_path / run, "--seed", seed]
        subprocess.run([*argv, "--threads", threads, *SMALL], check=True, cwd=tmp_path, capture_output=True)
        hashes.append([weights_hash(tmp_path / run / name) for name in ("best.safetensors", "last.safetensors")])
    assert hashes[0] == hashes[1]
    assert hashes[0][1] != hashes[2][1]


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["train", "fsdd", "--data", "nowhere"], 1, "nowhere has no recordings such as recordings/7_jackson_0.wav"),
        (["train", "fsdd", "--data", "."], 1, "has no recordings such as"),
        (["train", "fsdd", "--epochs", "0"], 2, "epochs"),
        (["train", "fsdd", "--backend", "abacus"], 2, "abacus"),
        (["train", "nothing"], 1, "there is no data set and no manifest nothing"),
        (["train"], 2, "SOURCE"),
        (["train", "digits", "--set", "hiden=3"], 2, "there is no option hiden; do you mean hidden?"),
        (["train", "digits", "--set", "hidden=0"], 2, "options: hidden: Expected `int` >= 1, got 0"),
        (["train", "digits", "--set", "hidden"], 2, "KEY=VALUE"),
        (
            ["train", "digits", "--set", "optimizer=adm"],
            2,
            "options: optimizer: must be one of sgd, adam, adamw, rmsprop, hessian-free, got 'adm'",
        ),
        (["train", "digits", "--config", "none.toml"], 1, "there is no file none.toml"),
        (["train", "digits", "--resume", "run"], 2, "SOURCE"),
        (["train", "--resume", "run"], 1, "run holds no run"),
        (["train", "digits", "--data", "x"], 1, "data must not be given with digits"),
        (["evaluate", "none.safetensors", "--corpus", "digits"], 1, "there is no checkpoint none.safetensors"),
        (["transcribe", "run"], 2, "FILE"),
        (["fly"], 2, "fly"),
    ],
)
def test_wrong_use_is_named_without_a_traceback(tmp_path, monkeypatch, capsys, argv, code, message):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == code
    assert message in capsys.readouterr().err


def test_a_part_of_own_recordings_is_wrong_use(data, trained, tmp_path, capsys):
    soundfile.write(tmp_path / "a.wav", spoken(7, 0, 0), 8000)
    (tmp_path / "a.txt").write_text("seven")
    assert cli.main(["evaluate", str(trained), "--data", str(tmp_path), "--part", "dev"]) == 2
    assert "is the test: --part dev goes with a data set" in capsys.readouterr().err


def test_a_file_that_cannot_be_transcribed_does_not_stop_the_others(data, trained, tmp_path, capsys):
    good, bad, short = data / "recordings" / "3_bob_1.wav", tmp_path / "bad.wav", tmp_path / "short.wav"
    bad.write_bytes(b"noise")
    soundfile.write(short, np.zeros(100), 8000)
    argv = ["transcribe", trained, bad, good, short, tmp_path / "none.wav"]
    assert cli.main([str(a) for a in argv]) == 1
    out, err = capsys.readouterr()
    assert out.startswith(f"{good}\t")
    assert len(out.splitlines()) == 1
    for message in ("bad.wav is not a recording", "at least 25 ms, got 12 ms", "no file", "3 of 4 files"):
        assert message in err


def test_a_recording_without_a_frame_is_skipped_or_with_strict_named(data, tmp_path, capsys):
    for path in (data / "recordings").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    soundfile.write(tmp_path / "7_ada_5.wav", np.zeros(100), 8000)
    argv = ["train", "fsdd", "--data", str(tmp_path), *SMALL]
    assert cli.main([*argv, "--out", str(tmp_path / "a"), "--strict"]) == 1
    assert "7_ada_5: must last at least 25 ms, got 12 ms" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert cli.main([*argv, "--out", str(tmp_path / "a"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["skipped"] == 1
    assert "7_ada_5: must last at least 25 ms" in err
    assert json.loads((tmp_path / "a" / "skipped.jsonl").read_text())["name"] == "7_ada_5"


def test_a_split_without_test_recordings_is_an_error(data, tmp_path, capsys):
    for path in (data / "recordings").glob("*_5.wav"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    assert cli.main(["train", "fsdd", "--data", str(tmp_path), "--out", str(tmp_path / "run"), *SMALL]) == 1
    assert "fsdd has no utterances to choose by" in capsys.readouterr().err


# ---- without the extra


def test_without_click_info_works_and_the_rest_exits_with_2(tmp_path):
    block = "import sys; sys.modules['click'] = None; from pyasr.__main__ import main; sys.exit(main(sys.argv[1:]))"
    info = subprocess.run([sys.executable, "-c", block, "info"], cwd=tmp_path, capture_output=True, text=True)
    assert info.returncode == 0
    assert "pyasr" in info.stdout
    train = subprocess.run([sys.executable, "-c", block, "train", "fsdd"], cwd=tmp_path, capture_output=True, text=True)
    assert train.returncode == 2
    assert 'pip install "pyasr-kernels[train]"' in train.stderr


@pytest.mark.parametrize("package", ["soundfile", "safetensors"])
def test_a_missing_package_exits_with_2_and_names_the_extra(data, tmp_path, monkeypatch, capsys, package):
    for name in [m for m in sys.modules if m.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["train", "fsdd", "--data", str(data), "--out", str(tmp_path), *SMALL]) == 2
    assert f'{package} is not installed: pip install "pyasr-kernels[train]"' in capsys.readouterr().err


# ---- real recordings

REAL = Path(os.environ.get("PYASR_DATA", "")) / "fsdd"
needs_data = pytest.mark.skipif(
    not os.environ.get("PYASR_DATA") or not REAL.is_dir(), reason="PYASR_DATA names no folder with fsdd"
)


@pytest.mark.data
@needs_data
def test_digits_of_the_official_split_are_recognized(tmp_path, capsys):
    assert cli.main(["train", "fsdd", "--out", str(tmp_path), "--offline", "--epochs", "4", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["test"]["utterances"] == 300
    assert result["test"]["accuracy"] >= 0.93


@pytest.mark.data
@needs_data
def test_the_reference_backend_learns_real_digits(tmp_path, capsys):
    few = tmp_path / "few"
    few.mkdir()
    for path in (REAL / "recordings").glob("[0-9]_jackson_*.wav"):
        index = int(path.stem.rpartition("_")[2])
        if index < 3 or 5 <= index < 15:
            (few / path.name).symlink_to(path)
    argv = ["train", "fsdd", "--data", str(few), "--out", str(tmp_path / "run"), "--backend", "numpy", "--epochs", "8"]
    assert cli.main([*argv, "--batch-size", "10", "--hidden", "16", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["test"]["accuracy"] >= 0.7
