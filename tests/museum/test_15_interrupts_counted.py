from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, cancel_a_call

pytestmark = pytest.mark.core

INTERRUPTS = [KeyboardInterrupt, SystemExit, GeneratorExit, type("OfSomeLibrary", (BaseException,), {})]


class CountsAll(Naive):
    def is_failure(self, error: BaseException) -> bool:
        return True


def exhibit(kind: Any, colour: Any, interrupt: type[BaseException]) -> None:
    scene = Scene(kind, colour)
    error = interrupt()

    def interrupted() -> None:
        raise error

    scene.breaker.acquire().failure(OSError("down"))
    scene.call(interrupted, expect=error)
    assert scene.breaker.failure_count == 1, "an interrupt was counted"


def exhibit_cancellation(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.breaker.acquire().failure(OSError("down"))
    cancel_a_call(scene)
    assert scene.breaker.failure_count == 1, "a cancellation was counted"


@pytest.mark.parametrize("interrupt", INTERRUPTS)
def test_what_is_no_exception_is_no_failure_and_no_success(
    colour: Any, interrupt: type[BaseException]
) -> None:
    """pybreaker and purgatory count KeyboardInterrupt, SystemExit and GeneratorExit as failures."""
    exhibit(CircuitBreaker, colour, interrupt)


def test_a_cancellation_is_no_failure_and_no_success(colour: Any) -> None:
    """pybreaker and purgatory count it as a failure."""
    exhibit_cancellation(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="an interrupt was counted"):
        exhibit(CountsAll, colour, KeyboardInterrupt)
    with pytest.raises(AssertionError, match="a cancellation was counted"):
        exhibit_cancellation(CountsAll, colour)
