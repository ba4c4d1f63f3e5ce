"""What all tests share: Ctrl-C, and the cuda column on the CPU."""

import runpy
import signal
from pathlib import Path

import pytest

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests of Ctrl-C would wait for ever.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def emulated_column():
    shared = runpy.run_path(str(Path(__file__).parent / "cuda_on_cpu" / "column.py"))
    if (reason := shared["why_not"]()) is not None:
        pytest.skip(reason)
    return shared["column"]()


@pytest.fixture
def emulated(emulated_column):
    """The cuda column with its kernels on the CPU; see tests/cuda_on_cpu/column.py."""
    emulated_column.reset()
    return emulated_column
