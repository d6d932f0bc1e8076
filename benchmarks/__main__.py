"""`python -m benchmarks`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from . import imports
from .cells import CELLS, Cell
from .contenders import Bare, Circuitry, Contender, EmptyBlock, Wraps, Wrapt
from .figures import Result, absolute, against
from .peers import PEERS
from .report import Run, as_json, block, markdown, summary

CONTENDERS: tuple[type[Contender], ...] = (Circuitry, Wrapt, EmptyBlock, Wraps, Bare, *PEERS)
NAMES = (*(cell.name for cell in CELLS), imports.NAME)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=positive, default=51, help="default: %(default)s")
    calls = "in one sample, at most; four times that for each thread; default: %(default)s"
    parser.add_argument("--calls", type=positive, default=10_000, help=calls)
    parser.add_argument("--only", action="append", choices=NAMES, metavar="CELL", help=", ".join(NAMES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument("--markdown", action="store_true", help="print the table for docs/benchmarks.md")
    return parser.parse_args(argv)


def present() -> tuple[list[Contender], list[str]]:
    """Those that can be imported here, and the names of the others."""
    found: list[Contender] = []
    missing: list[str] = []
    for kind in CONTENDERS:
        try:
            found.append(kind())
        except ImportError as error:
            print(f"{kind.name}: skipped, {error}", file=sys.stderr)
            missing.append(kind.name)
    return found, missing


def measure(cell: Cell, contenders: Sequence[Contender], rounds: int, calls: int) -> Result:
    samples = cell.measure(contenders, rounds, calls)
    figures = against(samples, cell.yardstick)
    return Result(cell.name, cell.title, cell.goal, "ns", cell.yardstick, figures)


def measure_import(contenders: Sequence[Contender], rounds: int) -> Result:
    figures = absolute(imports.measure(contenders, rounds))
    return Result(imports.NAME, imports.TITLE, imports.GOAL, "ms", None, figures)


def main(argv: Sequence[str] | None = None) -> int:
    chosen = options(argv)
    contenders, missing = present()
    if "wrapt" in missing:
        print("the yardstick is missing: pip install wrapt", file=sys.stderr)
        return 1
    # With --markdown, what goes to a file or a pipe is the table and nothing else.
    progress = sys.stderr if chosen.markdown else sys.stdout
    results: list[Result] = []
    for name in chosen.only or NAMES:
        cell = next((cell for cell in CELLS if cell.name == name), None)
        if cell is None:
            results.append(measure_import(contenders, chosen.rounds))
        else:
            results.append(measure(cell, contenders, chosen.rounds, chosen.calls))
        print(block(results[-1]), end="\n\n", flush=True, file=progress)
    versions = {who.package: who.version() for who in contenders if who.version()}
    run = Run(versions, chosen.rounds, chosen.calls, missing)
    if chosen.json:
        chosen.json.write_text(as_json(run, results) + "\n", encoding="utf-8")
    names = [kind.name for kind in CONTENDERS]
    print(markdown(run, results, names) if chosen.markdown else summary(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
