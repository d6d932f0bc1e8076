"""Scenes of a healthy server: what sharing costs."""

from __future__ import annotations

import asyncio
import gc
import random
from functools import partial
from statistics import median
from typing import Any

from benchmarks.timing import Drive, Sampler, frozen_gc, sampler

from .colours import drive
from .contenders import BY_NAME, Contender, Settings
from .crew import apart, crew
from .figures import Cell, Row
from .scene import SETTLE, Scene, rows_of, settle
from .server import difference

CALLS = 1000
TURNS, CHATTY_TURNS = 6, 2  # in one round
PLACES = 7


def commands(scene: Scene) -> list[Row]:
    """Counted by the server, over 1000 calls of one process."""
    healthy = Row("commands-healthy", "commands for 1000 healthy calls, those in scripts too", "0")
    rejected = Row("commands-open", "commands for 1000 rejections, those in scripts too", "0")
    for kind in scene.contenders:
        rows_of(kind, (healthy, rejected), partial(_commands, scene, kind))
    return [healthy, rejected]


def _commands(scene: Scene, kind: type[Contender]) -> list[Cell]:
    with crew(kind.name, kind.colours[0], scene.server.url, 1) as (worker,):
        told = []
        for phase, wanted in (("ran", "ran"), ("open", "rejected")):
            circuit = scene.circuit(f"commands-{phase}")
            worker.ask("prepare", circuit=circuit, settings=Settings(), warm=0 if phase == "open" else 20)
            if phase == "open" and worker.ask("trip", circuit=circuit) is None:
                raise RuntimeError("it never tripped")
            settle(SETTLE)
            before = scene.server.commands()
            outcomes = worker.ask("calls", circuit=circuit, count=CALLS)
            ran = difference(before, scene.server.commands())
            if outcomes != {wanted: CALLS}:
                raise RuntimeError(f"{outcomes} instead of {CALLS} {wanted}")
            told.append(_count(ran))
    return told


def _count(ran: dict[str, int]) -> Cell:
    total = sum(ran.values())
    scripts = ran.get("evalsha", 0) + ran.get("eval", 0)
    text = f"{total} ({scripts} scripts)" if scripts else f"{total}"
    return Cell(text, ran, met=total == 0)


def closed(scene: Scene) -> list[Row]:
    """A closed call with Redis against one without, in rounds."""
    rows = []
    for colour in ("sync", "asyncio"):
        row = Row(f"closed-{colour}", f"closed call with Redis / without, {colour}", "≤ 1.05")
        names = [kind.name for kind in scene.contenders if colour in kind.colours]
        limit = 30 + scene.rounds
        samples = apart(_closed, names, colour, scene.server.url, scene.rounds, limit=limit)
        for name, (shared, alone) in samples.items():
            ratio = median(one / other for one, other in zip(shared, alone, strict=True))
            text = f"{ratio:.2f} ({median(shared):.0f} / {median(alone):.0f} ns)"
            row.cells[name] = Cell(text, {"ratio": ratio, "with": shared, "without": alone}, ratio <= 1.05)
        rows.append(row)
    return rows


Pair = tuple[list[float], list[float]]


def _closed(names: list[str], colour: str, url: str, rounds: int) -> dict[str, Pair]:
    """In a process of its own: nanoseconds a call, with and without, for each round."""
    told: dict[str, Pair] = {name: ([], []) for name in names}
    with asyncio.Runner() as runner:
        run = drive if colour == "sync" else runner.run
        pairs = {name: _pairs(name, colour, url, run, runner) for name in names}
        shuffle = random.Random(rounds).shuffle
        with frozen_gc():
            for number in range(rounds + 1):  # the first is thrown away
                shuffle(names)
                for name in names:
                    costs = _fastest(
                        pairs[name][number % len(pairs[name])],
                        CHATTY_TURNS if BY_NAME[name].chatty else TURNS,
                    )
                    for side, cost in enumerate(costs):
                        if number:
                            told[name][side].append(cost)
                gc.collect()
    return told


def _pairs(name: str, colour: str, url: str, run: Any, runner: asyncio.Runner) -> list[list[Sampler]]:
    """One with Redis, one without.

    Where the two happen to lie in memory makes 5 % either way for the same code. So several pairs take
    turns, which are made in one order and in the other.
    """
    pairs = []
    for place in range(1 if BY_NAME[name].chatty else PLACES):
        sides = (url, None) if place % 2 else (None, url)
        made = {where: _sampler(name, colour, where, run, runner) for where in sides}
        pairs.append([made[url], made[None]])
    return pairs


def _fastest(pair: list[Sampler], turns: int) -> list[float]:
    """The two take turns, one first and then the other first; of each, the sample that nobody disturbed."""
    samples: list[list[float]] = [[], []]
    for turn in range(turns):
        for side in (0, 1) if turn % 2 else (1, 0):
            samples[side].append(pair[side]())
    return [min(costs) for costs in samples]


def _sampler(name: str, colour: str, url: str | None, run: Any, runner: asyncio.Runner) -> Sampler:
    contender = BY_NAME[name](colour, url)
    guard = run(contender.guard("closed", Settings()))
    calls = 50 if contender.chatty else 3000
    if colour == "sync":
        return sampler("op()", guard(_fetch), Drive.SYNC, calls, runner)
    return sampler("await op()", guard(_fetch_async), Drive.ASYNC, calls, runner)


def _fetch() -> str:
    return "answer"


async def _fetch_async() -> str:
    return "answer"


def burst(scene: Scene) -> list[Row]:
    """1000 tasks at once, of one process: connections, commands, errors, time."""
    rows = []
    for fails in (False, True):
        how = "failing" if fails else "healthy"
        goal = "no connection, no error" if fails else "no connection, command, error"
        row = Row(f"burst-{how}", f"{scene.tasks} asyncio tasks at once, {how}", goal)
        for kind in scene.contenders:
            if "asyncio" in kind.colours:
                rows_of(kind, (row,), partial(_burst, scene, kind, fails))
            else:
                row.cells[kind.name] = Cell("n/a")
        rows.append(row)
    return rows


def _burst(scene: Scene, kind: type[Contender], fails: bool) -> Cell:
    circuit = scene.circuit("burst")
    with crew(kind.name, "asyncio", scene.server.url, 1) as (worker,):
        worker.ask("prepare", circuit=circuit, settings=Settings(), warm=20)
        settle(SETTLE)
        before, connected = scene.server.commands(), scene.server.connections()
        told = worker.ask("burst", circuit=circuit, count=scene.tasks, takes=0.01, fails=fails)
        settle(SETTLE)
        ran = _count(difference(before, scene.server.commands()))
        new = scene.server.connections() - connected
    errors = told.get("error", 0)
    text = f"commands {ran.text}, connections {new}, errors {errors}, {told['seconds'] * 1e3:.0f} ms"
    met = new == 0 and errors == 0 and (fails or bool(ran.met))
    return Cell(text, told | {"connections": new, "commands": ran.data}, met)
