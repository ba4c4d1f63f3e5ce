"""The command on odd ground: closed and full outputs, a locale that knows ASCII only, an environment that forces nonsense."""

import os
import signal
import subprocess
import sys
import time

import pytest

from pyasr import cli, info
from pyasr.ops import why_not

INFO = [sys.executable, "-m", "pyasr", "info"]
needs_native = pytest.mark.skipif(why_not("cpp") is not None, reason="no native code in this install")


def run(argv, **options):
    environment = {**os.environ, **options.pop("env", {})}
    return subprocess.run(
        argv, stderr=subprocess.PIPE, text=True, timeout=60, cwd="/", env=environment, check=False, **options
    )


def test_a_reader_that_goes_away_ends_the_command_quietly():
    read, write = os.pipe()
    os.close(read)
    for argv in (INFO, [*INFO[:-1], "--help"]):
        done = run(argv, stdout=write)
        assert (done.returncode, done.stderr) == (1, "")
    os.close(write)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux's device that is always full")
def test_a_full_disk_is_named_without_a_traceback():
    with open("/dev/full", "w") as full:
        done = run(INFO, stdout=full)
    assert done.returncode == 1
    assert done.stderr.startswith("pyasr: [Errno 28]")
    assert "Traceback" not in done.stderr


def test_an_install_with_the_reference_alone_does_not_claim_to_have_compared(monkeypatch, capsys):
    monkeypatch.setattr(info, "check", list)
    assert info.main(["--check"]) == 0
    assert "this install has the reference alone, and nothing to compare" in capsys.readouterr().out


def test_a_wrong_op_fails_the_check(monkeypatch, capsys):
    wrong = {"op": "cg", "backend": "cpp", "dtype": "float32", "error": 1.0, "tolerance": 1e-6, "passed": False}
    monkeypatch.setattr(info, "check", lambda: [wrong])
    assert info.main(["--check"]) == 1
    assert "WRONG cg on cpp in float32: 1.0e+00 > 1e-06" in capsys.readouterr().out


def test_stdout_may_be_closed():
    done = run(INFO, preexec_fn=lambda: os.close(1))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_locale_of_ascii_is_enough():
    done = run([*INFO, "--check"], stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "clip_sgd" in done.stdout


@needs_native
def test_an_unknown_instruction_set_is_named_without_a_traceback():
    done = run(INFO, stdout=subprocess.PIPE, env={"PYASR_ISA": "zzz"})
    assert done.returncode == 2
    assert done.stderr.startswith("pyasr: PYASR_ISA=zzz is not in this build")


def test_what_does_not_fit_into_memory_is_an_error_of_the_command(monkeypatch, capsys):
    def too_large(*_):
        raise MemoryError("Unable to allocate 380 GiB")

    monkeypatch.setattr("pyasr.cli._use.backend_of", too_large)
    assert cli.main(["evaluate", "a.safetensors", "--corpus", "digits"]) == 1
    assert "pyasr: Unable to allocate 380 GiB" in capsys.readouterr().err


def test_ctrl_c_before_the_first_step_ends_without_a_traceback(tmp_path):
    (tmp_path / "recordings").mkdir()
    code = (
        "import sys, time; from pyasr.datasets import fsdd; fsdd.recordings = lambda f: (print('in'), time.sleep(60))\n"
        "from pyasr.__main__ import main; sys.exit(main(sys.argv[1:]))"
    )
    argv = [sys.executable, "-u", "-c", code, "train", "fsdd", "--data", tmp_path, "--out", tmp_path / "out"]
    with subprocess.Popen(argv, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "in\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.strip()) == (130, "pyasr: interrupted")


def test_ctrl_c_while_a_module_is_imported_is_not_lost(tmp_path):
    (tmp_path / "click.py").write_text(
        "import time\nprint('in', flush=True)\ntry:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    pass\n"
    )
    argv, environment = [sys.executable, "-m", "pyasr", "train", "digits"], {**os.environ, "PYTHONPATH": str(tmp_path)}
    with subprocess.Popen(
        argv, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "in\n"
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=20)
    assert (process.returncode, stderr.strip()) == (130, "pyasr: interrupted")
