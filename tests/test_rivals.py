"""benchmarks/rivals/an4.py runs to its end on a small tree in AN4's layout, and its answers agree."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import why_not

pytest.importorskip("torch", reason="torch is the peer")
soundfile = pytest.importorskip("soundfile", reason="recordings are written with it")
SCRIPT = Path(__file__).parent.parent / "benchmarks" / "rivals" / "an4.py"
pytestmark = [
    pytest.mark.skipif(not SCRIPT.is_file(), reason="the benchmarks are not beside the tests"),
    pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install"),
]
SIDES = ["pyasr", "torch packed", "torch reversed", "torch padded"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Noise of 0.4 to 0.7 s for every one of 36 utterances, and one or two letters."""
    root, rng = tmp_path_factory.mktemp("an4"), np.random.default_rng(0)
    (root / "etc").mkdir()
    (root / "wav" / "fash").mkdir(parents=True)
    names = [f"an{k}-fash-b" for k in range(36)]
    for k, name in enumerate(names):
        wave = 0.1 * rng.standard_normal(6400 + 400 * (k % 13))
        soundfile.write(root / "wav" / "fash" / f"{name}.wav", wave, 16000)
    (root / "etc" / "an4_train.fileids").write_text("".join(f"fash/{name}\n" for name in names))
    (root / "etc" / "an4_train.transcription").write_text(
        "".join(f"<s> {'AB' if k % 2 else 'C'} </s> ({name})\n" for k, name in enumerate(names))
    )
    return root


def run(*argv):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *map(str, argv)], capture_output=True, text=True, timeout=120, check=False
    )


def test_every_side_trains_on_the_same_batches(data, tmp_path):
    found = tmp_path / "an4.json"
    done = run("--data", data, "--threads", 1, "--batches", 2, "--slice", 1, "--rounds", 2, "--json", found)
    assert done.returncode == 0, done.stderr
    report = json.loads(found.read_text("utf-8"))
    assert (report["batches"], report["threads"], report["clock"]) == (4, 1, "wall")
    assert [r["name"] for r in report["results"]] == SIDES
    losses = [r["mean loss"] for r in report["results"]]
    assert np.ptp(losses) < 0.1 * losses[0]  # dropout differs, no more
    for result in report["results"]:
        assert len(result["slices"]) == 4 and min(result["slices"]) > 0 and result["name"] in done.stdout
    exact, padded = (report["agreement"][f"torch {form}"]["gradient error"] for form in ("reversed", "padded"))
    assert exact < 3e-4 < padded


def test_recordings_that_are_not_there_are_named(tmp_path):
    done = run("--data", tmp_path)
    assert done.returncode == 1 and "an4_train.fileids" in done.stderr and "Traceback" not in done.stderr
