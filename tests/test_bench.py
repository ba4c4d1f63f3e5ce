"""`pyasr bench` from its command line to its page: on the cpp backend, on the emulated device, and with what a GPU would say."""

import json
import runpy
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pyasr.bench import command, limits, predictions
from pyasr.bench.cells import CELLS, cells
from pyasr.bench.check import answers, outputs
from pyasr.bench.target import Graph, Target, find
from pyasr.bench.timing import in_turns, quartiles, repeated, sets_of, timed
from pyasr.ops import _cuda, backend, rows, why_not

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "cuda_page.py"
Pretended = runpy.run_path(str(Path(__file__).with_name("bench_targets.py")))["Pretended"]
needs_native = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
needs_script = pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside the tests")


def cell_of(row):
    return replace(cells([row])[0], seeds=2)


def bench(capsys, *argv, code=0):
    assert command.main([str(a) for a in argv]) == code
    return capsys.readouterr()


# ---- the command


@needs_native
def test_every_row_is_checked_and_timed(tmp_path, capsys):
    file = tmp_path / "results.json"
    out = bench(
        capsys, "--device", "cpu", "--quick", "--rounds", 2, "--no-peers", "--commit", "abc", "--json", file
    ).out
    report = json.loads(file.read_text("utf-8"))
    assert (report["device"], report["quick"], report["machine"]["commit"]) == ("cpu", True, "abc")
    names = [name for name in _cuda.functions() if backend("cpp").column(name)]
    assert {r["row"] for r in report["rows"]} == set(names)
    for record in report["rows"]:
        assert record["name"] in out
        assert record["answers"]["right"] and record["answers"]["error"] <= record["answers"]["tolerance"]
        times = record["times"]
        assert 0 < times["us"]["low"] <= times["us"]["median"] <= times["us"]["high"]
        assert times["GB/s"] == pytest.approx(record["answers"]["bytes"] / times["us"]["median"] / 1e3)
        assert times["graph us"] == "there are no CUDA graphs on a CPU"
        assert times["share of copy"] == pytest.approx(times["GB/s"] / report["limits"]["copy, GB/s"])
    assert {p["outcome"] for p in report["predictions"]} == {predictions.UNMEASURED}
    assert not list(tmp_path.glob("*.partial"))


@needs_native
def test_rows_can_be_chosen(capsys, tmp_path):
    argv = ["--device", "cpu", "--quick", "--rounds", 1, "--no-peers"]
    bench(capsys, *argv, "--rows", "clip_sgd", "--json", tmp_path / "one.json")
    assert {r["row"] for r in json.loads((tmp_path / "one.json").read_text())["rows"]} == {"clip_sgd"}
    assert "--rows has no fly; there are " in bench(capsys, *argv, "--rows", "clip_sgd,fly", code=2).err
    assert "--rounds must be at least 1, got 0" in bench(capsys, "--rounds", 0, code=2).err
    assert "usage: pyasr bench" in bench(capsys, "--device", "tpu", code=2).err
    assert bench(capsys, "--help").out.startswith("usage: pyasr bench")


@pytest.mark.skipif(why_not("cuda") is None, reason="there is a GPU")
def test_without_a_gpu_the_reason_is_given(capsys):
    err = bench(capsys, "--device", "cuda", code=2).err
    assert err.startswith("pyasr bench: --device cuda cannot run here: ") and why_not("cuda") in err
    assert 'pip install "pyasr-kernels[cuda]"' in err and err.count("\n") == 1
    done = subprocess.run(
        [sys.executable, "-m", "pyasr", "bench"], capture_output=True, text=True, cwd="/", check=False
    )
    assert (done.returncode, done.stderr) == (2, err)


def test_the_emulated_device_runs_all_of_it(emulated, tmp_path, capsys):
    target, file = Pretended(emulated.backend), tmp_path / "results.json"
    options = command.parser().parse_args(["--quick", "--rounds", "1", "--no-peers", "--json", str(file)])
    assert command.measure(target, target.names(), options) == 0
    records = json.loads(file.read_text("utf-8"))["rows"]
    assert {r["row"] for r in records} == set(_cuda.functions())
    for record in records:
        assert record["answers"]["graph"] == "same bits" and record["answers"]["poisoned"]
        assert record["times"]["graph us"]["median"] > 0


@needs_native
@pytest.mark.parametrize("fault", ["answer", "bits", "graph"])
def test_what_is_wrong_is_not_timed(fault, tmp_path, capsys):
    right, calls = backend("cpp").softmax_cross_entropy, []

    def wrong(logits, labels):
        loss, dlogits = right(logits, labels)
        calls.append(None)
        if fault == "answer" or (fault == "bits" and len(calls) == 2):
            dlogits = dlogits * np.float32(1.001 if fault == "answer" else 1 + 2**-23)
        return loss, dlogits

    class Stale(Pretended):
        def capture(self, work):
            graph = super().capture(work)
            return Graph(lambda: None, graph.result) if fault == "graph" else graph

    ops = SimpleNamespace(xp=np, softmax_cross_entropy=wrong)
    file = tmp_path / "results.json"
    options = command.parser().parse_args(["--quick", "--rounds", "1", "--no-peers", "--json", str(file)])
    assert command.measure(Stale(ops), ["softmax_cross_entropy"], options) == 1
    first = json.loads(file.read_text("utf-8"))["rows"][0]
    assert "times" not in first and not first["answers"]["right"]
    assert {"answer": "error 1", "bits": "same bits False", "graph": "other bits"}[fault] in first["wrong"]
    assert "WRONG: softmax_cross_entropy" in capsys.readouterr().err


