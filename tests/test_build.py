"""The install: which files, what an import costs and loads, what environment variables do, threads, forks and signals."""

import ast
import inspect
import json
import os
import runpy
import shutil
import subprocess
import sys
import threading
import time
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

import pyasr
from pyasr import _build
from pyasr.ops import backend, rows
from pyasr.ops._op import native

HERE = Path(__file__).parent
ROOT = HERE.parent
cpu = native("_cpu")
needs_native = pytest.mark.skipif(cpu is None, reason="no native code in this install")
needs_linux = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")


def python(code, *flags, **environment):
    """Runs code in a fresh interpreter away from the source tree; returns the finished process."""
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**os.environ, **environment},
        cwd="/",
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def output(code, *flags, **environment):
    done = python(code, *flags, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# files


def is_editable():
    text = metadata.distribution("pyasr-kernels").read_text("direct_url.json")
    return text is not None and json.loads(text).get("dir_info", {}).get("editable", False)


@pytest.mark.skipif(is_editable(), reason="an editable install has no files of its own")
def test_installed_files_are_the_wanted_ones():
    files = [str(f) for f in metadata.files("pyasr-kernels")]
    names = [f for f in files if "__pycache__" not in f and not f.startswith("..")]
    problems = runpy.run_path(str(HERE / "check_wheel.py"))["problems"]
    assert problems(names, 0, pure=not _build.NATIVE) == []


def test_version_is_that_of_the_distribution():
    assert pyasr.__version__ == metadata.version("pyasr-kernels")
    assert cpu is None or cpu.__version__ == pyasr.__version__


@needs_native
@pytest.mark.skipif(not (ROOT / "pyasr" / "_cpu.pyi").is_file(), reason="the source tree is not beside the tests")
def test_stub_says_what_the_module_has():
    def shape(text):
        return sorted(
            (n.name, ast.dump(n.args) if isinstance(n, ast.FunctionDef) else "")
            for n in ast.parse(text).body
            if isinstance(n, ast.FunctionDef | ast.ClassDef)
        )

    wanted = runpy.run_path(str(HERE / "stubs.py"))["stub"]()
    assert shape((ROOT / "pyasr" / "_cpu.pyi").read_text()) == shape(wanted), "run python tests/stubs.py"


@needs_native
@pytest.mark.parametrize("name", list(rows()))
def test_native_signature_is_the_reference_s(name):
    def shape(function):
        return [(p.name, p.kind, p.default) for p in inspect.signature(function).parameters.values()]

    assert shape(getattr(cpu, name)) == shape(rows()[name].reference)


@needs_native
@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((1,), {}, "ctc_greedy: needs the argument lengths"),
        ((1, 2, 3), {}, "ctc_greedy: takes at most 2 positional arguments, got 3"),
        ((1, 2), {"logits": 3}, "ctc_greedy: got the argument logits twice"),
        ((1, 2), {"blanc": 3}, "ctc_greedy: there is no argument 'blanc'"),
    ],
)
def test_native_functions_name_a_wrong_argument(args, kwargs, words):
    with pytest.raises(TypeError) as error:
        cpu.ctc_greedy(*args, **kwargs)
    assert str(error.value) == words


@needs_native
def test_native_functions_take_names_that_are_not_interned():
    name = "".join(["len", "gths"])
    logits = np.zeros((2, 1, 3), "f4")
    assert len(cpu.ctc_greedy(logits, **{name: np.array([2], "i4")})) == 2


# import


