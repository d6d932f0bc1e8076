from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene

pytestmark = pytest.mark.core


class Closes(Naive):
    def ignored(self, error: BaseException) -> None:
        self.succeeded()


class Leaks(Naive):
    def ignored(self, error: BaseException) -> None:
        self.in_flight += 1  # nobody gives the slot back


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour, exclude=(KeyError,))
    scene.probe_due()
    missing = KeyError("no such title")

    def looks_up() -> None:
        raise missing

    scene.call(looks_up, expect=missing)
    assert scene.state == "half_open", "an excluded exception decided the state"
    assert scene.admits(), "the slot of the excluded exception leaked"


def test_an_excluded_exception_in_half_open_gives_the_slot_back_and_decides_nothing(colour: Any) -> None:
    """pybreaker, circuitbreaker and opossum close the circuit, c-breaker leaks the slot."""
    exhibit(CircuitBreaker, colour)


@pytest.mark.parametrize(("double", "symptom"), [(Closes, "decided the state"), (Leaks, "leaked")])
def test_the_faulty_double_is_caught(colour: Any, double: Any, symptom: str) -> None:
    with pytest.raises(AssertionError, match=symptom):
        exhibit(double, colour)
