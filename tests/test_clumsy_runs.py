"""Runs that were started or changed by hand without care: each works, or ends with one line that says what is wrong."""

import json
import math
import runpy
import shutil
from pathlib import Path

import pytest

from pyasr import checkpoint, cli

for package in ("soundfile", "msgspec", "safetensors", "rapidfuzz", "matplotlib", "click", "tomli_w"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.runs import plots  # noqa: E402  (after the packages that it needs)
from pyasr.runs.folder import RunFolder, read_metrics  # noqa: E402
from pyasr.runs.training import State, best_of  # noqa: E402

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
letters_of, folder_of, jsonl = TREES["letters_of"], TREES["folder_of"], TREES["jsonl"]
SPELLED = [" ".join(letters_of(i)) for i in range(20)]
SMALL = ["--hidden", "8", "--layers", "1", "--epochs", "2", "--batch-size", "8"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Most of a small run's time goes into drawing."""
    monkeypatch.setattr(plots, "draw", lambda *_: [])


@pytest.fixture(scope="module")
def spelled(tmp_path_factory):
    return folder_of(tmp_path_factory.mktemp("spelled"), SPELLED)


@pytest.fixture(scope="module")
def finished(spelled, tmp_path_factory):
    """A run of two epochs, its last checkpoint and the one before."""
    out = tmp_path_factory.mktemp("finished") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plots, "draw", lambda *_: [])
        argv = ["train", str(spelled), *SMALL, "--checkpoint-every", "2", "--quiet", "--out", str(out)]
        assert cli.main(argv) == 0
    return out


@pytest.fixture
def run(finished, tmp_path):
    """A copy that may be spoiled."""
    return RunFolder(shutil.copytree(finished, tmp_path / "run"))


def failed(capsys, *argv, code=1):
    """The one line that a command ends with."""
    assert cli.main([str(a) for a in argv]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("pyasr: ") and err.count("\n") == 1, err
    return err


def worked(capsys, *argv):
    """The result of a training, and the notes beside it."""
    assert cli.main([*map(str, argv), "--json"]) == 0
    out, err = capsys.readouterr()
    return json.loads(out), err


# ---- options


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hiden = 3", "there is no option hiden; do you mean hidden?"),
        ("learning_rate = 3", "there is no option learning_rate"),
        ("dropout = 'much'", "options: dropout: Expected `float`, got `str`"),
        ("dropout = 1.0", "options: dropout: Expected `float` < 1.0, got 1.0"),
        ("bidirectional = 1", "options: bidirectional: Expected `bool`, got `int`"),
        ("bptt = 3", "options: bptt needs bidirectional = false, got bptt = 3"),
        ("cell = 'qrnn'", "options: cell: must be one of lstm, gru, rnn, got 'qrnn'"),
        ("sample_rate = 1000", "sample_rate must be high enough for 26 mel filters, got 1000 Hz"),
        ("model = 'transformer'", "options: model must be one of word_classifier, lstm_ctc, got 'transformer'"),
        ("[model]\nhidden = 3", "options: model must be one of word_classifier, lstm_ctc, got {'hidden': 3}"),
        ('alphabet = "a\\u0007"', "alphabet must be printable, got 'a\\x07'"),
        ("alphabet = 'aa'", "characters must be different"),
        ("alphabet = ''", "characters must be different and at least one"),
        (
            "alphabet = 'xyz'",
            "manifest has no utterances to train on: 18 left out, the first 00.wav: text must be of the",
        ),
        (
            "longest = 0.1",
            "manifest has no utterances to train on: 20 left out, the first 00.wav: … must last at most longest = 0.1 s, got ",
        ),
        ("hidden =", "is not TOML"),
        (b"\xff", "is not TOML"),
    ],
)
def test_what_is_wrong_with_an_option_is_said(spelled, tmp_path, capsys, text, message):
    TREES["write"](tmp_path, {"mine.toml": text})
    argv = ["train", spelled, "--config", tmp_path / "mine.toml", "--out", tmp_path / "run"]
    if message.startswith(("there is no option", "options: ")):
        assert cli.main([str(a) for a in argv]) == 2  # wrong use
        assert message in capsys.readouterr().err
    else:
        said = failed(capsys, *argv)
        assert all(part in said for part in message.split(" … "))
    assert not (tmp_path / "run").exists()


# ---- recordings


@pytest.mark.parametrize(
    ("texts", "model", "message"),
    [
        ([], None, "has no utterances to train on"),
        (["a b"], None, "has no utterances to choose by"),
        ([""] * 6, None, "manifest has no words to train on: every transcript is empty"),
        ([""] * 6, "word_classifier", "manifest has no words to train on: every transcript is empty"),
        (["\x07"] * 6, None, "manifest has no words to train on: every transcript is empty or cannot be printed"),
        (["a b c " * 40] * 6, "lstm_ctc", "frames are too few for the text"),
    ],
    ids=["none", "one", "empty", "empty words", "bells", "long"],
)
def test_recordings_that_teach_nothing_are_named(tmp_path, capsys, texts, model, message):
    data = folder_of(tmp_path / "data", texts) if texts else tmp_path
    argv = ["train", data, *SMALL, "--out", tmp_path / "run", *(["--model", model] if model else [])]
    assert message in failed(capsys, *argv)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("model", ["lstm_ctc", "word_classifier"])
