"""`circuitry demo --fleet 4`: four worker processes that share their circuits on a real Redis server.

Each worker is the demo's media gateway, in a process of its own; the three platforms are those of the plain
demo. Prime Video breaks and heals; the worker that holds the fleet's only probe is killed; Redis is frozen,
killed and started again. In the order in which they're best read:

- `plan`: what happens when; `worker`: one process of the fleet, and what it tells;
- `server`: where Redis comes from; `crew`: the processes; `stage`, `play`: all of it together;
- `report`: what is measured; `display`, `rich_display`, `summary`: how it is shown.
"""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING, cast

from circuitry.cli.demo.fleet.plan import LENGTH, LONGEST, SHORTEST, Plan

if TYPE_CHECKING:
    import argparse

    from circuitry.cli.demo.fleet.report import FleetReport

FAILED, WRONG_USAGE = 1, 2


def run_fleet(options: argparse.Namespace) -> int:
    """Run the demo of a fleet."""
    began = time.monotonic()
    seconds = LENGTH if options.seconds is None else options.seconds
    if not SHORTEST <= seconds <= LONGEST:
        return _fail(f"a fleet's run takes {SHORTEST:g} to {LONGEST:g} seconds", WRONG_USAGE)
    if not hasattr(signal, "SIGSTOP"):
        return _fail("--fleet freezes and kills processes, which this system can't", FAILED)
    import anyio

    from circuitry.cli.demo.fleet.crew import WorkerError
    from circuitry.cli.demo.fleet.display import choose_fleet_display
    from circuitry.cli.demo.fleet.play import TerminatedError, play_fleet
    from circuitry.cli.demo.fleet.server import NoServerError
    from circuitry.redis.wire import redis_py

    display = choose_fleet_display(as_json=options.json, plain=options.plain)
    report: FleetReport | None = None
    why, status = "", FAILED
    try:
        redis_py()
        report = anyio.run(play_fleet, Plan(options.fleet, seconds), began, options.redis, display)
    except* (ImportError, NoServerError, WorkerError) as errors:
        why = str(_first_of(errors))
    except* TerminatedError as errors:
        (number,) = _first_of(errors).args
        why, status = f"ended by {number.name}", 128 + number  # as shells have it
    if report is None:
        return _fail(why, status)
    display.report(report)
    return 0


def _first_of(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = cast("BaseExceptionGroup[BaseException]", errors).exceptions[0]
    return errors


def _fail(why: str, status: int) -> int:
    print(f"circuitry demo: {why}", file=sys.stderr)
    return status
