"""Scenes of several processes on a healthy server: what sharing is worth."""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from .contenders import Contender, Settings
from .crew import Worker, crew
from .figures import Cell, Row, both, seconds
from .scene import SETTLE, Scene, rows_of, settle, until

LEASE = 1.0  # seconds: that of a circuit with a timeout of a second
SIZE, WIDTH = 4, 5
PROBE_TAKES = 0.4
RATE = 250.0  # calls a second on each of the four
AT_ONCE = Settings(threshold=1)


def trips(scene: Scene) -> list[Row]:
    """From the failure that trips A to B's first rejection, in two processes."""
    row = Row("trip", "A trips → B rejects, median / p99", "≤ 5 ms / ≤ 50 ms")
    for kind in scene.contenders:
        rows_of(kind, (row,), partial(_trips, scene, kind))
    return [row]


def _trips(scene: Scene, kind: type[Contender]) -> Cell:
    delays = []
    with crew(kind.name, kind.colours[0], scene.server.url, 2) as (a, b):
        end = time.monotonic() + scene.trip_seconds
        while len(delays) < scene.trips and time.monotonic() < end:
            delays.append(_trip(scene, kind, a, b))
    middle, high = both(delays)
    text = f"{seconds(middle)} / {seconds(high)}, {len(delays)} trips"
    return Cell(text, delays, middle <= 0.005 and high <= 0.05)


def _trip(scene: Scene, kind: type[Contender], a: Worker, b: Worker) -> float:
    circuit = scene.circuit("trip")
    a.ask("prepare", circuit=circuit, settings=AT_ONCE)
    b.ask("prepare", circuit=circuit, settings=AT_ONCE, warm=1)
    # Whoever polls is met at any moment of his period, not always right after the first look.
    tripped = a.ask("trip", circuit=circuit, at=time.monotonic() + random.uniform(0.0, kind.polls))
    # B calls from now on: its successes mustn't come between A's failure and A's trip.
    rejected = b.ask("await_rejection", circuit=circuit, at=0.0, limit=5.0)
    if tripped is None or rejected is None:
        raise RuntimeError(f"{'A never trips' if tripped is None else 'B never rejects'}")
    return float(rejected - tripped)


def _trip_all(crew: list[Worker], kind: type[Contender], circuit: str, settings: Settings) -> float:
    """The first trips; the others have seen it. When it was."""
    for worker in crew:
        worker.ask("prepare", circuit=circuit, settings=settings)
    tripped = crew[0].ask("trip", circuit=circuit)
    if tripped is None:
        raise RuntimeError("it never trips")
    for worker in crew[1:]:
        worker.tell("await_rejection", circuit=circuit, at=0.0, limit=kind.polls + 1.0)
    if None in [worker.answer() for worker in crew[1:]]:
        raise RuntimeError("a member never sees that the circuit is open")
    return float(tripped)


def probes(scene: Scene) -> list[Row]:
    """Four processes, five callers in each, the circuit half-open, one probe allowed."""
    row = Row("probes", f"probes that go out, {SIZE} processes × {WIDTH} calls, limit 1", "1")
    for kind in scene.contenders:
        rows_of(kind, (row,), partial(_probes, scene, kind))
    return [row]


def _probes(scene: Scene, kind: type[Contender]) -> Cell:
    counts = []
    with crew(kind.name, kind.colours[0], scene.server.url, SIZE) as members:
        for _ in range(scene.probe_rounds):
            circuit = scene.circuit("probes")
            settings = Settings(threshold=1, timeout=0.6 + kind.slack)
            at = _trip_all(members, kind, circuit, settings) + settings.timeout + 0.1
            limit = PROBE_TAKES + 1.0 + 2 * kind.polls
            told = {"at": at, "width": WIDTH, "takes": PROBE_TAKES, "limit": limit}
            for worker in members:
                worker.tell("probe_together", circuit=circuit, **told)
            entered = sorted(when for worker in members for when in worker.answer() if when >= at - 0.05)
            # Only while the first is under way are they probes; later ones find the circuit closed.
            counts.append(sum(when < entered[0] + 0.75 * PROBE_TAKES for when in entered) if entered else 0)
    return Cell(f"{max(counts)}", counts, set(counts) == {1})


