"""Writes pyasr/_cpu.pyi from the rows' own signatures: `python tests/stubs.py` in the source tree."""

from __future__ import annotations

import inspect
import re
import sys
from pathlib import Path
from types import ModuleType

from pyasr import _cpu
from pyasr.ops import rows

HEAD = '''"""The cpp column. Written by `python tests/stubs.py` from the rows of pyasr.ops; tests/test_build.py compares."""
'''
TAIL = """
api: Any  # a capsule with the C entry points, see include/pyasr/capi.h
__version__: str

def isa() -> str: ...
def isas() -> dict[str, bool]: ...
def default_threads() -> int: ...
"""


def signature(function) -> tuple[str, set[str]]:
    """The text of a row's signature and the imports that it needs."""
    module = inspect.getmodule(function)
    s = inspect.signature(function)
    text = str(s).replace("'", "") if any(isinstance(p.annotation, str) for p in s.parameters.values()) else str(s)
    for p in s.parameters.values():  # string defaults lost their quotes
        if isinstance(p.default, str):
            text = text.replace(f"{p.name}: {p.annotation} = {p.default}", f'{p.name}: {p.annotation} = "{p.default}"')
    imports = set()
    annotations = [str(p.annotation) for p in s.parameters.values()] + [str(s.return_annotation)]
    for name in set(re.findall(r"(?<![\w.])[A-Za-z_]\w*", " ".join(annotations))):
        value = None if inspect.isclass(getattr(_cpu, name, None)) else getattr(module, name, None)
        if isinstance(value, ModuleType):
            imports.add(f"import {value.__name__} as {name}")
        elif value is not None:
            origin = getattr(value, "__module__", module.__name__)
            imports.add(f"from {origin if hasattr(sys.modules[origin], name) else module.__name__} import {name}")
    return text, imports


def stub() -> str:
    imports, body = {"from typing import Any"}, []
    for name, row in sorted(rows().items()):
        text, needed = signature(row.reference)
        imports |= needed
        body.append(f"def {name}{text}: ...")
    for name, kind in sorted(vars(_cpu).items()):
        if inspect.isclass(kind):
            members = [m for m, v in sorted(vars(kind).items()) if isinstance(v, property)]
            lines = [f"    @property\n    def {m}(self) -> Any: ..." for m in members]
            body.append("\n".join([f"class {name}:", *(lines or ["    ..."])]))
    return "\n".join([HEAD, *sorted(imports), "", *body, TAIL])


if __name__ == "__main__":
    target = Path(__file__).parent.parent / "pyasr" / "_cpu.pyi"
    target.write_text(stub())
    print(f"wrote {target}; now run: ruff format {target}")
