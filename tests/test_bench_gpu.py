"""What `pyasr bench` says of a GPU: races with peers, predictions and their page, CuPy's events and graphs, compute-sanitizer."""

import json
import os
import runpy
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyasr.bench import command, peers, predictions, sanitizer
from pyasr.bench.cells import CELLS
from pyasr.bench.target import Gpu, find
from pyasr.ops import why_not

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "cuda_page.py"
Pretended = runpy.run_path(str(Path(__file__).with_name("bench_targets.py")))["Pretended"]
needs_native = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
needs_script = pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside the tests")


TIMES = ("GB/s", "TFLOP/s", "share of copy", "share of arithmetic")

# ---- peers


@needs_native
def test_answers_of_peers_are_those_of_ours():
    pytest.importorskip("torch", reason="torch is the peer")
    names = ["adam", "cg", "clip_sgd", "ctc_loss", "lstm_backward", "lstm_forward", "mfcc"]
    records = dict(peers.run_all(find("cpu"), names, 1, quick=True))
    found = list(records.values())
    for name, record in records.items():
        assert isinstance(record, dict), f"{name}: {record!r}"
        assert record["ratio"]["median"] > 0 and record["ours"] == "pyasr" and record["form"] in record["us"]
        assert record["absent"] == {"pyasr, graph": "there are no CUDA graphs on a CPU"}
        assert record["name"] in command.race_line(record)
    assert {r["row"] for r in found} >= set(names) - {"mfcc", "cg"}  # torchaudio and SciPy may be absent
    ragged = next(r for r in found if r["name"].startswith("lstm forward, ") and "ragged" in r["name"])
    assert ragged["form"] == "float32, packed" and "float32, padded" not in ragged["agreement"]
    versions = peers.versions(find("cpu"))
    assert versions["torch"][0].isdigit() and set(versions) == {"torch", "torchaudio", "scipy"}


def test_a_peer_with_another_answer_is_not_timed():
    ours = peers.Form(lambda: None, lambda: [np.ones(3)])
    theirs = {
        "wrong": peers.Form(lambda: pytest.fail("was timed"), lambda: [np.full(3, 1.1)]),
        "nan": peers.Form(lambda: pytest.fail("was timed"), lambda: [np.full(3, np.nan)]),
        "coarse": peers.Form(lambda: None, lambda: [np.full(3, 1.01)], tolerance=0.1, counts=False),
    }
    record = peers.run(Pretended(SimpleNamespace(xp=np)), peers.Race("a", "cg", ours, theirs, "nobody"), 1, quick=True)
    assert record["absent"]["wrong"].startswith("its answer differs by 1.0e-01")
    assert record["absent"]["nan"].startswith("its answer differs by inf")
    assert set(record["us"]) == {"pyasr", "pyasr, graph", "coarse"} and record["ratio"] is None


def test_a_form_that_fails_leaves_the_others_their_race():
    def fails():
        raise RuntimeError("no such precision")

    theirs = {
        "bfloat16": peers.Form(lambda: pytest.fail("was timed"), fails),
        "a graph": peers.Form(fails),
        "float32": peers.Form(lambda: None, lambda: [np.ones(3)]),
    }
    ours = peers.Form(lambda: None, lambda: [np.ones(3)])
    record = peers.run(Pretended(SimpleNamespace(xp=np)), peers.Race("a", "cg", ours, theirs, "nobody"), 1, quick=True)
    assert record["absent"] == dict.fromkeys(("bfloat16", "a graph"), "failed: no such precision")
    assert record["form"] == "float32"


def test_a_peer_that_can_not_be_imported_is_told(monkeypatch):
    def fails(name):
        raise OSError("libcudart.so.12: cannot open shared object file")

    monkeypatch.setattr(peers, "present", lambda package: package != "scipy")
    monkeypatch.setattr(peers.importlib, "import_module", fails)
    words = "can not be imported: libcudart.so.12: cannot open shared object file"
    assert peers.versions(SimpleNamespace(name="cpu")) == {
        "torch": words,
        "torchaudio": words,
        "scipy": "not installed",
    }


