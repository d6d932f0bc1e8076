"""`python -m benchmarks.redis`."""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .contenders import CONTENDERS, Contender
from .costs import burst, closed, commands
from .figures import Row, Run, as_json, block, markdown, summary
from .fleets import lone, probers, probes, trips
from .outages import outages
from .scene import Scene
from .server import Server

SCENES: dict[str, Callable[[Scene], list[Row]]] = {
    "commands": commands,
    "closed": closed,
    "trip": trips,
    "probes": probes,
    "prober": probers,
    "lone": lone,
    "burst": burst,
    "outage": outages,
}
QUICK = {
    "rounds": 11,
    "trips": 20,
    "trip_seconds": 4.0,
    "probe_rounds": 1,
    "outage_calls": 100,
    "limit": 4.0,
    "traffic_seconds": 0.5,
}


def options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.redis", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a small run, to see whether all works")
    parser.add_argument("--only", action="append", choices=SCENES, metavar="SCENE", help=", ".join(SCENES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything to FILE")
    parser.add_argument(
        "--markdown", action="store_true", help="print the table for docs/benchmarks-redis.md"
    )
    return parser.parse_args(argv)


def present() -> tuple[dict[type[Contender], str], dict[str, str]]:
    """Those that can be imported here with their versions, and why the others can't."""
    found: dict[type[Contender], str] = {}
    missing: dict[str, str] = {}
    for kind in CONTENDERS:
        try:
            found[kind] = kind.version()
        except ImportError as error:
            missing[kind.name] = str(error)
    return found, missing


def main(argv: Sequence[str] | None = None) -> int:
    chosen = options(argv)
    found, missing = present()
    # With --markdown, what goes to a file or a pipe is the table and nothing else.
    progress = sys.stderr if chosen.markdown else sys.stdout
    rows: list[Row] = []
    start = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # no server is left behind
    with Server() as server:
        name = server.name()
        scene = Scene(server, list(found), **(QUICK if chosen.quick else {}))
        for scene_name in chosen.only or SCENES:
            began = time.monotonic()
            for row in SCENES[scene_name](scene):
                rows.append(row)
                print(block(row), end="\n\n", flush=True, file=progress)
            print(f"({scene_name}: {time.monotonic() - began:.0f} s)\n", flush=True, file=progress)
    took = time.monotonic() - start
    versions = {kind.name: version for kind, version in found.items()}
    lacks = {kind.name: kind.lacks for kind in found if kind.lacks}
    run = Run(name, versions, missing, lacks, chosen.quick, took)
    if chosen.json:
        chosen.json.write_text(as_json(run, rows) + "\n", encoding="utf-8")
    print(markdown(run, rows) if chosen.markdown else f"{run.lead}\n\n{summary(rows)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
