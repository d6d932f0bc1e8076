from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


def exhibit_counts(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    for _ in range(2):
        scene.permit().failure(OSError("down"))
    scene.breaker.reconfigure(failure_threshold=4)
    assert scene.breaker.metrics().failure_count == 2, "the new threshold has lost what was counted"
    for _ in range(2):
        scene.permit().failure(OSError("down"))
    assert scene.state == "open"


def exhibit_state(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.trip()
    scene.breaker.reconfigure(failure_threshold=4)
    assert scene.state == "open", "the new threshold has closed the circuit in the middle of an outage"


def exhibit_permits(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, half_open_max_calls=1, success_threshold=1)
    scene.probe_due()
    probe = scene.permit()
    scene.breaker.reconfigure(failure_threshold=4)
    assert scene.breaker.metrics().half_open_calls == 1, (
        "the new threshold has forgotten the probe that is out"
    )
    probe.success()
    assert scene.state == "closed"


class MadeAnew(Naive):
    """Other settings are another breaker."""

    def reconfigure(self, **settings: Any) -> None:
        kept = {"clock": self.clock, "timeout_duration": self.timeout_duration}
        self.__init__(self.name, **{**kept, **settings})  # type: ignore[misc]


def test_a_new_threshold_keeps_the_counts(colour: Any) -> None:
    """What resilience4j is asked for most: it can only replace a breaker."""
    exhibit_counts(CircuitBreaker, colour)


def test_and_the_state(colour: Any) -> None:
    """The same."""
    exhibit_state(CircuitBreaker, colour)


def test_and_the_permits_in_flight(colour: Any) -> None:
    """The same."""
    exhibit_permits(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    for exhibit, words in [
        (exhibit_counts, "lost what was counted"),
        (exhibit_state, "in the middle of an outage"),
        (exhibit_permits, "forgotten the probe"),
    ]:
        with pytest.raises(AssertionError, match=words):
            exhibit(MadeAnew, colour)
