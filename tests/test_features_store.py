"""A folder of features ends with the same bytes, whatever the threads and wherever it was stopped; damage is refused in words."""

import errno
import json
import os
import random
import runpy
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import cli
from pyasr.compat import lhotse as compat
from pyasr.features.store import HEADER, open_shard, shard_header

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("click", "soxr", "safetensors", "tomli_w", "msgspec"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.datasets import manifest  # noqa: E402  (after the packages that these need)
from pyasr.runs import extraction, shards  # noqa: E402

TREES = runpy.run_path(str(Path(__file__).with_name("trees.py")))
jsonl, recording, tone = TREES["jsonl"], TREES["recording"], TREES["tone"]
SMALL = ["--kind", "fbank", "--shard-mb", "0.004", "--set", "num_mels=15"]  # a shard holds three or four recordings
BAD = {"cut.wav": "is cut short", "nan.wav": "holds NaN", "many.wav": "1 to 8 channels", "short.wav": "at least one frame",
       "text.wav": "is not a recording", "other.wav": "8000 Hz of the others, got 16000"}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """A manifest of 14 good recordings, one of them in two stretches, and six bad ones between them."""
    root = tmp_path_factory.mktemp("recordings")
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


@pytest.fixture(scope="module")
def whole(corpus, tmp_path_factory):
    """The folder that nobody stopped."""
    with pytest.MonkeyPatch.context() as patch:
        return make(corpus, tmp_path_factory.mktemp("whole"), patch)


@pytest.fixture
def copy(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "copy"))


def test_rows_are_those_of_the_functions(corpus, whole):
    store = pyasr.features.open_store(whole)
    good = [u for u in manifest.load(corpus).utterances if u.path.name not in BAD]
    assert list(store.names) == [u.name for u in good] and len(store) == 15
    for i, (u, features) in enumerate(zip(good, store, strict=True)):
        wave, rate = pyasr.load(u.path, start=u.start, duration=u.duration)
        np.testing.assert_array_equal(features, pyasr.fbank(wave, rate, num_mels=15))
        np.testing.assert_array_equal(store[u.name], store[i])
        entry = store.entries[i]
        assert (entry.text, entry.speaker, entry.source) == (u.text, u.speaker, str(u.path))
        assert (entry.start, entry.duration, entry.sample_rate) == (u.start, len(wave) / rate, rate)
        assert features.dtype == np.float32 and not features.flags.writeable and not features.flags.owndata
    assert store.lengths.tolist() == [len(f) for f in store] == [e.frames for e in store.entries]
    assert store.options == pyasr.MfccOptions(sample_rate=8000, num_mels=15, num_ceps=0)
    assert good[0].name in store and "text.wav" not in store and 0 not in store
    np.testing.assert_array_equal(store[-1], store[14])
    for wrong, error in (("text.wav", KeyError), (15, IndexError), (-16, IndexError)):
        with pytest.raises(error):
            store[wrong]


def test_shards_are_plain_arrays_of_bounded_size(whole):
    paths = sorted(whole.glob("*.npy"))
    assert [p.name for p in paths] == [f"features-{i:05d}.npy" for i in range(len(paths))] and len(paths) > 3
    index = [json.loads(line) for line in (whole / "index.jsonl").read_text("utf-8").splitlines()]
    for path in paths:
        rows = np.load(path, mmap_mode="r")
        assert rows.dtype == np.float32 and rows.shape[1] == 15 and rows.nbytes <= 0.004 * 2**20
        assert len(rows) == sum(e["frames"] for e in index if e["shard"] == path.name)
    assert {p.name for p in whole.iterdir()} == {p.name for p in paths} | {
        "index.jsonl", "options.json", "skipped.jsonl", "cuts.jsonl"
    }  # fmt: skip


@pytest.mark.parametrize(("rows", "features"), [(1, 1), (12, 13), (10**9, 257)])
def test_the_header_is_that_of_numpy(rows, features):
    import io

    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (rows, features)})
    assert shard_header(rows, features) == file.getvalue() and len(file.getvalue()) == HEADER


