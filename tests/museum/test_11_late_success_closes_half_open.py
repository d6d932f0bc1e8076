from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Stateless
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    probes: list[Any] = []

    def slow() -> None:
        scene.probe_due()
        probes.append(scene.breaker.acquire())

    scene.call(slow)
    assert scene.state == "half_open", "a late success closed the circuit with the probe still in flight"
    assert not scene.admits(), "a late success gave back the slot of the probe"
    probes[0].success()
    assert scene.state == "closed"


def test_a_late_success_does_not_close_half_open(colour: Any) -> None:
    """In resilience4j, opossum, purgatory and hyx a success that began while closed closes half_open, with
    the probe still in flight.
    """
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="probe still in flight"):
        exhibit(Stateless, colour)
