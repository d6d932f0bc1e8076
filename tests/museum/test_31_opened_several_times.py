from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core
CALLERS = 8


@pytest.fixture(autouse=True)
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


class OpensForEach(Naive):
    """Opens for each failure that comes, also where it is open."""

    def ended(self, admission: Any, error: BaseException | None) -> None:
        if self.state == "open":
            self.enter("open")
            self.tell("open once more")
        super().ended(admission, error)


class LosesCounts(Naive):
    """All read the count before the first writes it back: what a race does, without the luck."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.reading: list[int] = []

    def failed(self) -> None:
        self.reading.append(self.failure_count)
        if len(self.reading) == CALLERS:
            self.failure_count = max(self.reading) + 1


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, failure_threshold=CALLERS)
    heard: list[Any] = []
    scene.breaker.on_transition(heard.append)
    (_fail_in_tasks if colour.is_async else _fail_in_threads)(scene, CALLERS)
    assert scene.state == "open", "failures were lost"
    assert scene.breaker.metrics().opened == len(heard) == 1


def exhibit_surplus(kind: Any, colour: Any) -> None:
    """More failures at once than the threshold asks for."""
    scene = Scene(kind, colour, failure_threshold=2)
    heard: list[Any] = []
    scene.breaker.on_transition(heard.append)
    (_fail_in_tasks if colour.is_async else _fail_in_threads)(scene, CALLERS)
    assert len(heard) == 1, "the listeners heard of one opening several times"
    assert scene.breaker.metrics().opened == 1


def _fail_in_threads(scene: Scene, callers: int) -> None:
    together = threading.Barrier(callers, timeout=10)

    def backend() -> None:
        together.wait()
        raise OSError("down")

    def caller() -> None:
        with pytest.raises(OSError):
            scene.breaker.call(backend)

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _fail_in_tasks(scene: Scene, callers: int) -> None:
    inside: list[object] = []

    async def main() -> None:
        everybody = anyio.Event()

        async def backend() -> None:
            inside.append(None)
            if len(inside) == callers:
                everybody.set()
            await everybody.wait()
            raise OSError("down")

        async def caller() -> None:
            with pytest.raises(OSError):
                await scene.breaker.call(backend)

        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller)

    scene.colour.run(main)


def test_no_failure_of_a_race_is_lost(colour: Any) -> None:
    """In aiobreaker, purgatory and fluxgate counts are lost in a race."""
    for _ in range(5):
        exhibit(CircuitBreaker, colour)


def test_a_race_opens_the_circuit_once(colour: Any) -> None:
    """In aiobreaker, purgatory and fluxgate it opens several times, and listeners hear it several times."""
    for _ in range(5):
        exhibit_surplus(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="failures were lost"):
        exhibit(LosesCounts, colour)
    with pytest.raises(AssertionError, match="heard of one opening several times"):
        exhibit_surplus(OpensForEach, colour)
