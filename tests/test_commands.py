"""evaluate, transcribe, download and plot, and what every command has in common; features: test_command_features.py."""

import io
import json
import os
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import cli

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("msgspec", "safetensors", "rapidfuzz", "matplotlib", "click", "soxr", "tomli_w"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.recognizer import CtcRecognizer, load  # noqa: E402  (after the packages that these need)
from pyasr.runs import plots, training  # noqa: E402

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
ARPA = runpy.run_path(str(Path(__file__).with_name("arpa.py")))
letters_of, folder_of = TREES["letters_of"], TREES["folder_of"]
SPELLED = [" ".join(letters_of(i)) for i in range(20)]
SMALL = ["--hidden", "8", "--layers", "1", "--epochs", "2", "--batch-size", "8", "--quiet"]


def trained(root, *argv):
    """A run in a folder whose name a shell would take apart, without its pictures."""
    draw, plots.draw = plots.draw, lambda *_: []
    try:
        assert cli.main(["train", *map(str, argv), *SMALL, "--out", str(root / "Läufe & mehr" / "run 1")]) == 0
    finally:
        plots.draw = draw
    return root / "Läufe & mehr" / "run 1"


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("spelled"), SPELLED)


@pytest.fixture(scope="module")
def ctc(spelled, tmp_path_factory):
    """A run over letters, and that of a classifier."""
    return trained(tmp_path_factory.mktemp("ctc"), spelled)


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    root = tmp_path_factory.mktemp("words")
    TREES["write"](root / "data", TREES["speech_commands"]())
    return trained(root, "speech_commands", "--data", root / "data")


def done(capsys, *argv, code=0):
    """(output, notes) of a command."""
    assert cli.main([str(a) for a in argv]) == code
    return capsys.readouterr()


def judged(capsys, *argv):
    """The figures that evaluate prints as its last line."""
    return json.loads(done(capsys, "evaluate", *argv, "--json").out.splitlines()[-1])


# ---- evaluate

FIGURES = {
    "corpus", "part", "model", "synthetic", "wer", "cer", "substitutions", "insertions", "deletions", "words", "utterances",
    "right", "loss", "wer_interval", "skipped",
}  # fmt: skip


def test_a_run_is_judged_on_its_own_corpus(ctc, words, capsys):
    result = json.loads((ctc / "result.json").read_text())
    score = judged(capsys, ctc)
    assert score.keys() == FIGURES
    assert (score["corpus"], score["part"], score["model"], score["skipped"]) == ("manifest", "dev", "lstm_ctc", 0)
    assert {name: score[name] for name in result["dev"]} == result["dev"]
    assert judged(capsys, ctc, "--part", "train")["utterances"] == 18
    out = done(capsys, "evaluate", ctc).out
    assert out.startswith("manifest dev: WER ") and f"in {score['words']} words), CER " in out and out.count("\n") == 1

    result = json.loads((words / "result.json").read_text())
    score = judged(capsys, words)
    assert score.keys() == FIGURES | {"accuracy", "accuracy_interval"}
    assert (score["part"], score["accuracy"]) == ("test", score["right"] / score["utterances"])
    assert {name: score[name] for name in result["test"]} == result["test"]
    assert judged(capsys, words, "--part", "dev")["utterances"] == 3
    assert done(capsys, "evaluate", words).out.startswith("speech_commands test: accuracy ")


def test_other_recordings_are_judged_by_folder_or_checkpoint(ctc, words, spelled, capsys):
    for run in (ctc, ctc / "best.safetensors", ctc / "last.safetensors"):
        score = judged(capsys, run, "--data", spelled)
        assert (score["corpus"], score["part"], score["utterances"]) == (spelled.name, "test", 20)
        assert score["words"] == sum(len(text.split()) for text in SPELLED)
    data = words.parents[1] / "data"
    score = judged(capsys, words / "best.safetensors", "--corpus", "speech_commands", "--data", data)
    assert score == judged(capsys, words) == judged(capsys, words, "--data", data)
    other = judged(capsys, ctc, "--corpus", "speech_commands", "--data", data)  # letters, but not its letters
    assert (other["part"], other["utterances"], other["loss"], other["right"]) == ("test", 3, None, 0)


# said, heard: substitutions, insertions, deletions of words, counted by hand
DOCTORED = [
    ("a b c", "a b c", (0, 0, 0)),
    ("a b c", "a c", (0, 0, 1)),
    ("a b", "a c b b", (0, 2, 0)),
    ("c c a", "b c a", (1, 0, 0)),
    ("b", "", (0, 0, 1)),
    ("a", "b c", (1, 1, 0)),
]


