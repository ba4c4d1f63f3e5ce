"""The command `pyasr`. Exit codes: 0 done, 1 it could not be done, 2 wrong use or a missing extra, 130 Ctrl-C."""

from __future__ import annotations

import sys

import click

import pyasr
from pyasr.cli import _data, _features, _train, _use
from pyasr.ops import MissingOp


def main(argv: list[str]) -> int:
    """Run one command; return its exit code."""
    try:
        return command.main(argv, prog_name="pyasr", standalone_mode=False) or 0
    except click.ClickException as e:
        e.show()
        return e.exit_code
    except (KeyboardInterrupt, click.Abort) as e:  # click turns the one into the other
        why = str(e.__cause__ if isinstance(e, click.Abort) else e)
        print(f"pyasr: interrupted{why and ', '}{why}", file=sys.stderr)
        return 130
    except ImportError as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        raise  # pyasr.__main__ ends quietly
    except (ValueError, OSError, RuntimeError, ArithmeticError, MemoryError, MissingOp) as e:
        print(f"pyasr: {e}", file=sys.stderr)
        return 1


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(pyasr.__version__, prog_name="pyasr")
def command() -> None:
    """Train and use small speech recognizers. `pyasr train digits` needs no recordings."""


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def info(arguments: tuple[str, ...]) -> int:
    """What this install can do: instruction sets, backends, ops. Works without the extra."""
    from pyasr import info as module

    return module.main(arguments)


@click.command(context_settings={"ignore_unknown_options": True}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def bench(arguments: tuple[str, ...]) -> int:
    """Check the kernels of a GPU (or a CPU) against their reference and time them. Works without the extra."""
    from pyasr.bench import command as module

    return module.main(arguments)


for one in (_train.train, _use.evaluate, _use.transcribe, _features.features, _data.download, _data.plot, info, bench):
    command.add_command(one)
