"""A folder of features that is stopped anywhere ends with the same bytes."""

import errno
import json
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import pyasr

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("click", "soxr", "safetensors", "tomli_w", "msgspec"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.runs import shards  # noqa: E402  (after the packages that it needs)

FOLDERS = runpy.run_path(str(Path(__file__).with_name("feature_folders.py")))
SMALL = FOLDERS["SMALL"]
make, within, bytes_of = (FOLDERS[name] for name in ("make", "within", "bytes_of"))


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return FOLDERS["corpus_in"](tmp_path_factory.mktemp("recordings"))


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """The folder that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        return make(corpus, tmp_path_factory.mktemp("whole"), patch)


# Every place where something reaches the disk is counted; the process is killed before the `left`-th of them.
KILLED_AT = """
import os, signal, sys
from pyasr import cli
from pyasr.runs import shards

shards.FLUSH_BYTES = int(sys.argv[1])
left, sync = 0, os.fsync

def step():
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def hook(event, args):
    if left > 0 and (event in ("os.rename", "os.remove", "os.mkdir") or event == "open" and "out" in str(args[0])):
        step()

def fsync(descriptor):
    step()
    sync(descriptor)

os.fsync = fsync
sys.addaudithook(hook)

def run(stop):
    global left
    child = os.fork()
    if child == 0:
        left = stop
        os._exit(cli.main(sys.argv[2:]))
    return os.waitpid(child, 0)[1]

first = 0
while True:
    first += 1
    os.mkdir(str(first))
    os.chdir(str(first))
    codes = [run(first), run(1 + first % 7), run(0)]
    os.chdir("..")
    assert codes[2] == 0, codes
    if codes[0] == 0:
        break
print(first)
"""


@pytest.mark.parametrize(("flush", "recordings"), [(1, 4), (8000, 21)])
def test_killed_anywhere_it_goes_on_to_the_same_bytes(corpus, tmp_path, flush, recordings):
    lines = corpus.read_text("utf-8").splitlines(True)
    few = corpus.with_name("few.jsonl")
    few.write_text("".join(lines[:recordings]), "utf-8")
    argv = ["features", str(few), "out", *SMALL, "--json"]
    done = subprocess.run(
        [sys.executable, "-c", KILLED_AT, str(flush), *argv], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    stops = int(done.stdout.splitlines()[-1])
    wanted = bytes_of(tmp_path / str(stops) / "out")  # the last one was never killed
    assert stops > 30 and len(wanted) > 5  # files
    for stop in range(1, stops):
        assert bytes_of(tmp_path / str(stop) / "out") == wanted, f"killed before step {stop}"


SLOWLY = """
import sys, time, pyasr
from pyasr import cli
from pyasr.runs import shards
load, shards.FLUSH_BYTES = pyasr.load, 1
def slow(*args, **options):
    time.sleep(0.01)
    return load(*args, **options)
pyasr.load = slow
sys.exit(cli.main(sys.argv[1:]))
"""


def test_random_stops_change_nothing(corpus, whole, tmp_path):
    rng, out = random.Random(5), tmp_path / "out"
    done = 0
    argv = [sys.executable, "-c", SLOWLY, "features", str(corpus), "out", *SMALL, "--threads", "2"]
    for stop in (signal.SIGINT, signal.SIGKILL, signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
        while process.poll() is None and progress(out) <= done:
            time.sleep(0.001)
        time.sleep(rng.random() * 0.01)
        process.send_signal(stop)
        stderr = process.communicate(timeout=60)[1]
        assert process.returncode == (130 if stop == signal.SIGINT else -signal.SIGKILL), stderr
        assert progress(out) > done and "Traceback" not in stderr
        done = progress(out)
        if stop == signal.SIGINT:
            assert f"pyasr: interrupted, {done} of 21 recordings are done; the same command goes on\n" in stderr
    subprocess.run(argv, cwd=tmp_path, check=True, capture_output=True)
    assert bytes_of(out) == bytes_of(whole)


def progress(out):
    """Recordings that are done; the file is replaced while it is looked for."""
    file = out / "progress.json"
    return json.loads(file.read_text())["done"] if file.exists() else 0


def stopped(corpus, home, monkeypatch, after=9):
    """A folder whose command was stopped by Ctrl-C in the middle."""
    add = shards.StoreWriter.add

    def add_or_stop(self, done, item):
        if done > after:
            raise KeyboardInterrupt
        add(self, done, item)

    with monkeypatch.context() as patch:
        patch.setattr(shards.StoreWriter, "add", add_or_stop)
        return make(corpus, home, monkeypatch, code=130)


def test_a_full_disk_costs_what_was_not_flushed(corpus, whole, tmp_path, monkeypatch, capsys):
    sync, calls = os.fsync, []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) == 30:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(shards, "FLUSH_BYTES", 4000)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        out = make(corpus, tmp_path, monkeypatch, code=1)
    assert "No space left on device" in capsys.readouterr().err and 0 < progress(out) < 21
    make(corpus, tmp_path, monkeypatch)
    assert bytes_of(out) == bytes_of(whole)


def test_what_was_written_behind_the_last_flush_is_cut_off(corpus, whole, tmp_path, monkeypatch, capsys):
    out = stopped(corpus, tmp_path, monkeypatch)
    assert capsys.readouterr().err.endswith("interrupted, 9 of 21 recordings are done; the same command goes on\n")
    for name in ("index.jsonl", "cuts.jsonl", "skipped.jsonl", max(path.name for path in out.glob("*.npy"))):
        (out / name).write_bytes((out / name).read_bytes() + b"{half a line or row")
    for name in ("features-00042.npy", ".options.json.tmp", ".progress.json.tmp", ".lock"):
        (out / name).write_bytes(b"left over")
    make(corpus, tmp_path, monkeypatch)
    assert bytes_of(out) == bytes_of(whole)


def test_a_finished_folder_is_left_alone(corpus, whole, tmp_path, monkeypatch, capsys):
    out = make(corpus, tmp_path, monkeypatch)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    monkeypatch.setattr(pyasr, "__version__", "99")  # who computed it does not matter any more
    make(corpus, tmp_path, monkeypatch)
    assert capsys.readouterr().out.endswith("out is finished already: 15 utterances, skipped 7 recordings\n")
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    written = (out / "options.json").read_text("utf-8")
    (out / "options.json").write_text(written.replace('  "htk_mode": false,\n', ""), "utf-8")  # from an older version
    make(corpus, tmp_path, monkeypatch)
    make(within(corpus), tmp_path, monkeypatch, code=1)
    assert "recordings.sha256 was" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--kind", "mfcc"], "kind was 'fbank', now 'mfcc'"),
        (["--set", "window=hann"], "options.window was 'povey', now 'hann'"),
        (["--sample-rate", 16000], "options.sample_rate was 8000.0, now 16000.0"),
        (["--sample-rate", 8000], "resample_to was None, now 8000"),
        (["--shard-mb", 1], "shard_bytes was 4194, now 1048576"),
        ([], "computed_by.pyasr was "),
    ],
)
def test_other_settings_are_named(corpus, tmp_path, monkeypatch, capsys, more, words):
    out = stopped(corpus, tmp_path, monkeypatch)
    before = bytes_of(out)
    if not more:
        monkeypatch.setattr(pyasr, "__version__", "99")
    make(corpus, tmp_path, monkeypatch, *more, code=1)
    err = capsys.readouterr().err
    assert "out was begun with other settings: " in err and words in err and "choose another folder" in err
    assert bytes_of(out) == before


def test_other_recordings_are_refused(corpus, tmp_path, monkeypatch, capsys):
    stopped(corpus, tmp_path, monkeypatch)
    other = corpus.with_name("other.jsonl")
    for text, words in ((corpus.read_text("utf-8").replace("ÿ", "y"), "sha256 was"),
                        (corpus.read_text("utf-8").split("\n", 1)[1], "recordings.count was 21, now 20")):  # fmt: skip
        other.write_text(text, "utf-8")
        make(other, tmp_path, monkeypatch, code=1)
        assert words in capsys.readouterr().err
    out = make(corpus, tmp_path, monkeypatch, "--strict", code=1)
    assert "line 22" in capsys.readouterr().err and (out / "progress.json").exists()


def test_two_processes_do_not_fill_one_folder(corpus, tmp_path, monkeypatch, capsys):
    out = stopped(corpus, tmp_path, monkeypatch)
    holder = ("import fcntl, sys; f = open('out/.lock', 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(flush=True); "
              "sys.stdin.read()")  # fmt: skip
    with subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        make(corpus, tmp_path, monkeypatch, code=1)
        assert "out is being written by another process" in capsys.readouterr().err
        process.stdin.close()
    make(corpus, tmp_path, monkeypatch)
    assert not (out / ".lock").exists()


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("progress.json", b"{", "progress.json must be JSON"),
        ("progress.json", b'{"done": -1}', "done must be a whole number"),
        ("features-00000.npy", b"", "must be a .npy file of float32"),
        ("features-00002.npy", b"", "must hold the "),
        ("index.jsonl", b"", "must hold the "),
        ("options.json", b"[]", "must be a JSON object"),
        ("options.json", b"{}", "must have format"),
    ],
)
def test_a_damaged_folder_is_not_filled_further(corpus, tmp_path, monkeypatch, capsys, name, data, words):
    out = stopped(corpus, tmp_path, monkeypatch)
    (out / name).write_bytes(data)
    before = bytes_of(out)
    make(corpus, tmp_path, monkeypatch, code=1)
    assert words in capsys.readouterr().err and bytes_of(out) == before