def test_bad_recordings_are_named_and_lose_nothing_else(corpus, whole, tmp_path, monkeypatch, capsys):
    skipped = [json.loads(line) for line in (whole / "skipped.jsonl").read_text("utf-8").splitlines()]
    assert skipped[0] == {"name": f"{corpus}, line 22", "reason": "'../outside.wav' leaves the manifest's folder"}
    assert [s["name"] for s in skipped[1:]] == list(BAD)
    for one, reason in zip(skipped[1:], BAD.values(), strict=True):
        assert reason in one["reason"]
    out = make(corpus, tmp_path, monkeypatch, "--json")
    printed, notes = capsys.readouterr()
    frames = int(pyasr.features.open_store(whole).lengths.sum())
    wanted = {"out": "out", "kind": "fbank", "written": 15, "skipped": 7, "frames": frames, "new": 21}
    assert json.loads(printed) == wanted and all(f"pyasr: skipped {name}: " in notes for name in BAD)
    assert bytes_of(out) == bytes_of(whole)
    make(within(corpus), tmp_path / "strict", monkeypatch, "--strict", code=1)
    assert "pyasr: cut.wav: " in capsys.readouterr().err


def test_strict_keeps_what_came_before_the_bad_one(tmp_path, monkeypatch, capsys):
    TREES["write"](tmp_path, {f"{i}.wav": recording("ab", i) for i in range(3)})
    names = [str(tmp_path / f"{i}.wav") for i in (0, 1, 3, 2)]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["features", *names, "out", "--strict"]) == 1
    assert f"{names[2]}: load: there is no file" in capsys.readouterr().err
    with pytest.raises(ValueError, match="is not finished"):
        pyasr.features.open_store("out")
    (tmp_path / "3.wav").write_bytes(recording("c", 3))
    assert cli.main(["features", *names, "out", "--strict", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["new"] == 2
    assert list(pyasr.features.open_store("out").names) == names


@pytest.mark.parametrize("threads", [1, 4, 33])
@pytest.mark.parametrize("flush", [1, 1 << 20])
def test_threads_and_flushes_change_no_byte(corpus, whole, tmp_path, monkeypatch, threads, flush):
    monkeypatch.setattr(shards, "FLUSH_BYTES", flush)
    monkeypatch.setattr(extraction, "WAITING_BYTES", 20_000)  # room shrinks when a longer recording comes
    assert bytes_of(make(corpus, tmp_path, monkeypatch, "--threads", threads)) == bytes_of(whole)


@pytest.mark.parametrize(("most", "waiting", "begun_after"), [(3, 1 << 20, (7, 8, 9, 10)), (32, 1, (5, 6, 7, 8))])
def test_a_bounded_number_of_utterances_is_in_memory(corpus, monkeypatch, most, waiting, begun_after):
    begun, submit = [], ThreadPoolExecutor.submit
    monkeypatch.setattr(ThreadPoolExecutor, "submit", lambda *a: begun.append(a) or submit(*a))
    monkeypatch.setattr(extraction, "MOST", most)
    monkeypatch.setattr(extraction, "WAITING_BYTES", waiting)
    utterances = manifest.load(corpus).utterances
    job = extraction.Job(utterances, "mfcc", pyasr.MfccOptions(sample_rate=8000.0))
    items = extraction._in_order(job, 0, 2)
    for wanted in begun_after:
        next(items)
        assert len(begun) == wanted
    items.close()
    assert len(begun) < len(utterances)


def test_a_bar_on_a_terminal_changes_nothing(corpus, whole, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pyasr.cli._features.is_terminal", lambda: True)
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich draws
    assert bytes_of(make(corpus, tmp_path, monkeypatch)) == bytes_of(whole)
    printed = capsys.readouterr()
    assert "wrote 15 utterances to out, skipped 7 recordings\n" in printed.out and "x real time" in printed.out
    assert "pyasr: skipped nan.wav: " in printed.out + printed.err


# ---- stops

# Every place where something reaches the disk is counted; the process is killed before the `last`-th of them.
KILLED_AT = """
import os, signal, sys
from pyasr import cli
from pyasr.runs import shards

shards.FLUSH_BYTES = int(sys.argv[1])
left, last, sync = 0, 0, os.fsync

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


# ---- hostile folders


def change_index(folder, **values):
    lines = (folder / "index.jsonl").read_text("utf-8").splitlines()
    (folder / "index.jsonl").write_text(
        "\n".join([lines[0], json.dumps(json.loads(lines[1]) | values), *lines[2:]]) + "\n"
    )


def change_options(folder, **values):
    options = json.loads((folder / "options.json").read_text("utf-8")) | values
    (folder / "options.json").write_text(json.dumps(options))


def replace_shard(folder, data):
    (folder / "features-00001.npy").write_bytes(data)


def saved(array):
    import io

    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


SHARD = "features-00001.npy"
HOSTILE = {
    "offset outside": (lambda f: change_index(f, offset=10**6), "line 2: offset and frames must lie within the"),
    "frames outside": (lambda f: change_index(f, frames=10**6), "line 2: offset and frames must lie within the"),
    "no frames": (lambda f: change_index(f, frames=0), "line 2: offset and frames must lie within the"),
    "negative offset": (lambda f: change_index(f, offset=-1), "line 2: offset must be a whole number of at least 0"),
    "huge offset": (lambda f: change_index(f, offset=2**70), "line 2: offset must be a whole number"),
    "offset that is true": (lambda f: change_index(f, offset=True), "line 2: offset must be a whole number"),
    "other shard": (lambda f: change_index(f, shard="../copy/features-00000.npy"), "shard must be a name like"),
    "absolute shard": (lambda f: change_index(f, shard="/etc/passwd"), "shard must be a name like"),
    "missing shard": (lambda f: change_index(f, shard="features-00099.npy"), "there is no file"),
    "name twice": (lambda f: change_index(f, name="00.wav"), "line 2: name must be new, got '00.wav' once more"),
    "name of a number": (lambda f: change_index(f, name=3), "line 2: name must be text, got 3"),
    "NaN": (lambda f: change_index(f, duration=float("nan")), "line 2: duration must be a finite number"),
    "no text": (lambda f: change_index(f, text=None), "line 2: text must be text, got None"),
    "nested": (lambda f: (f / "index.jsonl").write_text("[" * 10**5), "index.jsonl, line 1 is nested too deeply"),
    "list": (lambda f: (f / "index.jsonl").write_text("[]\n"), "line 1 must be a JSON object, got list"),
    "not JSON": (lambda f: (f / "index.jsonl").write_bytes(b"\x80\x04."), "line 1 must be JSON"),
    "long line": (lambda f: (f / "index.jsonl").write_bytes(b" " * (1 << 21)), "line 1 must have at most"),
    "no index": (lambda f: (f / "index.jsonl").unlink(), "there is no file"),
    "cut index": (
        lambda f: (f / "index.jsonl").write_bytes(b"".join((f / "index.jsonl").read_bytes().splitlines(True)[:-1])),
        "must have the 15 utterances of options.json, got 14",
    ),
    "cut shard": (lambda f: replace_shard(f, (f / SHARD).read_bytes()[:-4]), "bytes for its"),
    "long shard": (lambda f: replace_shard(f, (f / SHARD).read_bytes() + b"\0"), "bytes for its"),
    "float64": (lambda f: replace_shard(f, saved(np.ones((99, 15)))), "must be a .npy file of float32"),
    "big-endian": (lambda f: replace_shard(f, saved(np.ones((99, 15), ">f4"))), "must be a .npy file of float32"),
    "columns": (lambda f: replace_shard(f, saved(np.ones((15, 99), np.float32).T)), "must be a .npy file of float32"),
    "objects": (lambda f: replace_shard(f, saved(np.array([print], object))), "must be a .npy file of float32"),
    "empty shard": (lambda f: replace_shard(f, b""), "must be a .npy file of float32"),
    "other width": (lambda f: replace_shard(f, saved(np.ones((99, 13), np.float32))), "the 15 features of options.json"),
    "terabytes": (lambda f: replace_shard(f, shard_header(10**12, 15)), "bytes for its 1000000000000 rows"),
    "folder as a shard": (lambda f: (f / SHARD).unlink() or (f / SHARD).mkdir(), "there is no file"),
    "no options": (lambda f: (f / "options.json").unlink(), "there is no file"),
    "another format": (lambda f: change_options(f, format="x"), "must have format 'pyasr features', got 'x'"),
    "newer": (lambda f: change_options(f, version=2), "must have version 1, got 2"),
    "kind": (lambda f: change_options(f, kind=["mfcc"]), "kind must be one of mfcc, fbank, spectrogram"),
    "kind of others": (lambda f: change_options(f, kind="mfcc"), "options must be those of mfcc, got those of fbank"),
    "options": (lambda f: change_options(f, options={"num_mels": "15"}), "num_mels"),
    "unknown option": (lambda f: change_options(f, options={"colour": 1}), "colour"),
    "no result": (lambda f: change_options(f, result=None), "is not finished"),
    "odd result": (lambda f: change_options(f, result=[15]), "must have the None utterances"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_refused(copy, name):
    spoil, words = HOSTILE[name]
    assert len(pyasr.features.open_store(copy)) == 15
    spoil(copy)
    with pytest.raises(ValueError, match=str(copy)) as caught:
        pyasr.features.open_store(copy)
    assert words in str(caught.value)


def test_what_is_no_folder_is_named(tmp_path, whole):
    for path in (tmp_path / "none", whole / "index.jsonl"):
        with pytest.raises(FileNotFoundError, match=f"there is no folder {path}"):
            pyasr.features.open_store(path)


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


# ---- options


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--set", "num_mel=40"], "got 'num_mel' (did you mean 'num_mels'?)"),
        (["--set", "num_mels=1.5"], "num_mels must be int, got 1.5"),
        (["--set", "use_energy=1"], "use_energy must be bool or none, got 1"),
        (["--set", "preemph=high"], "preemph must be float, got 'high'"),
        (["--set", "preemph=2"], "preemph must"),
        (["--set", "high_freq=8000"], "high_freq must be at most the Nyquist frequency 4000"),
        (["--set", "sample_rate=8000"], "--sample-rate"),
        (["--set", "num_ceps=5"], "num_ceps has no meaning for fbank"),
        (["--set", "num_mels"], "must be KEY=VALUE"),
        (["--preset", "kaldy"], "did you mean 'kaldi'?"),
        (["--threads", "0"], "--threads"),
        (["--shard-mb", "0"], "--shard-mb"),
    ],
)
def test_wrong_options_are_wrong_use(corpus, tmp_path, monkeypatch, capsys, argv, words):
    out = make(corpus, tmp_path, monkeypatch, *argv, code=2)
    assert words in capsys.readouterr().err.replace("\n", " ") and not out.exists()


def test_options_reach_the_features(corpus, tmp_path, monkeypatch):
    argv = ["--kind", "mfcc", "--preset", "kaldi", "--set", "use_energy=none", "--set", "preemph=0.5", "--set",
            "snip_edges=False", "--set", "low_freq=30", "--set", "num_ceps=9", "--sample-rate", 16000]  # fmt: skip
    store = pyasr.features.open_store(make(corpus, tmp_path, monkeypatch, *argv))
    options = {"preemph": 0.5, "snip_edges": False, "low_freq": 30.0, "num_ceps": 9, "num_mels": 15}
    wave, rate = pyasr.load(corpus.parent / "03.wav", 16000)
    np.testing.assert_array_equal(store["03.wav"], pyasr.mfcc(wave, rate, **options))
    np.testing.assert_array_equal(store["03.wav"], pyasr.mfcc(wave, rate, store.options))
    assert "other.wav" in store  # resampled, so it is not of another rate


def test_sources_of_one_name_stay_apart(tmp_path, monkeypatch, capsys):
    for part in ("a", "b"):
        TREES["folder_of"](tmp_path / part, ["one", "two"])
    monkeypatch.chdir(tmp_path)
    assert cli.main(["features", "a", "b", "a/00.wav", "a/00.wav", "sub/out"]) == 0
    store = pyasr.features.open_store("sub/out")
    assert store.names == ("a/00.wav", "a/01.wav", "b/00.wav", "b/01.wav")
    assert capsys.readouterr().err.count("skipped a/00.wav: comes twice\n") == 2
    assert cli.main(["features", "a", "out"]) == 0
    assert pyasr.features.open_store("out").entries[0].source == "a/00.wav"  # from the folder that holds "out"


# ---- lhotse


@pytest.mark.parametrize(
    "argv", [(), ("--set", "snip_edges=false"), ("--sample-rate", 11025), ("--set", "frame_shift_ms=7")]
)
def test_cuts_are_what_lhotse_computes_with(corpus, tmp_path, monkeypatch, argv):
    store = pyasr.features.open_store(make(corpus, tmp_path, monkeypatch, *argv))
    cuts = [json.loads(line) for line in (store.folder / "cuts.jsonl").read_text("utf-8").splitlines()]
    for cut, entry, rows in zip(cuts, store.entries, store, strict=True):
        f = cut["features"]
        assert (cut["type"], cut["id"], cut["start"], cut["channel"]) == ("MonoCut", entry.name, entry.start, 0)
        hop = round(f["frame_shift"] * f["sampling_rate"])
        assert f["frame_shift"] * f["sampling_rate"] == pytest.approx(hop, abs=1e-9)
        for duration in (cut["duration"], f["duration"]):  # lhotse.utils.compute_num_frames
            assert (round(duration * f["sampling_rate"]) + hop // 2) // hop == len(rows) == f["num_frames"]
        assert (f["num_features"], f["type"], f["storage_type"], f["channels"]) == (15, "fbank", "pyasr_shards", 0)
        np.testing.assert_array_equal(compat.ShardReader(f["storage_path"]).read(f["storage_key"]), rows)
        (said,) = cut["supervisions"]
        assert (said["text"], said.get("speaker", ""), said["start"]) == (entry.text, entry.speaker, 0.0)
        assert said["recording_id"] == f["recording_id"] == entry.source and said["duration"] == cut["duration"]
        if entry.name == "13.wav":
            assert "recording" not in cut  # features of the mean of two channels
            continue
        whole = cut["recording"]
        assert whole["sources"] == [{"type": "file", "channels": [0], "source": entry.source}]
        assert whole["num_samples"] / whole["sampling_rate"] == whole["duration"]
        assert cut["start"] + cut["duration"] <= whole["duration"] + 1e-9
        assert ("transforms" in whole) == (11025 in argv)


def test_the_reader_slices_and_refuses(whole):
    entry = pyasr.features.open_store(whole).entries[1]
    reader = compat.ShardReader(whole / entry.shard)
    key, rows = f"{entry.offset}:{entry.frames}", open_shard(whole / entry.shard)[entry.offset :][: entry.frames]
    part = reader.read(key, left_offset_frames=2, right_offset_frames=7)
    np.testing.assert_array_equal(part, rows[2:7])
    assert part.flags.writeable and part.flags.owndata
    for wrong in ("", "0", "0:0", "-1:2", "0:999999", "999999:1", "0:5 ", "٣:1"):
        with pytest.raises(ValueError, match=r"ShardReader\.read: key must be 'offset:frames' within"):
            reader.read(wrong)


def test_without_lhotse_the_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "lhotse", None)
    with pytest.raises(ImportError, match="pip install lhotse"):
        compat.register()


@pytest.mark.parametrize("argv", [(), ("--set", "snip_edges=false"), ("--sample-rate", 11025)])
def test_lhotse_reads_the_rows(corpus, tmp_path, monkeypatch, argv):
    lhotse = pytest.importorskip("lhotse")
    from lhotse.qa import validate

    store = pyasr.features.open_store(make(corpus, tmp_path, monkeypatch, *argv))
    compat.register()
    cuts = list(lhotse.CutSet.from_file(store.folder / "cuts.jsonl"))
    assert len(cuts) == len(store) and isinstance(lhotse.load_manifest(store.folder / "cuts.jsonl"), lhotse.CutSet)
    for cut in cuts:
        validate(cut, read_data=True)
        np.testing.assert_array_equal(cut.load_features(), store[cut.id])
        part = cut.truncate(offset=2 * cut.frame_shift, duration=5 * cut.frame_shift)
        np.testing.assert_array_equal(part.load_features(), store[cut.id][2:7])
