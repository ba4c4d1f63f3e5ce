"""`python -m pyasr` and the command `pyasr`. `info` works with NumPy alone; the other commands need the extra "train"."""

from __future__ import annotations

import sys


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["info"]:
        from pyasr import info

        return info.main(argv[1:])
    try:
        from pyasr import cli
    except ModuleNotFoundError as e:
        if e.name != "click":
            raise
        print('pyasr: click is not installed: pip install "pyasr-kernels[train]"', file=sys.stderr)
        print("pyasr: `pyasr info` works without it", file=sys.stderr)
        return 2
    return cli.main(argv)


if __name__ == "__main__":
    sys.exit(main())
