"""The outage table: what a call waits for a server that is away, and whether it is still protected."""

from __future__ import annotations

import time
from statistics import median
from typing import Any

from .contenders import Contender, Settings
from .crew import HangsError, Worker, workers
from .figures import Cell, Row, p99, seconds
from .scene import SETTLE, Scene, settle
from .worker import ERROR, REJECTED, JobError

TURN = 1.2  # seconds that a contender has the machine to itself; whoever hangs then goes on beside the others
ADDED = 0.0001  # seconds at p99
TIMEOUT = 0.05  # our redis_timeout
HALF_OPEN = "frozen while half-open"
OUTAGES = ("up", "restarted empty", "killed", "frozen", HALF_OPEN)


def outages(scene: Scene) -> list[Row]:
    """Every kind of outage, both colours."""
    rows = []
    for outage in OUTAGES:
        pair = {colour: _row(outage, colour) for colour in ("sync", "asyncio")}
        kinds = [(kind, colour) for kind in scene.contenders for colour in kind.colours]
        for (kind, colour), cell in zip(kinds, _outage(scene, outage, kinds), strict=True):
            pair[colour].cells[kind.name] = cell
        for row in pair.values():
            row.cells = {kind.name: row.cells.get(kind.name, Cell("n/a")) for kind in scene.contenders}
        rows += pair.values()
    return rows


def _row(outage: str, colour: str) -> Row:
    if outage == HALF_OPEN:
        goal = f"≤ {TIMEOUT * 1e3:g} ms, one redis_timeout"
        return Row(
            f"outage-{outage}-{colour}", f"{outage}, {colour}: added to a call, median / slowest", goal
        )
    goal = f"p99 ≤ {ADDED * 1e3:g} ms, trips"
    return Row(f"outage-{outage}-{colour}", f"{outage}, {colour}: added to a call, median / p99", goal)


def _outage(scene: Scene, outage: str, kinds: list[tuple[type[Contender], str]]) -> list[Cell]:
    healthy, failing = scene.circuit("healthy"), scene.circuit("failing")
    with workers([(kind.name, colour) for kind, colour in kinds], scene.server.url) as crew:
        for worker in crew:
            # Each of the two colours is a fleet of its own.
            names = (f"{healthy}-{worker.colour}", f"{failing}-{worker.colour}")
            _prepare(worker, outage, *names)
        settle(2.2 if outage == HALF_OPEN else SETTLE)
        _strike(scene, outage)
        for worker in crew:
            wanted = None if outage == HALF_OPEN else f"{failing}-{worker.colour}"
            told = {"failing": wanted, "count": scene.outage_calls, "limit": scene.limit}
            worker.tell("outage", healthy=f"{healthy}-{worker.colour}", **told)
            worker.has_answered(TURN)
        cells = [_cell(scene, outage, worker) for worker in crew]
    scene.server.restart()
    return cells


def _prepare(worker: Worker, outage: str, healthy: str, failing: str) -> None:
    if outage == HALF_OPEN:
        worker.ask("prepare", circuit=healthy, settings=Settings(threshold=1, timeout=0.5))
        worker.ask("trip", circuit=healthy)
    else:
        worker.ask("prepare", circuit=healthy, settings=Settings(), warm=20)
        worker.ask("prepare", circuit=failing, settings=Settings())


def _strike(scene: Scene, outage: str) -> None:
    match outage:
        case "restarted empty":
            scene.server.restart()
        case "killed":
            scene.server.kill()
        case "frozen":
            scene.server.freeze()
        case "frozen while half-open":
            scene.server.freeze()


def _cell(scene: Scene, outage: str, worker: Worker) -> Cell:
    try:
        told = worker.answer(max(0.0, worker.asked_at + scene.limit - time.monotonic()))
    except HangsError:
        return Cell(f"> {scene.limit:g} s", None, met=False)
    except JobError as error:
        return Cell(f"fails: {error}", None, met=False)
    return _told(outage, told)


def _told(outage: str, told: dict[str, Any]) -> Cell:
    guarded, bare = told["guarded"], median(told["unguarded"])
    middle = max(0.0, median(guarded) - bare)
    high = max(0.0, (max(guarded) if outage == HALF_OPEN else p99(guarded)) - bare)
    text = f"{seconds(middle)} / {seconds(high)}"
    if told["errors"]:
        text += f", {told['errors']} of {len(guarded)} calls FAIL"
    data = {"median": middle, "p99": high, "slowest": max(guarded), "calls": len(guarded)} | told
    if outage == HALF_OPEN:
        return Cell(text, data, high <= TIMEOUT * 1.1)
    trips = REJECTED in told["outcomes"]
    text += ", trips" if trips else ", never trips" if told["outcomes"] else ", too slow to trip"
    errors = told["errors"] + told["outcomes"].count(ERROR)
    return Cell(text, data, trips and high <= ADDED and not errors)
