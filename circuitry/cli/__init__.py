"""The command line: `circuitry <command>`, on the standard library alone.

A command is a module with `HELP`, `add_arguments(parser)` and `run(options) -> int`, named in `COMMANDS`. It
imports what it needs in `run`, so that `circuitry --help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module, metadata
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["COMMANDS", "main"]

COMMANDS = {"demo": "circuitry.cli.demo"}

FAILED = 1
INTERRUPTED = 130  # 128 + SIGINT, as shells have it
READER_GONE = 141  # 128 + SIGPIPE


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    options = _parser().parse_args(argv)
    status = 0
    try:
        status = options.run(options)
    except* KeyboardInterrupt:
        status = INTERRUPTED
    except* BrokenPipeError:
        status = READER_GONE
        _write_nowhere()
    except* OSError as errors:
        status = FAILED
        _write_nowhere()
        print(f"circuitry: error: {_first_of(errors)}", file=sys.stderr)
    return status


def _write_nowhere() -> None:
    """What can't be written now can't be at exit either: let the flush there not fail."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _first_of(errors: BaseExceptionGroup[Exception]) -> BaseException:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = cast("BaseExceptionGroup[BaseException]", error).exceptions[0]
    return error


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="circuitry", description="Circuit breakers for Python services.")
    parser.add_argument("--version", action="version", version=f"circuitry {_version()}")
    commands = parser.add_subparsers(title="commands", metavar="command", required=True)
    for name, module in COMMANDS.items():
        command = import_module(module)
        subparser = commands.add_parser(name, help=command.HELP, description=command.HELP)
        command.add_arguments(subparser)
        subparser.set_defaults(run=command.run)
    return parser


def _version() -> str:
    try:
        return metadata.version("circuitry-breaker")
    except metadata.PackageNotFoundError:
        return "(not installed)"