def test_import_loads_little():
    loaded = output(
        "import sys; before = set(sys.modules); import pyasr\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    assert loaded == "pyasr"


def test_the_table_and_native_ops_load_no_extra():
    loaded = output(
        "import sys, numpy as np; before = set(sys.modules); import pyasr, pyasr.ops; pyasr.ops.rows()\n"
        "pyasr.clip_sgd(np.zeros(2, 'f4'), np.ones(2, 'f4'), lr=0.1) if pyasr.ops.why_not('cpp') is None else None\n"
        "print(*sorted({m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names))"
    )
    assert set(loaded.split()) <= {"pyasr", "numpy"}


@pytest.mark.skipif(not (ROOT / "pyasr" / "__init__.py").is_file(), reason="the source tree is not beside the tests")
def test_source_tree_says_that_it_is_not_installed():
    # -S: no site-packages, so that an editable install does not answer in its place
    done = python(f"import sys; sys.path.insert(0, {str(ROOT)!r}); import pyasr", "-S")
    assert done.returncode == 1
    assert "this is pyasr's source tree, not an installed package: run `pip install .`" in done.stderr


@pytest.fixture
def copied_install(tmp_path):
    """A copy of the installed Python files without native modules, and a way to import it."""
    shutil.copytree(
        Path(pyasr.__file__).parent, tmp_path / "pyasr", ignore=shutil.ignore_patterns("*.so", "__pycache__")
    )
    (tmp_path / "pyasr" / "_version.py").write_text(f'__version__ = "{pyasr.__version__}"\n')
    (tmp_path / "pyasr" / "_build.py").write_text("NATIVE = True\n")
    paths = [str(tmp_path), str(Path(np.__file__).parent.parent)]

    def run(code):
        return python(f"import sys; sys.path[:0] = {paths!r}\n{code}", "-S")

    return tmp_path / "pyasr", run


def test_missing_native_module_is_an_error(copied_install):
    _, run = copied_install
    done = run("import pyasr; pyasr.backend()")
    assert done.returncode == 0, done.stderr
    done = run("import pyasr; pyasr.backend().clip_sgd")
    assert "pyasr was installed with native code, but pyasr._cpu is missing: reinstall it" in done.stderr


def test_broken_native_module_raises_its_own_error(copied_install):
    package, run = copied_install
    suffix = output("import sysconfig; print(sysconfig.get_config_var('EXT_SUFFIX'))")
    (package / f"_cpu{suffix}").write_bytes(b"not a library")
    done = run("import pyasr; pyasr.backend().clip_sgd")
    assert "ImportError" in done.stderr
    assert f"_cpu{suffix}" in done.stderr
    assert "missing" not in done.stderr


def test_pure_install_runs_on_numpy_and_says_so(copied_install):
    package, run = copied_install
    (package / "_build.py").write_text("NATIVE = False\n")
    done = run(
        "import numpy as np, pyasr\nfrom pyasr.ops import why_not\nprint(why_not('cpp'))\n"
        "print(pyasr.backend().column('clip_sgd'), pyasr.clip_sgd(np.zeros(1), np.ones(1), lr=1.0).norm)\n"
        "pyasr.backend('cpp')"
    )
    assert done.stdout.split("\n")[0] == "this install has no native code (PYASR_PURE=1)"
    assert done.stdout.split("\n")[1].endswith(" 1.0")
    assert "backend: 'cpp' cannot run here: this install has no native code" in done.stderr


# environment

NORM = (
    "import numpy as np, pyasr; from pyasr import _cpu\n"
    "g = np.random.default_rng(0).standard_normal(100_003).astype('f4')\n"
    "print(_cpu.isa(), repr(float(pyasr.backend('cpp').clip_sgd(np.zeros_like(g), g, lr=0.0).norm)))"
)


@needs_native
def test_forced_instruction_set_really_runs():
    """Registers of 4, 8 and 16 lanes add in different orders, so the last bits of a norm tell which code ran."""
    ran = {name: output(NORM, PYASR_ISA=name).split() for name, supported in cpu.isas().items() if supported}
    assert {name: isa for name, (isa, _) in ran.items()} == {name: name for name in ran}
    assert len({norm for _, norm in ran.values()}) == len(ran)
    assert output(NORM, PYASR_ISA="").split() == ran[next(iter(ran))]


@needs_native
def test_unknown_instruction_set_is_an_import_error():
    done = python("import pyasr._cpu", PYASR_ISA="v9")
    assert done.returncode == 1
    assert f"ImportError: PYASR_ISA=v9 is not in this build, which has {', '.join(cpu.isas())}" in done.stderr


@pytest.mark.parametrize(("text", "count"), [("3", 3), ("0", None), ("many", None), ("-1", None), ("", None)])
def test_number_of_threads_comes_from_the_environment(text, count):
    code = "from pyasr.ops import _door, _op; n = _op.native('_cpu')\n"
    code += "print(_door.default_threads(), n.default_threads() if n else _door.default_threads())"
    want = str(count or len(os.sched_getaffinity(0)))
    assert output(code, PYASR_NUM_THREADS=text).split() == [want, want]


@needs_native
@needs_linux
def test_pool_has_as_many_workers_as_asked_for():
    code = (
        "import os, numpy as np, pyasr; g = np.ones(1_000_000, 'f4'); ops = pyasr.backend('cpp')\n"
        "before = len(os.listdir('/proc/self/task'))\n"
        "ops.clip_sgd(g.copy(), g, lr=0.1); print(len(os.listdir('/proc/self/task')) - before)"
    )
    assert [output(code, PYASR_NUM_THREADS=n) for n in ("1", "3")] == ["0", "2"]


def test_checks_survive_optimization():
    done = python("import numpy as np, pyasr; pyasr.clip_sgd(np.zeros(2, 'f4'), np.ones(3, 'f4'), lr=0.1)", "-O")
    assert "ValueError: clip_sgd: grad must have shape (P,) with P = 2 from value, got (3,)" in done.stderr


# threads, forks, signals


@needs_native
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # Python 3.12 warns of any fork beside threads: that is the test
def test_a_forked_child_can_go_on():
    value, grad = np.zeros(500_000, "f4"), np.ones(500_000, "f4")

    def step():
        return backend("cpp").clip_sgd(value, grad, lr=0.1, threads=2).norm

    want = step()
    child = os.fork()
    if child == 0:
        os._exit(0 if step() == want else 1)
    deadline = time.monotonic() + 20
    while (done := os.waitpid(child, os.WNOHANG)) == (0, 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    if done == (0, 0):
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert done == (child, 0), "the child hung or differed"
    assert step() == want


@needs_native
def test_other_threads_run_during_a_call():
    value, grad = np.zeros(8_000_000, "f4"), np.ones(8_000_000, "f4")
    ticks, stop = [], threading.Event()

    def ticking():
        while not stop.wait(0.0005):
            ticks.append(time.perf_counter())

    ticker = threading.Thread(target=ticking)
    ticker.start()
    inside = 0
    for _ in range(50):
        begin = time.perf_counter()
        backend("cpp").clip_sgd(value, grad, lr=0.1, threads=1)
        end = time.perf_counter()
        inside += sum(begin < t < end for t in ticks)
    stop.set()
    ticker.join()
    assert inside > 0


@needs_native
@pytest.mark.parametrize("threads", [1, 2])
def test_a_daemon_thread_inside_a_call_does_not_disturb_the_exit(threads):
    """Python before 3.14 unwinds a thread that wants the GIL while the interpreter ends; here that used to abort."""
    code = (
        "import threading, time, numpy as np, pyasr; ops = pyasr.backend('cpp')\n"
        "def run():\n"
        "    value, grad = np.zeros(4_000_000, 'f4'), np.ones(4_000_000, 'f4')\n"
        f"    while True: ops.clip_sgd(value, grad, lr=0.1, threads={threads})\n"
        "threading.Thread(target=run, daemon=True).start(); time.sleep(0.3)"
    )
    for _ in range(3):
        done = python(code)
        assert (done.returncode, done.stderr) == (0, "")


@needs_native
def test_a_small_call_after_one_with_many_threads():
    """Only the threads that a call wants are woken; all of them take part where it wants them."""
    value, grad = np.zeros(2_000_000, "f4"), np.ones(2_000_000, "f4")
    norms = {backend("cpp").clip_sgd(value, grad, lr=0.1, threads=n).norm for n in (1, 24, 2, 64, 3, 24)}
    assert len(norms) == 1


def long_calls():
    """Per row, code that computes for seconds."""
    lstm = (
        "T, B, D, H = 20_000, 16, 64, 256; r = np.random.default_rng(0).standard_normal\n"
        "x = np.ones((T, B, D), 'f4'); n = np.full(B, T, 'i4')\n"
        "a = [0.01 * r(s).astype('f4') for s in ((1, 4 * H, D), (1, 4 * H, H), (1, 4 * H))]\n"
        "def call(threads): ops.lstm_forward(x, n, *a, threads=threads)"
    )
    return {
        "lstm_forward": lstm,
        "rnn_forward": lstm.replace("4 * H", "H").replace("lstm", "rnn").replace("H = 20_000", "H = 60_000"),
        "ctc_loss": (
            "T, B, V, U = 3000, 128, 64, 800; x = np.zeros((T, B, V), 'f4'); n = np.full(B, T, 'i4')\n"
            "y = np.random.default_rng(0).integers(1, V, (B, U)).astype('i4'); m = np.full(B, U, 'i4')\n"
            "def call(threads): ops.ctc_loss(x, n, y, m, threads=threads)"
        ),
        "cg": (
            "n = 6000; A = np.diag(np.linspace(1, 1e6, n)).astype('f4'); b = np.ones(n, 'f4')\n"
            "def call(threads): ops.cg(A, b, rtol=0.0, maxiter=400, threads=threads)"
        ),
        "spd_solve": (
            "n = 7000; A = np.ones((n, n), 'f4'); A[np.arange(n), np.arange(n)] = n; b = np.ones(n, 'f4')\n"
            "def call(threads): ops.spd_solve(A, b, method='cholesky', threads=threads)"
        ),
    }


@needs_native
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", [n for n in long_calls() if n in rows() and hasattr(cpu, n)])
def test_interrupt_is_answered_within_200_ms(name, threads):
    """The signal comes early in a call whose longest work item may be another thread's; the rest of it is not computed."""
    code = (
        "import signal, time, numpy as np, pyasr; ops = pyasr.backend('cpp')\n"
        f"{long_calls()[name]}\n"
        "def seconds():\n"
        "    begin = time.perf_counter()\n"
        f"    try:\n        call({threads})\n        ended = 'returned'\n"
        "    except KeyboardInterrupt:\n        ended = 'interrupted'\n"
        "    return time.perf_counter() - begin, ended\n"
        "def handler(*_):\n    raise KeyboardInterrupt\n"
        "signal.signal(signal.SIGALRM, handler)\n"
        "whole, ended = seconds(); assert ended == 'returned', ended\n"
        "for _ in range(3):\n"
        "    signal.setitimer(signal.ITIMER_REAL, whole / 10)\n"
        "    part, ended = seconds()\n"
        "    print(ended, part - whole / 10, whole)"
    )
    trials = [line.split() for line in output(code).splitlines()]
    assert [t[0] for t in trials] == 3 * ["interrupted"]
    # The best of three: a kernel that asks too seldom is late every time, a busy machine is not.
    assert min(float(t[1]) for t in trials) < min(0.2, 0.4 * float(trials[0][2]))
