"""Fixtures of the benchmarks: the limits of the machine, measured once in the run that quotes them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import probe

LIMITS = pytest.StashKey[probe.Limits]()


@pytest.fixture(scope="session")
def limits(request):
    found = request.config.stash[LIMITS] = probe.measure(threads=1)
    return found


def pytest_benchmark_update_machine_info(machine_info):
    machine_info["pyasr"] = probe.machine()


def pytest_terminal_summary(terminalreporter, config):
    found = config.stash.get(LIMITS, None)
    if found is not None:
        terminalreporter.section("best round on one thread, and its share of the machine's limit")
        for line in (*found.shares, *found.verdict()):
            terminalreporter.write_line(line)
