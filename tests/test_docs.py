"""What is written is true: every docstring example, every Python block of the README and its op table."""

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr.ops import rows

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


def modules():
    """Every module of the package; all of them import with the extras of [test]."""
    for info in pkgutil.walk_packages(pyasr.__path__, "pyasr."):
        if info.name.split(".")[-1] not in ("__main__", "_cpu", "_cuda"):
            yield info.name


def examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name in modules():
        module = importlib.import_module(name)
        absent = name.startswith("pyasr.onnx") and importlib.util.find_spec("onnx") is None
        marks = [pytest.mark.skip(reason="the extra [onnx] is not installed")] if absent else []
        for test in finder.find(module, name, globs={"np": np, "pyasr": pyasr}):
            if test.examples:
                yield pytest.param(test, id=test.name, marks=marks)


@pytest.mark.parametrize("example", list(examples()))
def test_docstring_example(example, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where an example writes a file
    report = []
    doctest.DocTestRunner(optionflags=OPTIONS, verbose=False).run(example, out=report.append)
    assert not report, "".join(report)


PUBLIC = [n for n in pyasr.__all__ if callable(getattr(pyasr, n))]


@pytest.mark.parametrize("name", PUBLIC)
def test_public_name_is_documented_with_an_example(name):
    doc = inspect.getdoc(getattr(pyasr, name)) or ""
    assert ">>>" in doc, f"pyasr.{name} has no example"
    assert len(doc.splitlines()[0]) > 20


# The features' rows take a plan; their public functions make it from options.
SAME_SIGNATURE = [n for n in PUBLIC if n in rows() and "plan" not in inspect.signature(rows()[n].reference).parameters]


@pytest.mark.parametrize("name", SAME_SIGNATURE)
def test_public_op_has_the_signature_of_its_row(name):
    public, row = inspect.signature(getattr(pyasr, name)), inspect.signature(rows()[name].reference)
    assert [(p.name, p.kind, p.default) for p in public.parameters.values()] == [
        (p.name, p.kind, p.default) for p in row.parameters.values()
    ]


def blocks(page=README):
    found = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.M | re.S)
    return [pytest.param(i, block, id=f"block-{i}") for i, block in enumerate(found)]


def test_readme_has_examples():
    assert blocks()


def test_readme_blocks_run_in_order(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {}
    for block in blocks():
        exec(compile(block.values[1], f"README.md {block.id}", "exec"), names)


def test_the_updates_of_the_page_of_options_run():
    names = {}
    (block,) = blocks(ROOT / "docs" / "options.md")
    exec(compile(block.values[1], "docs/options.md", "exec"), names)
    assert names["info"] == (0, 1, False)  # no gradient yet
    assert names["optimizer"].ema.value.any()


def test_readme_op_table_is_the_generated_one():
    text = README.read_text("utf-8")
    found = re.search(r"<!-- op table -->\n(.*?)\n<!-- /op table -->", text, re.S)
    assert found, "README.md has no op table between <!-- op table --> and <!-- /op table -->"
    assert found[1].strip() == importlib.import_module("pyasr.info").op_table_markdown().strip()


def test_every_file_that_the_readme_links_to_exists():
    links = re.findall(r"\]\((?!https?://|#)([^)#\s]+)", README.read_text("utf-8"))
    assert not [link for link in links if not (ROOT / link).exists()]
