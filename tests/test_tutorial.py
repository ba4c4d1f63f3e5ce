"""docs/tutorial.md is true: its blocks run in order in one folder and print what it shows, up to numbers and spoken words; so is
docs/options.md."""

import contextlib
import io
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from pyasr import cli
from pyasr.cli._train import _epoch_line
from pyasr.datasets import fsdd, manifest
from pyasr.runs.folder import read_metrics
from pyasr.runs.options import MODELS, Options, options_for

TUTORIAL = Path(__file__).resolve().parent.parent / "docs" / "tutorial.md"
FSDD = Path(os.environ.get("PYASR_DATA", "")) / "fsdd"
has_fsdd = bool(os.environ.get("PYASR_DATA")) and FSDD.is_dir()
# The first recognizer takes a minute. Here it is the same command with fewer recordings and one epoch.
SHORTER = {"pyasr train digits": "pyasr train digits --set size=60 --epochs 1"}
VARIES = re.compile(rf"\d+(?:\.\d+)?(?:e-?\d+)?|\b(?:{'|'.join(fsdd.WORDS)})\b")


class Block(NamedTuple):
    language: str
    mark: str  # after the language: how it is run or compared
    text: str
    line: int


def blocks_of(page):
    found = re.finditer(r"^ *```(\w+)(?: ([\w-]+))?\n(.*?)^ *```$", page, re.M | re.S)
    return [Block(m[1], m[2] or "", m[3], page.count("\n", 0, m.start()) + 1) for m in found]


PAGE = TUTORIAL.read_text("utf-8")
OPTIONS = TUTORIAL.with_name("options.md").read_text("utf-8")
BLOCKS = blocks_of(PAGE)


def wanted_here(block):
    """What needs an install or a download is left out, unless it only needs recordings that are there."""
    return block.mark != "no-run" or ("fsdd" in block.text and "pip" not in block.text and has_fsdd)


def shell(line, mark):
    """Run one `pyasr …`, perhaps with `< FILE`; what it printed."""
    program, *argv = shlex.split(SHORTER.get(line, line))
    assert program == "pyasr", f"only pyasr is run here, got {line}"
    stdin = subprocess.DEVNULL
    with contextlib.ExitStack() as stack:
        if "<" in argv:
            at = argv.index("<")
            stdin = stack.enter_context(open(argv[at + 1], "rb"))
            del argv[at : at + 2]
        process = subprocess.Popen(
            [sys.executable, "-m", "pyasr", *argv], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        if mark == "ctrl-c":
            checkpoint = Path(argv[argv.index("--out") + 1]) / "last.safetensors"
            while process.poll() is None and not checkpoint.exists():
                time.sleep(0.002)
            process.send_signal(signal.SIGINT)
        printed = process.communicate(timeout=300)[0].decode()
    wanted = {"": 0, "no-run": 0, "exit-1": 1, "ctrl-c": 130}[mark]
    assert process.returncode == wanted, f"{line}\n{printed}"
    return printed


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """The folder, and per line of the page what the block that begins there printed."""
    folder, printed, names = tmp_path_factory.mktemp("tutorial"), {}, {}
    with contextlib.chdir(folder):
        for block in BLOCKS:
            if block.language == "sh" and wanted_here(block):
                printed[block.line] = "".join(shell(line, block.mark) for line in block.text.splitlines())
            elif block.language == "python":
                code = compile("\n" * block.line + block.text, str(TUTORIAL), "exec")
                with contextlib.redirect_stdout(io.StringIO()) as out:
                    exec(code, names)
                printed[block.line] = out.getvalue()
    return folder, printed


def shape_of(text):
    """The text without what differs between machines: numbers, words that were heard, white space."""
    return " ".join(VARIES.sub("#", text).split())


def shown():
    """(what is shown, the block that prints it)."""
    before = None
    for block in BLOCKS:
        if block.language in ("sh", "python"):
            before = block
        elif block.language == "text" and block.mark != "epochs":
            marks = pytest.mark.skipif(not wanted_here(before), reason="PYASR_DATA names no folder with fsdd")
            yield pytest.param(block, before, id=f"line-{block.line}", marks=marks)


@pytest.mark.parametrize(("block", "source"), list(shown()))
def test_what_is_shown_is_printed(ran, block, source):
    output, at = shape_of(ran[1][source.line]), 0
    for piece in re.split(r"^\.\.\.$", block.text, flags=re.M):  # shortened there
        piece = shape_of(piece)
        found = output.find(piece, at)
        assert found >= 0, f"{piece}\n  is not in what line {source.line} printed:\n{output[at:]}"
        at = found + len(piece)


def test_epochs_are_shown_as_a_terminal_shows_them(ran):
    (block,) = (b for b in BLOCKS if b.mark == "epochs")
    _, epochs = read_metrics(ran[0] / "runs" / "digits" / "metrics.jsonl")
    assert {shape_of(line) for line in block.text.splitlines()} == {shape_of(_epoch_line(epochs[0]))}


def test_manifests_that_are_shown_are_read(ran):
    for number, block in enumerate(b for b in BLOCKS if b.language == "json"):
        objects, rest = [], block.text.strip()
        while rest:
            one, end = json.JSONDecoder().raw_decode(rest)
            objects.append(one)
            rest = rest[end:].strip()
        path = ran[0] / f"shown{number}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in objects))
        for utterance in manifest.load(path, strict=True).utterances:
            assert len(utterance.wave(16000)) >= 400


def test_nothing_but_installs_and_downloads_is_left_out():
    assert {b.language for b in BLOCKS} == {"sh", "python", "json", "text"}
    for block in BLOCKS:
        if block.mark == "no-run":
            for line in block.text.splitlines():
                assert line.startswith(("pip install ", "pyasr download ")) or "fsdd" in line
        else:
            assert block.mark in {"sh": ("", "exit-1", "ctrl-c"), "text": ("", "epochs")}.get(block.language, ("",))


def test_every_option_that_is_named_exists():
    flag = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
    flags = {name: {o for p in c.params for o in p.opts} | {"--help"} for name, c in cli.command.commands.items()}
    assert set(flag.findall(PAGE + OPTIONS)) <= set().union(*flags.values())
    for name, rest in re.findall(r"(?<!from )\bpyasr ([a-z]+)\b([^`\n]*)", PAGE + OPTIONS):
        assert set(flag.findall(rest)) <= flags[name], name
    assert set(re.findall(r"--set (\w+)=", PAGE + OPTIONS)) <= {"KEY"} | set(Options.__struct_fields__)


def test_the_table_of_options_is_complete_and_has_their_defaults():
    rows = re.findall(r"^\| `(\w+)` \| (.*?) ?\| (.*?) ?\| .* ?\|$", OPTIONS, re.M)
    assert [name for name, *_ in rows] == list(Options.__struct_fields__)
    recipes = [options_for("", model, {}) for model in MODELS]
    for name, *cells in rows[1:]:
        defaults = [getattr(recipe, name) for recipe in recipes]
        assert cells == ["" if d is None else str(d).lower() for d in defaults], name


def test_lines_are_short_and_plain():
    for page in (PAGE, OPTIONS):
        assert page.isascii()
        assert max(map(len, page.splitlines())) <= 130
