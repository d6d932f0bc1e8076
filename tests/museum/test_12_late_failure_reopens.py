from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Stateless
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    late = OSError("late")
    probes: list[Any] = []

    def slow() -> None:
        scene.probe_due()
        probes.append(scene.breaker.acquire())
        raise late

    scene.call(slow, expect=late)
    assert scene.state == "half_open", "a late failure reopened the circuit"
    probes[0].success()
    assert scene.state == "closed"


def test_a_late_failure_does_not_reopen_half_open(colour: Any) -> None:
    """In aiobreaker, purgatory and resilix a failure that began while closed reopens half_open."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="late failure reopened"):
        exhibit(Stateless, colour)
