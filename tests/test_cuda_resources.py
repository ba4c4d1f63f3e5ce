"""csrc/cuda/RESOURCES.md says what ptxas says, and no kernel spills."""

import runpy
from pathlib import Path

import pytest

RESOURCES = runpy.run_path(str(Path(__file__).parent / "cuda_resources.py"))
FAMILIES = RESOURCES["families"]()


@pytest.mark.skipif(RESOURCES["release"]() is None, reason="no nvcc")
def test_the_page_says_what_ptxas_says():
    """Of the family that compiles fastest: all of them take minutes, and `.ci/run cuda` compares them."""
    assert RESOURCES["check"]("greedy") == []


@pytest.mark.skipif(not FAMILIES, reason="the CUDA sources are not beside the tests")
def test_every_family_is_on_the_page():
    assert sorted(RESOURCES["written"]()[1]) == FAMILIES


def test_a_spill_is_named():
    kernels = {"good": {75: (32, 0, 0, 0)}, "bad": {75: (255, 0, 16, 0), 80: (255, 0, 16, 8)}}
    assert RESOURCES["spills"](kernels) == ["bad"]


def test_names_are_short():
    name = "void pyasr::cuda::(anonymous namespace)::step<float, (pyasr::Clip)1>(pyasr::Args<float>, void (*)(int))"
    assert RESOURCES["short"](name) == "step<float, (Clip)1>"


def test_what_a_kernel_calls_counts():
    frame = "Function properties for {}\n    {} bytes stack frame, {} bytes spill stores, {} bytes spill loads\n"
    text = "Compiling entry function '_Z1kv' for 'sm_90'\n" + frame.format("_Z1kv", 0, 0, 0) + "Used 40 registers\n"
    text += frame.format("_Z6calledv", 16, 4, 8)
    ((name, architecture, rest),) = RESOURCES["entries"](text)
    assert (name, architecture) == ("k", 90)
    assert RESOURCES["numbers"](rest) == (40, 0, 16, 12)
