from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class CountsAdmissions(Naive):
    def succeeded(self) -> None:
        if self.state == "half_open":
            self.in_flight += 1  # the limit is on the probes of a round, not on those in flight
        super().succeeded()


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, success_threshold=3, half_open_max_calls=1)
    scene.probe_due()
    for _ in range(3):
        assert scene.admits(), "there is no probe left to meet the threshold with"
        scene.call(lambda: None)
    assert scene.state == "closed"


def test_a_success_threshold_above_the_probe_limit_can_be_met(colour: Any) -> None:
    """Where half_open_max_calls bounds the probes of a round, and not those in flight, it never can."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="no probe left"):
        exhibit(CountsAdmissions, colour)