def test_errors_are_counted_as_by_hand_and_by_jiwer(ctc, tmp_path, monkeypatch, capsys):
    data = folder_of(tmp_path / "data", [said for said, _, _ in DOCTORED])
    heard = iter([])

    def read(self, logits, lengths):
        return [next(heard) for _ in lengths]

    monkeypatch.setattr(CtcRecognizer, "read", read)
    order = np.argsort([len(TREES["tone"](letters_of(i), i)) for i in range(len(DOCTORED))], kind="stable")
    heard = iter([DOCTORED[i][1] for i in order])  # recognized from the shortest to the longest
    score = judged(capsys, ctc, "--data", data)
    by_hand = np.sum([errors for _, _, errors in DOCTORED], axis=0)
    assert [score[name] for name in ("substitutions", "insertions", "deletions")] == by_hand.tolist()
    assert (score["words"], score["right"], score["wer"]) == (13, 1, by_hand.sum() / 13)
    low, high = score["wer_interval"]
    assert low <= score["wer"] <= high
    jiwer = pytest.importorskip("jiwer", reason="jiwer counts the same")
    wanted = jiwer.process_words([said for said, _, _ in DOCTORED], [heard for _, heard, _ in DOCTORED])
    assert score["wer"] == pytest.approx(wanted.wer)
    assert score["cer"] == pytest.approx(jiwer.cer([said for said, _, _ in DOCTORED], [h for _, h, _ in DOCTORED]))


# ---- a search instead of the best path


def arpa(path, words):
    """A 1-gram of equally probable words."""
    grams = {
        ("<s>",): (-99.0, 0.0),
        ("</s>",): (-1.0, 0.0),
        ("<unk>",): (-9.0, 0.0),
        **{(w,): (-1.0, 0.0) for w in words},
    }
    return ARPA["write"](path, grams)


def test_a_beam_with_a_model_says_its_words(ctc, spelled, tmp_path, capsys):
    files = [spelled / f"{i:02d}.wav" for i in (0, 5, 9)]
    plain = done(capsys, "transcribe", ctc, *files).out
    lines = [json.loads(x) for x in done(capsys, "transcribe", ctc, *files, "--json", "--beam", "8").out.splitlines()]
    recognizer = load(ctc / "best.safetensors", pyasr.backend())
    recognizer.use_beam(8)
    for line, file in zip(lines, files, strict=True):
        text, probability = recognizer.transcribe(*pyasr.load(file))
        assert (line["text"], line["probability"]) == (text, pytest.approx(probability, abs=1e-6))
        assert 0 < probability <= 1
    only = arpa(tmp_path / "only.arpa", ["abc", "cab"])
    options = ("--beam", 64, "--lm", only, "--lm-weight", 9, "--length-bonus", 40)
    said = [line.split("\t")[1] for line in done(capsys, "transcribe", ctc, *files, *options).out.splitlines()]
    assert set(" ".join(said).split()) <= {"abc", "cab"}
    letters = arpa(tmp_path / "letters.arpa", ["a", "b", "c", "<space>"])
    assert judged(capsys, ctc, "--data", spelled, "--beam", "8", "--lm", letters)["utterances"] == 20
    assert done(capsys, "transcribe", ctc, *files).out == plain


def test_options_of_a_search_that_do_not_fit_are_named(ctc, words, spelled, tmp_path, capsys):
    file = spelled / "00.wav"
    (tmp_path / "bad.arpa").write_text("no model\n")
    foreign = arpa(tmp_path / "foreign.arpa", ["ZZ", "YY"])
    for argv, code, message in (
        ((ctc, file, "--lm", foreign), 2, "--lm goes with --beam WIDTH"),
        ((ctc, file, "--length-bonus", 1), 2, "--length-bonus goes with --beam WIDTH"),
        ((ctc, file, "--beam", 0), 2, "--beam"),
        ((words, file, "--beam", 4), 2, "--beam goes with an lstm_ctc, got a word_classifier"),
        ((ctc, file, "--beam", 4, "--lm", tmp_path / "none.arpa"), 1, "none.arpa"),
        ((ctc, file, "--beam", 4, "--lm", tmp_path / "bad.arpa"), 1, "bad.arpa, line 2: the file must go on with"),
        ((ctc, file, "--beam", 4, "--lm", foreign), 1, "symbols must spell words of the model"),
        ((ctc, file, "--beam", 4, "--lm-weight", -1), 1, "lm_weight must lie in"),
    ):
        err = done(capsys, "transcribe", *argv, code=code).err
        assert message in err and "Traceback" not in err


# ---- transcribe


