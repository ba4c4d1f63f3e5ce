"""benchmarks/second_order.py runs to its end on a small tree in AN4's layout, and docs/second-order.md is what it wrote."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.datasets import an4
from pyasr.ops import why_not

ROOT = Path(__file__).parent.parent
SCRIPT = ROOT / "benchmarks" / "second_order.py"
RESULTS = ROOT / "benchmarks" / "results" / "second-order-epyc-zen5-2threads.json"
pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install"),
]
for package in ("soundfile", "msgspec", "safetensors", "rapidfuzz", "matplotlib"):
    pytest.importorskip(package, reason="the benchmark needs it")


def run(*argv, cwd="/"):
    command = [sys.executable, str(SCRIPT), *map(str, argv)]
    return subprocess.run(command, capture_output=True, text=True, timeout=170, check=False, cwd=cwd)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Tones of one to three letters, by a speaker to train on and one of dev."""
    trees = runpy.run_path(str(Path(__file__).with_name("trees.py")))
    root, ids, lines = tmp_path_factory.mktemp("an4"), [], []
    for k in range(20):
        speaker, name = sorted(an4.DEV_SPEAKERS)[0] if k % 5 == 0 else "zzzz", f"an{k}-b"
        path = root / "wav" / speaker / f"{name}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(trees["recording"](trees["letters_of"](k), k, 16000))
        ids.append(f"{speaker}/{name}\n")
        lines.append(f"<s> {trees['letters_of'](k).upper()} </s> ({name})\n")
    trees["write"](root, {"etc/an4_train.fileids": "".join(ids), "etc/an4_train.transcription": "".join(lines)})
    return root


def test_it_ends_where_hessian_free_training_is_as_low_as_the_best_sgd(data, tmp_path):
    found, page, chart = (tmp_path / name for name in ("found.json", "page.md", "chart.svg"))
    page.write_text("Kept.\n<!-- results -->\nold\n<!-- /results -->\nKept too.\n")
    argv = ("--data", data, "--threads", 1, "--utterances", 12, "--epochs", 30)
    done = run(*argv, "--json", found, "--page", page, "--chart", chart)
    assert done.returncode == 0, done.stderr
    report = json.loads(found.read_text("utf-8"))
    runs, target = report["runs"], report["target"]
    assert target < report["plateau"] / 2 < report["start"]
    finals = [r["curve"][-1][2] for r in runs if r["name"] == "SGD"]
    assert len(finals) == 10 and min(finals) == target and sum(r["name"] == "Adam" for r in runs) == 8
    assert [r["name"] for r in runs if "best" in r and r["name"] in ("SGD", "Adam")] == ["SGD", "Adam"]
    for r in (r for r in runs if "updates" in r):
        below = [u for u, _, loss in r["curve"] if loss <= target]
        assert below == [len(r["updates"])] and [u["after"] for u in r["updates"]] == [c[2] for c in r["curve"][1:]]
    text = page.read_text("utf-8")
    assert text.startswith("Kept.\n") and text.endswith("Kept too.\n") and "old" not in text
    assert text.count("| Hessian-free") == 2 and "<svg" in chart.read_text("utf-8")
    void = run(*argv[:-1], 1)
    assert void.returncode == 1 and "void" in void.stderr and "Traceback" not in void.stderr


def test_the_committed_page_is_made_of_the_committed_results(tmp_path):
    committed = (ROOT / "docs" / "second-order.md").read_text("utf-8")
    (tmp_path / "page.md").write_text(committed, "utf-8")
    done = run("--from", RESULTS, "--page", tmp_path / "page.md")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "page.md").read_text("utf-8") == committed
    report = json.loads(RESULTS.read_text("utf-8"))
    (full,) = (r for r in report["runs"] if r["name"] == "Hessian-free")
    updates, seconds, loss = full["curve"][-1]
    assert loss <= report["target"] < report["plateau"] / 2  # the marks of the project
    assert updates <= 60 and seconds <= 1800


def test_recordings_that_are_not_there_are_named(tmp_path):
    done = run("--data", tmp_path)
    assert done.returncode == 1 and "an4_train.fileids" in done.stderr and "Traceback" not in done.stderr
