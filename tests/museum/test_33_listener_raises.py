from __future__ import annotations

from typing import Any

import pytest

from circuitry import CircuitBreaker

from .doubles import Naive
from .scenes import Scene, error_of, fails

pytestmark = pytest.mark.core


class TellsFirst(Naive):
    """Tells, and then opens."""

    def enter(self, state: str) -> None:
        if state != self.state:
            self.tell(state)
        listeners, self.listeners = self.listeners, []
        super().enter(state)
        self.listeners = listeners


def exhibit(kind: Any, colour: Any) -> None:
    scene = Scene(kind, colour)
    heard: list[Any] = []

    def broken(event: Any) -> None:
        raise RuntimeError("a bug of the listener's")

    scene.breaker.on_transition(broken)
    scene.breaker.on_transition(heard.append)
    errors = [error_of(colour, scene.breaker.call, colour.function(fails)) for _ in range(3)]
    assert scene.state == "open", "a listener that raises kept the circuit from opening"
    assert [type(error) for error in errors] == [OSError] * 3, "a listener's error reached the caller"
    assert len(heard) == 1, "the other listener heard nothing"


def test_a_listener_that_raises_harms_neither_the_circuit_nor_the_call(colour: Any) -> None:
    """In pybreaker, aiobreaker, purgatory and c-breaker it keeps the circuit from ever opening."""
    exhibit(CircuitBreaker, colour)


def test_the_faulty_double_is_caught(colour: Any) -> None:
    with pytest.raises(AssertionError, match="kept the circuit from opening"):
        exhibit(TellsFirst, colour)
