"""No argument, however bad, kills the process, is silently copied or gives a wrong answer; messages name it in words.

tests/bad_input.py makes the cases from the rows' examples and tries them in one process per function.
"""

import functools
import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import rows, why_not
from pyasr.ops._door import Door

HERE = Path(__file__).parent
CALLS = runpy.run_path(str(HERE / "bad_input_calls.py"))
TARGETS = [("row", name) for name in rows()] + [("public", name) for name in CALLS["PUBLIC"]]
every_target = pytest.mark.parametrize(("kind", "name"), [pytest.param(k, n, id=f"{k}-{n}") for k, n in TARGETS])


@functools.cache
def outcomes(kind, name, *flags):
    """{column: {case: (outcome, problem)}} of one process."""
    run = subprocess.run(
        [sys.executable, *flags, str(HERE / "bad_input.py"), kind, name],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=HERE,
        check=False,
    )
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    if not lines or "end" not in lines[-1]:
        last = lines[-1].get("begin", lines[-1]) if lines else "no case"
        pytest.fail(f"the process ended with {run.returncode} at: {last}\n{run.stderr[-2000:]}")
    assert run.stderr == ""
    table = {}
    for line in lines:
        if "case" in line:
            table.setdefault(line["column"], {})[line["case"]] = (line["outcome"], line["problem"])
    return table


def problems(table):
    return [
        f"{column}: {case}: {problem} ({outcome})"
        for column, cases in table.items()
        for case, (outcome, problem) in cases.items()
        if problem
    ]


@every_target
def test_every_bad_argument_is_refused_in_words_or_answered_right(kind, name):
    table = outcomes(kind, name)
    assert table, "no case was tried"
    found = problems(table)
    assert not found, f"{len(found)} of {sum(map(len, table.values()))} cases:\n" + "\n".join(found)


@every_target
def test_the_same_without_asserts(kind, name):
    assert problems(outcomes(kind, name, "-O")) == []
    table = outcomes(kind, name)
    assert outcomes(kind, name, "-O") == {column: cases for column, cases in table.items() if "numba" not in column}


@pytest.mark.parametrize("name", list(rows()))
@pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")
def test_the_columns_complain_in_the_same_words(name):
    table = outcomes("row", name)
    found = []
    for column in table:
        want = table.get(f"numpy like {column}", table["numpy" if "like" not in column else column])
        found += [
            f"{case}: {column} {outcome!r}, numpy {want[case][0]!r}"
            for case, (outcome, _) in table[column].items()
            if outcome != want[case][0] and f"must be left out on the {column} backend" not in outcome
        ]
    assert not found, "\n".join(found)


def test_every_public_function_is_tried():
    known = set(CALLS["PUBLIC"]) | set(CALLS["EXEMPT"])
    assert set(pyasr.__all__) - known == set(), "give these an entry in PUBLIC of bad_input_calls.py"
    assert known - set(pyasr.__all__) == set()
    assert all(CALLS["EXEMPT"].values())


def test_columns_take_arguments_under_the_same_names():
    """The cases pass everything by name, so this also holds the native signatures to the reference's."""
    for name, row in rows().items():
        good = CALLS["bound"](row, pyasr.backend("numpy"))
        getattr(pyasr.backend("numpy"), name)(**good)


def test_door_says_what_it_got_and_wanted():
    door = Door("op")
    door.read("x", np.zeros((2, 3), "f4"), "T D", np.float32)
    with pytest.raises(ValueError, match=r"^op: w must have shape \(4\*H, D\) with D = 3 from x, got \(4, 2\)$"):
        door.read("w", np.zeros((4, 2), "f4"), "4*H D", np.float32)
