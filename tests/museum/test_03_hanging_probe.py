from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker, CircuitOpenError

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, probe_timeout=4.0)
    scene.probe_due()
    admitted: list[bool] = []

    def hangs() -> None:
        for seconds in (3.9, 0.1):
            scene.wait(seconds)
            admitted.append(a_call_goes_out(scene.breaker))

    scene.call(hangs)
    assert admitted == [False, True], "the circuit was stuck while the probe hung"


def a_call_goes_out(breaker: Any) -> bool:
    try:
        breaker.acquire().release()
    except CircuitOpenError:
        return False
    return True


def test_a_hanging_probe_loses_its_slot(colour: Any) -> None:
    """pybreaker, interlock, nopanic, resilix, aioresilience, c-breaker and, by default, resilience4j are
    stuck in half_open for as long as a probe hangs.
    """
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    """The breaker of the textbook has this bug."""
    with pytest.raises(AssertionError, match="stuck while the probe hung"):
        exhibit(Naive, colour)
