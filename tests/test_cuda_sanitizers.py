"""The kernels on the CPU under ASan and UBSan, in processes of their own: both are preloaded into Python."""

import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COLUMN = runpy.run_path(str(HERE / "cuda_on_cpu" / "column.py"))
MISTAKES = re.findall(r"^  (\w+),$", (HERE / "cuda_on_cpu" / "probes.hpp").read_text(), re.MULTILINE)
PYTEST = ("-m", "pytest", "-q", "-x", "-s", "-p", "no:cacheprovider")  # -s: else the report ends with the process


@pytest.fixture(scope="module")
def environment():
    if (reason := COLUMN["why_not"]()) is not None:
        pytest.skip(reason)
    command = ["g++", "-print-file-name=lib{}.so"]
    libraries = [
        subprocess.run([command[0], command[1].format(name)], capture_output=True, text=True, check=True).stdout.strip()
        for name in ("asan", "ubsan", "stdc++")
    ]
    if not all(Path(p).is_absolute() for p in libraries):
        pytest.skip("g++ has no sanitizers")
    COLUMN["build"](sanitize=True)  # here, because what is preloaded would slow the compiler down
    settings = {"PYASR_EMULATION": "sanitize", "PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0"}
    return {**os.environ, **settings, "LD_PRELOAD": " ".join(libraries)}


def run(environment, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(command, env=environment, cwd="/", capture_output=True, text=True)


def test_no_kernel_touches_what_is_not_its_own(environment):
    selected = ("-k", "agrees or same_bits", str(HERE / "test_cuda_on_cpu.py"))
    done = run(environment, *PYTEST, *selected)
    assert done.returncode == 0, done.stderr[:4000] + done.stdout[-4000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_neither_do_those_that_are_no_rows(environment):
    selected = (
        "-k",
        "agrees or same_bits or have_the_bits or has_the_bits or cut_to",
        str(HERE / "test_cuda_on_cpu_features.py"),
    )
    done = run(environment, *PYTEST, *selected)
    assert done.returncode == 0, done.stderr[:4000] + done.stdout[-4000:]
    assert re.search(r"\d+ passed", done.stdout)


def test_the_emulation_itself_is_clean(environment):
    selected = ("-k", "not nvcc", str(HERE / "test_emulation.py"))
    done = run(environment, *PYTEST, *selected)
    assert done.returncode == 0, done.stderr[:4000] + done.stdout[-4000:]


@pytest.mark.parametrize("mistake", ["beyond_shared", "beyond_global"])
def test_they_would_be_seen(environment, mistake):
    code = f"""
import runpy, numpy as np
ops = runpy.run_path({str(HERE / "cuda_on_cpu" / "column.py")!r})["column"]()
out, counter = np.zeros(64, "i4"), np.zeros(1, "u4")
ops.device.native.probe_mistake({MISTAKES.index(mistake)}, out.ctypes.data, counter.ctypes.data)
"""
    done = run(environment, "-c", code)
    assert done.returncode != 0
    assert "heap-buffer-overflow" in done.stderr
    assert "probes.cu" in done.stderr
