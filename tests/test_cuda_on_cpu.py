"""The cuda column with its kernels on the CPU: results against the reference, the same bits under every order of threads, and
a wrong answer when any one barrier is left out. The cases of a family are in tests/cuda_on_cpu/cases/<family>.py.
"""

import os
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from pyasr.ops import _compare, _cuda, backend, rows

HERE = Path(__file__).parent
COLUMN = runpy.run_path(str(HERE / "cuda_on_cpu" / "column.py"))
SHARED = runpy.run_path(str(HERE / "cuda_on_cpu" / "cases.py"))
ORDERS = [(kind, seed) for seed in range(4) for kind in COLUMN["SCHEDULES"]]
HAVE_SOURCES = COLUMN["CSRC"].is_dir()
FAMILIES = COLUMN["families"]() if HAVE_SOURCES else []
CASES = SHARED["cases"](FAMILIES)
BARRIERS = SHARED["barriers"](FAMILIES)
REASONS = SHARED["reasons"](FAMILIES)
SANITIZED = os.environ.get("PYASR_EMULATION") == "sanitize"
needs_source = pytest.mark.skipif(not HAVE_SOURCES, reason="the C++ sources are not beside the tests")


def outputs(case, emulated, order=("fair", 0)):
    emulated.resident(case.resident)
    emulated.schedule(*order)
    return case.outputs(emulated)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_agrees_with_reference(emulated, case):
    """With arrays as strict as CuPy's: what passes here may be asked on a GPU."""
    row = rows()[case.row]
    emulated.resident(case.resident)
    error = SHARED["worst_error"](case.outputs(emulated.backend), case.outputs(backend("numpy")))
    assert error <= row.tolerance[case.dtype], f"differs by {error:.1e}; tolerance {row.tolerance} ({row.reason})"


def bits(arrays):
    return [a.tobytes() for a in arrays]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_same_bits_under_every_order_of_threads(emulated, case):
    want = bits(outputs(case, emulated))
    for order in ORDERS[1:]:
        assert bits(outputs(case, emulated, order)) == want, order


@pytest.fixture(scope="module")
def right(emulated_column):
    """The bits of every case that is tried with barriers left out."""
    emulated_column.reset()
    return {case: bits(outputs(case, emulated_column)) for case in CASES if case.mutate}


@pytest.mark.parametrize("name", _cuda.functions())
def test_sizes_of_the_table_agree_with_reference(emulated, monkeypatch, name):
    """What `pyasr info --check` asks of a GPU."""
    row = rows()[name]
    monkeypatch.setattr(_compare, "backend", {"cuda": emulated.backend, "numpy": backend("numpy")}.get)
    for size in row.sizes_of("cuda")[:4]:
        for dtype in row.dtypes:
            assert _compare.worst_error(row, "cuda", size, dtype) <= row.tolerance[dtype], (size, dtype)


def fails(case, emulated, order, right):
    try:
        with np.errstate(all="ignore"):
            return bits(outputs(case, emulated, order)) != right[case]
    except RuntimeError:  # the emulated grid found a mistake
        return True


@pytest.mark.skipif(SANITIZED, reason="wrong results may be wrong addresses")
@pytest.mark.parametrize("barrier", sorted(BARRIERS.keys() - REASONS.keys()))
def test_every_barrier_is_needed(emulated, right, barrier):
    candidates = [case for case in right if case.family in BARRIERS[barrier]]
    with emulated.without(barrier):
        assert any(fails(case, emulated, order, right) for order in ORDERS for case in candidates)


@needs_source
def test_barriers_have_ids_of_their_own():
    ranges = SHARED["ranges"]()
    seen = {}
    for path in sorted(SHARED["CUDA"].glob("*.cu*")):
        owners = [name for name in ranges if path.stem == name or path.stem.startswith(f"{name}_")]
        for id in map(int, SHARED["SYNC"].findall(path.read_text())):
            assert id not in seen, f"{path.name} and {seen[id]} both have barrier {id}"
            assert owners, f"{path.name} has a barrier and no range in launch.cuh"
            first = ranges[max(owners, key=len)]
            assert first <= id < first + 100, f"{path.name} owns {first} to {first + 99}, not {id}"
            seen[id] = path.name
    assert set(REASONS) <= set(seen)
    assert all(len(reason) > 20 for reason in REASONS.values())


FOREIGN = r"__syncthreads|__syncwarp|__shfl\w+|cooperative_groups|<<<|__ldg|__shared__|atomicAdd|asm\b"


@needs_source
def test_kernels_use_the_vocabulary_alone():
    """What the emulation does not know would not compile there; what it can not see must not be there either."""
    for path in SHARED["CUDA"].glob("*.cu*"):
        if path.name == "launch.cuh":
            continue
        words = re.findall(FOREIGN, path.read_text())
        assert not words, path.name


@needs_source
def test_families_are_the_same_everywhere():
    files = {
        "csrc/cuda": {p.stem for p in SHARED["CUDA"].glob("*.cu")},
        "csrc/bind": {p.stem.removeprefix("cuda_") for p in (COLUMN["CSRC"] / "bind").glob("cuda_*.cpp")},
        "pyasr/ops/_cuda": set(_cuda.families()),
        "cases": {p.stem for p in (HERE / "cuda_on_cpu" / "cases").glob("*.py")},
    }
    for where, names in files.items():
        assert names == set(FAMILIES), where
    assert {case.row for case in CASES} == set(_cuda.functions())
