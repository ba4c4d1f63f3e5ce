"""A run is stopped twenty times at random moments and ends with the same bits as one that was left alone."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import pyasr
from pyasr import checkpoint
from pyasr.recognizer import CtcRecognizer

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("msgspec", "safetensors", "rapidfuzz", "matplotlib", "click"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.runs.folder import RunFolder, read_metrics  # noqa: E402  (after the packages that it needs)

OPTIONS = [
    "--hidden",
    "12",
    "--epochs",
    "48",
    "--batch-size",
    "3",
    "--set",
    "accumulate=2",
    "--set",
    "schedule=plateau",
]
PYASR = [sys.executable, "-m", "pyasr"]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Forty tones of a fifth to half a second, named by a letter each."""
    root = tmp_path_factory.mktemp("tones")
    rng = np.random.default_rng(7)
    for i in range(40):
        letters = "".join(rng.choice(list("abc"), int(rng.integers(1, 4))))
        tones = [np.sin(2 * np.pi * (400 + 500 * "abc".index(c)) * np.arange(1200) / 8000) for c in letters]
        wave = 0.3 * np.concatenate(tones) + 0.01 * rng.standard_normal(1200 * len(letters))
        soundfile.write(root / f"{i:02d}.wav", wave, 8000)
        (root / f"{i:02d}.txt").write_text(" ".join(letters))
    return root


def command(recordings, out, threads):
    argv = ["train", recordings, "--out", out, "--model", "lstm_ctc", "--checkpoint-every", "1", "--quiet", *OPTIONS]
    return [*PYASR, *map(str, argv), "--threads", str(threads)]


@pytest.fixture(scope="module")
def whole(recordings, tmp_path_factory):
    """The run that nobody stops."""
    out = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(recordings, out, 1), check=True, capture_output=True, cwd=out.parent)
    return RunFolder(out)


def bits(path):
    """Hash of weights, and of the optimizer where it is there."""
    tensors = checkpoint.load(path).tensors
    return hashlib.sha256(b"".join(tensors[name].tobytes() for name in sorted(tensors))).hexdigest()


def steps_of(folder):
    """Updates that the newest checkpoint knows of; it must be readable."""
    saved, wrong = folder.checkpoint()
    assert not wrong
    return 0 if saved is None else saved.config["training"]["state"]["progress"]["step"]


def without_clock(records):
    return [{k: v for k, v in record.items() if k != "seconds"} for record in records]


def test_twenty_stops_change_nothing(recordings, whole, tmp_path):
    rng, folder = random.Random(3), RunFolder(tmp_path / "run")
    stops, done, codes = [signal.SIGKILL, signal.SIGINT] * 10, 0, []
    rng.shuffle(stops)
    total = len(read_metrics(whole.metrics)[0])
    for stop in stops:
        argv = [*PYASR, "train", "--resume", str(folder.path), "--quiet"]  # it goes on to save after every update
        if not (folder.path / "config.toml").exists():
            argv = command(recordings, folder.path, 2)
        # The update after which this stop comes, and a while of up to one update more. A killed run may have written a line
        # that its checkpoint does not know; it is cut off when the run goes on.
        target = (lines_of(folder.metrics) if folder.metrics.exists() else 0) + rng.randint(1, 3)
        process = subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and not (folder.metrics.exists() and lines_of(folder.metrics) >= target):
            time.sleep(0.002)
        time.sleep(rng.random() * 0.01)
        seen = lines_of(folder.metrics) if folder.metrics.exists() else 0
        process.send_signal(stop)
        _, stderr = process.communicate(timeout=60)
        codes.append(process.returncode)
        assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL), stderr
        assert "Traceback" not in stderr
        now = steps_of(folder)
        assert now >= max(done, seen - 1)  # killed: the update whose checkpoint was not finished is lost, and no more
        if stop == signal.SIGINT and folder.last.exists():
            assert lines_of(folder.metrics) == now  # none is lost
        done = now
    assert done < total, "the run ended before the stops did"
    assert codes.count(130) == 10
    subprocess.run([*PYASR, "train", "--resume", "run/", "--quiet"], check=True, cwd=tmp_path, capture_output=True)
    for name in ("last", "best"):
        assert bits(getattr(folder, name)) == bits(getattr(whole, name))
    for mine, theirs in zip(read_metrics(folder.metrics), read_metrics(whole.metrics), strict=True):
        assert without_clock(mine) == without_clock(theirs)
    assert [r["step"] for r in read_metrics(folder.metrics)[0]] == list(range(1, total + 1))
    assert not list(folder.path.rglob(".*"))
    results = [json.loads((f.path / "result.json").read_text()) for f in (folder, whole)]
    assert results[0]["test"] == results[1]["test"] and results[0]["dev"] == results[1]["dev"]