def probers(scene: Scene) -> list[Row]:
    """Whoever holds the probe is killed, or its task is cancelled; all contenders side by side."""
    goal = f"≤ {LEASE:g} s, the lease"
    killed = Row("killed", "prober killed: until a call gets through again", goal)
    cancelled = Row("cancelled", "prober's task cancelled: the same", "at once")
    for row, measure, kinds in (
        (killed, _killed, scene.contenders),
        (cancelled, _cancelled, [kind for kind in scene.contenders if "asyncio" in kind.colours]),
    ):
        with ThreadPoolExecutor(len(scene.contenders)) as pool:
            told = [pool.submit(rows_of, kind, (row,), partial(measure, scene, kind)) for kind in kinds]
        for one in told:
            one.result()
    for row in (killed, cancelled):
        row.cells = {kind.name: row.cells.get(kind.name, Cell("n/a")) for kind in scene.contenders}
    return [killed, cancelled]


def _killed(scene: Scene, kind: type[Contender]) -> Cell:
    circuit, settings = scene.circuit("killed"), Settings(threshold=1, timeout=LEASE + kind.slack)
    with crew(kind.name, kind.colours[0], scene.server.url, 2) as (prober, other):
        settle(until(_trip_all([prober, other], kind, circuit, settings) + settings.timeout + 0.1))
        prober.tell("hold_probe", circuit=circuit, limit=5.0)
        if prober.answer() != "out":
            raise RuntimeError("no probe got through at all")
        settle(0.05)
        prober.kill()
        died = time.monotonic()
        back = other.ask("recover", circuit=circuit, limit=scene.limit)
    return _recovery(None if back is None else back - died, scene.limit, LEASE + 0.1)


def _cancelled(scene: Scene, kind: type[Contender]) -> Cell:
    circuit, settings = scene.circuit("cancelled"), Settings(threshold=1, timeout=LEASE + kind.slack)
    with crew(kind.name, "asyncio", scene.server.url, 1) as (worker,):
        settle(until(_trip_all([worker], kind, circuit, settings) + settings.timeout + 0.1))
        settle(kind.polls)
        return _recovery(worker.ask("cancel_probe", circuit=circuit, limit=scene.limit), scene.limit, 0.05)


def _recovery(took: float | None, limit: float, goal: float) -> Cell:
    if took is None:
        return Cell(f"> {limit:g} s", None, met=False)
    return Cell(seconds(max(0.0, took)), took, took <= goal)


def lone(scene: Scene) -> list[Row]:
    """One node of four fails on its own."""
    rows = []
    for quorum in (1, 2):
        title = f"one node of {SIZE} fails, quorum {quorum}: its calls that go out"
        goal = "5" if quorum == 1 else "5, and the fleet stays closed"
        row = Row(f"lone-{quorum}", title, goal)
        for kind in scene.contenders:
            if quorum in kind.quorums:
                rows_of(kind, (row,), partial(_lone, scene, kind, quorum))
            else:
                row.cells[kind.name] = Cell("n/a")
        rows.append(row)
    return rows


def _lone(scene: Scene, kind: type[Contender], quorum: int) -> Cell:
    circuit, settings = scene.circuit("lone"), Settings(quorum=quorum)
    with crew(kind.name, kind.colours[0], scene.server.url, SIZE) as members:
        for worker in members:
            worker.ask("prepare", circuit=circuit, settings=settings, warm=1)
        settle(SETTLE)
        lasting = max(scene.traffic_seconds, 1.5 * kind.polls)  # until who polls has seen it
        told = {"at": time.monotonic() + 0.1, "rate": RATE, "seconds": lasting}
        for number, worker in enumerate(members):
            worker.tell("traffic", circuit=circuit, fails=number == 0, **told)
        broken, *others = [worker.answer() for worker in members]
    attempts = sum(broken.get(outcome, 0) for outcome in ("ran", "failed", "rejected", "error"))
    opened = any(other.get("rejected") for other in others)
    rate = sum(told["rate"] for told in (broken, *others))
    text = f"{broken['out']} of {attempts}, fleet {'OPEN' if opened else 'closed'}, at {rate:.0f} calls/s"
    met = broken["out"] <= settings.threshold and not (opened and quorum > 1)
    return Cell(text, {"broken": broken, "others": others, "rate": rate}, met)