def test_recordings_are_transcribed_one_by_one(ctc, words, spelled, tmp_path, capsys, monkeypatch):
    recognizer = load(ctc / "best.safetensors", pyasr.backend())
    files = [spelled / f"{i:02d}.wav" for i in (0, 5, 9)]
    wanted = [recognizer.transcribe(*pyasr.load(file)) for file in files]
    for run in (ctc, ctc / "best.safetensors"):
        lines = done(capsys, "transcribe", run, *files).out.splitlines()
        assert lines == [f"{file}\t{text}" for file, (text, _) in zip(files, wanted, strict=True)]
    assert done(capsys, "transcribe", ctc, files[1]).out == wanted[1][0] + "\n"
    lines = [json.loads(line) for line in done(capsys, "transcribe", ctc, *files, "--json").out.splitlines()]
    assert [(x["file"], x["text"]) for x in lines] == [
        (str(f), text) for f, (text, _) in zip(files, wanted, strict=True)
    ]
    for line, (_, probability) in zip(lines, wanted, strict=True):
        assert line["probability"] == pytest.approx(probability, abs=1e-6)

    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(files[1].read_bytes())))
    assert done(capsys, "transcribe", ctc, "-", files[0]).out.splitlines()[0] == f"-\t{wanted[1][0]}"
    assert done(capsys, "transcribe", words, files[0]).out.strip() in ("go", "no", "up")  # 8 kHz, resampled to its 16
    for name in ("text.wav", "empty.wav", "- x.wav"):
        (tmp_path / name).write_bytes(b"no sound" * (name == "text.wav"))
    bad = [tmp_path / "text.wav", tmp_path, files[0], tmp_path / "empty.wav", tmp_path / "nothing.wav"]
    out, err = done(capsys, "transcribe", ctc, *bad, code=1)
    assert out == f"{files[0]}\t{wanted[0][0]}\n"
    assert [line.split(": ")[1] for line in err.splitlines()[:-1]] == [str(b) for b in bad if b != files[0]]
    assert err.endswith("pyasr: 4 of 5 files could not be transcribed\n") and "Traceback" not in err
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"")))
    assert "pyasr: -: load: the file object is not a recording" in done(capsys, "transcribe", ctc, "-", code=1).err


# ---- download


@pytest.mark.parametrize("name", ["fsdd", "an4", "librispeech", "speech_commands"])
def test_offline_says_what_to_do(name, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PYASR_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    out, err = done(capsys, "download", name, "--offline", code=1)
    assert out == "" and err.count("\n") == 1
    assert f"$PYASR_DATA/{name}" in err and "--offline forbids a download: unpack http" in err and "--data" in err
    assert not list(tmp_path.iterdir())


def test_a_data_set_that_is_there_is_found(tmp_path, monkeypatch, capsys):
    TREES["write"](tmp_path / "librispeech", TREES["librispeech"]())
    monkeypatch.setenv("PYASR_DATA", str(tmp_path))
    for argv in ([], ["--data", tmp_path], ["--data", tmp_path / "librispeech"]):
        out = done(capsys, "download", "librispeech", "--offline", *argv).out
        assert out == f"{tmp_path / 'librispeech'}\n"


# ---- plot


def drawn(capsys, run):
    """The names of the pictures, each of which is what its suffix says and no more lies there."""
    paths = [Path(line) for line in done(capsys, "plot", run).out.splitlines()]
    assert {p.resolve() for p in paths} == {p.resolve() for p in (run / "plots").iterdir()}
    for path in paths:
        start = path.read_bytes()[:200]
        assert (
            start.startswith(b"\x89PNG\r\n\x1a\n")
            if path.suffix == ".png"
            else b"<?xml" in start and path.suffix == ".svg"
        )
    return sorted(p.name for p in paths)


def test_a_run_is_drawn(ctc, words, capsys):
    names = [f"{name}.{suffix}" for name in ("errors", "loss", "utterance") for suffix in ("png", "svg")]
    assert drawn(capsys, ctc) == names
    assert drawn(capsys, words) == sorted([*names, "confusions.png", "confusions.svg"])


def test_a_run_that_was_stopped_early_is_drawn_as_far_as_it_is(spelled, tmp_path, capsys, monkeypatch):
    after_step = training._Training._after_step
    for name, after in (("in the first epoch", 1), ("before the first update", 0)):

        def stop(self, step, after=after):
            if step.step >= after:
                raise KeyboardInterrupt
            return after_step(self, step)

        with monkeypatch.context() as patch:
            patch.setattr(training._Training, "_after_step", stop)
            argv = ["train", spelled, *SMALL, "--checkpoint-every", 1, "--out", tmp_path / name]
            assert done(capsys, *argv, code=130).err.strip() == "pyasr: interrupted"
    assert len(drawn(capsys, tmp_path / "in the first epoch")) == 6
    assert (tmp_path / "in the first epoch" / "last.safetensors").exists()
    err = done(capsys, "plot", tmp_path / "before the first update", code=1).err
    assert err == f"pyasr: {tmp_path / 'before the first update'} holds no checkpoint yet\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"junk\n", "metrics.jsonl, line 1 is no JSON"),
        (b"[]\n", "metrics.jsonl, line 1 must be an update or an epoch, got []"),
        (b'{"loss": 3}\n', "metrics.jsonl, line 1 must be an update or an epoch"),
        (None, "metrics.jsonl"),
    ],
)
def test_damaged_metrics_are_named(ctc, tmp_path, capsys, content, message):
    for name in ("config.toml", "best.safetensors"):
        (tmp_path / name).write_bytes((ctc / name).read_bytes())
    if content is not None:
        (tmp_path / "metrics.jsonl").write_bytes(content)
    err = done(capsys, "plot", tmp_path, code=1).err
    assert message in err and err.count("\n") == 1