@pytest.mark.parametrize(
    ("texts", "skipped"),
    [(["a b"] * 2, 0), (["a", "b", "c"], 0), (["go"] * 10, 0), (["", "go", "go"] * 4, 4), (["a b", "go on"] * 4, 0)],
    ids=["two", "three", "one word", "some empty", "sentences"],
)
def test_little_and_dull_material_is_enough(tmp_path, capsys, model, texts, skipped):
    data = folder_of(tmp_path / "data", texts)
    result, err = worked(capsys, "train", data, *SMALL, "--model", model, "--out", tmp_path / "run", "--set", "stack=1")
    kept = RunFolder(tmp_path / "run").corpus()
    silent = sum(u.text == "" for u in kept.train) if model == "word_classifier" else 0  # is what CTC can say
    assert result["skipped"] == silent <= skipped and ("left out" in err) == bool(silent)
    assert result["dev"]["utterances"] == len(kept.dev)


def test_words_that_only_dev_knows_are_errors_and_not_the_end(spelled, tmp_path, capsys):
    dev = folder_of(tmp_path / "dev", ["xyz", "a ß", "\x07", ""])
    for name, argv in (("ctc", [spelled]), ("words", [folder_of(tmp_path / "words", ["go", "no"] * 5)])):
        result, _ = worked(capsys, "train", *argv, "--dev", dev, *SMALL, "--out", tmp_path / f"{name} run")
        assert result["dev"]["utterances"] == 4 and result["dev"]["words"] == 4
    assert result["dev"]["loss"] is None and result["dev"]["right"] == 0


def test_a_batch_larger_than_the_corpus_is_the_corpus(spelled, tmp_path, capsys):
    argv = ["train", spelled, *SMALL, "--batch-size", 2**31 - 1, "--set", f"accumulate={2**31 - 1}"]
    assert worked(capsys, *argv, "--out", tmp_path / "run")[0]["steps"] == 2


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nothing", "there is no data set and no manifest nothing"),
        ("", "there is no data set and no manifest"),
        ("a\0b", "there is no data set and no manifest"),
        ("letter.txt", "no utterances to train on; 1 were skipped, the first of them: not JSON"),
        ("empty.jsonl", "no utterances to train on"),
        ("packed.jsonl.gz", "cannot be unpacked"),
        ("sound.wav", "no utterances to train on"),
    ],
)
def test_what_is_no_manifest_is_named(tmp_path, monkeypatch, capsys, source, message):
    sound = TREES["recording"]("abc", 0)
    TREES["write"](tmp_path, {"letter.txt": "Dear all", "empty.jsonl": "", "packed.jsonl.gz": "x", "sound.wav": sound})
    monkeypatch.chdir(tmp_path)
    assert message in failed(capsys, "train", source, *SMALL, "--out", "run")
    assert not Path("run").exists()


# ---- where a run goes


def test_the_folder_of_a_run_may_be_deep_and_must_be_free(spelled, tmp_path, capsys):
    out = tmp_path / "not" / "yet" / "there"
    worked(capsys, "train", spelled, *SMALL, "--out", out)
    err = failed(capsys, "train", spelled, *SMALL, "--out", out)
    assert f"{out} is there already and is not overwritten: go on with `pyasr train --resume {out}`, or" in err
    file = tmp_path / "file"
    file.write_text("mine")
    err = failed(capsys, "train", spelled, *SMALL, "--out", file)
    assert f"{file} is there already and is not overwritten: choose another with --out" in err
    for below in (file / "run", file / "a" / "b"):
        assert f"{below} cannot be made: {file} is no folder" in failed(
            capsys, "train", spelled, *SMALL, "--out", below
        )
    assert file.read_text() == "mine"
    assert "is not overwritten" in failed(capsys, "train", spelled, *SMALL, "--out", spelled)
    (tmp_path / "empty").mkdir()
    worked(capsys, "train", spelled, *SMALL, "--out", tmp_path / "empty")


# ---- going on with what was changed

