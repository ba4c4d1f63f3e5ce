"""The benchmarks of recurrent layers and CTC run to their end on a few frames, and docs/kernels.md is what they wrote."""

import importlib
import importlib.util
import json
import re
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from pyasr.ops import why_not

ROOT = Path(__file__).parent.parent
RIVALS = ROOT / "benchmarks" / "rivals"
RESULTS = ROOT / "benchmarks" / "results" / "recurrent-epyc-zen5-1thread.json"
pytestmark = [
    pytest.mark.skipif(not RIVALS.is_dir(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install"),
]
PAGE = "Kept.\n<!-- kernels table -->\nold\n<!-- /kernels table -->\nKept too.\n"
TORCH = importlib.util.find_spec("torch") is not None


def run(*argv, cwd):
    command = [sys.executable, str(RIVALS / "recurrent.py"), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recurrent")
    (folder / "page.md").write_text(PAGE)
    done = run("--frames", 6, "--rounds", 1, "--json", "found.json", "--page", "page.md", cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, json.loads((folder / "found.json").read_text("utf-8"))


@pytest.fixture
def rivals(monkeypatch):
    """Imports a module that lies beside the benchmarks."""
    monkeypatch.syspath_prepend(str(RIVALS.parent))
    monkeypatch.syspath_prepend(str(RIVALS))
    return importlib.import_module


def test_every_race_is_run_or_listed_as_left_out(measured):
    _, text, report = measured
    names = [r["name"] for r in report["results"]]
    ours = [r for r in report["results"] if r["peer"] == "pyasr"]
    assert {r["form"] for r in ours} >= {"jvp", "product"} and sum("T6 " in name for name in names) >= len(names) - 1
    assert all(r["ours"] > 0 and r["ratio"] > 0 and r["mark"] is None and r["name"] in text for r in report["results"])
    families = ["lstm forward + backward", "gru", "lstm forward, ", "ctc_loss", "Gauss-Newton"]
    if TORCH:
        assert not report["left out"]
        for family in families:
            assert any(r["name"].startswith(family) and r["peer"] == "torch" for r in report["results"]), family
        assert sum("ragged" in name for name in names) == 1  # the longer one is asked for by --long
    else:
        assert set(report["left out"]) == {"lstm", "gru", "forward", "ragged", "ctc"}


def test_the_page_keeps_its_words_and_names_commit_and_date(measured):
    folder, _, report = measured
    text = (folder / "page.md").read_text("utf-8")
    assert text.startswith("Kept.\n<!-- ") and text.endswith(" -->\nKept too.\n") and "\nold\n" not in text
    assert report["machine"]["commit"][:7] in text and report["machine"]["date"][:10] in text
    assert all(f"| {r['name']} | " in text for r in report["results"])
    assert text.count("| recurrent step, T6 ") == 12 and text.count("| forward + backward, T6 ") == 2


def test_a_race_that_is_not_there_is_named(tmp_path):
    done = run("--only", "lstm,conv", cwd=tmp_path)
    assert done.returncode == 2 and "there is no conv" in done.stderr and "Traceback" not in done.stderr


def test_answers_that_differ_end_the_run(rivals):
    with pytest.raises(SystemExit, match=r"y: ours and theirs differ by 1\.0e-01"):
        rivals("_report").close("y", [1.1], [1.0], 1e-2)


@pytest.mark.parametrize(
    ("at_most", "mark", "met"), [(False, 1.9, True), (False, 2.1, False), (True, 2.1, True), (True, 1.9, False)]
)
def test_a_ratio_is_theirs_over_ours_by_the_fastest_of_theirs(rivals, monkeypatch, at_most, mark, met):
    report = rivals("_report")
    times = {"pyasr": [1.0, 2.0, 1.0], "slow": [9.0, 9.0, 9.0], "fast": [2.0, 4.0, 2.0]}
    monkeypatch.setattr(report, "take_turns", lambda calls, rounds, clock, bunch: {n: times[n] for n in calls})
    race = report.Race("r", "peer", print, {"slow": print, "fast": print}, mark, at_most=at_most)
    result = report.result(race, Namespace(clock="cpu", rounds=3))
    assert (result["form"], result["ratio"], result["met"]) == ("fast", 2.0, met)
    assert report.mark(result) == f"{'at most ' * at_most}{mark:g}: {'met' if met else 'missed'}"


def test_the_roofline_is_the_slower_of_flops_and_weights(rivals, monkeypatch):
    probe, roofline, layers = rivals("probe"), rivals("_roofline"), rivals("_layers")
    monkeypatch.setattr(probe, "best_of", lambda run, threads, rounds: 1e-3)
    limits = probe.Limits(1, fma=1000.0, read=dict.fromkeys(probe.LEVELS, 100.0), copy=dict.fromkeys(probe.LEVELS, 1.0))
    found = {
        (r["kernel"], r["shape"]["B"], r["shape"]["H"]): r
        for r in roofline.measure(layers.Scope(threads=1, frames=2, long=False), limits, 1)
    }
    few, many = found["recurrent step", 4, 256], found["recurrent step", 32, 256]
    assert few["bound"] == "weights" and few["share of the roofline"] == pytest.approx(2 * 2**20 / 100e9 / 1e-3)
    # 2 frames x 32 x 1024 gates x 257, a multiply-add each
    assert many["bound"] == "flops" and many["share of the roofline"] == pytest.approx(
        2 * 2 * 32 * 1024 * 257 / 1e12 / 1e-3
    )
    both, one = found["forward + backward", 16, 256], found["forward", 16, 256]
    assert both["share of the peak"] == pytest.approx(3 * one["share of the peak"])


@pytest.mark.skipif(not RESULTS.is_file(), reason="the results are not beside the tests")
def test_the_committed_page_is_made_of_the_committed_results(rivals):
    page = rivals("_kernels_page")
    text = (ROOT / "docs" / "kernels.md").read_text("utf-8")
    found = re.search(f"{re.escape(page.BEGIN)}\n(.*?)\n{re.escape(page.END)}", text, re.S)
    assert found and found[1] == page.table(json.loads(RESULTS.read_text("utf-8")))