@needs_native
def test_what_fails_of_a_peer_is_told_and_the_next_one_runs(monkeypatch, tmp_path, capsys):
    failures = {
        "clip_sgd": ImportError("no libcublas"),
        "adam": RuntimeError("no cuDNN"),
        "cg": AssertionError("Torch not compiled with CUDA enabled"),
    }

    def builders(target, names, quick):
        for name, e in failures.items():

            def build(e=e):
                raise e

            yield name, build

    module = SimpleNamespace(NEEDS={"cpu": ()}, builders=builders)
    monkeypatch.setitem(sys.modules, "pretended_peers", module)
    monkeypatch.setattr(peers, "MODULES", ("pretended_peers",))
    monkeypatch.setattr(peers, "PACKAGES", {"cpu": ("numpy", "no_such_package")})
    options = ["--device", "cpu", "--quick", "--rounds", "1", "--rows", "clip_sgd", "--json", str(tmp_path / "r.json")]
    assert command.main(options) == 1
    report = json.loads((tmp_path / "r.json").read_text())
    failed = {"adam": "no cuDNN", "cg": "Torch not compiled with CUDA enabled"}
    assert (report["missing"], report["failed"]) == ({"clip_sgd": "no libcublas"}, failed)
    out, err = capsys.readouterr()
    assert report["peers"] == {"numpy": np.__version__, "no_such_package": "not installed"}
    assert "absent: no libcublas" in out and "FAILED: no cuDNN" in out and "WRONG: adam; cg" in err


@needs_native
def test_a_row_that_raises_is_wrong_and_the_next_one_is_measured(monkeypatch, tmp_path, capsys):
    def timed(target, cell, *_):
        if cell.dtype == "float64":
            raise RuntimeError("clip_sgd: cudaErrorLaunchOutOfResources: too many resources requested for launch")
        return {"graph us": "", "us": {"median": 1.0}} | dict.fromkeys(TIMES, 1.0)

    monkeypatch.setattr(command, "timed", timed)
    argv = ["--device", "cpu", "--quick", "--no-peers", "--rows", "clip_sgd", "--json", str(tmp_path / "r.json")]
    assert command.main(argv) == 1
    first, second, third = json.loads((tmp_path / "r.json").read_text())["rows"]
    assert "times" in first and "times" in third and "times" not in second
    assert second["wrong"].startswith("RuntimeError: clip_sgd: cudaErrorLaunchOutOfResources")
    assert "WRONG: clip_sgd, 4 M parameters, float64" in capsys.readouterr().err


# ---- predictions and their page


def measured(**changes):
    """What a GPU of exactly the predicted speed would report."""

    def cell(name, us, share=0.9):
        return {
            "name": name, "answers": {"error": 1e-7}, "times": {
                "us": {"median": 2 * us, "low": us, "high": us}, "graph us": {"median": us, "low": us, "high": us},
                "GB/s": 3000.0, "share of copy": share, "TFLOP/s": 1.0, "share of arithmetic": 0.1,
            },
        }  # fmt: skip

    def race(name, us, form, theirs):
        times = {"pyasr": us, "pyasr, graph": us, form: theirs}
        return {
            "name": name, "peer": "torch", "unit": "call", "ours": "pyasr, graph", "form": form, "absent": {},
            "us": {k: {"median": v, "low": v, "high": v} for k, v in times.items()},
            "ratio": {"median": theirs / us, "low": theirs / us, "high": theirs / us},
        }  # fmt: skip

    both = "lstm forward + backward, T200 B32 D128 H512 both ways"
    machine = {
        "device": "NVIDIA H999",
        "compute capability": "9.0",
        "driver": 13000,
        "commit": "abc",
        "date": "2027-01-02T03",
    }
    return {
        "device": "cuda", "quick": False, "rounds": 25, "machine": machine, "peers": {"torch": "9.9"},
        "limits": {"copy, GB/s": 3333.0, "float32, TFLOP/s": 50.0},
        "rows": [
            cell("mfcc, an hour of int16", 900.0), cell("lstm_forward, T200 B32 D128 H512", 600.0),
            cell("clip_sgd, 4 M parameters", 15.0), cell("clip_sgd, 100 M parameters", 800.0),
        ],
        "races": [
            race(both, 10.0, "float32, padded", 30.0), race(f"{both}, ragged", 10.0, "float32, packed", 30.0),
            race("cg, n 1024", 3.0, "cupyx.scipy", 30.0), race("cg, n 8192", 30.0, "cupyx.scipy", 90.0),
            race("ctc_loss, T500 B32 U50 V32", 100.0, "float32", 300.0),
        ],
        **changes,
    }  # fmt: skip


def test_predictions_hold_or_do_not():
    report = measured()
    lines = predictions.outcomes(report)
    assert {p["outcome"] for p in lines} == {"holds"}
    assert [p["measured"] for p in lines] == pytest.approx([0.9, 0.4, 3.0, 3.0, 3.0, 15.0, 90.0, 3.0, 30.0, 10.0, 3.0])
    for record in report["rows"]:
        record["times"]["graph us"] = "waits for the device"  # what Python waits for counts then: twice as much
    lines = predictions.outcomes(report)
    assert [p["outcome"] for p in lines[:3]] == ["does not hold"] * 3
    assert lines[5]["measured"] == 30.0 and lines[5]["outcome"] == "does not hold"


