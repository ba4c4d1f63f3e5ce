"""benchmarks/rivals/solvers.py runs to its end, and its answers agree."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pyasr.ops import why_not

SCRIPT = Path(__file__).parent.parent / "benchmarks" / "rivals" / "solvers.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside the tests")
@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
def test_batches_race_with_numpy_and_scipy(tmp_path):
    pytest.importorskip("scipy")
    found = tmp_path / "found.json"
    command = [sys.executable, str(SCRIPT), "--rounds", "1", "--only", "batch", "--json", str(found)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results = json.loads(found.read_text("utf-8"))["results"]
    assert len(results) == 12
    assert all(r["ours"] > 0 and set(r["theirs"]) == {"numpy.linalg.solve", "cho_solve"} for r in results)
    assert [r["mark"] for r in results if r["mark"]] == 4 * [1.0]
