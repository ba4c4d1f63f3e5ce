"""The cuda column in processes of their own, on a GPU: a device that fails, a fork, errors of others, compute-sanitizer."""

import json
import os
import subprocess
import sys

import pytest

from pyasr.bench import sanitizer
from pyasr.ops import why_not

REASON = why_not("cuda")
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(REASON is not None, reason=f"no GPU here: {REASON}")]


def alone(program, *argv, **environment):
    """A process of its own; the JSON of its last line."""
    done = subprocess.run(
        [sys.executable, "-c", program, *argv], capture_output=True, text=True, cwd="/", timeout=300, check=False,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


CALL = """
import json, os, sys
import cupy, numpy
import pyasr
from pyasr.ops import why_not
ops = pyasr.backend("cuda")
value, grad = cupy.ones(3000, "f4"), cupy.ones(3000, "f4")
def call():
    try:
        return ["norm", float(ops.clip_sgd(value, grad, lr=0.1).norm)]
    except RuntimeError as e:
        return [type(e).__name__, str(e)]
"""
FAULT = """
bad = cupy.RawKernel('extern "C" __global__ void bad(int* p) { *p = 1; }', "bad")
said = [call()]
bad((1,), (1,), (numpy.uint64(8),))
try:
    cupy.cuda.Device().synchronize()
except RuntimeError as e:
    said.append(["fault", str(e)])
said += [call(), call(), call()]
print(json.dumps(said), flush=True)
os._exit(0)  # the context is lost: nothing can be freed
"""
FORK = """
said, (read, write) = [call()], os.pipe()
if (child := os.fork()) == 0:
    os.write(write, json.dumps(call()).encode())
    os._exit(0)
os.waitpid(child, 0)
said += [json.loads(os.read(read, 10_000)), call()]
print(json.dumps(said))
"""
LEFT = """
try:
    cupy.cuda.runtime.malloc(1 << 60)
except RuntimeError as e:
    said = [["refused", str(e)], call()]
print(json.dumps(said))
"""


def test_after_a_fault_every_call_says_to_restart_the_process():
    before, fault, *after = alone(CALL + FAULT)
    assert before[0] == "norm" and fault[0] == "fault"
    assert [name for name, _ in after] == ["DeviceFault"] * 3
    assert all("restart the process" in words for _, words in after)


def test_a_fork_is_told_to_spawn_and_its_parent_goes_on():
    before, child, after = alone(CALL + FORK)
    assert before[0] == after[0] == "norm"
    assert child[0] == "RuntimeError" and "was forked from one that uses CUDA" in child[1]


def test_an_error_of_somebody_else_is_not_inherited():
    (_, words), after = alone(CALL + LEFT)
    assert "memory" in words.lower() and after[0] == "norm"


def test_without_a_visible_device_the_driver_says_why():
    program = "import json; from pyasr.ops import why_not; print(json.dumps(why_not('cuda')))"
    assert "device" in alone(program, CUDA_VISIBLE_DEVICES="")


def test_compute_sanitizer_finds_nothing():
    report = sanitizer.run()
    if "absent" in report:
        pytest.skip(report["absent"])
    assert set(report.values()) == {"nothing found"}
