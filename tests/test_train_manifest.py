"""`pyasr train MANIFEST`: recordings of one's own, what is chosen from their transcripts, and what a run leaves behind."""

import gzip
import hashlib
import json
import os
import runpy
import shutil
import subprocess
import sys
import tomllib
import unicodedata
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import checkpoint, cli
from pyasr.ops import why_not

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("msgspec", "safetensors", "rapidfuzz", "matplotlib", "click", "soxr", "tomli_w", "rich"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.recognizer import CtcRecognizer, load  # noqa: E402  (after the packages that these need)
from pyasr.runs import plots  # noqa: E402
from pyasr.runs.folder import RunFolder, read_metrics  # noqa: E402
from pyasr.runs.options import as_dict, default_model, options_for  # noqa: E402

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
letters_of, folder_of, jsonl, recording = (TREES[n] for n in ("letters_of", "folder_of", "jsonl", "recording"))
NEEDED = ("mfcc", "lstm_forward", "lstm_backward", "ctc_loss", "clip_sgd")
BACKENDS = [
    b for b in ("numpy", "numba", "cpp") if why_not(b) is None and all(pyasr.backend(b).column(op) for op in NEEDED)
]
SPELLED = [" ".join(letters_of(i)) for i in range(20)]  # what folder_of's recordings say
SMALL = ["--hidden", "8", "--layers", "1", "--epochs", "2", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def no_pictures(request, monkeypatch):
    """Most of a small run's time goes into drawing; tests of it are marked with `pictures`."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr(plots, "draw", lambda *_: [])


@pytest.fixture
def pictures():
    """This run is drawn."""


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    """Twenty recordings of one to three letters with their texts."""
    return folder_of(tmp_path_factory.mktemp("spelled"), SPELLED)


@pytest.fixture
def train(capsys, tmp_path):
    """Train on a source into tmp_path / "run" or --out: the result that --json prints."""

    def run(source, *argv, out=None, code=0):
        argv = ["train", str(source), "--out", str(out or tmp_path / "run"), *SMALL, *map(str, argv), "--json"]
        assert cli.main(argv) == code
        printed = capsys.readouterr()
        assert printed.out.count("\n") == (code == 0)
        return json.loads(printed.out) if code == 0 else printed.err

    return run


def bits(path):
    tensors = checkpoint.load(path).tensors
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()


# ---- what a manifest is


def session(folder, count=16):
    """A recording of an hour's beginning, in which `count` speakers' turns follow each other: (start, duration, letters)."""
    turns, waves, begin = [], [], 0
    for i in range(count):
        wave = TREES["tone"](letters_of(i), i)
        turns.append((begin / 8000, len(wave) / 8000, letters_of(i)))
        waves.append(wave)
        begin += len(wave)
    folder.mkdir()
    soundfile.write(folder / "session.wav", np.concatenate(waves), 8000)
    return turns


def test_a_folder_of_recordings_and_texts(spelled, train, tmp_path):
    result = train(spelled)
    assert (result["corpus"], result["model"], result["test"], result["skipped"]) == ("manifest", "lstm_ctc", None, 0)
    assert result["dev"]["utterances"] == 2 and result["steps"] == 2 * 3  # 18 recordings in batches of 8
    frames = sum(1 + (len(TREES["tone"](letters_of(i), i)) - 200) // 80 for i in range(20))
    kept = RunFolder(tmp_path / "run").corpus()
    held_out = sum(1 + (len(u.wave(8000)) - 200) // 80 for u in kept.dev)
    assert result["hours"] == pytest.approx(2 * (frames - held_out) * 0.01 / 3600)


def test_recordings_that_were_moved_are_found_again_with_data(spelled, train, tmp_path, capsys):
    first = tmp_path / "first"
    shutil.copytree(spelled, first)
    train(first)
    before = bits(tmp_path / "run" / "last.safetensors")
    first.rename(tmp_path / "second")
    resume = ["train", "--resume", str(tmp_path / "run"), "--quiet"]
    assert cli.main(resume) == 1
    assert "no manifest" in capsys.readouterr().err
    assert cli.main([*resume, "--data", str(tmp_path / "second")]) == 0
    assert bits(tmp_path / "run" / "last.safetensors") == before


def test_stretches_of_one_recording_by_speakers(train, tmp_path):
    turns = session(tmp_path / "data")
    lines = [
        {"audio": "session.wav", "text": " ".join(letters), "start": start, "duration": seconds, "speaker": f"s{i % 8}"}
        for i, (start, seconds, letters) in enumerate(turns)
    ]
    result = train(jsonl(tmp_path / "data" / "turns.jsonl", lines))
    assert (result["skipped"], result["dev"]["utterances"]) == (0, 2)
    corpus = RunFolder(tmp_path / "run").corpus()
    assert not {u.speaker for u in corpus.train} & {u.speaker for u in corpus.dev}
    for u in corpus.dev:
        _, seconds, letters = turns[[t[0] for t in turns].index(u.start)]
        assert u.text == " ".join(letters) and len(u.wave(8000)) == round(seconds * 8000)


def test_a_cutset_of_lhotse(train, tmp_path):
    turns = session(tmp_path / "data")
    cuts = []
    for i, (start, seconds, letters) in enumerate(turns):
        supervision = {"id": f"s{i}", "recording_id": "session", "start": 0.0, "duration": seconds, "channel": 0}
        source = {"type": "file", "channels": [0], "source": "session.wav"}
        whole = {"id": "session", "sources": [source], "sampling_rate": 8000, "num_samples": 1, "duration": 9.0}
        cuts.append(
            {"id": f"cut-{i}", "start": start, "duration": seconds, "channel": 0, "recording": whole, "type": "MonoCut",
             "supervisions": [supervision | {"text": " ".join(letters), "speaker": f"s{i % 8}"}]}
        )  # fmt: skip
    path = tmp_path / "data" / "cuts.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(cut) + "\n" for cut in cuts).encode()))
    result = train(path)
    assert (result["skipped"], result["dev"]["utterances"], result["steps"]) == (0, 2, 2 * 2)


def test_a_manifest_to_choose_by(spelled, train, tmp_path):
    dev = folder_of(tmp_path / "dev", SPELLED[:5])
    result = train(spelled, "--dev", dev)
    assert result["dev"]["utterances"] == 5 and result["steps"] == 2 * 3
    kept = RunFolder(tmp_path / "run").corpus()
    assert len(kept.train) == 20 and {u.path.parent for u in kept.dev} == {dev}


# ---- what the transcripts choose


def test_the_model_follows_from_the_transcripts(train, tmp_path):
    for name, texts, model in (
        ("words", ["go", "stop", "no"] * 5, "word_classifier"),
        ("one word", ["go"] * 8, "word_classifier"),
        ("a sentence", ["go", "stop", "go", "stop", "go on", "go on"] * 3, "lstm_ctc"),
        ("each once", [f"w{i}" for i in range(9)], "lstm_ctc"),
        ("each twice", [f"w{i}" for i in range(10)] * 2, "word_classifier"),  # some of them once in each part
        ("nothing said", ["go", ""] * 5, "lstm_ctc"),
    ):
        folder = folder_of(tmp_path / name, texts)
        assert train(folder, out=tmp_path / f"{name} run")["model"] == model, name
    assert train(tmp_path / "words", "--model", "lstm_ctc", out=tmp_path / "asked")["model"] == "lstm_ctc"
    assert train(tmp_path / "words", "--set", "model=lstm_ctc", out=tmp_path / "set")["model"] == "lstm_ctc"


def test_a_hundred_words_are_a_classifiers():
    words = [f"word{i}" for i in range(101)] * 2
    assert default_model(words) == "lstm_ctc"
    assert default_model([w for w in words if w != "word0"]) == "word_classifier"
    assert default_model(words[:3]) == default_model([]) == "lstm_ctc"
    assert default_model(["\u00e9t\u00e9", "e\u0301te\u0301"]) == "word_classifier"  # one word, spelled in two ways


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lstm_ctc", ("καλημέρα", "ένα", "δύο", "ΐδιον")),
        ("lstm_ctc", ("नमस्ते", "क़लम", "हिन्दी", "ऩ")),
        ("word_classifier", ("می\u200cروم", "نمی\u200cدانم", "خانه")),  # the joiner is part of the spelling
        ("word_classifier", ("𝔞𝔟", "😀", "𐍈𐌰", "𝔟")),  # beyond the basic plane
        ("word_classifier", ("$x$", "\\frac{", "$_^{$", "$\\frac{$", "<&>")),
        ("lstm_ctc", ("$x$", "\\frac{", "$_^{$", "$\\frac{$", "<&>")),
    ],
    ids=["greek", "devanagari", "persian", "beyond 16 bits", "marks of words", "marks"],
)
@pytest.mark.usefixtures("pictures")
def test_every_script_is_learned_and_drawn(train, tmp_path, model, words):
    texts = [unicodedata.normalize("NFD", words[i % len(words)]) for i in range(16)]
    lines = [{"audio": f"{i:02d}.wav", "text": text} for i, text in enumerate(texts)]
    TREES["write"](tmp_path, {f"{i:02d}.wav": recording("abc" * 3, i) for i in range(16)})
    result = train(jsonl(tmp_path / "list.jsonl", lines), "--model", model, "--set", "stack=1")
    assert result["skipped"] == 0
    assert len(list((tmp_path / "run" / "plots").iterdir())) == (6 if model == "lstm_ctc" else 8)
    recognizer = load(tmp_path / "run" / "best.safetensors", pyasr.backend())
    composed = {unicodedata.normalize("NFC", word) for word in words}
    if isinstance(recognizer, CtcRecognizer):
        assert recognizer.config.alphabet == "".join(sorted(set("".join(composed))))
        for text in texts:
            label = recognizer.encode(text)
            assert recognizer.alphabet.decode(label) == unicodedata.normalize("NFC", text)
    else:
        assert recognizer.config.words == tuple(sorted(composed))
    assert cli.main(["transcribe", str(tmp_path / "run"), str(tmp_path / "00.wav")]) == 0


# ---- options


@pytest.mark.parametrize("cell", ["gru", "rnn"])
def test_other_cells_are_recorded_and_come_back(spelled, train, tmp_path, cell):
    train(spelled, "--cell", cell)
    assert RunFolder(tmp_path / "run").config()[0]["cell"] == cell
    recognizer = load(tmp_path / "run" / "best.safetensors", pyasr.backend())
    assert recognizer.config.cell == cell
    assert f"{cell}0.weight_hh_l0" in recognizer.params.names()
    if why_not("numba") is None:
        said = train(spelled, "--cell", cell, "--backend", "numba", out=tmp_path / "numba", code=1)
        assert f"pyasr: backend 'numba' has no {cell}_backward" in said
        assert not (tmp_path / "numba").exists()
    assert cli.main(["evaluate", str(tmp_path / "run")]) == 0


def test_files_are_weaker_than_settings_and_those_than_shortcuts(spelled, train, tmp_path):
    (tmp_path / "mine.toml").write_text(
        "hidden = 5\ndropout = 0.1\nnoise = 0.05\nseed = 4\n[run]\nsource = 'elsewhere'\n"
    )
    argv = ["--config", tmp_path / "mine.toml", "--set", "dropout=0.2", "--set", "hidden=6", "--set", "optimizer=sgd"]
    train(spelled, *argv, "--set", "dropout=.25", "--set", "peak=1e-2", "--set", "bidirectional = False")
    options, run = RunFolder(tmp_path / "run").config()
    wanted = {"hidden": 8, "dropout": 0.25, "noise": 0.05, "seed": 4, "optimizer": "sgd", "peak": 0.01, "epochs": 2}
    wanted["bidirectional"] = False
    assert {name: options[name] for name in wanted} == wanted  # hidden: SMALL's shortcut
    assert run == {"source": str(spelled)}
    assert options == as_dict(options_for("manifest", "lstm_ctc", options))  # it reads back, whole

    train(spelled, "--config", tmp_path / "run" / "config.toml", out=tmp_path / "again")
    assert (tmp_path / "again" / "config.toml").read_bytes() == (tmp_path / "run" / "config.toml").read_bytes()
    for name in ("last.safetensors", "best.safetensors"):
        assert bits(tmp_path / "again" / name) == bits(tmp_path / "run" / name)


# ---- what a run leaves behind


@pytest.mark.usefixtures("pictures")
def test_the_folder_of_a_run(spelled, train, tmp_path):
    data = folder_of(tmp_path / "data", SPELLED)
    (data / "03.wav").write_bytes(b"noise")
    (data / "21.txt").write_text("a")
    result = train(data)
    run = tmp_path / "run"
    assert {p.name for p in run.iterdir()} >= {
        "config.toml", "metrics.jsonl", "last.safetensors", "best.safetensors", "skipped.jsonl", "result.json", "plots"
    }  # fmt: skip
    assert not list(run.rglob(".*"))
    skipped = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert len(skipped) == result["skipped"] == 2
    assert {"03.wav"} < {s["name"] for s in skipped} and any("no recording beside it" in s["reason"] for s in skipped)
    kept = json.loads((run / "result.json").read_text())
    assert {name: kept[name] for name in result} == result
    config = tomllib.loads((run / "config.toml").read_text())
    assert kept["options"] | {"run": kept["run"]} == config
    steps, epochs = read_metrics(run / "metrics.jsonl")
    assert [s["step"] for s in steps] == [1, 2, 3, 4, 5, 6] and [e["steps"] for e in epochs] == [3, 6]
    for name, half in (("step", steps), ("epoch", epochs)):
        assert [r[name] for r in half] == list(range(1, len(half) + 1))


def test_patience_ends_a_training_that_does_not_get_better(train, tmp_path):
    folder = folder_of(tmp_path / "data", ["go"] * 10)
    result = train(folder, "--set", "patience=2", "--epochs", 2_000_000_000)
    assert (result["best_epoch"], result["epochs"], result["dev"]["accuracy"]) == (1, 3, 1.0)
    assert cli.main(["train", "--resume", str(tmp_path / "run"), "--quiet"]) == 0
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")[1]) == 3


def test_size_and_sample_rate(spelled, train, tmp_path):
    result = train(spelled, "--set", "size=4", "--set", "sample_rate=16000", "--batch-size", "1")
    assert result["steps"] == 2 * 4 and result["dev"]["utterances"] == 2
    best = tmp_path / "run" / "best.safetensors"
    assert load(best, pyasr.backend()).config.sample_rate == 16000
    train(spelled, out=tmp_path / "own")
    assert load(tmp_path / "own" / "best.safetensors", pyasr.backend()).config.sample_rate == 8000
    high = tmp_path / "high"
    TREES["write"](high, {f"{i}.wav": recording(letters_of(i), i, 44100) for i in range(6)})
    TREES["write"](high, {f"{i}.txt": SPELLED[i] for i in range(6)})
    train(high, out=tmp_path / "cd")
    assert load(tmp_path / "cd" / "best.safetensors", pyasr.backend()).config.sample_rate == 16000


# ---- which machine


@pytest.mark.parametrize("backend", BACKENDS)
def test_every_backend_learns(spelled, train, tmp_path, backend):
    argv = ["--backend", backend, "--epochs", 8, "--set", "peak=2e-2", "--set", "noise=0"]
    result = train(spelled, *argv)
    _, epochs = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert epochs[-1]["loss"] < 0.8 * epochs[0]["loss"]
    assert json.loads((tmp_path / "run" / "result.json").read_text())["backend"] == backend
    assert RunFolder(tmp_path / "run").config()[1]["backend"] == backend
    assert result["dev"]["loss"] < epochs[0]["dev_loss"]


def test_threads_and_a_second_run_give_the_same_bits(spelled, tmp_path):
    argv = [sys.executable, "-m", "pyasr", "train", spelled, *SMALL, "--hidden", "256", "--batch-size", "18", "--quiet"]
    hashes = []
    for name, threads in (("a", "1"), ("b", "2"), ("c", "2")):
        done = subprocess.run(
            [*argv, "--out", tmp_path / name, "--threads", threads], cwd=tmp_path, capture_output=True, text=True,
            env={**os.environ, "OPENBLAS_NUM_THREADS": threads},
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        hashes.append([bits(tmp_path / name / file) for file in ("best.safetensors", "last.safetensors")])
    assert hashes[0] == hashes[1] == hashes[2]


# ---- public corpora in their layouts


def test_librispeech_is_trained_chosen_and_judged_by_its_sets(train, tmp_path):
    TREES["write"](tmp_path / "LibriSpeech", TREES["librispeech"]())
    result = train("librispeech", "--data", tmp_path)
    assert (result["corpus"], result["model"], result["skipped"]) == ("librispeech", "lstm_ctc", 0)
    assert (result["dev"]["utterances"], result["test"]["utterances"], result["steps"]) == (3, 2, 2 * 2)
    assert result["test"]["words"] == sum(len(letters_of(i)) for i in range(2))
    alphabet = load(tmp_path / "run" / "best.safetensors", pyasr.backend()).config.alphabet
    assert alphabet == " ABC"
    alone = train(
        "librispeech", "--data", tmp_path / "LibriSpeech" / "train-clean-5", "--seed", 3, out=tmp_path / "alone"
    )
    assert alone["dev"]["utterances"] == 1 and alone["test"] is None


def test_speech_commands_are_a_classifiers(train, tmp_path):
    TREES["write"](tmp_path / "data", TREES["speech_commands"]())
    result = train("speech_commands", "--data", tmp_path / "data", "--epochs", 40, "--set", "noise=0.1")
    assert (result["corpus"], result["model"]) == ("speech_commands", "word_classifier")
    assert (result["dev"]["utterances"], result["test"]["utterances"], result["skipped"]) == (3, 3, 0)
    assert load(tmp_path / "run" / "best.safetensors", pyasr.backend()).config.words == ("go", "no", "up")
    assert result["dev"]["accuracy"] == 1.0


# ---- what is printed


def test_without_a_terminal_only_the_result_is_printed(spelled, tmp_path, capsys):
    argv = ["train", str(spelled), *SMALL, "--out"]
    assert cli.main([*argv, str(tmp_path / "a")]) == 0
    out, err = capsys.readouterr()
    assert err == "" and "\r" not in out and "\x1b" not in out and "epoch  " not in out
    lines = out.splitlines()
    assert lines[0].startswith("lstm_ctc: 6 updates in 2 epochs over 0.0") and "the best epoch is " in lines[0]
    assert lines[1].startswith("dev  WER ") and lines[2] == f"saved {tmp_path / 'a' / 'best.safetensors'}"
    assert lines[3] == "next:" and all(line.startswith("  pyasr ") for line in lines[4:])
    assert cli.main([*argv, str(tmp_path / "b"), "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[1] == lines[1]


def test_on_a_terminal_every_epoch_has_its_line(spelled, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("pyasr.cli._train.is_terminal", lambda: True)
    assert cli.main(["train", str(spelled), *SMALL, "--out", str(tmp_path / "a")]) == 0
    out = capsys.readouterr().out
    assert [line.split()[:2] for line in out.splitlines() if line.startswith("epoch ")] == [
        ["epoch", "1"],
        ["epoch", "2"],
    ]
    assert "saved " in out


def test_names_of_any_bytes(tmp_path, train):
    data = folder_of(tmp_path / "Größe und Maß", SPELLED)
    try:
        for suffix in (".wav", ".txt"):
            os.rename(data / f"03{suffix}", os.fsencode(data) + b"/\xff" + suffix.encode())
    except OSError:
        pytest.skip("this file system wants UTF-8")
    assert train(data, out=tmp_path / "été 1")["skipped"] == 1  # a name that no text can hold
    (line,) = (tmp_path / "été 1" / "skipped.jsonl").read_text().splitlines()
    assert "is not a path" in json.loads(line)["reason"]
    assert cli.main(["train", "--resume", str(tmp_path / "été 1"), "--quiet"]) == 0