@needs_native
def test_memory_that_is_not_enough_is_said(capsys):
    def hungry(*args, **kwargs):
        raise MemoryError("Out of memory allocating 4 bytes")

    target = Pretended(SimpleNamespace(xp=np, clip_sgd=hungry))
    record = command.one(target, cell_of("clip_sgd"), {}, command.parser().parse_args(["--quick"]))
    assert record["absent"] == "out of memory: Out of memory allocating 4 bytes"
    assert "out of memory" in command.line(record)


def test_a_source_tree_names_its_commit():
    answers = {"ls-files": (0, "command.py"), "rev-parse": (0, "0123456789ab"), "status": (0, "")}

    def git(argv, **_):
        code, out = answers[argv[1]]
        return SimpleNamespace(returncode=code, stdout=out)

    assert command.checkout(git) == "0123456789ab"
    answers["status"] = 0, " M a.py"
    assert command.checkout(git) == "0123456789ab+"
    answers["ls-files"] = 1, ""
    assert command.checkout(git) == "unknown"  # an installed package, perhaps inside of another project


# ---- cells, answers, times


def test_cells_are_of_rows_that_exist_and_have_names_of_their_own():
    assert {cell.row for cell in CELLS} <= set(rows())
    assert len({cell.name for cell in CELLS}) == len(CELLS)
    assert all(cell.dtype in cell.of.dtypes and cell.dtype in cell.of.tolerance for cell in CELLS)
    assert [cell.row for cell in cells(["gru_forward", "cg"])] == ["gru_forward", "cg", "cg"]  # also what is not listed


@needs_native
@pytest.mark.parametrize("cell", [c for c in cells(sorted(rows())) if c.row != "ctc_beam"], ids=lambda c: c.name)
def test_every_cell_has_right_answers_at_its_quick_size(cell):
    found = answers(find("cpu"), cell, quick=True)
    assert found.right, found
    assert found.bytes > 0 and not found.poisoned


def test_results_and_arguments_count(emulated):
    value, grad = (emulated.xp.asarray(np.ones(3, "f4")) for _ in range(2))
    info = emulated.clip_sgd(value, grad, lr=0.5)
    assert [a.tolist() for a in outputs(info, (value, grad), {})][-2:] == [[0.5] * 3, [1.0] * 3]


@needs_native
def test_inputs_exceed_the_cache_together():
    cell = replace(cell_of("clip_sgd"), size=2**18)  # 3 MB
    target = find("cpu")
    sets = sets_of(target, cell, 6 * 2**20, quick=False)
    assert len(sets) * 3 * 2**20 >= 2 * target.cache or len(sets) == 64
    addresses = {args[0].ctypes.data for args, _ in sets}
    assert len(addresses) == len(sets)
    assert len(sets_of(target, cell, 6 * 2**20, quick=True)) == 2


class Ticks(Target):
    """A clock that a call moves on."""

    def __init__(self):
        self.now = 0.0

    def seconds(self, work):
        begin = self.now
        work()
        return self.now - begin


def test_times_are_per_call_and_taken_in_turns():
    target, order = Ticks(), []

    def call(name, seconds):
        def run():
            order.append(name)
            target.now += seconds

        return run

    assert repeated(target, call("a", 0.25), 3, 1.0).tolist() == [0.25] * 3
    assert len(order) == 2 + 3 * 4  # two to warm up; rounds of a second
    order.clear()
    found = in_turns(target, {"a": call("a", 0.5), "b": call("b", 1.0)}, 2, 1.0)
    assert {name: s.tolist() for name, s in found.items()} == {"a": [0.5, 0.5], "b": [1.0, 1.0]}
    assert "".join(order[4:]) == "aabaab"
    assert quartiles([1e-6, 2e-6, 3e-6]) == pytest.approx({"low": 1.5, "median": 2.0, "high": 2.5})


@needs_native
def test_a_graph_that_is_faster_makes_the_figures():
    cell = cell_of("clip_sgd")
    target = Pretended(backend("cpp"))
    limit = {"copy, GB/s": 1.0, "float32, TFLOP/s": 1.0}
    found = answers(target, cell, quick=True)
    times = timed(target, cell, found, limit, 3, quick=True)
    best = min(times["us"]["median"], times["graph us"]["median"])
    assert times["GB/s"] == pytest.approx(found.bytes / best / 1e3)
    assert times["TFLOP/s"] == pytest.approx(found.flops / best / 1e6)


def test_a_product_in_tf32_is_no_limit_of_float32():
    class Rounded(SimpleNamespace):
        @staticmethod
        def matmul(a, b, out):
            np.matmul((a.view(np.uint32) & 0xFFFFE000).view(np.float32), b, out=out)

    names = {n: getattr(np, n) for n in ("asarray", "empty", "copyto", "linalg")}
    with pytest.raises(RuntimeError, match="which is not float32; unset CUPY_TF32"):
        limits.measure(Target(SimpleNamespace(xp=Rounded(**names))), 1, quick=True)
    found = limits.measure(Target(SimpleNamespace(xp=np)), 1, quick=True)
    assert found["copy, GB/s"] > 0 and found["float32, TFLOP/s"] > 0 and found["product, error"] < 1e-6