@pytest.mark.parametrize("changes", [{"device": "cpu"}, {"quick": True}, {"rows": [], "races": []}])
def test_nothing_but_a_gpu_at_full_size_counts(changes):
    lines = predictions.outcomes(measured(**changes))
    assert {p["outcome"] for p in lines} == {predictions.UNMEASURED} and {p["measured"] for p in lines} == {None}


def test_predictions_name_cells_and_races_that_exist():
    """A claim about a row whose kernel is there is measured, whatever its cell is called."""
    names = {cell.name for cell in CELLS}
    assert {r["name"] for r in measured()["rows"]} <= names
    recurrent = {f"lstm forward + backward, {cell.label}" for cell in CELLS if cell.row == "lstm_forward"}
    assert {r["name"] for r in measured()["races"]} <= names | recurrent


@needs_script
def test_the_page_says_what_was_measured(tmp_path):
    script = runpy.run_path(str(SCRIPT))
    report = measured()
    report["rows"].append({"name": "adam, 4 M parameters", "absent": "out of memory: 5 bytes"})
    text = script["table"](report)
    assert "NVIDIA H999 (compute capability 9.0, driver 13000), 2027-01-02, commit abc; copies 3333 GB/s" in text
    assert "| dense CG, n = 1024, against CuPy's cg | ≥ 5 times | 10 times | holds |" in text
    assert "| adam, 4 M parameters | out of memory: 5 bytes |" in text
    assert "| clip_sgd, 4 M parameters | 30 [15, 15] | 15 [15, 15] | 3000, 90 % | 1, 10 % | 1e-07 |" in text
    assert script["name_of"](report) == "h999-2027-01-02.json"


@needs_script
def test_the_script_writes_page_and_results(tmp_path):
    page, source = tmp_path / "page.md", tmp_path / "r.json"
    page.write_text("before\n<!-- measured -->\nold\n<!-- /measured -->\nafter\n")

    def run(*argv):
        argv = [sys.executable, str(SCRIPT), *map(str, argv)]
        return subprocess.run(argv, capture_output=True, text=True, cwd="/", check=False)

    source.write_text(json.dumps(measured()))
    done = run("--from", source, "--page", page, "--save", tmp_path)
    assert done.returncode == 0 and done.stdout == f"{tmp_path / 'h999-2027-01-02.json'}\n", done.stderr
    text = page.read_text()
    assert text.startswith("before\n<!-- measured -->\nNVIDIA H999") and text.endswith("|\n<!-- /measured -->\nafter\n")
    source.write_text(json.dumps(measured(quick=True)))
    done = run("--from", source, "--page", page)
    assert done.returncode == 2 and "must be a full run on a GPU" in done.stderr
    assert page.read_text() == text


@needs_script
def test_docs_say_what_is_in_the_committed_results():
    """The newest of them, or that nothing is measured."""
    page = (ROOT / "docs" / "cuda.md").read_text("utf-8")
    script = runpy.run_path(str(SCRIPT))
    reports = [json.loads(p.read_text("utf-8")) for p in (ROOT / "benchmarks" / "results").glob("*.json")]
    on_gpu = sorted((r for r in reports if r.get("device") == "cuda"), key=lambda r: r["machine"]["date"])
    assert script["table"](on_gpu[-1] if on_gpu else {}) in page


# ---- what a GPU is asked for


class FakeCuda:
    """CuPy's names that Gpu uses; what it does is written down."""

    def __init__(self, fails=False):
        self.log = log = []

        class Stream:
            def __init__(self, non_blocking=False):
                assert non_blocking

            def __enter__(self):
                log.append("stream")

            def __exit__(self, *_):
                log.append("/stream")

            def synchronize(self):
                log.append("synchronize")

            def begin_capture(self):
                log.append("capture")

            def end_capture(self):
                log.append("/capture")
                if fails:
                    raise RuntimeError("the capture is invalid")
                return SimpleNamespace(launch=lambda: log.append("launch"))

        class Memory:
            def memset_async(self, value, size):
                log.append(("fill", value, size))

        class MemoryPool:
            def malloc(self, size):
                return Memory()

            free_bytes = staticmethod(lambda: 10)

        @contextmanager
        def using_allocator(malloc):
            self.malloc = malloc
            yield

        class Event:
            at = 0.0

            def record(self):
                self.at = float(len(log))

            def synchronize(self):
                log.append("event")

        properties = {
            "name": b"Fake", "l2CacheSize": 7, "major": 9, "minor": 0, "multiProcessorCount": 1, "totalGlobalMem": 2,
        }  # fmt: skip
        device = SimpleNamespace(id=0, synchronize=lambda: log.append("wait"))
        runtime = SimpleNamespace(
            getDeviceProperties=lambda i: properties, memGetInfo=lambda: (90, 100), driverGetVersion=lambda: 13000
        )
        self.cuda = SimpleNamespace(
            Stream=Stream, MemoryPool=MemoryPool, using_allocator=using_allocator, Event=Event, Device=lambda: device,
            get_elapsed_time=lambda a, b: 1e3 * (b.at - a.at), runtime=runtime,
        )  # fmt: skip
        self.get_default_memory_pool = MemoryPool


