"""Fixtures of the benchmarks: the limits of the machine, measured once in the run that quotes them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import probe


@pytest.fixture(scope="session")
def limits():
    found = probe.measure(threads=1)
    yield found
    print("\n" + "\n".join(found.verdict()))


def pytest_benchmark_update_machine_info(machine_info):
    machine_info["pyasr"] = probe.machine()
