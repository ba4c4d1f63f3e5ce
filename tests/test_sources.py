"""docs/sources.md is true: one command for each row of its tables, which runs and prints what is shown."""

import math
import pkgutil
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "sources.md").read_text("utf-8")
NUMBER = re.compile(r"[-+]?\d+(?:\.\d*)?(?:e[-+]?\d+)?")


class Command(NamedTuple):
    text: str
    shown: str | None  # what it prints
    varies: bool  # its numbers do from machine to machine, those of trainings, but not their order


def commands():
    """Every ```sh, and the ```text that follows it."""
    found = re.finditer(r"^```sh\n(.*?)^```$(?:\n\n```text( varies)?\n(.*?)^```$)?", PAGE, re.M | re.S)
    return [Command(m[1], m[3], bool(m[2])) for m in found]


def sections():
    return re.split(r"^## ", PAGE, flags=re.M)[1:]


def rows_of(section):
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    return rows[2:]  # without the head


def order_of(numbers):
    """Which is the smallest, the next, …: what the text says of numbers that vary."""
    return sorted(range(len(numbers)), key=lambda i: float(numbers[i]))


@pytest.mark.parametrize("command", [pytest.param(c, id=f"{i}") for i, c in enumerate(commands())])
def test_command_prints_what_is_shown(command, tmp_path):
    program, *argv = shlex.split(command.text)
    start = {"python": [sys.executable], "pyasr": [sys.executable, "-m", "pyasr"]}[program]
    done = subprocess.run([*start, *argv], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not done.stderr, done.stderr
    if command.shown is None:
        assert done.stdout
        return
    got, want = (re.sub(r"\s+", " ", NUMBER.sub("#", text)) for text in (done.stdout, command.shown))
    assert got == want
    printed, known = NUMBER.findall(done.stdout), NUMBER.findall(command.shown)
    if command.varies:
        assert order_of(printed) == order_of(known), (printed, known)
    else:
        for g, w in zip(printed, known, strict=True):
            assert math.isclose(float(g), float(w), rel_tol=0.02, abs_tol=0.002 if "e" not in w else 0), (g, w)


def test_every_row_has_a_command_and_a_text_of_its_own():
    assert len(sections()) == 5
    for number, section in enumerate(sections()):
        assert section.startswith(f"Article {number}: ")
        rows = rows_of(section)
        assert rows and all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)
        assert len(re.findall(r"^```sh$", section, re.M)) == len(rows)
        assert len(re.findall(r"^\*\*[^*]+\*\*", section, re.M)) == len(rows)


def test_what_is_named_as_right_exists():
    rows = [row for section in sections() for row in rows_of(section)]
    named = {name for row in rows for name in re.findall(r"`([a-z_]+(?:\.[A-Za-z_]+)?)(?:\([^`]*)?`", row[3])}
    assert {"linear.linear_svm", "newton_step", "hessian_free.HessianFree", "losses.Ctc"} <= named
    for name in named:
        assert pkgutil.resolve_name(f"pyasr.{name}"), name


def test_lines_are_short():
    assert max(len(line) for line in PAGE.splitlines() if not line.startswith("|")) <= 130