def test_a_gpu_captures_on_a_stream_of_its_own_after_a_run():
    xp = FakeCuda()
    graph = Gpu(SimpleNamespace(xp=xp)).capture(lambda: xp.log.append("work") or "result")
    assert xp.log == ["wait", "stream", "work", "synchronize", "capture", "work", "/capture", "/stream"]
    graph.replay()
    assert xp.log[-1] == "launch" and graph.result == "result"
    assert {type(held).__name__ for held in graph.memory} == {"MemoryPool", "Stream"}


@pytest.mark.parametrize("cell", [c for c in CELLS if c.row in ("mfcc", "fbank", "spectrogram")], ids=lambda c: c.name)
def test_cells_of_features_do_not_wait_for_a_look_at_their_samples(cell):
    (wave, _), options = cell.arguments(0, quick=True)
    assert wave.dtype == np.int16 or options == {"nan": "propagate"}


def test_a_capture_that_fails_says_why_and_ends():
    xp, calls = FakeCuda(fails=True), []

    def work():
        calls.append(None)
        if len(calls) == 2:
            raise RuntimeError("cg: waits for the device")

    with pytest.raises(RuntimeError, match="cg: waits for the device"):
        Gpu(SimpleNamespace(xp=xp)).capture(work)
    assert xp.log[-2:] == ["/capture", "/stream"]


def test_a_gpu_poisons_memory_and_times_by_events():
    xp = FakeCuda()
    gpu = Gpu(SimpleNamespace(xp=xp))
    with gpu.poisoned():
        xp.malloc(12)
        xp.malloc(0)
    assert xp.log == [("fill", 0xFF, 12)]
    assert gpu.seconds(lambda: xp.log.extend("abc")) == 3.0 and xp.log[-1] == "event"
    assert (gpu.cache, gpu.free) == (7, 100)
    assert gpu.describe()["device"] == "Fake" and gpu.describe()["compute capability"] == "9.0"


# ---- compute-sanitizer


@pytest.mark.skipif(os.name != "posix", reason="a script stands for the program")
def test_compute_sanitizer_is_run_tool_by_tool(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_HOME", raising=False)
    monkeypatch.delenv("CUDA_PATH", raising=False)
    assert sanitizer.run() == {"absent": "compute-sanitizer is not installed"}
    home = tmp_path / "a home" / "bin"
    home.mkdir(parents=True)
    program = home / "compute-sanitizer"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint(sys.argv[1:])\nsys.exit({{'memcheck': 0, 'racecheck': 86}}.get(sys.argv[2], 3))\n"
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CUDA_HOME", str(home.parent))
    notes = []
    found = sanitizer.run(("memcheck", "racecheck", "synccheck"), notes.append)
    assert found["memcheck"] == "nothing found"
    assert "--report-api-errors" not in found["racecheck"]
    assert found["racecheck"].startswith("found: ['--tool', 'racecheck', '--error-exitcode', '86', ")
    assert "'-m', 'pyasr.bench.sanitizer', 'cuda'" in found["racecheck"]
    assert found["synccheck"].startswith("ended with 3: ") and len(notes) == 3
    program.write_text(f"#!{sys.executable}\nimport sys\nprint('Error: Device not supported')\nsys.exit(1)\n")
    assert sanitizer.run() == {"absent": "compute-sanitizer does not work here: Device not supported"}


@needs_native
def test_what_runs_under_it_is_right_and_finds_what_is_not(emulated):
    assert sanitizer.small(Pretended(emulated.backend)) == []
    wrong = SimpleNamespace(
        xp=np, column=lambda name: name == "clip_sgd" or None, clip_sgd=lambda *a, **k: (1.0, 1.0, False)
    )
    assert sanitizer.small(Pretended(wrong))[0].startswith("clip_sgd, 4 M parameters: differs by ")
