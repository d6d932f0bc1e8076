from __future__ import annotations

import threading
from typing import Any

import anyio
import pytest

from circuitry import CircuitOpenError

from .fleets import Fleet, Pooled, shared

MEMBERS, CALLS = 4, 5


class LimitOfItsOwn(Pooled):
    """Its limit holds in one process."""

    def adopt(self, state: str) -> None:
        if state != "half_open":
            super().adopt(state)


def exhibit(kind: Any, colour: Any, server: Any) -> None:
    """All members call as often as they can, until everybody has an answer."""
    with Fleet(kind, colour, server, MEMBERS) as fleet:
        fleet.probe_due()
        breakers = [member.breaker for member in fleet.members for _ in range(CALLS)]
        through = colour.run(_tasks, breakers) if colour.is_async else _threads(breakers)
        assert through == 1, f"{through} probes reached the backend, with a limit of 1"
        for member in fleet.members:
            fleet.until(member.admits, "the probe's success closes the circuit for all")


def _threads(breakers: list[Any]) -> int:
    through: list[object] = []
    answered = threading.Semaphore(0)
    everybody = threading.Event()

    def call(breaker: Any) -> None:
        try:
            permit = breaker.acquire()
        except CircuitOpenError:
            answered.release()
            return
        through.append(permit)
        answered.release()
        everybody.wait(5)
        permit.success()

    threads = [threading.Thread(target=call, args=[breaker]) for breaker in breakers]
    for thread in threads:
        thread.start()
    assert all(answered.acquire(timeout=5) for _ in threads), "a caller hangs"
    everybody.set()
    for thread in threads:
        thread.join(5)
    return len(through)


async def _tasks(breakers: list[Any]) -> int:
    through: list[Any] = []

    async def call(breaker: Any) -> None:
        try:
            through.append(await breaker.acquire_async())
        except CircuitOpenError:
            pass

    async with anyio.create_task_group() as group:
        for breaker in breakers:
            group.start_soon(call, breaker)
    for permit in through:
        permit.success()
    return len(through)


def test_a_fleet_keeps_its_limit_of_probes_together(colour: Any, redis_server: Any) -> None:
    """With six libraries 4 to 20 probes go out, with a limit of 1."""
    exhibit(shared, colour, redis_server)


def test_the_faulty_double_is_caught(colour: Any, redis_server: Any) -> None:
    with pytest.raises(AssertionError, match=r"[2-4] probes reached the backend"):
        for _ in range(5):  # it may be lucky: then one member's calls were all answered before the next one's
            exhibit(LimitOfItsOwn, colour, redis_server)
