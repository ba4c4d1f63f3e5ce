"""The benchmarks of features run to their ends on a second of audio, and docs/features.md is what they wrote."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.ops import why_not

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"
RESULTS = BENCHMARKS / "results" / "features-epyc-zen5-1thread.json"
pytestmark = [
    pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install"),
]
PAGE = "Kept.\n<!-- features table -->\nold\n<!-- /features table -->\nKept too.\n"


def run(script, *argv, cwd=None):
    command = [sys.executable, str(BENCHMARKS / script), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("features")
    (folder / "page.md").write_text(PAGE)
    argv = ("--seconds", 1, "--rounds", 1, "--json", "found.json", "--chart", "chart.svg", "--page", "page.md")
    done = run("rivals/features.py", *argv, cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, json.loads((folder / "found.json").read_text("utf-8"))


def test_every_peer_is_measured_or_listed_as_not_installed(measured):
    _, text, report = measured
    peers = report["machine"]["peers"]
    for race in report["races"]:
        assert next(iter(race["sides"])) == "pyasr" and race["sides"]["pyasr"]["ratio"] == 1
        assert all(side["µs per frame"] > 0 for side in race["sides"].values())
        assert set(race["largest difference"]) == set(race["sides"]) - {"pyasr"}
        for peer in race["not installed"]:
            assert peers[peer] == "not installed" and f"{peer:24s} not installed" in text
    assert {p for race in report["races"] for p in (*race["sides"], *race["not installed"])} >= set(peers) - {
        "numba", "torch",
    }  # fmt: skip
    assert len(report["pairs"]) == 2


def test_the_page_keeps_its_words_and_names_commit_and_date(measured):
    folder, _, report = measured
    text = (folder / "page.md").read_text("utf-8")
    assert text.startswith("Kept.\n<!-- ") and text.endswith(" -->\nKept too.\n") and "\nold\n" not in text
    assert report["machine"]["commit"][:7] in text and report["machine"]["date"][:10] in text
    for race in report["races"]:
        assert race["name"] in text


def test_the_chart_is_small_undated_and_the_same_bytes_again(measured):
    folder, _, report = measured
    first = (folder / "chart.svg").read_bytes()
    done = run("rivals/features.py", "--from", folder / "found.json", "--chart", folder / "again.svg")
    assert done.returncode == 0, done.stderr
    assert (folder / "again.svg").read_bytes() == first
    assert len(first) < 60_000 and b"<dc:date>" not in first and b"<svg" in first
    for race in report["races"]:
        assert race["name"].encode() in first


def test_a_page_without_markers_is_refused(measured):
    folder, _, _ = measured
    (folder / "plain.md").write_text("Nothing.\n")
    done = run("rivals/features.py", "--from", folder / "found.json", "--page", folder / "plain.md")
    assert done.returncode == 1 and "plain.md: must hold" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.skipif(not RESULTS.is_file(), reason="the results are not beside the tests")
def test_the_committed_page_is_made_of_the_committed_results():
    spec = importlib.util.spec_from_file_location("_page", BENCHMARKS / "rivals" / "_page.py")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    text = (ROOT / "docs" / "features.md").read_text("utf-8")
    found = re.search(f"{re.escape(page.BEGIN)}\n(.*?)\n{re.escape(page.END)}", text, re.S)
    assert found and found[1] == page.table(json.loads(RESULTS.read_text("utf-8")))
    assert (ROOT / "docs" / "features.svg").stat().st_size < 60_000


def test_the_load_of_a_server_is_measured(tmp_path):
    argv = ("--clips", 3, "--seconds", 1, "--rounds", 1, "--watch", 0.1, "--json", tmp_path / "load.json")
    done = run("server_load.py", *argv)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "load.json").read_text("utf-8"))
    names = [r["name"] for r in report["results"]]
    assert names[:4] == ["multiply-adds alone", "pyasr.mfcc", "pyasr.fbank, 80", "pyasr.features.batch"]
    assert {*names[4:], *report["missing"]} == {"kaldi-native-fbank", "librosa"}
    for result in report["results"]:
        assert min(result["clips per s"]) > 0 and set(result["ms late"]) == {"1", "2"}
        assert all(late["ticks"] > 0 and late["99.9 %"] <= late["longest"] for late in result["ms late"].values())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="resident memory is read from /proc")
def test_the_memory_of_long_streams_is_measured(tmp_path):
    pytest.importorskip("soundfile", reason="it writes and reads the recording")
    done = run("memory.py", "--hours", 0.05, "--day", 0.05, "--json", tmp_path / "memory.json")
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "memory.json").read_text("utf-8"))["results"]
    assert [r["frames"] for r in results] == [17998, 17998]
    assert all(r["growth MB"] <= r["mark MB"] for r in results)
