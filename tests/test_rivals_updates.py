"""benchmarks/rivals/updates.py runs to its end on small sizes, its answers agree, and its page holds what was measured."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.ops import why_not

pytest.importorskip("torch", reason="torch is the peer")
if why_not("cpp"):
    pytest.skip("no native code in this install", allow_module_level=True)

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "rivals" / "updates.py"
if not SCRIPT.exists():
    pytest.skip("the benchmarks are not beside the tests", allow_module_level=True)


def run(*argv):
    done = subprocess.run([sys.executable, str(SCRIPT), *map(str, argv)], capture_output=True, text=True, cwd="/")
    return done.returncode, done.stdout + done.stderr


def test_small_races_end_on_the_page(tmp_path):
    page, found = tmp_path / "page.md", tmp_path / "found.json"
    page.write_text("before\n<!-- updates table -->\nold\n<!-- /updates table -->\nafter\n")
    code, said = run("--sizes", "4000", "--rounds", 2, "--bunch", 0, "--json", found, "--page", page)
    assert code == 0, said
    report = json.loads(found.read_text())
    assert len(report["results"]) == 6 and all(r["ours"] > 0 for r in report["results"])
    assert report["streams"]["4000"]["share"] > 0
    text = page.read_text()
    assert "old" not in text and text.startswith("before") and text.endswith("after\n")
    assert all(r["name"] in text for r in report["results"])


def test_an_unknown_race_is_named():
    code, said = run("--only", "sgd,sdg")
    assert code == 2 and "--only: there is no sdg; there are sgd, momentum" in said