def lines_of(metrics):
    """Updates in metrics.jsonl."""
    return metrics.read_bytes().count(b'"step":')


def stopped(recordings, tmp_path):
    """A run in tmp_path that Ctrl-C ended after some updates, although it was started with Ctrl-C ignored, as the shell of a
    script starts background jobs."""
    folder = RunFolder(tmp_path / "run")
    process = subprocess.Popen(
        command(recordings, folder.path, 1), cwd=tmp_path, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )  # fmt: skip
    while not (folder.metrics.exists() and lines_of(folder.metrics) >= 3):
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted, saved" in stderr and f"--resume {folder.path}" in stderr
    assert "Traceback" not in stderr and not list(folder.path.rglob(".*"))
    CtcRecognizer.load(folder.last, pyasr.backend())
    return folder


def resume(folder, *more):
    return subprocess.run(
        [*PYASR, "train", "--resume", str(folder.path), "--quiet", *more], cwd="/", capture_output=True, text=True
    )


def test_what_does_not_fit_is_refused_and_a_damaged_checkpoint_has_one_before_it(recordings, whole, tmp_path):
    folder = stopped(recordings, tmp_path)
    config = folder.path / "config.toml"
    text = config.read_text()
    config.write_text(text.replace("hidden = 12", "hidden = 13"))
    refused = resume(folder)
    assert refused.returncode == 1 and "options must be those that the run began with" in refused.stderr
    config.write_text(text.replace(str(recordings), str(tmp_path / "other")))
    (tmp_path / "other").mkdir()
    for path in recordings.iterdir():
        (tmp_path / "other" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "other" / "00.txt").write_text("a a a")
    refused = resume(folder)
    assert refused.returncode == 1 and "data must be those that the run began with" in refused.stderr
    config.write_text(text)
    for argv in (["--epochs", "9"], ["--set", "hidden=3"], ["--model", "lstm_ctc"]):
        assert resume(folder, *argv).returncode == 2

    (folder.path / ".last.safetensors.tmp").write_bytes(b"of a process that was killed")
    folder.last.write_bytes(folder.last.read_bytes()[:-100])
    done = resume(folder)
    assert done.returncode == 0, done.stderr
    assert "last.safetensors is not a safetensors file, or is damaged" in done.stderr
    assert "going on from the one before" in done.stderr
    assert bits(folder.last) == bits(whole.last)
    assert not list(folder.path.rglob(".*"))


def test_a_second_ctrl_c_ends_at_once(recordings, tmp_path):
    folder = RunFolder(tmp_path / "run")
    # One update of the slowest backend takes long: the first Ctrl-C waits for its end, the second does not.
    argv = [
        *command(recordings, folder.path, 1),
        "--backend",
        "numpy",
        "--set",
        "batch_size=36",
        "--set",
        "accumulate=50",
    ]
    argv[argv.index("--hidden") + 1] = "512"
    process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    while not (folder.path / "config.toml").exists():
        time.sleep(0.002)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in stderr and "saved" not in stderr


def test_a_run_is_never_overwritten(recordings, whole):
    again = subprocess.run(command(recordings, whole.path, 1), capture_output=True, text=True, cwd="/")
    assert again.returncode == 1
    assert f"{whole.path} is there already and is not overwritten" in again.stderr


def test_a_finished_run_resumes_to_itself(whole):
    before = bits(whole.last), whole.metrics.read_bytes()
    assert resume(whole).returncode == 0
    assert (bits(whole.last), whole.metrics.read_bytes()) == before
