"""`python -m pyasr` and the command `pyasr`. `info` and `bench` work with NumPy alone; the others need the extra "train"."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    # Before NumPy is loaded, and whatever is there: with more threads its BLAS sums in another order, so a run would end with
    # other bits. Its products are the small part here, and its threads would spin beside the kernels'.
    if argv[:1] != ["bench"]:  # which compares with a reference that would be slow
        os.environ["OPENBLAS_NUM_THREADS"] = "1"
    # The shell of a script starts background jobs with Ctrl-C ignored; `kill -INT`, by which batch systems ask a training to
    # save itself, would do nothing.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a locale without – or ≤ shows ? for it
    try:
        code = _run(argv)
        if sys.stdout is not None:  # None: it was closed before Python started
            sys.stdout.flush()
        return code
    except BrokenPipeError:  # whoever read the output, such as head, has seen enough
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())  # what is still buffered goes there at exit
        return 1
    except KeyboardInterrupt:  # while a command was imported
        return 130
    except ImportError as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 2
    except OSError as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 1


def _run(argv: list[str]) -> int:
    if argv[:1] == ["info"]:
        from pyasr import info

        return info.main(argv[1:])
    if argv[:1] == ["bench"]:
        from pyasr.bench import command

        return command.main(argv[1:])
    try:
        with _ended_by_interrupts():
            from pyasr import cli
    except ModuleNotFoundError as e:
        if e.name != "click":
            raise
        print('pyasr: click is not installed: pip install "pyasr-kernels[train]"', file=sys.stderr)
        print("pyasr: `pyasr info` and `pyasr bench` work without it", file=sys.stderr)
        return 2
    return cli.main(argv)


@contextmanager
def _ended_by_interrupts() -> Iterator[None]:
    """Ctrl-C ends the process inside: where a module is imported, a KeyboardInterrupt can be lost."""

    def end(number: int, frame: object) -> None:
        os.write(2, b"pyasr: interrupted\n")
        os._exit(130)

    main_thread = threading.current_thread() is threading.main_thread()  # the others cannot set signals
    if not main_thread or signal.getsignal(signal.SIGINT) != signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(main())
