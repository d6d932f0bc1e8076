from __future__ import annotations

from typing import Any

import anyio
import pytest

from circuitry import CircuitBreaker
from circuitry.policies import SlowCallRate, last

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core

SLOW = SlowCallRate(0.5, slower_than=2.0, window=last(10), minimum_calls=3)


def exhibit(kind: Any, colour: Any) -> None:
    """Each caller gives the hung call up after his own timeout of 5 s."""
    scene = Scene(kind, colour, failure_threshold=None, trip=SLOW)
    for _ in range(3):
        assert scene.state == "closed"
        gives_up(scene)
    assert scene.state == "open", "the dependency hangs, and nobody sees it"


def exhibit_in_flight(kind: Any, colour: Any) -> None:
    """The first callers still wait when the next one comes."""
    scene = Scene(kind, colour, failure_threshold=None, trip=SLOW)
    waiting = [scene.permit() for _ in range(3)]
    scene.wait(2.1)
    assert not scene.admits(), "another caller was sent after those that hang"
    for permit in waiting:
        permit.release()


def gives_up(scene: Scene) -> None:
    if not scene.colour.is_async:
        gone = KeyboardInterrupt()

        def hangs() -> None:
            scene.clock.advance(5)
            raise gone

        scene.call(hangs, expect=gone)
        return

    async def hangs_async() -> None:
        scene.clock.advance(5)
        await anyio.sleep_forever()

    async def main() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await scene.breaker.call(hangs_async)

    scene.colour.run(main)


class SeesOutcomesOnly(Naive):
    """Knows of no time that calls take."""

    def __init__(self, *args: Any, failure_threshold: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)


class Unruled(CircuitBreaker):
    """By itself: what the scene gives, without the threshold that the double needs."""

    __slots__ = ()

    def __init__(self, *args: Any, failure_threshold: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)


def test_a_call_that_its_caller_gives_up_was_slow(colour: Any) -> None:
    """No library sees it: a caller's own timeout ends the call by cancellation, which is no failure."""
    exhibit(Unruled, colour)


def test_a_call_that_hangs_counts_before_it_ends(colour: Any) -> None:
    """resilience4j counts a slow call when it has ended, which a hung one never does."""
    exhibit_in_flight(Unruled, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="nobody sees it"):
        exhibit(SeesOutcomesOnly, colour)
    with pytest.raises(AssertionError, match="another caller was sent"):
        exhibit_in_flight(SeesOutcomesOnly, colour)