EDITS = {
    "other epochs": ("epochs = 2", "epochs = 3", "the options must be those that the run began with"),
    "other model": ('"lstm_ctc"', '"word_classifier"', "the options must be those that the run began with"),
    "a typo": ("hidden = 8", "hiden = 8", "there is no option hiden; do you mean hidden?"),
    "a text": ("hidden = 8", "hidden = 'x'", "options: hidden: Expected `int`, got `str`"),
    "half": ("hidden = 8", "hidden =", "config.toml is not TOML"),
    "no run": ("[run]", "[ran]", "must have run.source, got {}"),
    "run is a number": ("[run]", "run = 3\n[ran]", "must have run.source, got 3"),
    "source is a number": ('source = "', 'source = 3 # "', "must have run.source, got {'source': 3,"),
    "source is gone": ('source = "', 'source = "/nowhere', "there is no data set and no manifest /nowhere"),
    "source has a zero": ('source = "', 'source = "\\u0000', "there is no data set and no manifest"),
    "unknown backend": ("[run]", '[run]\nbackend = "abacus"', "one of numpy, numba, cpp, cuda, got 'abacus'"),
    "backend is a number": ("[run]", "[run]\nbackend = 3", "run.backend must be text, got 3"),
    "never saves": (
        "checkpoint_every = 2",
        "checkpoint_every = 0",
        "run.checkpoint_every must be a whole number of updates, got 0",
    ),
    "dev is a number": ("[run]", "[run]\ndev = 3", "run.dev must be text, got 3"),
    "dev is gone": ("[run]", '[run]\ndev = "/nowhere"', "there is no manifest /nowhere"),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_config_is_refused(run, capsys, case):
    old, new, message = EDITS[case]
    file = run.path / "config.toml"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))
    before = {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()}
    assert message in failed(capsys, "train", "--resume", run.path)
    assert {p: p.read_bytes() for p in run.path.iterdir() if p.is_file()} == before


def test_missing_files_are_named(run, spelled, capsys):
    for path, message in (
        (run.metrics, "metrics.jsonl must hold the "),
        (run.best, "best.safetensors is missing: the best of 2 epochs cannot be had again"),
        (run.path / "config.toml", "holds no run: there is no "),
    ):
        data = path.read_bytes()
        path.unlink()
        assert message in failed(capsys, "train", "--resume", run.path)
        path.write_bytes(data)
    for where in (run.path / "none", run.best):
        assert f"{where} holds no run" in failed(capsys, "train", "--resume", where)
    worked(capsys, "train", "--resume", run.path)


def test_without_a_checkpoint_a_run_begins_anew_and_says_so(run, capsys):
    wanted = checkpoint.load(run.last).tensors
    run.last.unlink()
    assert worked(capsys, "train", "--resume", run.path)[1] == ""  # from the one before
    run.last.unlink()
    run.previous.unlink()
    result, err = worked(capsys, "train", "--resume", run.path)
    assert err == f"pyasr: {run.path} holds no checkpoint yet; beginning with the first step\n"
    assert len(read_metrics(run.metrics)[0]) == result["steps"] == 6
    for name, tensor in checkpoint.load(run.last).tensors.items():
        assert (tensor == wanted[name]).all()


def test_lines_that_the_checkpoint_does_not_know_are_cut_off(run, capsys):
    kept = run.metrics.read_bytes()
    run.metrics.write_bytes(kept + b"x" * 1000)
    worked(capsys, "train", "--resume", run.path)
    assert run.metrics.read_bytes() == kept


DOCTORED = {
    "no training": lambda c: c.pop("training"),
    "training is a list": lambda c: c.update(training=[]),
    "no state": lambda c: c["training"].pop("state"),
    "state is a list": lambda c: c["training"].update(state=[1]),
    "no progress": lambda c: c["training"]["state"].pop("progress"),
    "epoch is a text": lambda c: c["training"]["state"]["progress"].update(epoch="x"),
    "step is negative": lambda c: c["training"]["state"]["progress"].update(step=-1),
    "history is short": lambda c: c["training"]["state"].update(history=[[1, 2.0]]),
    "history is flat": lambda c: c["training"]["state"].update(history=[1, 2]),
    "seconds are a text": lambda c: c["training"]["state"].update(seconds="x"),
    "no size": lambda c: c["training"].pop("metrics_size"),
    "size is negative": lambda c: c["training"].update(metrics_size=-3),
    "size is a text": lambda c: c["training"].update(metrics_size="3"),
}


@pytest.mark.parametrize("case", DOCTORED)
def test_a_doctored_checkpoint_is_refused(run, capsys, case):
    import safetensors.numpy

    saved = checkpoint.load(run.last)
    DOCTORED[case](saved.config)
    metadata = {"format": "pyasr", "version": "1", "config": json.dumps(saved.config)}
    run.last.write_bytes(safetensors.numpy.save(saved.tensors, metadata))
    message = "holds a recognizer and no training" if "training" in case else "does not say where its training stands"
    assert f"{run.last} {message}" in failed(capsys, "train", "--resume", run.path)


def test_a_checkpoint_that_is_no_file_is_named(run, capsys):
    run.previous.unlink(missing_ok=True)
    for spoil in (lambda: run.last.write_bytes(b""), lambda: run.last.unlink() or run.last.mkdir()):
        spoil()
        assert str(run.last) in failed(capsys, "train", "--resume", run.path)


def test_the_best_epoch_has_the_fewest_errors_and_then_the_lowest_loss():
    assert best_of([(3, 1.0), (2, None), (2, 9.0), (2, 8.0), (2, 8.0), (3, 0.1)]) == 3
    assert best_of([(2, None), (2, None)]) == 0
    assert best_of([(2, math.inf), (2, None)]) == 0
    assert State().history == []
