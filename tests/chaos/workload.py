"""What one process of a run does: threads and tasks call a backend through circuits of a fleet.

It goes on until the board says that it is over.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import anyio

from circuitry import CircuitBreaker, CircuitBreakerConfig, CircuitOpenError
from circuitry.redis import RedisStore

from .board import ENDED, HEALING, QUIET, Board
from .recorder import Recorder
from .records import Final, Writer, now
from .schedule import LONGEST_CALL


class Orders(NamedTuple):
    """What a process is told."""

    url: str
    board: str
    record: str
    place: int
    seed: int
    settings: dict[str, dict[str, Any]]
    check_period: float


class DownError(Exception):
    """What the backend answers while it is down."""


class Process:
    """Calls of all colours, and an operator's word now and then."""

    def __init__(self, orders: Orders) -> None:
        self.orders = orders
        self.board = Board(Path(orders.board), list(orders.settings))
        self.writer = Writer(Path(orders.record))
        self.store = RedisStore(orders.url, check_period=orders.check_period)
        self.member = self.store.health().member
        self.recorder = Recorder(self.writer, self.member)
        self.breakers = [
            CircuitBreaker(name, CircuitBreakerConfig(**settings), store=self.store)
            for name, settings in orders.settings.items()
        ]

    def run(self) -> None:
        backend = ("asyncio", "trio")[self.orders.place % 2]
        threads = [
            threading.Thread(target=self.call_in_turn, args=(self.chance("thread 0"),)),
            threading.Thread(target=self.call_in_turn, args=(self.chance("thread 1"),)),
            threading.Thread(target=anyio.run, args=(self.call_in_tasks,), kwargs={"backend": backend}),
        ]
        for thread in threads:
            thread.start()
        self.show_until(QUIET)
        for thread in threads:
            thread.join()
        self.show_until(ENDED)
        for breaker in self.breakers:
            view = breaker._gate.view
            stand = view.state, view.epoch, view.version
            self.writer.write(Final(now(), self.member, breaker.name, *stand, breaker.state))
        self.store.close()

    def show_until(self, phase: int) -> None:
        while self.board.phase < phase:
            for breaker in self.breakers:
                self.board.show(breaker.name, self.orders.place, breaker.state)
            time.sleep(0.01)

    # -- Calls -------------------------------------------------------------------------------------------

    def chance(self, kind: str) -> random.Random:
        return random.Random(f"{self.orders.seed} {self.orders.place} {kind}")

    def latency(self, chance: random.Random) -> float:
        """Seconds; at times longer than a probe may take."""
        return chance.uniform(0.3, LONGEST_CALL) if chance.random() < 0.08 else chance.uniform(0.001, 0.03)

    def end(self, name: str, permit: Any) -> None:
        if self.board.is_down(name, self.orders.place):
            permit.failure(DownError("down"))
        else:
            permit.success()

    def call_in_turn(self, chance: random.Random) -> None:
        while self.board.phase < QUIET:
            breaker = chance.choice(self.breakers)
            if chance.random() < 0.001 and self.board.phase < HEALING:
                breaker.reset()
            permit = self.acquire(breaker)
            if permit is not None:
                time.sleep(self.latency(chance))
                self.end(breaker.name, permit)
            time.sleep(chance.uniform(0.002, 0.02))

    def acquire(self, breaker: Any) -> Any:
        asked = now()
        try:
            permit = breaker.acquire()
        except CircuitOpenError:
            return None
        self.recorder.called(breaker.name, permit._admission[0], asked)
        return permit

    async def call_in_tasks(self) -> None:
        async with anyio.create_task_group() as tasks:
            for place in range(3):
                tasks.start_soon(self.call_async, self.chance(f"task {place}"))

    async def call_async(self, chance: random.Random) -> None:
        while self.board.phase < QUIET:
            acquire: Callable[[Any], Any] = self.acquire_async
            if chance.random() < 0.1:
                acquire = self.acquire_at_once
            with anyio.move_on_after(0.01 if chance.random() < 0.05 else 10.0):
                breaker = chance.choice(self.breakers)
                permit = await acquire(breaker)
                if permit is not None:
                    with permit:
                        await anyio.sleep(self.latency(chance))
                        self.end(breaker.name, permit)
            await anyio.sleep(chance.uniform(0.002, 0.02))

    async def acquire_async(self, breaker: Any) -> Any:
        asked = now()
        try:
            permit = await breaker.acquire_async()
        except CircuitOpenError:
            return None
        self.recorder.called(breaker.name, permit._admission[0], asked)
        return permit

    async def acquire_at_once(self, breaker: Any) -> Any:
        """Sync code in a thread with an event loop: it never waits for a lease."""
        return self.acquire(breaker)