# ---- what commands have in common

COMMANDS = ("train", "evaluate", "transcribe", "features", "download", "plot", "info", "bench")


def test_what_is_printed_to_try_next_can_be_pasted(ctc, spelled, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(plots, "draw", lambda *_: [])
    out = tmp_path / "it's my 1st run; really"
    lines = done(capsys, "train", spelled, *SMALL, "--out", out).out.splitlines()
    tries = [shlex.split(line.replace("FILE.wav", str(spelled / "00.wav")).replace("MANIFEST", str(spelled)))
             for line in lines[lines.index("next:") + 1 :]]  # fmt: skip
    for argv in tries:
        assert argv[0] == "pyasr"
        done(capsys, *argv[1:4], *argv[4 : 5 if argv[1] == "evaluate" else 4])
    err = done(capsys, "train", spelled, "--out", out, code=1).err
    assert shlex.split(err.split("`")[1])[1:] == ["train", "--resume", str(out)]


def test_help_names_every_command(capsys):
    for argv in (["--help"], ["-h"]):
        out = done(capsys, *argv).out
        assert all(any(line.split()[:1] == [name] for line in out.splitlines()) for name in COMMANDS)
    for name in COMMANDS:
        for flag in ("--help", "-h"):
            out = done(capsys, name, flag).out
            assert out.lower().startswith(f"usage: pyasr {name} ")
    assert done(capsys, "--version").out == f"pyasr, version {pyasr.__version__}\n"


def test_exit_codes(ctc, spelled, tmp_path, capsys, monkeypatch):
    for argv, code in (
        (["--version"], 0),
        (["transcribe", ctc, tmp_path / "none.wav"], 1),
        (["evaluate", tmp_path / "none"], 1),
        (["evaluate", ctc, "--data", tmp_path / "none"], 1),
        (["evaluate", ctc, "--part", "test"], 1),
        (["evaluate", ctc, "--data", spelled, "--part", "train"], 2),
        (["evaluate", ctc, "--corpus", "nothing"], 2),
        (["evaluate", ctc / "best.safetensors"], 2),
        (["features", spelled], 2),
        (["features", spelled, tmp_path / "f", "--kind", "lpc"], 2),
        (["download", "timit"], 2),
        (["plot", tmp_path], 1),
        (["plot", ctc / "best.safetensors"], 1),
        (["fly"], 2),
        ([], 2),
    ):
        err = done(capsys, *argv, code=code).err
        assert bool(err) == bool(code) and "Traceback" not in err

    def pressed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(pyasr, "load", pressed)
    for argv in (["transcribe", ctc, spelled / "00.wav"], ["features", spelled, tmp_path / "g"]):
        assert done(capsys, *argv, code=130).err.strip() == "pyasr: interrupted"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_named(spelled, tmp_path, capsys):
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o555)
    for argv in (["train", spelled, *SMALL, "--out"], ["features", spelled]):
        for out in (locked, locked / "a" / "b"):
            err = done(capsys, *argv, out, code=1).err
            assert f"{out} cannot be written: no permission for {locked}" in err


def test_a_fresh_process_says_the_same(ctc, spelled):
    argv = [sys.executable, "-m", "pyasr", "transcribe", ctc, spelled / "04.wav", spelled / "none.wav"]
    process = subprocess.run(argv, capture_output=True, text=True, cwd="/", env={**os.environ, "PYTHONUTF8": "1"})
    assert process.returncode == 1
    assert process.stdout.startswith(f"{spelled / '04.wav'}\t") and "1 of 2 files" in process.stderr
