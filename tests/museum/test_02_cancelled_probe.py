from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, cancel_a_call

pytestmark = pytest.mark.core


class Leaks(Naive):
    def ignored(self, error: BaseException) -> None:
        self.in_flight += 1  # nobody gives the slot back


class Closes(Naive):
    def ignored(self, error: BaseException) -> None:
        self.succeeded()


class Reopens(Naive):
    def is_failure(self, error: BaseException) -> bool:
        return True


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    scene.probe_due()
    cancel_a_call(scene)
    assert scene.state != "closed", "a cancelled probe closed the circuit"
    assert scene.state != "open", "a cancelled probe opened the circuit"
    assert scene.admits(), "the slot of the cancelled probe leaked"
    assert scene.breaker.success_count == 0


def test_a_cancelled_probe_gives_its_slot_back_and_decides_nothing(colour: Any) -> None:
    """c-breaker leaks the slot and rejects for ever, circuitbreaker and Polly close, purgatory reopens."""
    exhibit(CircuitBreaker, colour)


@pytest.mark.parametrize(
    ("double", "symptom"), [(Leaks, "slot .* leaked"), (Closes, "closed the"), (Reopens, "opened the")]
)
def test_the_faulty_double_is_caught(colour: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour)
