"""A folder of features: what is in it, whatever the threads; bad recordings, options, and folders that are damaged or made up."""

import io
import json
import runpy
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import cli
from pyasr.features.store import HEADER, shard_header

soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
for package in ("click", "soxr", "safetensors", "tomli_w", "msgspec"):
    pytest.importorskip(package, reason="the command needs it")
from pyasr.datasets import manifest  # noqa: E402  (after the packages that these need)
from pyasr.runs import extraction, shards  # noqa: E402

FOLDERS = runpy.run_path(str(Path(__file__).with_name("feature_folders.py")))
TREES, BAD = FOLDERS["TREES"], FOLDERS["BAD"]
make, within, bytes_of = (FOLDERS[name] for name in ("make", "within", "bytes_of"))
recording = TREES["recording"]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return FOLDERS["corpus_in"](tmp_path_factory.mktemp("recordings"))


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
