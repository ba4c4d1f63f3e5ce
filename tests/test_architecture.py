"""The rooms of docs/architecture.md, held by walking the imports and includes; a family is one file name in every room."""

import ast
import inspect
import re
from pathlib import Path

import pytest

import pyasr
from pyasr.ops import rows, why_not
from pyasr.ops._op import families, native

PACKAGE = Path(pyasr.__file__).parent
ROOT = Path(__file__).parent.parent
CSRC = ROOT / "csrc"
needs_source = pytest.mark.skipif(not CSRC.is_dir(), reason="the C++ sources are not beside the tests")
needs_native = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")

# room -> (its modules, the rooms that it may import besides itself and "ground")
ROOMS = {
    "ground": ("_build _version _cpu _cuda kernels _optional counter", ""),
    "ops": ("ops", ""),
    "functions": ("features optim newton approximate linear losses hmm params schedules", "ops"),
    "layers": ("layers", "ops functions"),
    "models": ("models", "functions layers"),
    "data": ("audio text datasets augment batches decode scoring", "ops functions"),
    "training": ("train hessian_free checkpoint runs recognizer distributed", "ops functions layers models data"),
    "compat": ("compat", "ops functions layers data"),
    "exchange": ("onnx", "ops functions layers"),
    "command": ("cli __main__ info bench", "ops functions layers models data training compat"),
}
ROOM_OF = {module: room for room, (modules, _) in ROOMS.items() for module in modules.split()}
# Names in a native module that are not rows: what `pyasr info` asks, and the C entry points.
NATIVE_EXTRAS = {"api", "isa", "isas", "default_threads"}
# Files of csrc rooms that are not families.
SHARED = {
    "runtime",
    "capi",
    "function",
    "update",
    "probe",
    "simd",
    "symmetric",
    "cg_vectors",
    "gemm",
    "table",
    "dispatch",
    "selfcheck",
    "array",
    "cpu",
    "cuda",
    "launch",
    "device",
}


def imported(path):
    """The dotted pyasr names that a file imports, at any depth of nesting."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: imports are absolute"
            if node.module == "pyasr":
                yield from (f"pyasr.{a.name}" for a in node.names)
            elif node.module:
                yield node.module


def modules():
    return [p for p in sorted(PACKAGE.rglob("*.py")) if p != PACKAGE / "__init__.py"]


def room_of(path):
    return ROOM_OF.get(path.relative_to(PACKAGE).parts[0].removesuffix(".py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_run_one_way(path):
    room = room_of(path)
    assert room is not None, "this module is in no room: add it to docs/architecture.md and to ROOMS"
    allowed = {room, "ground", *ROOMS[room][1].split()}
    for name in imported(path):
        first = name.split(".")[1] if name.startswith("pyasr.") else None
        if first in ROOM_OF:
            assert ROOM_OF[first] in allowed, f"{room} may not import {name}"


def families_in(folder, suffix):
    names = {p.stem for p in (CSRC / folder).glob(f"*{suffix}")}
    return {
        n
        for n in names
        if n not in SHARED and not n.startswith("_") and n.split("_")[0] not in {"gemm", "simd", "selfcheck", "cuda"}
    }


PYTHON_FAMILIES = {module.__name__.rpartition(".")[2] for module in families()}


@needs_source
@pytest.mark.parametrize(
    ("folder", "suffix"), [("include/pyasr", ".hpp"), ("cpu", ".cpp"), ("bind", ".cpp")], ids=lambda x: x
)
def test_a_family_is_one_file_name_in_every_room(folder, suffix):
    assert families_in(folder, suffix) == PYTHON_FAMILIES


@needs_source
def test_cuda_families_are_families():
    assert families_in("cuda", ".cu") <= PYTHON_FAMILIES


@needs_native
def test_rows_are_the_native_names():
    cpu = native("_cpu")
    names = {n for n in dir(cpu) if not n.startswith("_") and not inspect.isclass(getattr(cpu, n))}
    assert names - NATIVE_EXTRAS == set(rows())


def includes(path):
    return re.findall(r'^\s*#\s*include\s+[<"]([^>"]+)[>"]', path.read_text(), re.MULTILINE)


def sources(folder):
    return [p for p in sorted((CSRC / folder).rglob("*")) if p.suffix in {".cpp", ".hpp", ".cu", ".cuh", ".h"}]


@needs_source
@pytest.mark.parametrize("folder", ["cpu", "cuda", "math", "include", "runtime"])
def test_only_bindings_know_python(folder):
    for path in sources(folder):
        assert not [i for i in includes(path) if "pybind11" in i or "Python.h" in i or i.startswith("bind/")], path


@needs_source
def test_cpu_and_cuda_do_not_meet():
    assert not [p for p in sources("cpu") if any(i.startswith("cuda") for i in includes(p))]
    assert not [p for p in sources("cuda") if any(i.startswith("cpu/") for i in includes(p))]


@needs_source
@pytest.mark.parametrize("folder", ["include", "math"])
def test_contracts_and_mathematics_stand_alone(folder):
    for path in sources(folder):
        own = {i for i in includes(path) if "/" in i}
        assert all(i.startswith(("pyasr/", "math/")) for i in own), path


# A template of the standard library that an AVX-512 object instantiates may be the copy that the linker keeps for all.
@needs_source
def test_kernels_use_no_standard_templates():
    for path in sources("cpu") + sources("math"):
        if path.stem.split("_")[0] in {"dispatch", "selfcheck"}:
            continue  # compiled without instruction-set flags
        standard = {i for i in includes(path) if "/" not in i}
        assert standard <= {"cstddef", "cstdint"}, path


PAGE = ROOT / "docs" / "architecture.md"


@needs_source
def test_the_page_names_files_that_exist():
    for line in PAGE.read_text().splitlines():
        folder = Path()
        for name in re.findall(r"`([\w./]+(?:/|\.(?:py|pyx|hpp|cpp|cuh|cu|h|txt)))`", line):
            here = [
                folder / name,
                Path(name),
                Path("csrc/cpu") / name,
                Path("pyasr/ops") / name,
                Path("csrc/include/pyasr") / name,
            ]
            found = next((p for p in here if (ROOT / p).exists()), None)
            assert found is not None, f"{name} in: {line}"
            folder = found.parent


@needs_source
def test_the_page_gives_the_rows_their_signatures():
    given = {}
    for names, signature in re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| `\((.*?)\) →", PAGE.read_text(), re.MULTILINE):
        plain = re.sub(r"\s*\[[^\]]*\]", "", signature)
        given |= {name: plain.split(", ") for name in re.findall(r"\w+", names)}
    for name, tokens in given.items():
        wanted, keywords = [], False
        for p in inspect.signature(rows()[name].reference).parameters.values():
            if p.kind is p.KEYWORD_ONLY and not keywords:
                wanted.append(("*", None))
                keywords = True
            wanted.append((p.name, None if p.default is p.empty else p.default))
        written = [token.partition("=") for token in tokens]
        assert [(n, ast.literal_eval(default) if equals else None) for n, equals, default in written] == wanted, name
    by_words = {n for n in rows() if n.startswith(("rnn_", "gru_"))}  # "as lstm_* …"
    assert set(given) == set(rows()) - by_words


@needs_source
def test_files_stay_small():
    long = {p.name: n for p in [*sources("."), *modules()] if (n := len(p.read_text().splitlines())) > 400}
    assert not long


def test_no_assert_guards_behavior():
    """`python -O` drops assert statements: in the package they may only narrow types."""
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Assert):
                assert re.fullmatch(r"\w+ is not None|isinstance\(.*\)", ast.unparse(node.test)), path
