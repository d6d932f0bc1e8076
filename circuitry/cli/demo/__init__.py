"""`circuitry demo`: a small media gateway at work on real sockets, with circuits and without.

Three HTTP servers play Netflix, Prime Video and Disney+. Two gateways ask them, one through circuits with
caches and one without, and real traffic asks both gateways for the same pages at the same moments. Prime
Video breaks in three ways in turn, and heals. In the order in which they're best read:

- `normalizers`: the three platforms' formats in one form, the worked example of the docs;
- `gateway`: makes pages of them; `platforms`: the servers, and how one breaks; `traffic`: the visitors;
- `scenario`: what happens when; `stage` and `assembly`: all of it together; `web`: the HTTP beneath;
- `report`, `view`: what is measured, at the end and meanwhile; `display`, `rich_display`, `summary`: shown.

`circuitry demo --fleet 4` is another run, of four processes that share their circuits: `fleet`.
"""

from __future__ import annotations

import argparse
import math
import sys

from circuitry.cli.demo.fleet import plan as fleet
from circuitry.cli.demo.scenario import LENGTH, LONGEST, SHORTEST

WRONG_USAGE = 2  # as argparse has it
HELP = "a media gateway at work: what circuits do when a platform breaks"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--seconds",
        type=_seconds,
        help=f"how long to run, {SHORTEST:g} to {LONGEST:g} (default: {LENGTH:g}; of a fleet, "
        f"{fleet.SHORTEST:g} to {fleet.LONGEST:g}, default {fleet.LENGTH:g})",
    )
    parser.add_argument(
        "--fleet",
        type=_workers,
        nargs="?",
        const=4,
        metavar="N",
        help=f"run N processes, 2 to {fleet.MOST_WORKERS} (default: 4), that share their circuits on Redis",
    )
    parser.add_argument(
        "--redis",
        metavar="URL",
        help="with --fleet: a Redis server, which isn't disturbed (default: one of the demo's own)",
    )
    parser.add_argument(
        "--port",
        type=_port,
        default=0,
        help="where the gateway with circuits listens (default: any free port; also if this one is taken)",
    )
    parser.add_argument("--json", action="store_true", help="print nothing but one JSON object, at the end")
    parser.add_argument("--plain", action="store_true", help="print plain lines, on a terminal too")


def run(options: argparse.Namespace) -> int:
    """Run the demo."""
    if options.fleet is not None:
        from circuitry.cli.demo.fleet import run_fleet

        return run_fleet(options)
    if options.redis is not None:
        print("circuitry demo: --redis is for a fleet: circuitry demo --fleet 4 --redis URL", file=sys.stderr)
        return WRONG_USAGE
    import anyio

    from circuitry.cli.demo.display import choose_display
    from circuitry.cli.demo.play import play
    from circuitry.cli.demo.scenario import Scenario

    display = choose_display(as_json=options.json, plain=options.plain)
    seconds = LENGTH if options.seconds is None else options.seconds
    report = anyio.run(play, Scenario(seconds), options.port, display)
    display.report(report)
    return 0


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not SHORTEST <= seconds <= LONGEST:
        raise argparse.ArgumentTypeError(
            f"{text!r} isn't a number of seconds from {SHORTEST:g} to {LONGEST:g}"
        )
    return seconds


def _workers(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 2 <= int(text) <= fleet.MOST_WORKERS):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a number of processes, 2 to {fleet.MOST_WORKERS}")
    return int(text)


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} isn't a port, 0 to 65535")
    return int(text)
